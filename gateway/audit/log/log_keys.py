"""`log-key.pub`: the public keys that a gateway's folder states for its log, of all its epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from exchange.checkpoint import parse_verifier_key, verifier_key
from exchange.durable import replace_file
from exchange.errors import AuditUnavailable, BadConfiguration, StoreDamaged

LOG_KEY = "log-key.pub"
MAX_KEY_BYTES = 256 * 1024


def read_log_key(folder: Path) -> tuple[str, bytes]:
    """Return origin and newest public key (32 bytes) of a folder's present epoch.

    Raises:
        StoreDamaged: it states none, or not in the right form.
    """
    origin, public = list(read_log_keys(folder).items())[-1]
    return origin, public[0]


def read_log_keys(folder: Path) -> dict[str, tuple[bytes, ...]]:
    """Return the public keys (32 bytes) that a folder states, by origin.

    Raises:
        StoreDamaged: it states none, or not in the right form.
    """
    keys: dict[str, tuple[bytes, ...]] = {}
    try:
        with (folder / LOG_KEY).open(encoding="ascii") as file:
            lines = file.read(MAX_KEY_BYTES).splitlines()
        for line in lines:
            origin, key = parse_verifier_key(line)
            keys[origin] = (*keys.get(origin, ()), key)
    except (OSError, ValueError, BadConfiguration) as error:
        raise StoreDamaged(f"{LOG_KEY} is missing or damaged") from error
    if not keys:
        raise StoreDamaged(f"{LOG_KEY} is missing or damaged")
    return keys


def write_log_keys(folder: Path, keys: Mapping[str, Sequence[bytes]]) -> None:
    """Write public keys as C2SP text, a line each: the epochs before, then the present one's, newest first.

    Args:
        folder: made where it is absent.
        keys: 32 bytes each, by origin.

    Raises:
        AuditUnavailable: the file cannot be written; what was there stands.
    """
    lines = [verifier_key(origin, key) + "\n" for origin, public in keys.items() for key in public]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / LOG_KEY).exists() and (folder / LOG_KEY).read_text("ascii") == "".join(lines):
            return
        # A crash before it is done leaves the file before; the next start writes it.
        replace_file(folder / LOG_KEY, "".join(lines).encode("ascii"), mode=0o644)
    except (OSError, UnicodeEncodeError) as error:
        raise AuditUnavailable(LOG_KEY) from error
