"""Operator and case as keyed pseudonyms, for records that leave the region.

The same name gives the same pseudonym under one key, so that records still belong together; without the key
nobody can try names out. Whoever holds the key can tell by computing it again.
"""

import hmac
from collections.abc import Mapping
from pathlib import Path

from exchange.errors import BadConfiguration
from exchange.files import read_bounded

MIN_KEY_BYTES, MAX_KEY_BYTES = 32, 4096
PSEUDONYM_CHARS = 24
NAMED = ("operator", "case_number")
SAME_AS = {"finding_operator": "operator"}
"""Parts of a view that hold what another part names: their pseudonyms are the same."""
CASE = "case"
_DOMAIN = b"shuqiao/export-pseudonym/1\0"


class Pseudonyms:
    """Replaces what names people's work.

    Args:
        key: at least 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, kind: str, name: str) -> str:
        """Return the pseudonym of a name, 24 hexadecimal characters; empty for none."""
        if not name:
            return ""
        message = _DOMAIN + kind.encode() + b"\0" + name.encode()
        return hmac.digest(self._key, message, "sha256").hex()[:PSEUDONYM_CHARS]

    def applied(self, view: Mapping[str, object]) -> dict[str, object]:
        """Return the view of an entry with pseudonyms for operator and case number."""
        changed = {name: self.of(name, str(view[name])) for name in NAMED if view.get(name)}
        changed |= {name: self.of(kind, str(view[name])) for name, kind in SAME_AS.items() if view.get(name)}
        if view.get("act") == CASE:
            # What its entries are about is the number: it belongs to the exchanges that name it.
            changed["subject"] = self.of("case_number", str(view["subject"]))
        return {**view, **changed}


def read_key(path: Path) -> Pseudonyms:
    """Return the pseudonyms under a key in a file: its bytes without the line's end.

    Raises:
        BadConfiguration: it cannot be read, or is shorter than 32 bytes.
    """
    key = read_bounded(path, MAX_KEY_BYTES).rstrip(b"\r\n")
    if len(key) < MIN_KEY_BYTES:
        raise BadConfiguration(f"{path}: a key has {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes")
    return Pseudonyms(key)
