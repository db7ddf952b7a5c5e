"""The log's tree against the RFC's recursion, over tile borders and reloads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange import merkle
from exchange.errors import StoreDamaged
from exchange.merkle import leaf_hash
from exchange.tlog_tiles import TILE_BYTES
from gateway.audit.log.tree import LogTree


class Kept:
    """What a store would hold of a log."""

    def __init__(self, *, max_cached_tiles: int = 128) -> None:
        self.leaves: list[bytes] = []
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.tree = self.new_tree(max_cached_tiles)

    def new_tree(self, max_cached_tiles: int = 128) -> LogTree:
        return LogTree(
            read_tile=lambda level, n: self.tiles.get((level, n)), max_cached_tiles=max_cached_tiles
        )

    def read(self, first: int, count: int) -> list[bytes]:
        return self.leaves[first : first + count]

    def append(self, count: int) -> merkle.Growth:
        leaves = [b"%d" % number for number in range(self.tree.size, self.tree.size + count)]
        growth = self.tree.grow([leaf_hash(leaf) for leaf in leaves])
        self.tiles |= {(tile.level, tile.n): tile.hashes for tile in self.tree.filled(growth)}
        self.leaves += leaves
        self.tree.take_over(growth)
        return growth

    def root(self, size: int) -> bytes:
        return merkle.root_of([leaf_hash(leaf) for leaf in self.leaves[:size]])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.data())
def test_roots_and_proofs_are_right_after_any_groups_and_after_a_reload(
    groups: list[int], data: st.DataObject
) -> None:
    kept = Kept(max_cached_tiles=2)
    for count in groups:
        growth = kept.append(count)
        assert growth.root == kept.tree.root == kept.root(kept.tree.size)
    size = kept.tree.size
    reloaded = kept.new_tree(2)
    reloaded.load(size, kept.read)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    for tree in (kept.tree, reloaded):
        assert tree.root == kept.root(size)
        assert merkle.root_at(old, tree.node) == kept.root(old)
        path = merkle.inclusion_proof(index, size, tree.node)
        assert merkle.root_from_path(index, size, leaf_hash(kept.leaves[index]), path) == tree.root
        proof = merkle.split_hashes(merkle.consistency_proof(old, size, tree.node))
        merkle.verify_consistency(old, kept.root(old), size, tree.root, proof)
    assert set(kept.tiles) == {(0, n) for n in range(size // 256)}
    more = reloaded.grow([leaf_hash(b"more")])
    assert more.root == kept.tree.grow([leaf_hash(b"more")]).root


def test_growing_changes_nothing_until_it_is_taken_over() -> None:
    kept = Kept()
    kept.append(300)
    before = kept.tree.root
    kept.tree.filled(kept.tree.grow([leaf_hash(b"never")] * 256))
    assert (kept.tree.root, kept.tree.size) == (before, 300)
    assert kept.append(5).root == kept.root(305)


def test_the_tile_above_256_tiles_is_kept_and_used() -> None:
    kept = Kept()
    for _ in range(257):
        kept.append(256)
    size = kept.tree.size
    assert set(kept.tiles) == {(0, n) for n in range(257)} | {(1, 0)}
    assert all(len(tile) == TILE_BYTES for tile in kept.tiles.values())
    reloaded = kept.new_tree(4)
    reloaded.load(size, kept.read)
    assert reloaded.root == kept.tree.root == kept.root(size)
    assert merkle.root_at(65_536 + 3, reloaded.node) == kept.root(65_536 + 3)
    path = merkle.inclusion_proof(12_345, size, reloaded.node)
    assert merkle.root_from_path(12_345, size, leaf_hash(b"12345"), path) == kept.tree.root


@pytest.mark.parametrize("tile", [None, b"short"])
def test_a_tile_that_is_missing_or_short_is_damage(tile: bytes | None) -> None:
    kept = Kept()
    kept.append(256)
    kept.append(256)
    kept.tiles.pop((0, 1))
    if tile is not None:
        kept.tiles[0, 1] = tile
    with pytest.raises(StoreDamaged, match="tile 0/1"):
        kept.new_tree().load(512, kept.read)


def test_a_missing_row_at_the_edge_is_damage() -> None:
    kept = Kept()
    kept.append(10)
    with pytest.raises(StoreDamaged, match="entry 10"):
        kept.new_tree().load(12, kept.read)
