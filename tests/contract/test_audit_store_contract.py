"""What every store of the audit log must do."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exchange.keystore import MemoryKeyStore
from exchange.v1 import grant_pb2
from gateway.audit.writing.folder import segments_in
from gateway.storage.ports import Group, QuotaKey, Segment, SegmentStore, StoredHead, Tile, Used
from gateway.storage.segments import SegmentFiles
from gateway.storage.sqlite import SqliteAuditStore
from tests.support.audit import ORIGIN, MemoryAuditStore

Make = Callable[[], SegmentStore]


@pytest.fixture
def files(tmp_path: Path) -> SegmentFiles:
    """Return the sealed files beside the store."""
    return segments_in(tmp_path / "log", origin=ORIGIN, keys=MemoryKeyStore())


@pytest.fixture(params=["sqlite", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path, files: SegmentFiles) -> Iterator[Make]:
    """Yield what returns a store over the same disk each time."""
    made: list[SegmentStore] = []
    memory = MemoryAuditStore(files=files)

    def one() -> SegmentStore:
        for store in made:
            store.close()
        sqlite = request.param == "sqlite"
        made.append(SqliteAuditStore(folder=tmp_path / "log", files=files) if sqlite else memory)
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


# -- sealing -------------------------------------------------------------------------------------------------


DAY_MS = 86_400_000


def quota_key(day: int = 0, grant: int = 1) -> QuotaKey:
    return QuotaKey(bytes([grant]) * 32, grant_pb2.QUOTA_PERIOD_DAY, day * DAY_MS)


def test_what_counts_against_a_quota_is_committed_with_its_entries(make: Make) -> None:
    store = make()
    store.open()
    assert store.used(quota_key()) == Used(0, 0)
    store.stage(replace(group(0, 4), quotas={quota_key(): 3, quota_key(grant=2): 1}))
    store.commit()
    store.stage(replace(group(4, 2), quotas={quota_key(): 2}))
    store.commit()
    store.stage(group(6, 1))
    store.commit()
    for reopened in (True, False):
        again = store if reopened else make()
        again.open()
        assert again.used(quota_key()) == Used(5, 7)
        assert again.used(quota_key(grant=2)) == Used(1, 7)
        assert again.used(quota_key(day=1)) == Used(0, 7)


def test_what_was_only_staged_counts_for_nothing(make: Make) -> None:
    store = make()
    store.open()
    store.stage(replace(group(0, 1), quotas={quota_key(): 1}))
    assert store.used(quota_key()) == Used(0, 0)
    store.open()
    assert store.used(quota_key()) == Used(0, 0)
    store.stage(replace(group(0, 1), quotas={quota_key(): 4}))
    store.commit()
    assert store.used(quota_key()) == Used(4, 1)


def test_the_count_of_a_period_stays_while_the_next_one_is_counted(make: Make) -> None:
    store = make()
    store.open()
    for place, day in enumerate((0, 1, 0, 1, 2)):
        store.stage(replace(group(place, 1), quotas={quota_key(day): 1}))
        store.commit()
    assert [store.used(quota_key(day)).exchanges for day in (1, 2)] == [2, 1]


def segment(first: int = 0, end: int = 256, **changed: object) -> Segment:
    told: dict[str, object] = {
        "first": first,
        "end": end,
        "digest": b"d" * 32,
        "kept": b"k" * 32,
        "newest_ms": 7,
        "cleared": first,
    }
    return Segment(**(told | changed))  # type: ignore[arg-type]


def sealed(store: SegmentStore, files: SegmentFiles, first: int, end: int) -> Segment:
    """Seal rows as the keeper does, and note it."""
    draft = files.begin(first, end, bytes(32))
    for start in range(first, end, 256):
        draft.add(store.items(start, 256))
    noted = segment(first, end, digest=draft.finish())
    store.note(noted)
    return noted


@pytest.fixture
def long_log(make: Make) -> SegmentStore:
    store = make()
    store.open()
    store.stage(group(0, 600))
    store.commit()
    return store


def leaf(number: int) -> bytes:
    return b"leaf %d" % number


def test_a_segment_that_is_noted_is_there_after_a_reopening(long_log: SegmentStore) -> None:
    assert long_log.segments() == () and long_log.gaps() == ()
    first, second = segment(sealed_entry=300), segment(256, 512)
    long_log.note(first)
    long_log.note(second)
    assert long_log.open() == head(600)
    assert list(long_log.segments()) == [first, second] and long_log.gaps() == ()


def test_rows_that_are_cleared_read_on_from_the_segment_and_kept_ones_stay_rows(
    long_log: SegmentStore, files: SegmentFiles
) -> None:
    noted = sealed(long_log, files, 0, 512)
    for end in (100, 256, 512):
        now = next(iter(long_log.segments()))
        long_log.clear(now, end, {5, 99, 300})
        assert long_log.leaves(0, 600) == [leaf(number) for number in range(600)]
        assert next(iter(long_log.segments())).cleared == end
    assert noted.cleared == 0
    assert [index for index, _ in long_log.rows(0, 520, 8)] == [5, 99, 300, *range(512, 517)]
    assert [item.leaf for item in long_log.items(250, 10)] == [leaf(number) for number in range(250, 260)]
    assert long_log.open() == head(600)
    assert long_log.leaves(90, 20) == [leaf(number) for number in range(90, 110)]
    assert long_log.leaves(510, 4) == [leaf(number) for number in range(510, 514)]


def test_what_was_erased_is_a_gap_save_for_what_is_kept(long_log: SegmentStore, files: SegmentFiles) -> None:
    for first in (0, 256):
        noted = sealed(long_log, files, first, first + 256)
        long_log.clear(noted, noted.end, {first + 5})
    erased = [replace(held, erased_entry=590, gone=True) for held in long_log.segments()]
    long_log.note(erased[0])
    assert long_log.gaps() == ((0, 256),)
    assert long_log.leaves(0, 10) == [] and long_log.leaves(5, 3) == [leaf(5)]
    assert long_log.leaves(256, 2) == [leaf(256), leaf(257)]
    long_log.note(erased[1])
    assert long_log.gaps() == ((0, 512),)
    assert long_log.leaves(511, 5) == [] and long_log.leaves(512, 2) == [leaf(512), leaf(513)]
    assert long_log.rows(0, 512, 10) == [(5, leaf(5)), (261, leaf(261))]
    assert long_log.open() == head(600)
    assert long_log.gaps() == ((0, 512),)


def test_a_log_that_seals_goes_on_growing(long_log: SegmentStore, files: SegmentFiles) -> None:
    noted = sealed(long_log, files, 0, 256)
    long_log.stage(group(600, 3))
    long_log.commit()
    long_log.clear(noted, 256, ())
    long_log.stage(group(603, 3))
    long_log.commit()
    assert long_log.open() == head(606)
    assert long_log.leaves(0, 700) == [leaf(number) for number in range(606)]
