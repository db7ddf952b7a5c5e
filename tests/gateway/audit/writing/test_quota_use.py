"""What is used of quotas is counted with the entries: through groups, writes that fail, and a restart."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from exchange.errors import AuditUnavailable
from gateway.audit.writing.folder import sequencer_in
from gateway.audit.writing.quota_use import QuotaUse
from gateway.audit.writing.sequencer import Sequencer
from gateway.storage.ports import QuotaKey, Used
from tests.support.audit import (
    SIGNER,
    MemoryAuditStore,
    MemoryHighWater,
    Outcome,
    entry,
    memory_sequencer,
    submit,
)

FIRST = QuotaKey(b"a" * 32, 1, 0)
SECOND = QuotaKey(b"b" * 32, 3, 0)


def keys_of(number: int) -> tuple[QuotaKey, ...]:
    """Return what an entry counts against: every second one nothing."""
    return ((), (FIRST,), (), (FIRST, SECOND))[number % 4]


def due(numbers: Sequence[int]) -> Counter[QuotaKey]:
    return Counter(key for number in numbers for key in keys_of(number))


def put(log: Sequencer, numbers: Sequence[int]) -> Outcome:
    outcome = Outcome()
    log.submit([entry(number) for number in numbers], outcome, (), [keys_of(number) for number in numbers])
    return outcome


def used(log: Sequencer) -> Counter[QuotaKey]:
    return Counter({key: log.used(key) for key in (FIRST, SECOND)})


@pytest.fixture
def store() -> MemoryAuditStore:
    return MemoryAuditStore()


async def opened(store: MemoryAuditStore) -> Sequencer:
    log = memory_sequencer(store, MemoryHighWater())
    await log.open()
    return log


async def test_each_entry_counts_once_however_submissions_are_cut_into_groups(
    store: MemoryAuditStore,
) -> None:
    log = await opened(store)
    assert used(log) == Counter()
    outcomes = [put(log, range(0, 100)), put(log, range(100, 700)), put(log, range(700, 703))]
    plain = submit(log, [entry(number) for number in range(703, 710)])
    for outcome in (*outcomes, plain):
        await outcome.places()
    assert len(store.commits) > 2
    assert used(log) == store.quotas == due(range(703))
    await log.close()


@pytest.mark.parametrize(("fault", "kept"), [("lost", False), ("kept", True)])
@pytest.mark.parametrize("known", [True, False])
async def test_a_write_in_doubt_counts_with_its_entries_or_not_at_all(
    store: MemoryAuditStore, fault: str, kept: bool, known: bool
) -> None:
    log = await opened(store)
    await put(log, range(5)).places()
    if known:
        used(log)
    store.commit_fault = fault
    outcome = put(log, range(5, 12))
    if kept:
        await outcome.places()
    else:
        assert isinstance(await outcome.error(), AuditUnavailable)
    store.commit_fault = ""
    while log.fault is not None:  # noqa: ASYNC110  the retry is on a timer of its own
        await asyncio.sleep(0)
    size = 12 if kept else 5
    assert used(log) == due(range(size))
    await put(log, range(size, size + 4)).places()
    assert used(log) == due(range(size + 4))
    await log.close()


async def test_a_count_that_is_read_between_commit_and_release_is_not_counted_twice(
    store: MemoryAuditStore,
) -> None:
    log = await opened(store)
    held = store.commit
    read: list[int] = []

    def commit_and_read() -> None:
        held()
        read.append(log.used(FIRST))

    store.commit = commit_and_read  # type: ignore[method-assign]
    await put(log, range(8)).places()
    assert read == [due(range(8))[FIRST]], "the store said so before the group was released"
    assert log.used(FIRST) == due(range(8))[FIRST]
    await log.close()


async def test_what_is_used_is_there_after_a_restart_and_goes_on_from_there(tmp_path: Path) -> None:
    for start in (0, 300, 600):
        log = sequencer_in(tmp_path, signer=SIGNER)
        await log.open()
        assert used(log) == due(range(start))
        await put(log, range(start, start + 300)).places()
        assert used(log) == due(range(start + 300))
        await log.close()


async def test_a_log_from_before_quotas_is_taken_over_with_nothing_used(tmp_path: Path) -> None:
    log = sequencer_in(tmp_path, signer=SIGNER)
    await log.open()
    await put(log, range(20)).places()
    await log.close()
    with sqlite3.connect(tmp_path / "audit.db") as db:
        for later in ("DROP TABLE quota", "DELETE FROM schema WHERE version > 3"):
            db.execute(later)
    db.close()
    log = sequencer_in(tmp_path, signer=SIGNER)
    await log.open()
    assert used(log) == Counter()
    await put(log, range(20, 24)).places()
    assert used(log) == due(range(20, 24))
    await log.close()


def test_counts_that_were_pushed_out_of_memory_are_read_again() -> None:
    reads: list[QuotaKey] = []

    def read(key: QuotaKey) -> Used:
        reads.append(key)
        return Used(7, 100)

    use = QuotaUse(read, most=2)
    keys = [QuotaKey(bytes([number]) * 32, 1, 0) for number in range(3)]
    for key in (keys[0], keys[1], keys[0], keys[2], keys[0], keys[1]):
        assert use.used(key) == 7
    assert reads == [keys[0], keys[1], keys[2], keys[1]], "the one asked for longest ago went"
    use.count(99, 101, {keys[0]: 5})
    assert use.used(keys[0]) == 7, "that group is in what was read"
    use.count(101, 103, {keys[0]: 2})
    assert use.used(keys[0]) == 9
