"""What every store of the audit log must do."""

from collections.abc import Callable, Iterator
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
