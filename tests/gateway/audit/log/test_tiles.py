"""The open log as tiles: right at every size, up to the durable head, and for every width that there was."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange import merkle
from exchange.checkpoint import Checkpoint
from exchange.errors import EntryErased, StoreDamaged, UnknownEntry
from exchange.tile_reader import TiledTree, fetch_checkpoint
from exchange.tlog_tiles import (
    EntryBundle,
    HashTile,
    bundles_between,
    decode_bundle,
    edge_tiles,
    tile_in,
    tiles_between,
)
from gateway.audit.log.tiles import Tiles
from gateway.audit.log.tree import LogTree
from gateway.audit.writing.sequencer import Sequencer
from tests.support.audit import (
    ORIGIN,
    SIGNER,
    MemoryAuditStore,
    MemoryHighWater,
    entry,
    memory_sequencer,
    submit,
)
from tests.support.paper_log import LARGEST, LEAVES, head_at, rows


@dataclass
class Kept:
    """A log of the real tree over full tiles, as a store would hold them."""

    size: int
    tree: LogTree
    checkpoint: str = ""

    @property
    def head(self) -> Checkpoint:
        return head_at(self.size)

    def tile(self, wanted: HashTile) -> bytes:
        return self.tree.tile(wanted)

    def leaves(self, first: int, count: int) -> list[bytes]:
        return LEAVES[first : min(first + count, self.size)]


def kept(size: int, seed: int, *, reload: bool = False) -> Kept:
    """Grow a log to a size in groups as they may come."""
    tiles: dict[tuple[int, int], bytes] = {}
    groups = random.Random(seed)

    def read(level: int, n: int) -> bytes | None:
        return tiles.get((level, n))

    tree, hashes = LogTree(read_tile=read, max_cached_tiles=4), rows()[0]
    while tree.size < size:
        end = min(size, tree.size + groups.choice((1, 7, 255, 256, 257, 3000)))
        growth = tree.grow(hashes[tree.size : end])
        tiles |= {(tile.level, tile.n): tile.hashes for tile in tree.filled(growth)}
        tree.take_over(growth)
    if reload:
        tree = LogTree(read_tile=read)
        tree.load(size, lambda first, count: LEAVES[first : first + count])
    return Kept(size, tree)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, LARGEST), st.integers(0, 99), st.booleans(), st.data())
def test_a_log_of_any_size_is_followed_through_its_tiles(
    size: int, seed: int, reload: bool, data: st.DataObject
) -> None:
    log = kept(size, seed, reload=reload)
    tiles, head = Tiles(log), log.head
    tree = TiledTree(fetch=tiles.read, head=head)
    old = data.draw(st.integers(0, size))
    tree.consistency(head_at(old))
    # The tree of the older size is served still: also its tiles that have been filled since.
    for tile in edge_tiles(old):
        assert tiles.hashes(tile) == tree.tile(tile)
    older = TiledTree(fetch=tiles.read, head=head_at(old))
    if old:
        index = data.draw(st.integers(0, old - 1))
        path = older.inclusion(index)
        assert merkle.root_from_path(index, old, rows()[0][index], path) == older.head.root
    for level in range(3):
        for n in {0, size >> 8 * (level + 1)}:
            there = max(0, min(256, (size >> 8 * level) - (n << 8)))
            for width in {there + 1, 256} - {there}:
                if there < width <= 256:
                    with pytest.raises(UnknownEntry):
                        tiles.hashes(HashTile(level, n, width))


@pytest.mark.parametrize("size", [1, 256, 65_535, 65_536, 65_537, LARGEST])
def test_every_tile_and_bundle_of_a_log_verifies(size: int) -> None:
    log = kept(size, size)
    tiles = Tiles(log)
    tree = TiledTree(fetch=tiles.read, head=log.head)
    for tile in tiles_between(0, size):
        assert tiles.read(tile.path) == tree.tile(tile)
    for bundle in bundles_between(0, size):
        assert tree.bundle(bundle)[1] == LEAVES[bundle.first : bundle.end]


@pytest.fixture
async def log() -> AsyncIterator[tuple[Sequencer, MemoryAuditStore]]:
    store = MemoryAuditStore()
    sequencer = memory_sequencer(store, MemoryHighWater())
    await sequencer.open()
    yield sequencer, store
    store.gate.set()
    await sequencer.close()


async def test_nothing_is_served_that_is_not_durable_yet(log: tuple[Sequencer, MemoryAuditStore]) -> None:
    sequencer, store = log
    await submit(sequencer, [entry(number) for number in range(10)]).places()
    store.gate.clear()
    pending = submit(sequencer, [entry(10)])
    tiles = Tiles(sequencer)
    for _ in range(2):
        assert fetch_checkpoint(tiles.read, origin=ORIGIN, log_keys=[SIGNER.public_key])[0].size == 10
        for beyond in (HashTile(0, 0, 11), EntryBundle(0, 11)):
            with pytest.raises(UnknownEntry):
                tiles.read(beyond.path)
        assert decode_bundle(tiles.read(EntryBundle(0, 10).path), 10) == [entry(n) for n in range(10)]
    store.gate.set()
    await pending.places()
    assert len(tiles.read(tile_in(0, 0, 11).path)) == 11 * 32


async def test_a_missing_or_erased_entry_is_never_left_out_silently(
    log: tuple[Sequencer, MemoryAuditStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    sequencer, store = log
    await submit(sequencer, [entry(number) for number in range(300)]).places()
    tiles = Tiles(sequencer)
    del store.entries[299]
    with pytest.raises(StoreDamaged):
        tiles.read(EntryBundle(1, 44).path)

    def erased(first: int, count: int) -> list[bytes]:
        raise EntryErased(str(first))

    monkeypatch.setattr(sequencer, "leaves", erased)
    with pytest.raises(EntryErased):
        tiles.read(EntryBundle(0).path)
    assert len(tiles.read(HashTile(0, 0).path)) == 8192


def test_a_full_tile_that_is_gone_is_damage(tmp_path: Path) -> None:
    tree = LogTree(read_tile=lambda level, n: None)
    for _ in range(2):
        tree.take_over(tree.grow(rows()[0][:256]))
    with pytest.raises(StoreDamaged):
        tree.tile(HashTile(0, 0))
