"""What is old is sealed, what is older is erased, and whoever reads notices as little as can be."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.errors import EntryErased, StoreDamaged
from exchange.keystore import FileKeyStore, MemoryKeyStore
from exchange.merkle import leaf_hash, root_from_path
from exchange.segment import Item, SegmentCipher, read_header
from exchange.trust import TrustList
from exchange.v1 import audit_pb2, common_pb2
from gateway.audit.keeping.terms import DAY_MS, NOT_KEPT, trusted_now
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.search_rows import SearchContent
from gateway.audit.verification.verify import verify_folder
from gateway.state import DOMAINS
from gateway.storage.segment_file import read_layout
from tests.support.audit import KEYS, ORIGIN, entry, submit
from tests.support.keeping import ACT_EVERY, START_MS, KeptLog, StillClock, aged, present

SIZE = 800
SEALED = 768


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[KeptLog]:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    await kept.append(SIZE)
    yield kept
    await kept.log.close()


def rows(folder: Path) -> set[int]:
    db = sqlite3.connect(folder / "audit.db")
    found = {index for (index,) in db.execute("SELECT idx FROM entry")}
    db.close()
    return found


async def test_nothing_is_sealed_before_it_is_old_enough(kept: KeptLog) -> None:
    kept.clock.now = START_MS + 30 * DAY_MS
    assert await kept.settle() == 0
    kept.clock.now += 1
    assert await kept.keeper.step()


async def test_old_whole_segments_become_files_and_read_as_before(kept: KeptLog, tmp_path: Path) -> None:
    await kept.seal()
    assert sorted(path.name for path in (tmp_path / "segments").iterdir()) == [
        "0-256.seg", "256-512.seg", "512-768.seg",
    ]  # fmt: skip
    stay = {number for number in range(SEALED) if number % ACT_EVERY == 0}
    assert rows(tmp_path) == stay | set(range(SEALED, kept.log.head.size))
    assert kept.log.leaves(0, SIZE) == [aged(number) for number in range(SIZE)]
    for index in (0, 255, 256, 700, 767, 768):
        receipt, _ = kept.log.entry(index)
        assert receipt.leaf == aged(index)
        head = kept.log.head
        assert root_from_path(index, head.size, leaf_hash(receipt.leaf), receipt.proof) == head.root
    assert kept.log.leaves(760, 20) == [aged(number) for number in range(760, 780)]


async def test_each_sealing_is_an_entry_with_the_files_digest(kept: KeptLog) -> None:
    await kept.seal()
    acts = [act for _, act in kept.acts(audit_pb2.ACT_SEGMENT_SEALED)]
    assert [(act.segment.first, act.segment.end) for act in acts] == [(0, 256), (256, 512), (512, 768)]
    for act in acts:
        assert act.segment.digest == kept.files.digest(act.segment.first, act.segment.end)
        assert act.actor == "spiffe://970100.yunchuan.example/gateway/gateway-1"


async def test_the_segment_with_the_newest_entry_is_never_sealed(tmp_path: Path) -> None:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    await kept.append(256)
    await kept.seal()
    assert kept.store.segments() == ()
    await kept.log.close()


async def test_one_young_entry_keeps_its_whole_segment_from_being_sealed(tmp_path: Path) -> None:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    await kept.append(100)
    await kept.append(1, START_MS + 20 * DAY_MS)
    await kept.append(700)
    await kept.seal()
    assert kept.store.segments() == () and list((tmp_path / "segments").iterdir()) == []
    kept.clock.now += 11 * DAY_MS
    await kept.settle()
    assert len(kept.store.segments()) == 3
    await kept.log.close()


async def test_after_its_term_a_segment_is_erased_and_what_is_administrative_stays(
    kept: KeptLog, tmp_path: Path
) -> None:
    await kept.seal()
    proofs = {index: kept.log.proof(index) for index in (1, 300, 767)}
    await kept.erase()
    # What the log says of its own segments came later and is not old enough.
    assert list((tmp_path / "segments").iterdir()) == [] and kept.keys.names() == []
    stay = [number for number in range(SEALED) if number % ACT_EVERY == 0]
    assert [index for index, _ in present(kept.log)] == [*stay, *range(SEALED, kept.log.head.size)]
    assert kept.log.leaves(50, 1) == [aged(50)]
    assert kept.log.gaps() == ((0, 768),)
    for index in (1, 51, 767):
        with pytest.raises(EntryErased, match=str(index)):
            kept.log.leaves(index, 1)
        with pytest.raises(EntryErased):
            kept.log.entry(index)
    with pytest.raises(EntryErased):
        kept.log.leaves(760, 20)
    head = kept.log.head
    for index, proof in proofs.items():
        assert kept.log.proof(index) != proof, "the log has grown"
        assert root_from_path(index, head.size, leaf_hash(aged(index)), kept.log.proof(index)) == head.root
    erased = [act.segment for _, act in kept.acts(audit_pb2.ACT_SEGMENT_ERASED)]
    assert [(record.first, record.end) for record in erased] == [(0, 256), (256, 512), (512, 768)]


async def test_reading_goes_on_beyond_what_was_erased_in_pieces_of_any_size(kept: KeptLog) -> None:
    await kept.seal()
    await kept.append(600, START_MS + 500 * DAY_MS)
    await kept.erase()
    whole = present(kept.log)
    assert kept.store.segments()[-1].end > kept.log.gaps()[-1].end, "rows, a segment and erased ones"
    for count in (1, 7, 100, 1000):
        found: list[tuple[int, bytes]] = []
        at = 0
        while at < kept.log.head.size:
            entries, following = kept.log.present(at, count)
            assert len(entries) <= count and following > at
            found += entries
            at = following
        assert found == whole


async def test_a_backup_of_a_segment_cannot_be_opened_once_its_key_is_erased(tmp_path: Path) -> None:
    place = tmp_path / "keys"
    kept = KeptLog(tmp_path / "log", keys=FileKeyStore(folder=place, passphrase=b"one"))
    await kept.log.open()
    await kept.append(SIZE)
    await kept.seal()
    backup = tmp_path / "backup.seg"
    shutil.copy(tmp_path / "log/segments/0-256.seg", backup)
    layout = read_layout(backup, origin=ORIGIN, first=0, end=256)
    offset, length = layout.places[0]
    sealed = backup.read_bytes()[offset : offset + length]
    key = kept.keys.get("segment-0-256") or b""
    assert SegmentCipher(key=key, header=layout.header).open(0, sealed)[1].leaf == aged(1)
    await kept.erase()
    shutil.copy(backup, tmp_path / "log/segments/0-256.seg")
    again = FileKeyStore(folder=place, passphrase=b"one")
    assert again.get("segment-0-256") is None and list(place.glob("segment-*")) == []
    with pytest.raises(EntryErased):
        kept.log.leaves(1, 1)
    with pytest.raises(StoreDamaged, match="key is gone"):
        KeptLog(tmp_path / "log", keys=again).files.chunk(0, 256, 0)
    assert aged(1)[:20] not in backup.read_bytes()
    await kept.log.close()


async def test_no_page_of_the_database_holds_what_was_sealed(kept: KeptLog, tmp_path: Path) -> None:
    await kept.seal()
    await kept.append(5000)
    await kept.log.close()
    for name in ("audit.db", "audit.db-wal"):
        content = (tmp_path / name).read_bytes() if (tmp_path / name).exists() else b""
        assert aged(777) in content or name != "audit.db"
        assert not [number for number in range(SEALED) if number % ACT_EVERY > 1 and aged(number) in content]


async def test_an_untrusted_clock_seals_and_erases_nothing(kept: KeptLog) -> None:
    kept.trusted = False
    await kept.erase()
    assert kept.store.segments() == ()
    kept.trusted = True
    await kept.seal()
    kept.trusted = False
    await kept.erase()
    assert not any(segment.erased for segment in kept.store.segments())


def test_the_clock_counts_only_while_the_trust_list_is_fresh() -> None:
    trust = TrustList(
        number=1,
        division="970100",
        trust_domain="yunchuan.example",
        issued_at_ms=START_MS,
        max_age_s=300,
        suite=2,
        gateways={},
        revoked_serials=frozenset(),
        revoked_kids=frozenset(),
        least_seq={},
        statement=common_pb2.Statement(),
    )
    for ahead_s, counts in ((0, True), (300, True), (301, False), (10**8, False), (-59, True), (-61, False)):
        now = START_MS + ahead_s * 1000
        assert trusted_now(StillClock(now), trust) == (now if counts else None)
    assert trusted_now(StillClock(), None) is None


async def test_entries_written_while_the_clock_was_set_back_are_as_old_as_those_before(
    tmp_path: Path,
) -> None:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    await kept.append(256, START_MS)
    await kept.append(256, START_MS - 900 * DAY_MS)
    await kept.append(1)
    await kept.seal()
    assert [segment.newest_ms for segment in kept.store.segments()] == [START_MS, START_MS]
    kept.clock.now = START_MS + 1000 * DAY_MS
    await kept.settle()
    assert kept.log.gaps() == ()
    await kept.log.close()


async def test_nothing_is_done_while_the_log_is_down(tmp_path: Path) -> None:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    await kept.append(SIZE)
    kept.log.refuse_to_sign(StoreDamaged("something else"))
    kept.clock.now = START_MS + 40 * DAY_MS
    assert await kept.settle() == 0
    await kept.log.close()


async def test_an_edited_row_is_not_sealed_and_people_are_told(kept: KeptLog, tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "audit.db")
    with db:
        db.execute("UPDATE entry SET leaf = ? WHERE idx = 300", (aged(9999),))
    db.close()
    kept.clock.now = START_MS + 40 * DAY_MS
    while await kept.keeper.turn():
        assert kept.keeper.fault is None
    assert "entries 256 to 511" in str(kept.keeper.fault)
    assert [segment.end for segment in kept.store.segments()] == [256]
    assert not (tmp_path / "segments/256-512.seg").exists() and 300 in rows(tmp_path)


async def test_appending_goes_on_while_segments_are_sealed_and_erased(kept: KeptLog) -> None:
    kept.clock.now = START_MS + 40 * DAY_MS
    keeping = asyncio.create_task(kept.settle())
    number = 10_000
    while not keeping.done():
        (place,) = await submit(kept.log, [aged(number)]).places()
        assert kept.log.leaves(place.index, 1) == [aged(number)]
        number += 1
    assert len(kept.store.segments()) == 3 and number > 10_010
    report = verify_folder(kept.folder, KEYS, keys=kept.keys)
    assert report.whole, report.faults


async def test_the_log_opens_again_after_sealing_and_erasing_and_goes_on(kept: KeptLog) -> None:
    await kept.seal()
    await kept.erase()
    before = present(kept.log)
    await kept.log.close()
    again = KeptLog(kept.folder, keys=kept.keys)
    await again.log.open()
    assert present(again.log) == before
    await again.append(2000, START_MS + 1001 * DAY_MS)
    again.clock.now = START_MS + 1100 * DAY_MS
    await again.settle()
    assert again.store.segments()[-1].end == 2816 - 256
    report = verify_folder(kept.folder, KEYS, keys=kept.keys)
    assert report.whole, report.faults
    await again.log.close()


def indexes(db: sqlite3.Connection) -> set[int]:
    return {index for (index,) in db.execute("SELECT idx FROM entry")}


async def test_the_search_forgets_what_was_erased_and_is_made_anew_without_it(tmp_path: Path) -> None:
    kept = KeptLog(tmp_path)
    search = Projection(path=tmp_path / "search.db", log=kept.log, content=SearchContent())
    kept.keeper._forget = (search.forget,)
    await kept.log.open()
    search.start()
    await kept.append(SIZE)
    await kept.seal()
    size = kept.log.head.size
    assert await search.caught_up(size) == size
    assert await search.query(indexes) == set(range(size))
    await kept.erase()
    size = kept.log.head.size
    assert await search.caught_up(size) == size
    there = {index for index, _ in present(kept.log)}
    assert await search.query(indexes) == there
    await search.close()
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"search.db{suffix}").unlink(missing_ok=True)
    anew = Projection(path=tmp_path / "search.db", log=kept.log, content=SearchContent())
    anew.start()
    assert await anew.caught_up(size) == size
    assert await anew.query(indexes) == there
    await anew.close()
    await kept.log.close()


async def test_while_a_projection_cannot_forget_the_erasing_is_not_done(tmp_path: Path) -> None:
    kept = KeptLog(tmp_path)
    search = Projection(path=tmp_path / "search.db", log=kept.log, content=SearchContent())
    kept.keeper._forget = (search.forget,)
    await kept.log.open()
    await kept.append(SIZE)
    await kept.seal()
    kept.clock.now = START_MS + 1001 * DAY_MS
    while await kept.keeper.turn():
        assert not any(segment.gone for segment in kept.store.segments())
    search.start()
    await kept.settle()
    assert all(segment.gone for segment in kept.store.segments())
    await search.close()
    await kept.log.close()


async def test_a_changed_segment_size_holds_for_the_next_segments(tmp_path: Path) -> None:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    await kept.append(2000)
    await kept.seal()
    await kept.append(3000)
    kept.keeper._terms = type(kept.keeper._terms)(
        seal_after_ms=30 * DAY_MS, keep_ms=1000 * DAY_MS, segment_entries=1024
    )
    kept.clock.now += 60 * DAY_MS
    await kept.settle()
    ends = [segment.end for segment in kept.store.segments()]
    assert ends == [256, 512, 768, 1024, 1280, 1536, 1792, 2816, 3840, 4864]
    assert verify_folder(tmp_path, KEYS, keys=kept.keys).whole
    await kept.log.close()


def test_every_act_that_changes_the_state_for_good_or_tells_of_the_log_itself_stays() -> None:
    # Cases end: what is open is in the projection, and none is open for longer than entries are kept.
    assert NOT_KEPT & set(DOMAINS) == {audit_pb2.ACT_CASE}
    silent = {audit_pb2.ACT_UNSPECIFIED, audit_pb2.ACT_READ, audit_pb2.ACT_REFUSED}
    assert silent | {audit_pb2.ACT_CASE} == NOT_KEPT


def test_a_segments_file_begins_with_what_it_is(tmp_path: Path) -> None:
    files = KeptLog(tmp_path, keys=MemoryKeyStore()).files
    draft = files.begin(256, 512, bytes(32))
    draft.add([Item(entry(number), (b"tag", b"")) for number in range(256)])
    draft.finish()
    header, _ = read_header((tmp_path / "segments/256-512.seg").read_bytes())
    assert (header.origin, header.first, header.end, header.chunks) == (ORIGIN, 256, 512, 1)
    assert files.chunk(256, 512, 0)[7] == Item(entry(7), (b"tag", b""))
