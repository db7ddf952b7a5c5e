"""Sealed segments: a range of a log's entries in one encrypted file, readable a tile's worth at a time.

```
file   = header ‖ chunk … ‖ table
header = "shuqiao-segment/1\\n" ‖ u16 length ‖ origin ‖ u64 first ‖ u64 end ‖ salt (16) ‖ hashes (32)
chunk  = AES-256-GCM(key, nonce = u96 number, aad = SHA-256(header), zlib(plain))
plain  = per entry: u16 length ‖ leaf ‖ u16 count ‖ (u32 length ‖ bytes) …
table  = u32 length of each chunk
```
1. Integers are big-endian; first and end are multiples of 256, and each chunk holds exactly 256 entries.
2. A key seals one file once: the chunk's number is its nonce, the header is bound to every chunk. Whoever
   erases the key erases every copy of the file.
3. `hashes` is the SHA-256 over the leaf hashes in order, which are the log's level-0 tiles: whoever has no
   key compares this with the tiles.
4. GCM does not commit to a key: what a chunk yields counts only once its leaves hash to the log's tiles.
Source: ADR 0021.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from exchange.canonical import DIGEST_BYTES
from exchange.errors import BadConfiguration, StoreDamaged
from exchange.receipt import MAX_LEAF_BYTES

MAGIC = b"shuqiao-segment/1\n"
CHUNK_ENTRIES = 256
KEY_BYTES = 32
SALT_BYTES = 16
TAG_BYTES = 16
MAX_ENTRIES = 1 << 20
MAX_ORIGIN_BYTES = 255
MAX_BESIDE_BYTES = 1 << 18
MAX_PLAIN_BYTES = CHUNK_ENTRIES * (MAX_LEAF_BYTES + MAX_BESIDE_BYTES + 8)
MAX_HEADER_BYTES = len(MAGIC) + 2 + MAX_ORIGIN_BYTES + 16 + SALT_BYTES + DIGEST_BYTES
LENGTH_BYTES = 4
_COMPRESSION = 6
_U16, _U32 = struct.Struct(">H"), struct.Struct(">I")
_RANGE = struct.Struct(f">QQ{SALT_BYTES}s{DIGEST_BYTES}s")


class Item(NamedTuple):
    """One entry as it is kept.

    Attributes:
        leaf: its exact bytes, at most 65,535.
        beside: what is kept beside it and is not part of the log, at most 256 KiB.
    """

    leaf: bytes
    beside: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a segment is, in clear.

    Attributes:
        origin: of the log.
        first: index of the first entry, a multiple of 256.
        end: index after the last, a multiple of 256.
        salt: 16 random bytes.
        hashes: SHA-256 over the leaf hashes in order, 32 bytes.
    """

    origin: str
    first: int
    end: int
    salt: bytes = field(repr=False)
    hashes: bytes

    @property
    def chunks(self) -> int:
        """How many chunks follow."""
        return (self.end - self.first) // CHUNK_ENTRIES

    @property
    def place(self) -> str:
        """The segment's name in words, for faults."""
        return place_of(self.first, self.end)

    def to_bytes(self) -> bytes:
        """Return the header as it stands at the beginning of the file.

        Raises:
            BadConfiguration: origin or range cannot be written.
        """
        origin = self.origin.encode()
        if not 1 <= len(origin) <= MAX_ORIGIN_BYTES or not _whole(self.first, self.end):
            raise BadConfiguration(self.place)
        body = _RANGE.pack(self.first, self.end, self.salt, self.hashes)
        return MAGIC + _U16.pack(len(origin)) + origin + body


def place_of(first: int, end: int) -> str:
    """Return the name of a segment in words, for faults."""
    return f"segment {first}-{end}"


def read_header(start: bytes) -> tuple[Header, int]:
    """Return the header of a file, and its length.

    Args:
        start: the beginning of the file, at least 341 bytes of it or all there is.

    Raises:
        StoreDamaged: it is none.
    """
    at = len(MAGIC)
    if not start.startswith(MAGIC) or len(start) < at + 2:
        raise StoreDamaged("segment: no header")
    (length,) = _U16.unpack_from(start, at)
    at += 2
    if not 1 <= length <= MAX_ORIGIN_BYTES or len(start) < at + length + _RANGE.size:
        raise StoreDamaged("segment: header too short")
    try:
        origin = start[at : at + length].decode()
    except UnicodeDecodeError:
        raise StoreDamaged("segment: origin") from None
    first, end, salt, hashes = _RANGE.unpack_from(start, at + length)
    if not _whole(first, end):
        raise StoreDamaged("segment: range")
    header = Header(origin=origin, first=first, end=end, salt=salt, hashes=hashes)
    return header, at + length + _RANGE.size


