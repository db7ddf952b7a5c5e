"""Tags of subjects: what lets a trace find whose data an exchange was about, and nobody read it off the log.

    inner = HMAC-SHA-256(providers' key of the period, domain ‖ format ‖ 0 ‖ identifier)   by the provider
    outer = HMAC-SHA-256(gateway's key of the period, domain ‖ inner)                      by the gateway

Providers have no list to compare with, the gateway has no key to make inner tags with: neither can try out
identifiers alone. Both keys change with the period; without either one, a period's tags find nothing.

1. A period is a quarter of the calendar by Beijing time (UTC+8), for that is the calendar its users and
   their reports follow; "2026Q4".
2. An identifier is tagged in its canonical form: full-width to ASCII, trimmed, capitals, checksum checked.
3. A list has 1, 4, 16, 64 or 256 tags, no two alike, in ascending order: random decoys fill it, so that its
   length tells only the step. Its root is RFC 6962's over the tags as leaves.
"""

import hashlib
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from exchange.canonical import DIGEST_BYTES, SUBJECT_INNER, SUBJECT_OUTER
from exchange.clock import BEIJING, Random
from exchange.codes import CITIZEN_ID, CREDIT_CODE, check_format
from exchange.errors import Malformed, Oversized
from exchange.merkle import EMPTY_ROOT, leaf_hash, node_hash

TAG_BYTES = DIGEST_BYTES
KEY_BYTES = 32
STEPS = (1, 4, 16, 64, 256)
MAX_TAGS = STEPS[-1]
MAX_IDENTIFIER = 64
FORMATS = frozenset({CITIZEN_ID, CREDIT_CODE})
"""The formats of identifiers that name a subject."""

_PERIOD = re.compile(r"([0-9]{4})Q([1-4])", re.ASCII)
_BLOCK_BYTES = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# What stands for a citizen in a text: 17 digits and the check character, as one word.
_CITIZEN = re.compile(r"(?<![0-9])[1-9][0-9]{16}[0-9Xx](?![0-9])", re.ASCII)


def period_of(ms: int) -> str:
    """Return the period of a time in Unix milliseconds, for example "2026Q4"."""
    at = datetime.fromtimestamp(ms // 1000, BEIJING)
    return f"{at.year:04}Q{(at.month + 2) // 3}"


def check_period(period: str) -> str:
    """Return a period that is well formed.

    Raises:
        Malformed: it is not.
    """
    if not _PERIOD.fullmatch(period) or period < "1970Q1":
        raise Malformed("period")
    return period


def period_start_ms(period: str) -> int:
    """Return when a period begins, Unix milliseconds.

    Raises:
        Malformed: it is none.
    """
    year, quarter = int(check_period(period)[:4]), int(period[5])
    return (datetime(year, 3 * quarter - 2, 1, tzinfo=BEIJING) - _EPOCH) // _MILLISECOND


def next_period(period: str) -> str:
    """Return the period after one.

    Raises:
        Malformed: it is none.
    """
    year, quarter = int(check_period(period)[:4]), int(period[5])
    return f"{year:04}Q{quarter + 1}" if quarter < 4 else f"{year + 1:04}Q1"


def period_end_ms(period: str) -> int:
    """Return when a period is over, Unix milliseconds."""
    return period_start_ms(next_period(period))


def tagged_form(text: str) -> str:
    """Return a text in the form in which an identifier is tagged; nothing is checked.

    A provider tags what it is given: a text that is no identifier has a tag that nobody can ask for.
    """
    if text.isascii() and text.isalnum():
        return text.upper()
    return unicodedata.normalize("NFKC", text).strip().upper()


def canonical_identifier(format: str, text: str) -> str:
    """Return an identifier in the form that is tagged, checked.

    Args:
        format: "citizen_id" or "credit_code".
        text: as it was typed or stored.

    Raises:
        Malformed: no subject is named in that format.
        BadIdentifier: wrong form or checksum; the value is not in the error.
    """
    if format not in FORMATS:
        raise Malformed("format")
    return check_format(format, tagged_form(text[:MAX_IDENTIFIER]))


def names_a_person(text: str) -> bool:
    """Whether a text holds what looks like a citizen id: such a text goes into no record and no log."""
    return _CITIZEN.search(text) is not None


class KeyedHash:
    """HMAC-SHA-256 (RFC 2104) under one key, whose two blocks are hashed once: half the time of hmac.digest.

    Args:
        key: 32 bytes.
        domain: before every message.
    """

    def __init__(self, key: bytes, domain: bytes) -> None:
        block = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + domain)
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def of(self, message: bytes) -> bytes:
        """Return the hash of a message, 32 bytes."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


class InnerTags:
    """Makes inner tags.

    Args:
        key: the providers' of a period, 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._hashes = {one: KeyedHash(key, SUBJECT_INNER + one.encode() + b"\0") for one in FORMATS}

    def of(self, format: str, identifier: str) -> bytes:
        """Return the inner tag of an identifier as `tagged_form` has it, 32 bytes."""
        return self._hashes[format].of(identifier.encode())


class OuterTags:
    """Makes outer tags.

    Args:
        key: the gateway's of a period, 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._hash = KeyedHash(key, SUBJECT_OUTER)

    def of(self, inner: bytes) -> bytes:
        """Return the outer tag of an inner one, 32 bytes."""
        return self._hash.of(inner)


def inner_tag(key: bytes, format: str, identifier: str) -> bytes:
    """Return one inner tag under a key, 32 bytes; see `InnerTags`."""
    return InnerTags(key).of(format, identifier)


def step_of(count: int) -> int:
    """Return how long a list is that must hold `count` tags; never more than 256."""
    return STEPS[min(bisect_left(STEPS, count), len(STEPS) - 1)]


def padded(tags: Iterable[bytes], size: int, random: Random) -> list[bytes]:
    """Return a list of tags with decoys, in order.

    Args:
        tags: real ones, 32 bytes each; of equal ones, one is kept.
        size: how long the list is to be, one of STEPS.
        random: where decoys come from.

    Raises:
        Oversized: there are more tags than places.
    """
    held = set(tags)
    if len(held) > size:
        raise Oversized("subject tags")
    missing = size - len(held)
    noise = random(TAG_BYTES * missing) if missing else b""
    held.update(split_tags(noise))
    return sorted(held)


def tag_root(tags: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 root over tags in their order, 32 bytes."""
    row = [leaf_hash(tag) for tag in tags]
    while len(row) > 1:
        # An odd one out goes up as it is: the same tree as splitting at powers of two.
        rest = row[len(row) & ~1 :]
        row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=False)] + rest
    return row[0] if row else EMPTY_ROOT


def split_tags(joined: bytes) -> list[bytes]:
    """Return the tags of a list that is kept as one string.

    Raises:
        Malformed: its length is not that of whole tags.
    """
    if len(joined) % TAG_BYTES:
        raise Malformed("tags")
    return [joined[start : start + TAG_BYTES] for start in range(0, len(joined), TAG_BYTES)]


def check_tags(period: str, tags: Sequence[bytes]) -> None:
    """Refuse a list that is not of the form that every list has.

    Args:
        period: of the tags; empty where there are none.
        tags: as they travelled.

    Raises:
        Malformed: naming the part.
    """
    if not period and not tags:
        return
    check_period(period)
    if len(tags) not in STEPS:
        raise Malformed("number of tags")
    before = b""
    for tag in tags:
        if len(tag) != TAG_BYTES or tag <= before:
            raise Malformed("length or order of tags")
        before = tag
