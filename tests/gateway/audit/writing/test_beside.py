"""What is kept beside entries goes with them: through groups, writes that fail, and a restart."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from exchange.errors import AuditUnavailable
from gateway.audit.writing.folder import sequencer_in
from gateway.audit.writing.sequencer import Sequencer
from gateway.storage.sqlite import SqliteAuditStore
from tests.support.audit import (
    SIGNER,
    MemoryAuditStore,
    MemoryHighWater,
    Outcome,
    entry,
    memory_sequencer,
    submit,
    write_log,
)


def tags_of(number: int) -> bytes:
    """Return what is beside an entry: of every third one nothing."""
    return b"" if number % 3 == 0 else number.to_bytes(32, "big") * (number % 4)


def due(numbers: Sequence[int]) -> dict[int, bytes]:
    return {number: tags_of(number) for number in numbers if tags_of(number)}


def put(log: Sequencer, numbers: Sequence[int]) -> Outcome:
    outcome = Outcome()
    log.submit([entry(number) for number in numbers], outcome, [tags_of(number) for number in numbers])
    return outcome


@pytest.fixture
def store() -> MemoryAuditStore:
    return MemoryAuditStore()


async def opened(store: MemoryAuditStore) -> Sequencer:
    log = memory_sequencer(store, MemoryHighWater())
    await log.open()
    return log


async def test_what_is_beside_stays_with_its_entry_however_submissions_are_cut_into_groups(
    store: MemoryAuditStore,
) -> None:
    log = await opened(store)
    outcomes = [put(log, range(0, 100)), put(log, range(100, 700)), put(log, range(700, 703))]
    plain = submit(log, [entry(number) for number in range(703, 710)])
    last = put(log, range(710, 720))
    for outcome in (*outcomes, plain, last):
        await outcome.places()
    assert len(store.commits) > 2
    assert store.kept_beside == due([*range(703), *range(710, 720)])
    assert log.beside(99, 3) == due([99, 100, 101])
    await log.close()


@pytest.mark.parametrize(("fault", "kept"), [("lost", False), ("kept", True)])
async def test_a_write_that_fails_keeps_entry_and_what_is_beside_it_or_neither(
    store: MemoryAuditStore, fault: str, kept: bool
) -> None:
    log = await opened(store)
    await put(log, range(5)).places()
    store.commit_fault = fault
    outcome = put(log, range(5, 8))
    if kept:
        await outcome.places()
    else:
        assert isinstance(await outcome.error(), AuditUnavailable)
    store.commit_fault = ""
    while log.fault is not None:  # noqa: ASYNC110  the retry is on a timer of its own
        await asyncio.sleep(0)
    size = 8 if kept else 5
    assert len(store.entries) == size and store.kept_beside == due(range(size))
    await put(log, range(size, size + 4)).places()
    assert store.kept_beside == due(range(size + 4))
    await log.close()


@pytest.mark.parametrize("fault", ["lost", "kept"])
async def test_a_long_submission_that_fails_in_part_keeps_only_what_is_beside_durable_entries(
    store: MemoryAuditStore, fault: str
) -> None:
    log = await opened(store)
    store.commit_fault, store.open_fault = fault, True
    assert isinstance(await put(log, range(700)).error(), AuditUnavailable)
    store.commit_fault, store.open_fault = "", False
    while log.fault is not None:  # noqa: ASYNC110  the retry is on a timer of its own
        await asyncio.sleep(0)
    assert store.kept_beside == due(range(len(store.entries)))
    await log.close()


async def test_a_disk_that_fills_while_tags_are_written_leaves_neither_entry_nor_tags(tmp_path: Path) -> None:
    log = sequencer_in(tmp_path, signer=SIGNER, min_free_bytes=0)
    await log.open()
    await put(log, range(5)).places()
    store = log._store
    assert isinstance(store, SqliteAuditStore)
    store._open_writer.execute("PRAGMA max_page_count = 16")
    outcome = Outcome()
    log.submit([entry(5)], outcome, [bytes(1 << 20)])
    assert isinstance(await outcome.error(), AuditUnavailable)
    while log.fault is not None:  # noqa: ASYNC110  the retry is on a timer of its own
        await asyncio.sleep(0.01)
    assert log.head.size == 5 and log.beside(0, 10) == due(range(5))
    await put(log, range(5, 9)).places()
    assert log.beside(0, 10) == due(range(9))
    await log.close()


async def test_a_log_from_before_tags_is_taken_over_with_nothing_beside_its_entries(tmp_path: Path) -> None:
    await write_log(tmp_path, 20)
    with sqlite3.connect(tmp_path / "audit.db") as db:
        for later in (
            "DROP TABLE beside",
            "DROP TABLE segment",
            "DROP TABLE quota",
            "DELETE FROM schema WHERE version > 1",
        ):
            db.execute(later)
    db.close()
    log = sequencer_in(tmp_path, signer=SIGNER)
    await log.open()
    assert log.head.size == 20 and log.beside(0, 20) == {}
    await put(log, range(20, 25)).places()
    assert log.beside(0, 30) == due(range(20, 25))
    await log.close()
