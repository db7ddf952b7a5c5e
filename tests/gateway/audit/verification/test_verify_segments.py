"""Whatever is done to a segment, its key or what the log notes of it is found: by verify, and by a reader."""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path

import pytest

from exchange.errors import EntryErased, StoreDamaged
from exchange.keystore import MemoryKeyStore
from exchange.segment import Item
from gateway.audit.verification.verify import Report, verify_folder
from gateway.audit.writing.folder import segments_in, sequencer_in
from gateway.storage.ports import kept_digest
from tests.support.audit import KEYS, ORIGIN, SIGNER
from tests.support.keeping import ACT_EVERY, START_MS, KeptLog, aged

SIZE = 800


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[KeptLog]:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    await kept.append(SIZE)
    await kept.seal()
    yield kept
    await kept.log.close()


def change(folder: Path, sql: str, *values: object) -> None:
    db = sqlite3.connect(folder / "audit.db")
    with db:
        db.execute(sql, values)
    db.close()


def verified(kept: KeptLog, *, with_keys: bool = True) -> Report:
    return verify_folder(kept.folder, KEYS, keys=kept.keys if with_keys else None)


def places(report: Report) -> list[str]:
    return [fault.place for fault in report.faults]


async def test_a_sealed_log_is_whole_with_keys_and_without(kept: KeptLog) -> None:
    size = kept.log.head.size
    for with_keys in (True, False):
        report = verified(kept, with_keys=with_keys)
        assert report.whole, report.faults
        assert (report.size, report.root) == (size, kept.log.head.root)
        assert (report.sealed, report.erased, report.opened) == (768, 0, with_keys)


async def test_an_erased_log_is_whole_and_says_what_is_gone(kept: KeptLog) -> None:
    await kept.append(600, START_MS + 500 * 86_400_000)
    await kept.erase()
    for with_keys in (True, False):
        report = verified(kept, with_keys=with_keys)
        assert report.whole, report.faults
        assert (report.size, report.root) == (kept.log.head.size, kept.log.head.root)
        assert report.erased == 768 and report.sealed == kept.log.sealed_size - 768 > 0


Harm = Callable[[KeptLog, Path], None]


def missing(kept: KeptLog, file: Path) -> None:
    file.unlink()


