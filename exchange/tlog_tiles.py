"""Tiles and entry bundles of a log: their names, their bytes, and which of them a tree has.

A tile holds up to 256 hashes of tree level 8·level, an entry bundle up to 256 leaves, each after its length
in two bytes. One that is not full yet carries its width in its name, so that what a name stands for never
changes. A name has one form; every other is refused, and so is what no tree of at most 2^63 - 1 leaves has.
Source: c2sp.org/tlog-tiles.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from exchange.checkpoint import MAX_SIZE
from exchange.errors import Oversized, ReceiptBroken, UnknownEntry
from exchange.merkle import HASH_BYTES, node_hash
from exchange.receipt import MAX_LEAF_BYTES

TILE_BITS = 8
TILE_HASHES = 1 << TILE_BITS
TILE_BYTES = TILE_HASHES * HASH_BYTES
MAX_LEVEL = (MAX_SIZE.bit_length() - 1) // TILE_BITS
MAX_BUNDLE_BYTES = TILE_HASHES * (2 + MAX_LEAF_BYTES)
CHECKPOINT = "checkpoint"
_GROUP = 1000
_LENGTH = struct.Struct(">H")
# The longest index has 17 digits, six groups of three.
_PATH = re.compile(
    r"tile/(entries|[0-9])/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", flags=re.ASCII
)

Pyramid = list[list[bytes]]
"""The complete nodes over a tile's hashes, by level within the tile, 0 to 7."""


@dataclass(frozen=True, slots=True)
class HashTile:
    """The name of a hash tile.

    Attributes:
        level: 0 for leaf hashes, at most 7.
        n: its place in the level, from 0.
        width: how many hashes, 1 to 256.
    """

    level: int
    n: int
    width: int = TILE_HASHES

    @property
    def path(self) -> str:
        """The path below the log's address."""
        return f"tile/{self.level}/{_place(self.n, self.width)}"


@dataclass(frozen=True, slots=True)
class EntryBundle:
    """The name of an entry bundle.

    Attributes:
        n: its place, from 0.
        width: how many entries, 1 to 256.
    """

    n: int
    width: int = TILE_HASHES

    @property
    def path(self) -> str:
        """The path below the log's address."""
        return f"tile/entries/{_place(self.n, self.width)}"

    @property
    def first(self) -> int:
        """Index of the first entry."""
        return self.n << TILE_BITS

    @property
    def end(self) -> int:
        """Index after the last entry."""
        return self.first + self.width


def _place(n: int, width: int) -> str:
    groups = [f"{n % _GROUP:03}"]
    while n := n // _GROUP:
        groups.append(f"x{n % _GROUP:03}")
    return "/".join(reversed(groups)) + (f".p/{width}" if width < TILE_HASHES else "")


def parse_path(path: str) -> HashTile | EntryBundle:
    """Return what a path below a log's address names.

    Raises:
        UnknownEntry: it is no such path in its one form, or no log is so large.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise UnknownEntry("path")
    kind, groups, width = found.groups()
    n = int(groups.replace("/", "").replace("x", ""))
    level = 0 if kind == "entries" else int(kind)
    if level > MAX_LEVEL or n << (level + 1) * TILE_BITS > MAX_SIZE:
        raise UnknownEntry("path")
    wide = int(width) if width else TILE_HASHES
    made = EntryBundle(n, wide) if kind == "entries" else HashTile(level, n, wide)
    if made.path != path:
        raise UnknownEntry("path")
    return made


def tile_in(level: int, n: int, size: int) -> HashTile:
    """Return the name of a tile as wide as the tree of a size has it.

    Raises:
        UnknownEntry: that tree has none there.
    """
    return HashTile(level, n, _width(level, n, size))


def bundle_in(n: int, size: int) -> EntryBundle:
    """Return the name of an entry bundle as wide as the tree of a size has it.

    Raises:
        UnknownEntry: that tree has none there.
    """
    return EntryBundle(n, _width(0, n, size))


def _width(level: int, n: int, size: int) -> int:
    width = min(TILE_HASHES, (size >> level * TILE_BITS) - (n << TILE_BITS))
    if n < 0 or width <= 0:
        raise UnknownEntry(f"tile {level}/{n}")
    return width


def edge_tiles(size: int) -> Iterator[HashTile]:
    """Yield the tiles of a tree that are not full, from level 0 up: together they determine its root."""
    for level in range(MAX_LEVEL + 1):
        count = size >> level * TILE_BITS
        if count % TILE_HASHES:
            yield HashTile(level, count >> TILE_BITS, count % TILE_HASHES)


def tiles_between(old_size: int, new_size: int) -> Iterator[HashTile]:
    """Yield the tiles that a tree has and the tree of an older size has not, level by level."""
    for level in range(MAX_LEVEL + 1):
        before, after = old_size >> level * TILE_BITS, new_size >> level * TILE_BITS
        if before < after:
            for n in range(before >> TILE_BITS, (after - 1 >> TILE_BITS) + 1):
                yield tile_in(level, n, new_size)


def bundles_between(old_size: int, new_size: int) -> Iterator[EntryBundle]:
    """Yield the entry bundles that a tree has and the tree of an older size has not."""
    if old_size < new_size:
        for n in range(old_size >> TILE_BITS, (new_size - 1 >> TILE_BITS) + 1):
            yield bundle_in(n, new_size)


def encode_bundle(leaves: Sequence[bytes]) -> bytes:
    """Return leaves as an entry bundle.

    Raises:
        Oversized: more than 256, or one above 65,535 bytes.
    """
    if len(leaves) > TILE_HASHES or any(len(leaf) > MAX_LEAF_BYTES for leaf in leaves):
        raise Oversized("entry bundle")
    return b"".join(_LENGTH.pack(len(leaf)) + leaf for leaf in leaves)


def decode_bundle(content: bytes, width: int) -> list[bytes]:
    """Return the leaves of an entry bundle.

    Args:
        content: its bytes.
        width: how many leaves it must hold, exactly.

    Raises:
        ReceiptBroken: it holds fewer, or more than them.
    """
    leaves, at = [], 0
    for _ in range(width):
        if at + 2 > len(content):
            raise ReceiptBroken("entry bundle: too short")
        end = at + 2 + int.from_bytes(content[at : at + 2])
        leaves.append(content[at + 2 : end])
        at = end
    if at != len(content):
        raise ReceiptBroken("entry bundle: length")
    return leaves


def pyramid_of(hashes: list[bytes]) -> Pyramid:
    """Return the complete nodes over up to 256 hashes, by level, 0 to 7."""
    rows = [hashes]
    for _ in range(TILE_BITS - 1):
        pairs = iter(rows[-1])
        rows.append([node_hash(left, right) for left, right in zip(pairs, pairs, strict=False)])
    return rows
