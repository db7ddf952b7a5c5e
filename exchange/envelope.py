"""Envelopes: the columns of one direction of one exchange, sealed cell by cell under a key of their own.

    keys  = HKDF(secret, salt = SHA-256(header), "request" | "response")  →  commit 32 ‖ key 32 ‖ nonce0 12
    nonce = nonce0 XOR (record u48 ‖ field u16), aligned to the end
    aad   = SHA-256(header) ‖ record u64 ‖ field u16 ‖ SHA-256(number of slots, columns' names and paddings)
    cell  = AEAD(tag ‖ value ‖ 0x80 ‖ 00…),  tag 0 no record here, 1 null, 2 value

Invariants:
- `commit` is compared before anything is opened: AES-GCM does not commit to its key.
- A key seals once (nonces would repeat); headers hold 16 random bytes, so each exchange has keys of its own.
- The number of slots is padded to a step and every cell to its column's block: neither presence, nor null,
  nor the number of records within a step, nor a length within a block shows.
- The layout is in the aad: columns cannot be renamed, nor all of them shortened to a smaller step.
- What a peer sends is bounded before it is worked on, and fails with SealBroken or Oversized.

Source: design section 4.
"""

import functools
import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidTag

from exchange.errors import Malformed, Oversized, SealBroken
from exchange.suites import AEAD_KEY_BYTES, TAG_BYTES, Aead, Suite
from exchange.v1 import exchange_pb2
from exchange.values import decode_value as decode_value
from exchange.values import encode_value as encode_value

Direction = Literal["request", "response"]

SLOT_STEPS = (1, 4, 16, 64, 256, 1000)
MAX_FIELDS = 64
MAX_CELL_BYTES = 64 * 1024
MAX_NAME_BYTES = 255
MIN_PADDING = 16
MAX_PADDING = 4096
COMMIT_BYTES = 32
NONCE0_BYTES = 12

_VALUE = b"\x02"
_END = b"\x80"
_ABSENT_CELL, _NULL_CELL = b"\x00" + _END, b"\x01" + _END
_KEYS_BYTES = COMMIT_BYTES + AEAD_KEY_BYTES + NONCE0_BYTES
_PLACE_BYTES = 10


@dataclass(slots=True)
class DirectionKey:
    """The keys of one direction of one exchange.

    Args:
        commit: commitment to the keys, 32 bytes.
        aead: the AEAD under the direction's key.
        nonce0: 12 bytes.
        header_digest: SHA-256 of the header.
        used: whether it has sealed; it does so once.
    """

    commit: bytes
    aead: Aead = field(repr=False)
    nonce0: bytes = field(repr=False)
    header_digest: bytes
    used: bool = False


class ColumnPlan(NamedTuple):
    """A column to seal.

    Args:
        name: of the field or parameter.
        values: one per record; None for null.
        padding: block in bytes, 16 to 4096.
    """

    name: str
    values: Sequence[bytes | None]
    padding: int


def slots_of(records: int) -> int:
    """Return how many slots carry that many records.

    Raises:
        Oversized: more than 1,000.
    """
    for step in SLOT_STEPS:
        if records <= step:
            return step
    raise Oversized("records")


def direction_key(suite: Suite, secret: bytes, header: bytes, direction: Direction) -> DirectionKey:
    """Derive the keys of one direction.

    Args:
        suite: the suite of the session.
        secret: the session's secret, 32 bytes.
        header: the serialised header of this direction, exactly as it travels.
        direction: which one.
    """
    salt = hashlib.sha256(header).digest()
    keys = suite.derive(secret, salt, direction.encode(), _KEYS_BYTES)
    return DirectionKey(
        keys[:COMMIT_BYTES],
        suite.aead(keys[COMMIT_BYTES : COMMIT_BYTES + AEAD_KEY_BYTES]),
        keys[COMMIT_BYTES + AEAD_KEY_BYTES :],
        salt,
    )


def seal(key: DirectionKey, columns: Sequence[ColumnPlan], records: int) -> exchange_pb2.Envelope:
    """Seal columns.

    Args:
        key: the direction's keys; they seal once.
        columns: at most 64, each with one value per record.
        records: how many, at most 1,000.

    Returns:
        The envelope.

    Raises:
        Oversized: too many columns or records, or a value over 64 KiB.
        Malformed: a padding outside 16 to 4096.
        ValueError: the key was used, or a column has another length.
    """
    if key.used:
        raise ValueError("a direction's key seals once")
    key.used = True
    slots = slots_of(records)
    layout = _layout(slots, tuple((name, padding) for name, _, padding in columns))
    blocks = _pad(columns, records, slots)
    encrypt, header_digest, nonce0 = key.aead.encrypt, key.header_digest, int.from_bytes(key.nonce0)
    cells = [
        encrypt(
            (nonce0 ^ place).to_bytes(NONCE0_BYTES),
            block,
            header_digest + place.to_bytes(_PLACE_BYTES) + layout,
        )
        for place, block in zip(_places(len(columns), slots), blocks, strict=True)
    ]
    envelope = exchange_pb2.Envelope(commit=key.commit)
    add, start = envelope.columns.add, 0
    for name, _, _ in columns:
        add(name=name, cells=cells[start : start + slots])
        start += slots
    return envelope


