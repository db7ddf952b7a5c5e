"""Walks over all entries of a log and compares each with the hash tiles, 256 at a time.

A missing entry is stood in for by what its tile says, and a missing tile by its entries, so that one fault
does not hide or multiply others.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping

from exchange import merkle
from exchange.errors import ReceiptBroken
from exchange.merkle import HASH_BYTES, leaf_hash
from exchange.receipt import MAX_LEAF_BYTES
from exchange.tlog_tiles import TILE_BITS, TILE_BYTES, TILE_HASHES, pyramid_of
from gateway.audit.epoch_walk import EpochWalk

MAX_GAP = 1_000_000
_TILES_BEYOND = "SELECT level, n FROM tile WHERE (n + 1) << (8 * (level + 1)) > ?"

NoteFault = Callable[[str, str], None]
"""Takes the place and what is wrong there."""


class Walk:
    """One pass over the entries of a snapshot.

    Args:
        db: read-only, in a transaction.
        epochs: says which entries are the log's.
        fault: takes what is wrong.
    """

    def __init__(self, *, db: sqlite3.Connection, epochs: EpochWalk, fault: NoteFault) -> None:
        self._db = db
        self.epochs = epochs
        self._wanted: set[int] = set()
        self._fault = fault
        self._edge: Mapping[int, bytes] = {}
        self._rising: dict[int, list[bytes]] = {}
        self.found = 0
        self.size = 0
        self.roots: dict[int, bytes] = {0: merkle.EMPTY_ROOT}

    @property
    def root(self) -> bytes:
        """The root over what was walked, 32 bytes."""
        return merkle.root_of_edge(self._edge)

    def run(self, size: int, wanted: Collection[int]) -> None:
        """Walk over the whole log.

        Args:
            size: how many entries the head states.
            wanted: the sizes whose roots are to be in `roots` afterwards, besides those where epochs begin.
        """
        self._wanted.update(wanted)
        for n, block in enumerate(self._blocks(size)):
            full = len(block) == TILE_HASHES
            tile = self._tile(0, n) if full else None
            hashes = self._compare(n, block, tile)
            self._grow(hashes)
            if full:
                self._rise(0, n, tile or hashes)
        for level, n in self._db.execute(_TILES_BEYOND, (size,)):
            self._fault(f"tile {level}/{n}", "lies beyond the head")

    def _blocks(self, size: int) -> Iterator[list[bytes | None]]:
        """Yield the leaf hashes by tile, None for entries that are missing."""
        block: list[bytes | None] = []
        for index, leaf in self._rows(size):
            block.append(None if leaf is None else self._hash(index, leaf))
            if len(block) == TILE_HASHES:
                yield block
                block = []
        if block:
            yield block

    def _rows(self, size: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield every index up to the last row, with None for gaps; what lies beyond the head is left out."""
        expected = 0
        for index, leaf in self._db.execute("SELECT idx, leaf FROM entry ORDER BY idx"):
            if not 0 <= index < size:
                self._fault(f"entry {index}", "lies beyond the head")
                continue
            if index > expected:
                self._missing(expected, index)
                if index - expected > MAX_GAP:
                    return
                yield from ((gap, None) for gap in range(expected, index))
            self.found += 1
            yield index, leaf
            expected = index + 1
        if expected < size:
            self._missing(expected, size)

    def _missing(self, first: int, end: int) -> None:
        self._fault(f"entry {first}" if end == first + 1 else f"entries {first} to {end - 1}", "missing")

    def _hash(self, index: int, leaf: bytes) -> bytes:
        try:
            if len(leaf) > MAX_LEAF_BYTES:
                raise ReceiptBroken("length")
            self.epochs.admit(index, leaf)
        except ReceiptBroken as error:
            self._fault(f"entry {index}", f"is no entry of this log ({error.subject})")
        return leaf_hash(leaf)

    def _compare(self, n: int, block: list[bytes | None], tile: list[bytes] | None) -> list[bytes]:
        if tile is None:
            return [mine or bytes(HASH_BYTES) for mine in block]
        for place, (mine, stated) in enumerate(zip(block, tile, strict=True)):
            if mine is not None and mine != stated:
                self._fault(f"entry {(n << TILE_BITS) + place}", f"differs from what tile 0/{n} states")
        return [mine or stated for mine, stated in zip(block, tile, strict=True)]

    def _grow(self, hashes: list[bytes]) -> None:
        wanted = self._wanted.union(opened.index for opened in self.epochs.opened)
        if self.size in wanted:
            self.roots[self.size] = self.root
        first, end = self.size, self.size + len(hashes)
        for stop in sorted({*(size for size in wanted if first < size < end), end}):
            growth = merkle.grow(self.size, self._edge, hashes[self.size - first : stop - first])
            self.size, self._edge = growth.size, growth.edge
            if stop in wanted:
                self.roots[stop] = growth.root

    def _rise(self, level: int, n: int, hashes: list[bytes]) -> None:
        """Compare the tile above with the tops of its 256 tiles, once they are all known."""
        left, right = pyramid_of(hashes)[TILE_BITS - 1]
        tops = self._rising.setdefault(level + 1, [])
        tops.append(merkle.node_hash(left, right))
        if len(tops) < TILE_HASHES:
            return
        above = n >> TILE_BITS
        self._rising[level + 1] = []
        stated = self._tile(level + 1, above)
        for place, (mine, other) in enumerate(zip(tops, stated or tops, strict=True)):
            if mine != other:
                below = f"tile {level}/{(above << TILE_BITS) + place}"
                self._fault(f"tile {level + 1}/{above}", f"differs from {below}")
        self._rise(level + 1, above, stated or tops)

    def _tile(self, level: int, n: int) -> list[bytes] | None:
        row = self._db.execute("SELECT data FROM tile WHERE level = ? AND n = ?", (level, n)).fetchone()
        if row is None or len(row[0]) != TILE_BYTES:
            self._fault(f"tile {level}/{n}", "missing or of a wrong length")
            return None
        return merkle.split_hashes(row[0])