def truncated(kept: KeptLog, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def cut_to_nothing(kept: KeptLog, file: Path) -> None:
    file.write_bytes(b"")


def swapped(kept: KeptLog, file: Path) -> None:
    shutil.copy(file.with_name("0-256.seg"), file)


def edited(kept: KeptLog, file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def header_edited(kept: KeptLog, file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[120] ^= 1
    file.write_bytes(content)


def table_edited(kept: KeptLog, file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def of_another_log(kept: KeptLog, file: Path) -> None:
    other = segments_in(kept.folder / "other", origin="970100.yunchuan.example/gateway-2", keys=kept.keys)
    draft = other.begin(256, 512, bytes(32))
    draft.add([Item(aged(number)) for number in range(256, 512)])
    draft.finish()
    shutil.copy(kept.folder / "other/segments/256-512.seg", file)


def sealed_anew(kept: KeptLog, file: Path) -> None:
    """Somebody who has the keys writes another file of that name."""
    draft = kept.files.begin(256, 512, sha256(kept.store.tile(0, 1) or b"").digest())
    draft.add([Item(aged(number + 1)) for number in range(256, 512)])
    draft.finish()


@pytest.mark.parametrize(
    "harm",
    [
        missing,
        truncated,
        cut_to_nothing,
        swapped,
        edited,
        header_edited,
        table_edited,
        of_another_log,
        sealed_anew,
    ],
)
async def test_a_harmed_file_is_found_by_verify_with_and_without_keys_and_by_the_reader(
    kept: KeptLog, harm: Harm
) -> None:
    harm(kept, kept.folder / "segments/256-512.seg")
    for with_keys in (True, False):
        report = verified(kept, with_keys=with_keys)
        assert set(places(report)) == {"segment 256-512"}, report.faults
    kept.files.forget(256, 512)
    assert kept.log.leaves(0, 256) and kept.log.damage is None
    if harm is not sealed_anew:
        with pytest.raises(StoreDamaged, match="segment 256-512"):
            kept.log.leaves(300, 2)
        assert "segment 256-512" in str(kept.log.damage)
        assert kept.log.leaves(300, 1) == [aged(300)], "what is kept as a row needs no segment"


async def test_readiness_is_green_again_once_what_was_damaged_reads_again(kept: KeptLog) -> None:
    file = kept.folder / "segments/256-512.seg"
    content = file.read_bytes()
    file.unlink()
    kept.files.forget(256, 512)
    with pytest.raises(StoreDamaged):
        kept.log.leaves(301, 1)
    assert kept.log.leaves(1, 1) and kept.log.damage is not None
    file.write_bytes(content)
    assert kept.log.leaves(301, 1) and kept.log.damage is None


async def test_a_key_that_is_gone_or_another_without_an_entry_is_found(kept: KeptLog) -> None:
    key = kept.keys.get("segment-0-256") or b""
    for wrong in (None, bytes(32), b"short"):
        kept.keys.delete("segment-0-256")
        if wrong is not None:
            kept.keys.put("segment-0-256", wrong)
        kept.files.forget(0, 256)
        report = verified(kept)
        assert places(report) == ["segment 0-256"], report.faults
        with pytest.raises(StoreDamaged, match="segment 0-256"):
            kept.log.leaves(1, 1)
        assert verified(kept, with_keys=False).whole, "without keys nobody can tell"
    kept.keys.put("segment-0-256", key)
    assert verified(kept).whole


@pytest.mark.parametrize(
    ("sql", "place", "what"),
    [
        ("UPDATE segment SET digest = zeroblob(32) WHERE first = 256", "segment 256-512", "not the file"),
        ("UPDATE segment SET kept = zeroblob(32) WHERE first = 256", "segment 256-512", "kept from it"),
        ("UPDATE segment SET sealed_entry = NULL WHERE first = 0", "segment 0-256", "no entry of the log"),
        ("UPDATE segment SET sealed_entry = 50 WHERE first = 0", "segment 0-256", "does not say"),
        ("UPDATE segment SET erased_entry = 50 WHERE first = 0", "segment 0-256", "say ACT_SEGMENT_ERASED"),
        ("UPDATE segment SET erased_entry = sealed_entry WHERE first = 0", "segment 0-256", "does not say"),
        ("UPDATE segment SET end = 600 WHERE first = 512", "segment 512-600", "missing"),
        ("DELETE FROM segment WHERE first = 256", "segments", "does not follow 256"),
        ("DELETE FROM segment WHERE first = 512", "entries 512 to 549", "missing"),
        ("DELETE FROM entry WHERE idx = 50", "segment 0-256", "kept from it"),
        ("UPDATE entry SET leaf = x'00' WHERE idx = 50", "entry 50", "differs"),
        ("INSERT INTO entry SELECT 51, leaf FROM entry WHERE idx = 50", "segment 0-256", "kept from it"),
    ],
)  # fmt: skip
async def test_what_the_store_notes_is_held_to_what_the_log_says(
    kept: KeptLog, sql: str, place: str, what: str
) -> None:
    change(kept.folder, sql)
    report = verified(kept, with_keys=False)
    assert [fault for fault in report.faults if fault.place == place and what in fault.what], report.faults


async def test_rows_that_were_removed_under_a_segment_that_nobody_logged_are_found(tmp_path: Path) -> None:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    await kept.append(600)
    await kept.log.close()
    kept_rows = kept_digest(number for number in range(256) if number % ACT_EVERY == 0)
    change(
        tmp_path,
        "INSERT INTO segment VALUES (0, 256, zeroblob(32), ?, 0, 256, 300, 350, 1)",
        kept_rows,
    )
    change(tmp_path, "DELETE FROM entry WHERE idx < 256 AND idx % 50 <> 0")
    report = verify_folder(tmp_path, KEYS)
    whats = [fault.what for fault in report.faults]
    assert "entry 300 does not say ACT_SEGMENT_SEALED of it" in whats
    assert "entry 350 does not say ACT_SEGMENT_ERASED of it" in whats


async def test_a_kept_entry_that_is_deleted_after_the_rest_was_erased_is_found(kept: KeptLog) -> None:
    await kept.erase()
    assert verified(kept).whole
    change(kept.folder, "DELETE FROM entry WHERE idx = 100")
    assert places(verified(kept)) == ["segment 0-256"]


async def test_an_edited_entry_that_says_a_segment_was_erased_is_found(kept: KeptLog) -> None:
    await kept.erase()
    index = kept.store.segments()[0].erased_entry
    shorter = "CAST(substr(leaf, 1, length(leaf) - 1) || x'00' AS BLOB)"
    change(kept.folder, f"UPDATE entry SET leaf = {shorter} WHERE idx = ?", index)
    report = verified(kept)
    assert "head" in places(report) or f"entry {index}" in places(report)


async def test_a_segment_beyond_the_head_does_not_open(tmp_path: Path) -> None:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    await kept.append(100)
    await kept.log.close()
    change(tmp_path, "INSERT INTO segment VALUES (0, 256, x'', x'', 0, 0, NULL, NULL, 0)")
    with pytest.raises(StoreDamaged, match="beyond the head"):
        await KeptLog(tmp_path).log.open()
    assert "segment 0-256" in places(verify_folder(tmp_path, KEYS))


async def test_a_store_without_keys_says_so_and_reads_the_rest(kept: KeptLog) -> None:
    await kept.log.close()

    log = sequencer_in(kept.folder, signer=SIGNER)
    await log.open()
    with pytest.raises(StoreDamaged, match="no keys"):
        log.leaves(1, 1)
    assert log.leaves(SIZE - 1, 1) == [aged(SIZE - 1)]
    await log.close()


async def test_another_gateways_keys_open_nothing(kept: KeptLog) -> None:
    report = verify_folder(kept.folder, KEYS, keys=MemoryKeyStore())
    assert places(report) == ["segment 0-256", "segment 256-512", "segment 512-768"]
    assert report.origin == ORIGIN


async def test_erased_is_told_apart_from_missing(kept: KeptLog) -> None:
    await kept.erase()
    change(kept.folder, "DELETE FROM entry WHERE idx = ?", SIZE - 1)
    with pytest.raises(EntryErased):
        kept.log.leaves(SIZE - 40, 40)
    with pytest.raises(StoreDamaged, match=f"entry {SIZE - 1} is missing"):
        kept.log.leaves(770, 40)
