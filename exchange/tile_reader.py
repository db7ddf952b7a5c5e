"""Follows a log through its tiles and believes nothing but the keys of the log.

1. A checkpoint counts when a key of the log signed it.
2. The tiles at the right edge of a tree count together: its root is computed from all of their hashes.
3. Any other tile counts when the hash over it is in the tile above.
4. An entry counts when its hash is in its tile at level 0.
Proofs are made from tiles that count, so they hold by themselves. Where a tile that is not full is gone, the
full one stands for it, as it begins with the same hashes.
Source: c2sp.org/tlog-tiles.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from exchange import merkle
from exchange.checkpoint import MAX_NOTE_CHARS, Checkpoint, open_checkpoint
from exchange.errors import LogBehind, LogForked, ReceiptBroken, UnknownEntry
from exchange.merkle import HASH_BYTES, leaf_hash, node_hash, split_hashes
from exchange.tlog_tiles import (
    CHECKPOINT,
    TILE_BITS,
    TILE_HASHES,
    EntryBundle,
    HashTile,
    Pyramid,
    decode_bundle,
    edge_tiles,
    encode_bundle,
    pyramid_of,
    tile_in,
)

MAX_TILES = 256
"""Full tiles that stay in memory, some 34 KiB each."""

Fetch = Callable[[str], bytes]
"""Returns what is at a path below the log's address, its length bounded; raises UnknownEntry where nothing
is, EntryErased where the entries are no longer kept."""


def fetch_checkpoint(fetch: Fetch, *, origin: str, log_keys: Sequence[bytes]) -> tuple[Checkpoint, str]:
    """Return a log's newest head and the signed note that states it.

    Args:
        fetch: reaches the log.
        origin: the log expected.
        log_keys: its Ed25519 keys, 32 bytes each.

    Raises:
        ReceiptBroken: no key of the log signed it.
    """
    content = fetch(CHECKPOINT)
    if len(content) > 4 * MAX_NOTE_CHARS:
        raise ReceiptBroken("checkpoint too long")
    try:
        note = content.decode()
    except UnicodeDecodeError:
        raise ReceiptBroken("checkpoint") from None
    return open_checkpoint(note, origin=origin, log_keys=log_keys), note


class TiledTree:
    """The tree of one head, read through tiles. Everything it returns has been verified against the head.

    Args:
        fetch: reaches the log.
        head: a head that is believed.

    Raises:
        ReceiptBroken: the tiles at the edge do not lead to the head's root.
        UnknownEntry: one is missing.
    """

    def __init__(self, *, fetch: Fetch, head: Checkpoint) -> None:
        self.head = head
        self._fetch = fetch
        self._full: OrderedDict[tuple[int, int], Pyramid] = OrderedDict()
        self._edge = {(tile.level, tile.n): self._read(tile) for tile in edge_tiles(head.size)}
        if merkle.root_at(head.size, self.node) != head.root:
            raise ReceiptBroken("the tiles do not lead to the checkpoint's root")

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of the complete subtree (level, index), 32 bytes.

        Raises:
            UnknownEntry: the tree has none, or its tile is missing.
            ReceiptBroken: a tile on the way is not the log's.
        """
        tile_level, within = divmod(level, TILE_BITS)
        width = TILE_BITS - within
        n = index >> width
        row = self._pyramid(tile_level, n)[within]
        place = index - (n << width)
        if not 0 <= place < len(row):
            raise UnknownEntry(f"node {level}/{index}")
        return row[place]

    def tile(self, tile: HashTile) -> bytes:
        """Return a tile's hashes one after the other, as wide as it is named.

        Raises:
            UnknownEntry, ReceiptBroken: as `node`.
        """
        if tile.width > tile_in(tile.level, tile.n, self.head.size).width:
            raise UnknownEntry(tile.path)
        return b"".join(self._pyramid(tile.level, tile.n)[0][: tile.width])

    def bundle(self, bundle: EntryBundle) -> tuple[bytes, list[bytes]]:
        """Return an entry bundle's bytes, and its entries.

        Raises:
            UnknownEntry, EntryErased: there is none, or none any more.
            ReceiptBroken: an entry is not the log's.
        """
        expected = split_hashes(self.tile(HashTile(0, bundle.n, bundle.width)))
        content, leaves = self._entries(bundle)
        found = [leaf_hash(leaf) for leaf in leaves]
        if found != expected:
            places = (at for at, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1])
            raise ReceiptBroken(f"entry {bundle.first + next(places)}")
        return content, leaves

    def inclusion(self, index: int) -> bytes:
        """Return the inclusion proof of an entry, hashes one after the other. Raises as `node`."""
        if not 0 <= index < self.head.size:
            raise UnknownEntry(f"entry {index}")
        return merkle.inclusion_proof(index, self.head.size, self.node)

    def consistency(self, old: Checkpoint) -> bytes:
        """Return the proof that this tree extends an older head, hashes one after the other.

        Raises:
            LogBehind: the older head is of a larger tree.
            LogForked: this tree had another root at that size.
            UnknownEntry, ReceiptBroken: as `node`.
        """
        if old.size > self.head.size:
            raise LogBehind(f"size {self.head.size}, seen {old.size}")
        if old.size == 0:
            return b""
        if merkle.root_at(old.size, self.node) != old.root:
            raise LogForked(f"size {old.size}")
        return merkle.consistency_proof(old.size, self.head.size, self.node)

    def _pyramid(self, level: int, n: int) -> Pyramid:
        key = level, n
        known = self._edge.get(key) or self._full.get(key)
        if known is None:
            known = self._checked(tile_in(level, n, self.head.size))
            self._full[key] = known
            if len(self._full) > MAX_TILES:
                self._full.popitem(last=False)
        elif key in self._full:
            self._full.move_to_end(key)
        return known

    def _checked(self, tile: HashTile) -> Pyramid:
        """Read a full tile and compare the hash over it with the tile above."""
        pyramid = self._read(tile)
        left, right = pyramid[TILE_BITS - 1]
        if node_hash(left, right) != self.node((tile.level + 1) * TILE_BITS, tile.n):
            raise ReceiptBroken(tile.path)
        return pyramid

    def _read(self, tile: HashTile) -> Pyramid:
        try:
            content = self._fetch(tile.path)
        except UnknownEntry:
            if tile.width == TILE_HASHES:
                raise
            content = self._fetch(replace(tile, width=TILE_HASHES).path)[: tile.width * HASH_BYTES]
        if len(content) != tile.width * HASH_BYTES:
            raise ReceiptBroken(f"{tile.path}: length")
        return pyramid_of(split_hashes(content))

    def _entries(self, bundle: EntryBundle) -> tuple[bytes, list[bytes]]:
        try:
            content = self._fetch(bundle.path)
        except UnknownEntry:
            if bundle.width == TILE_HASHES:
                raise
            whole = decode_bundle(self._fetch(replace(bundle, width=TILE_HASHES).path), TILE_HASHES)
            leaves = whole[: bundle.width]
            return encode_bundle(leaves), leaves
        return content, decode_bundle(content, bundle.width)
