"""What every store of the audit log must do."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.storage.ports import AuditStore, Group, StoredHead, Tile
from gateway.storage.sqlite import SqliteAuditStore
from tests.support.audit import MemoryAuditStore

Make = Callable[[], AuditStore]


@pytest.fixture(params=["sqlite", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Yield what returns a store over the same disk each time."""
    made: list[AuditStore] = []
    memory = MemoryAuditStore()

    def one() -> AuditStore:
        for store in made:
            store.close()
        made.append(SqliteAuditStore(folder=tmp_path / "log") if request.param == "sqlite" else memory)
        return made[-1]

    yield one
    for store in made:
        store.close()


def head(size: int) -> StoredHead:
    return StoredHead(size=size, root=size.to_bytes(32, "big"), checkpoint=f"note {size} 数桥\n")


def group(first: int, count: int, tiles: tuple[Tile, ...] = ()) -> Group:
    leaves = [b"leaf %d" % number for number in range(first, first + count)]
    return Group(first=first, leaves=leaves, tiles=tiles, head=head(first + count))


def test_a_new_store_has_no_head_and_no_entries(make: Make) -> None:
    store = make()
    assert store.open() is None
    assert store.leaves(0, 10) == []
    assert store.tile(0, 0) is None
    assert store.free_bytes() > 0


def test_what_is_committed_is_there_after_a_reopening_and_in_a_new_store(make: Make) -> None:
    store = make()
    store.open()
    tile = Tile(level=0, n=0, hashes=bytes(range(256)) * 32)
    store.stage(group(0, 3))
    store.commit()
    store.stage(group(3, 2, (tile,)))
    store.commit()
    for reopened in (True, False):
        again = store if reopened else make()
        assert again.open() == head(5)
        assert again.leaves(0, 10) == [b"leaf %d" % number for number in range(5)]
        assert again.leaves(3, 1) == [b"leaf 3"]
        assert again.tile(0, 0) == tile.hashes


def test_what_is_only_staged_is_not_seen_and_is_gone_after_a_reopening(make: Make) -> None:
    store = make()
    store.open()
    store.stage(group(0, 3))
    store.commit()
    store.stage(group(3, 3))
    assert store.leaves(0, 10) == [b"leaf 0", b"leaf 1", b"leaf 2"]
    assert store.open() == head(3)
    assert store.leaves(3, 1) == []
    store.stage(group(3, 1))
    store.commit()
    assert store.open() == head(4)


def test_leaves_of_any_length_come_back_byte_for_byte(make: Make) -> None:
    store = make()
    store.open()
    leaves = [b"", b"\0", bytes(65_535), bytes(range(256)) * 16]
    store.stage(Group(first=0, leaves=leaves, tiles=(), head=head(4)))
    store.commit()
    assert store.leaves(0, 4) == leaves


def test_closing_twice_does_no_harm(make: Make) -> None:
    store = make()
    store.open()
    store.close()
    store.close()
    assert store.open() is None


def test_what_is_beside_entries_is_committed_with_them_and_read_by_range(make: Make) -> None:
    store = make()
    store.open()
    store.stage(replace(group(0, 4), beside={1: b"one", 3: bytes(8192)}))
    assert store.beside(0, 10) == {}
    store.commit()
    store.stage(group(4, 2))
    store.commit()
    for reopened in (True, False):
        again = store if reopened else make()
        again.open()
        assert again.beside(0, 10) == {1: b"one", 3: bytes(8192)}
        assert again.beside(1, 2) == {1: b"one"}
        assert again.beside(4, 10) == {}


def test_what_is_beside_an_entry_that_was_only_staged_is_gone_with_it(make: Make) -> None:
    store = make()
    store.open()
    store.stage(replace(group(0, 1), beside={0: b"lost"}))
    store.open()
    store.stage(replace(group(0, 1), beside={0: b"kept"}))
    store.commit()
    assert store.beside(0, 1) == {0: b"kept"}
