"""The log's hash tree: the right edge in memory, everything else in the store's full tiles.

Tiles are C2SP's: 256 hashes of tree level 8·level. A partial tile is kept as a pyramid of the complete
nodes over its hashes, so that a proof near the end of the log costs lookups; full tiles are read on demand
and made pyramids of, a bounded number of them.
Invariant: the tree holds what is committed. `grow` changes nothing; `take_over` is called after the commit.
Source: c2sp.org/tlog-tiles.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from exchange import merkle
from exchange.errors import StoreDamaged, UnknownEntry
from exchange.merkle import HASH_BYTES, Growth, leaf_hash, node_hash
from exchange.tlog_tiles import TILE_BITS, TILE_BYTES, TILE_HASHES, HashTile, Pyramid, pyramid_of, tile_in
from gateway.storage.ports import Tile

MAX_CACHED_TILES = 128

ReadTile = Callable[[int, int], bytes | None]
ReadLeaves = Callable[[int, int], list[bytes]]


class LogTree:
    """A tree that grows at the right.

    Args:
        read_tile: returns a full tile of the store.
        max_cached_tiles: how many full tiles stay in memory, some 34 KiB each.
    """

    def __init__(self, *, read_tile: ReadTile, max_cached_tiles: int = MAX_CACHED_TILES) -> None:
        self.size = 0
        self._edge: Mapping[int, bytes] = {}
        self._read_tile = read_tile
        self._partial: dict[tuple[int, int], Pyramid] = {}
        self._full: OrderedDict[tuple[int, int], Pyramid] = OrderedDict()
        self._max_cached_tiles = max_cached_tiles

    @property
    def root(self) -> bytes:
        """The root, 32 bytes."""
        return merkle.root_of_edge(self._edge)

    def load(self, size: int, read_leaves: ReadLeaves) -> None:
        """Rebuild the right edge of a log from its last rows and its tiles.

        Args:
            size: number of entries.
            read_leaves: returns leaves of the store from an index on.

        Raises:
            StoreDamaged: an entry or tile that the edge needs is missing.
        """
        self.size, self._edge = size, {}
        self._partial.clear()
        self._full.clear()
        first = size & ~(TILE_HASHES - 1)
        leaves = read_leaves(first, size - first)
        if len(leaves) != size - first:
            raise StoreDamaged(f"entry {first + len(leaves)} is missing")
        hashes = [leaf_hash(leaf) for leaf in leaves]
        level = 0
        while True:
            self._partial[level, first >> TILE_BITS] = pyramid_of(hashes)
            count = size >> (level + 1) * TILE_BITS
            if not count:
                break
            first, level = count & ~(TILE_HASHES - 1), level + 1
            top = level * TILE_BITS
            hashes = [self._top(level - 1, n) for n in range(first, size >> top)]
        bits = (bit for bit in range(size.bit_length()) if size >> bit & 1)
        self._edge = {bit: self.node(bit, (size >> bit) - 1) for bit in bits}

    def grow(self, leaf_hashes: Sequence[bytes]) -> Growth:
        """Return what the tree would be with these leaves; it stays as it is."""
        return merkle.grow(self.size, self._edge, leaf_hashes)

    def filled(self, growth: Growth) -> list[Tile]:
        """Return the tiles that a growth fills."""
        tiles = []
        for level in range(0, len(growth.rows), TILE_BITS):
            before, after = self.size >> level, growth.size >> level
            for n in range(before >> TILE_BITS, after >> TILE_BITS):
                begun = self._partial.get((level // TILE_BITS, n))
                held = begun[0] if begun else []
                start = (n << TILE_BITS) + len(held) - before
                row = growth.rows[level][start : start + TILE_HASHES - len(held)]
                tiles.append(Tile(level=level // TILE_BITS, n=n, hashes=b"".join(held) + b"".join(row)))
        return tiles

    def take_over(self, growth: Growth) -> None:
        """Become what `grow` returned."""
        for level, row in enumerate(growth.rows):
            at, end = self.size >> level, growth.size >> level
            if at == end:
                break
            tile_level, within = divmod(level, TILE_BITS)
            width, start = TILE_BITS - within, at
            while at < end:
                n = at >> width
                stop = min(end, (n + 1) << width)
                self._begun(tile_level, n)[within].extend(row[at - start : stop - start])
                at = stop
        self.size, self._edge = growth.size, growth.edge
        for key in [key for key, pyramid in self._partial.items() if len(pyramid[0]) == TILE_HASHES]:
            self._keep(key, self._partial.pop(key))

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of the complete subtree (level, index) of a committed tree.

        Raises:
            StoreDamaged: its tile is missing or has a wrong length.
            AuditUnavailable: the tile cannot be read.
        """
        tile_level, within = divmod(level, TILE_BITS)
        width = TILE_BITS - within
        n = index >> width
        pyramid = self._partial.get((tile_level, n)) or self._tile(tile_level, n)
        return pyramid[within][index - (n << width)]

    def tile(self, wanted: HashTile) -> bytes:
        """Return the first hashes of a tile, as many as it is named with, one after the other.

        Raises:
            UnknownEntry: the tree does not have that many there.
            StoreDamaged: a full tile is missing or has a wrong length.
            AuditUnavailable: it cannot be read.
        """
        if wanted.width > tile_in(wanted.level, wanted.n, self.size).width:
            raise UnknownEntry(wanted.path)
        begun = self._partial.get((wanted.level, wanted.n))
        if begun is not None:
            return b"".join(begun[0][: wanted.width])
        return self._read(wanted.level, wanted.n)[: wanted.width * HASH_BYTES]

    def _top(self, level: int, n: int) -> bytes:
        left, right = self._tile(level, n)[TILE_BITS - 1]
        return node_hash(left, right)

    def _begun(self, level: int, n: int) -> Pyramid:
        pyramid = self._partial.get((level, n))
        if pyramid is None:
            pyramid = self._partial[level, n] = [[] for _ in range(TILE_BITS)]
        return pyramid

    def _tile(self, level: int, n: int) -> Pyramid:
        key = level, n
        pyramid = self._full.get(key)
        if pyramid is not None:
            self._full.move_to_end(key)
            return pyramid
        return self._keep(key, pyramid_of(merkle.split_hashes(self._read(level, n))))

    def _read(self, level: int, n: int) -> bytes:
        hashes = self._read_tile(level, n)
        if hashes is None or len(hashes) != TILE_BYTES:
            raise StoreDamaged(f"tile {level}/{n} is missing")
        return hashes

    def _keep(self, key: tuple[int, int], pyramid: Pyramid) -> Pyramid:
        self._full[key] = pyramid
        if len(self._full) > self._max_cached_tiles:
            self._full.popitem(last=False)
        return pyramid