def open_(
    key: DirectionKey, envelope: exchange_pb2.Envelope, expected: Sequence[tuple[str, int]]
) -> list[list[bytes | None]]:
    """Open an envelope.

    Args:
        key: the direction's keys, derived from the header that was checked.
        envelope: what came; untrusted.
        expected: name and padding of each column in order, from the receiver's own knowledge.

    Returns:
        One list per column with one value per record; None for null. The columns are equally long.

    Raises:
        SealBroken: another key, other columns, or anything altered, moved, missing or repeated.
        Oversized: a cell over 64 KiB, or more than 64 columns.
        Malformed: a padding outside 16 to 4096 is expected.
    """
    if not hmac.compare_digest(key.commit, envelope.commit):
        raise SealBroken("commit")
    columns = envelope.columns
    if len(columns) != len(expected):
        raise SealBroken("columns")
    if not columns:
        return []
    slots = len(columns[0].cells)
    if slots not in SLOT_STEPS:
        raise SealBroken("slots")
    layout = _layout(slots, tuple(expected))
    cells = _gather(columns, expected, slots)
    decrypt, header_digest, nonce0 = key.aead.decrypt, key.header_digest, int.from_bytes(key.nonce0)
    try:
        blocks = [
            decrypt(
                (nonce0 ^ place).to_bytes(NONCE0_BYTES),
                cell,
                header_digest + place.to_bytes(_PLACE_BYTES) + layout,
            )
            for place, cell in zip(_places(len(expected), slots), cells, strict=True)
        ]
    except InvalidTag:
        raise SealBroken("cell") from None
    opened = _strip(expected, blocks, slots)
    if any(len(values) != len(opened[0]) for values in opened):
        raise SealBroken("records")
    return opened


@functools.lru_cache(maxsize=1024)
def _layout(slots: int, columns: tuple[tuple[str, int], ...]) -> bytes:
    """Digest of everything about the table that no cell's own place says; names and paddings, no values."""
    if len(columns) > MAX_FIELDS:
        raise Oversized("columns")
    parts = [struct.pack(">HH", slots, len(columns))]
    for name, padding in columns:
        encoded = name.encode()
        if not MIN_PADDING <= padding <= MAX_PADDING or len(encoded) > MAX_NAME_BYTES:
            raise Malformed(name[:MAX_NAME_BYTES])
        parts.append(struct.pack(">HH", len(encoded), padding) + encoded)
    return hashlib.sha256(b"".join(parts)).digest()


def _places(columns: int, slots: int) -> Sequence[int]:
    """Return record ‖ field of each cell, column after column: the same integer stands in nonce and aad."""
    if slots == 1:
        return range(columns)
    return [place for number in range(columns) for place in range(number, slots << 16, 1 << 16)]


def _pad(columns: Sequence[ColumnPlan], records: int, slots: int) -> list[bytes]:
    """Return the plaintexts of all cells, column after column."""
    blocks: list[bytes] = []
    add = blocks.append
    for _, values, padding in columns:
        if len(values) != records:
            raise ValueError("a column has one value per record")
        last = padding - 1
        for value in values:
            block = _NULL_CELL if value is None else _VALUE + value + _END
            add(block.ljust((len(block) + last) // padding * padding, b"\0"))
        if slots > records:
            blocks.extend([_ABSENT_CELL.ljust(padding, b"\0")] * (slots - records))
    if max(map(len, blocks), default=0) > MAX_CELL_BYTES:
        raise Oversized("value")
    return blocks


def _gather(
    columns: Sequence[exchange_pb2.Column], expected: Sequence[tuple[str, int]], slots: int
) -> list[bytes]:
    """Return the cells of all columns, checked in all that can be checked before they are opened."""
    gathered: list[bytes] = []
    longest = MAX_CELL_BYTES + TAG_BYTES
    for column, (name, padding) in zip(columns, expected, strict=True):
        cells = column.cells
        if column.name != name or len(cells) != slots:
            raise SealBroken(name)
        for length in set(map(len, cells)):
            if length > longest:
                raise Oversized(name)
            if length <= TAG_BYTES or (length - TAG_BYTES) % padding:
                raise SealBroken(name)
        gathered.extend(cells)
    return gathered


def _strip(
    expected: Sequence[tuple[str, int]], blocks: Sequence[bytes], slots: int
) -> list[list[bytes | None]]:
    """Take the padding off; only one form of each cell is accepted, and nothing after an absent record."""
    opened: list[list[bytes | None]] = []
    start = 0
    for name, padding in expected:
        values: list[bytes | None] = []
        add, present = values.append, True
        for block in blocks[start : start + slots]:
            text = block.rstrip(b"\0")
            if present and text[:1] == _VALUE and text[-1:] == _END and len(block) - len(text) < padding:
                add(text[1:-1])
            elif present and text == _NULL_CELL and len(block) == padding:
                add(None)
            elif text == _ABSENT_CELL and len(block) == padding:
                present = False
            else:
                raise SealBroken(name)
        opened.append(values)
        start += slots
    return opened