def chunk_places(header: Header, header_bytes: int, file_bytes: int, table: bytes) -> list[tuple[int, int]]:
    """Return where each chunk is, as (offset, length).

    Args:
        header: of the file.
        header_bytes: its length.
        file_bytes: length of the file.
        table: the last 4 bytes per chunk of the file.

    Raises:
        StoreDamaged: header, chunks and table do not fill the file exactly.
    """
    if len(table) != header.chunks * LENGTH_BYTES:
        raise StoreDamaged(f"{header.place}: truncated")
    places, at = [], header_bytes
    for (length,) in _U32.iter_unpack(table):
        if not TAG_BYTES < length <= MAX_PLAIN_BYTES:
            raise StoreDamaged(f"{header.place}: table")
        places.append((at, length))
        at += length
    if at + len(table) != file_bytes:
        raise StoreDamaged(f"{header.place}: table or length of the file")
    return places


class SegmentCipher:
    """Seals and opens the chunks of one segment.

    Args:
        key: 32 bytes, of this segment alone.
        header: of the segment.

    Raises:
        BadConfiguration: the key has a wrong length.
    """

    def __init__(self, *, key: bytes, header: Header) -> None:
        if len(key) != KEY_BYTES:
            raise BadConfiguration(f"{header.place}: key")
        self._aead = AESGCM(key)
        self._bound = sha256(header.to_bytes()).digest()
        self._header = header

    def seal(self, number: int, items: Sequence[Item]) -> bytes:
        """Return chunk `number`; to be called once per number and key.

        Raises:
            BadConfiguration: these are not 256 entries, or one is too long.
        """
        if len(items) != CHUNK_ENTRIES or not 0 <= number < self._header.chunks:
            raise BadConfiguration(f"{self._header.place}: chunk {number}")
        plain = b"".join(map(_pack, items))
        return self._aead.encrypt(_nonce(number), zlib.compress(plain, _COMPRESSION), self._bound)

    def open(self, number: int, sealed: bytes) -> list[Item]:
        """Return the 256 entries of a chunk.

        Raises:
            StoreDamaged: it is not this chunk of this segment as it was sealed.
        """
        place = f"{self._header.place}: chunk {number}"
        try:
            packed = self._aead.decrypt(_nonce(number), sealed, self._bound)
        except InvalidTag:
            raise StoreDamaged(f"{place} does not open") from None
        try:
            inflate = zlib.decompressobj()
            plain = inflate.decompress(packed, MAX_PLAIN_BYTES)
            if not inflate.eof or inflate.unused_data:
                raise StoreDamaged(place)
            return _unpack(plain)
        except (zlib.error, struct.error, ValueError):
            raise StoreDamaged(f"{place} has a wrong form") from None


def pack_table(lengths: Sequence[int]) -> bytes:
    """Return the table of chunk lengths."""
    return b"".join(map(_U32.pack, lengths))


def _whole(first: int, end: int) -> bool:
    aligned = first % CHUNK_ENTRIES == 0 and end % CHUNK_ENTRIES == 0
    return aligned and 0 <= first < end <= first + MAX_ENTRIES and end < 1 << 63


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _pack(item: Item) -> bytes:
    beside = [_U32.pack(len(part)) + part for part in item.beside]
    if len(item.leaf) > MAX_LEAF_BYTES or sum(map(len, beside)) > MAX_BESIDE_BYTES:
        raise BadConfiguration("segment: entry too long")
    return b"".join((_U16.pack(len(item.leaf)), item.leaf, _U16.pack(len(beside)), *beside))


def _unpack(plain: bytes) -> list[Item]:
    items, at = [], 0
    for _ in range(CHUNK_ENTRIES):
        (length,) = _U16.unpack_from(plain, at)
        start = at + 2
        at = start + length
        leaf = plain[start:at]
        (count,) = _U16.unpack_from(plain, at)
        at += 2
        beside = []
        for _ in range(count):
            (length,) = _U32.unpack_from(plain, at)
            start = at + LENGTH_BYTES
            at = start + length
            beside.append(plain[start:at])
        items.append(Item(leaf, tuple(beside)))
    if at != len(plain):
        raise ValueError("length")
    return items
