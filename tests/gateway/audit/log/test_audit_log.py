"""The log as it is read, and what it compares before it signs."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from exchange import merkle
from exchange.checkpoint import Checkpoint, open_checkpoint
from exchange.errors import (
    AuditUnavailable,
    LogBehind,
    LogForked,
    Malformed,
    StoreDamaged,
    UnknownEntry,
)
from exchange.receipt import verify_receipt
from exchange.v1 import common_pb2
from gateway.audit.log.log_keys import read_log_key
from gateway.audit.writing.folder import sequencer_in
from gateway.audit.writing.sequencer import Sequencer
from tests.support.audit import (
    KEYS,
    ORIGIN,
    OTHER_SIGNER,
    SIGNER,
    MemoryAuditStore,
    MemoryHighWater,
    entry,
    memory_sequencer,
    submit,
    write_log,
)


async def opened(folder: Path) -> Sequencer:
    log = sequencer_in(folder, signer=SIGNER)
    await log.open()
    return log


async def in_memory(count: int, *, first: int = 0) -> Sequencer:
    log = memory_sequencer(MemoryAuditStore(), MemoryHighWater())
    await log.open()
    for number in range(first, first + count, 7):
        await submit(log, [entry(n) for n in range(number, min(number + 7, first + count))]).places()
    return log


def message(head: Checkpoint) -> common_pb2.LogHead:
    return common_pb2.LogHead(origin=head.origin, size=head.size, root=head.root)


def change(folder: Path, sql: str, *values: object) -> None:
    db = sqlite3.connect(folder / "audit.db")
    with db:
        db.execute(sql, values)
    db.close()


async def test_a_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    note = await write_log(tmp_path, 300)
    log = await opened(tmp_path)
    assert (log.head.size, log.checkpoint) == (300, note)
    assert open_checkpoint(note, origin=ORIGIN, log_keys=KEYS[ORIGIN]) == log.head
    assert (await log.append(entry(300))).index == 300
    assert log.leaves(298, 10) == [entry(298), entry(299), entry(300)]
    assert read_log_key(tmp_path) == (ORIGIN, SIGNER.public_key)
    await log.close()


async def test_every_entry_comes_with_a_receipt_that_verifies(tmp_path: Path) -> None:
    await write_log(tmp_path, 300)
    log = await opened(tmp_path)
    for index in (0, 1, 255, 256, 299):
        receipt, note = log.entry(index)
        head = open_checkpoint(note, origin=ORIGIN, log_keys=KEYS[ORIGIN])
        assert verify_receipt(receipt, head).time_ms == index
    for index in (-1, 300):
        with pytest.raises(UnknownEntry):
            log.entry(index)
    await log.close()


async def test_every_head_is_shown_to_extend_every_older_one() -> None:
    log = await in_memory(30)
    hashes = [merkle.leaf_hash(leaf) for leaf in log.leaves(0, 30)]
    roots = [merkle.root_of(hashes[:size]) for size in range(31)]
    for old in range(1, 31):
        for new in range(old, 31):
            proof, note = log.consistency(old, new)
            merkle.verify_consistency(old, roots[old], new, roots[new], merkle.split_hashes(proof))
            assert note == ""
    assert log.consistency(0) == (b"", log.checkpoint)
    assert log.consistency(30) == (b"", log.checkpoint)
    for sizes in ((31, 0), (3, 2), (-1, 5), (1, 31)):
        with pytest.raises(UnknownEntry):
            log.consistency(*sizes)
    await log.close()


async def test_a_head_that_an_agent_holds_is_proven_to_be_extended() -> None:
    log = await in_memory(10)
    held = log.head
    await log.append(entry(10))
    proof = log.compare_head(message(held))
    merkle.verify_consistency(10, held.root, 11, log.head.root, merkle.split_hashes(proof))
    assert log.compare_head(message(Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT))) == b""
    with pytest.raises(Malformed):
        log.compare_head(message(Checkpoint("another", 10, held.root)))
    assert log.fault is None
    await log.close()


@pytest.mark.parametrize(
    ("size", "error"), [(12, LogBehind), (5, LogForked)], ids=["ahead of the log", "beside the log"]
)
@pytest.mark.parametrize("how", ["unsigned", "signed by another key", "signed for another head", "signed"])
async def test_only_a_head_that_this_log_signed_stops_it_from_signing(
    size: int, error: type[Exception], how: str
) -> None:
    log, other = await in_memory(10), await in_memory(size, first=50)
    held = other.head
    signer = OTHER_SIGNER if how == "signed by another key" else SIGNER
    stated = Checkpoint(ORIGIN, 5, bytes(32)) if how == "signed for another head" else held
    note = "" if how == "unsigned" else signer.sign(stated)
    with pytest.raises(error):
        log.compare_head(message(held), note)
    if how == "signed":
        assert isinstance(log.fault, error)
        with pytest.raises(error):
            await log.append(entry(10))
        with pytest.raises(error):
            log.submit([entry(10)], lambda outcome: None)
    else:
        assert log.fault is None
        assert (await log.append(entry(10))).index == 10
    await log.close()
    await other.close()


async def test_what_is_queued_when_the_log_is_found_forked_is_failed_not_signed() -> None:
    log, other = await in_memory(10), await in_memory(5, first=50)
    outcome = submit(log, [entry(10)])
    with pytest.raises(LogForked):
        log.compare_head(message(other.head), other.checkpoint)
    assert isinstance(await outcome.error(), LogForked)
    assert log.head.size == 10
    await log.close()
    await other.close()


async def test_a_log_set_back_to_an_older_copy_refuses_to_open(tmp_path: Path) -> None:
    folder, copy = tmp_path / "log", tmp_path / "copy.db"
    await write_log(folder, 100)
    shutil.copy(folder / "audit.db", copy)
    await write_log(folder, 10, first=100)
    shutil.copy(copy, folder / "audit.db")
    with pytest.raises(LogBehind):
        await sequencer_in(folder, signer=SIGNER).open()


async def test_an_emptied_log_refuses_to_open(tmp_path: Path) -> None:
    await write_log(tmp_path, 10)
    (tmp_path / "audit.db").unlink()
    with pytest.raises(LogBehind):
        await sequencer_in(tmp_path, signer=SIGNER).open()


async def test_another_history_under_the_same_key_refuses_to_open(tmp_path: Path) -> None:
    await write_log(tmp_path / "one", 100)
    await write_log(tmp_path / "two", 100, first=1000)
    shutil.copy(tmp_path / "two" / "audit.db", tmp_path / "one" / "audit.db")
    with pytest.raises(LogForked):
        await sequencer_in(tmp_path / "one", signer=SIGNER).open()


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("UPDATE entry SET leaf = ? WHERE idx = 290", (b"edited",)),
        ("DELETE FROM entry WHERE idx = 290", ()),
        ("DELETE FROM entry WHERE idx = 299", ()),
        ("INSERT INTO entry VALUES (300, ?)", (b"smuggled in",)),
        ("DELETE FROM tile", ()),
        ("UPDATE tile SET data = zeroblob(8192)", ()),
        ("UPDATE head SET root = zeroblob(32)", ()),
        ("UPDATE head SET size = 299", ()),
        ("UPDATE head SET checkpoint = 'forged'", ()),
        ("UPDATE head SET checkpoint = ?", (OTHER_SIGNER.sign(Checkpoint(ORIGIN, 300, bytes(32))),)),
        ("UPDATE head SET checkpoint = ?", (SIGNER.sign(Checkpoint(ORIGIN, 299, bytes(32))),)),
        ("DELETE FROM head", ()),
    ],
)
async def test_a_log_that_does_not_agree_with_itself_refuses_to_open(
    tmp_path: Path, sql: str, values: tuple[object, ...]
) -> None:
    await write_log(tmp_path, 300)
    change(tmp_path, sql, *values)
    with pytest.raises(StoreDamaged):
        await sequencer_in(tmp_path, signer=SIGNER).open()


async def test_a_log_without_its_high_water_copy_refuses_to_open(tmp_path: Path) -> None:
    await write_log(tmp_path, 10)
    (tmp_path / "high-water").unlink()
    with pytest.raises(StoreDamaged):
        await sequencer_in(tmp_path, signer=SIGNER).open()


async def test_a_high_water_copy_one_group_behind_is_what_a_crash_leaves(tmp_path: Path) -> None:
    await write_log(tmp_path, 10)
    behind = (tmp_path / "high-water").read_bytes()
    await write_log(tmp_path, 5, first=10)
    (tmp_path / "high-water").write_bytes(behind)
    log = await opened(tmp_path)
    assert log.head.size == 15
    await log.close()
    assert b"\n15\n" in (tmp_path / "high-water").read_bytes()


async def test_another_key_does_not_open_the_log(tmp_path: Path) -> None:
    await write_log(tmp_path, 10)
    with pytest.raises(StoreDamaged):
        sequencer_in(tmp_path, signer=OTHER_SIGNER)
    (tmp_path / "log-key.pub").unlink()
    with pytest.raises(StoreDamaged):
        await sequencer_in(tmp_path, signer=OTHER_SIGNER).open()


async def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditUnavailable):
        sequencer_in(tmp_path / "file" / "log", signer=SIGNER)
