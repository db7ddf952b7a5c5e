"""Writes that are no entries take their turn between groups, and share the log's troubles."""

import asyncio

import pytest

from exchange.errors import AuditUnavailable, Draining, LogForked
from tests.support.audit import MemoryAuditStore, MemoryHighWater, entry, memory_sequencer, submit


async def test_an_errand_waits_for_the_group_before_and_holds_up_the_one_after() -> None:
    store = MemoryAuditStore()
    log = memory_sequencer(store, MemoryHighWater())
    await log.open()
    store.gate.clear()
    before = submit(log, [entry(0)])
    await asyncio.to_thread(store.reached.wait)
    seen: list[int] = []
    errand = asyncio.create_task(log.between(lambda: seen.append(len(store.entries))))
    after = submit(log, [entry(1)])
    await asyncio.sleep(0)
    assert seen == []
    store.gate.set()
    await before.places()
    await errand
    assert seen == [1], "after the first group, before the second"
    assert (await after.places())[0].index == 1
    await log.close()


async def test_an_errand_that_fails_has_the_log_read_anew_and_is_told() -> None:
    store = MemoryAuditStore()
    log = memory_sequencer(store, MemoryHighWater())
    await log.open()
    await submit(log, [entry(0)]).places()

    def fail() -> None:
        store._usable = False
        raise AuditUnavailable("in doubt")

    with pytest.raises(AuditUnavailable):
        await log.between(fail)
    await log._idle.wait()
    assert log.fault is None
    assert (await submit(log, [entry(1)]).places())[0].index == 1
    await log.close()


async def test_while_the_log_is_down_or_closing_no_errand_is_taken() -> None:
    store = MemoryAuditStore()
    log = memory_sequencer(store, MemoryHighWater())
    await log.open()
    log.refuse_to_sign(LogForked("size 1"))
    with pytest.raises(LogForked):
        await log.between(lambda: None)
    await log.close()
    other = memory_sequencer(MemoryAuditStore(), MemoryHighWater())
    await other.open()
    await other.close()
    with pytest.raises(Draining):
        await other.between(lambda: None)


async def test_closing_waits_for_errands() -> None:
    store = MemoryAuditStore()
    log = memory_sequencer(store, MemoryHighWater())
    await log.open()
    done: list[int] = []
    errands = [asyncio.create_task(log.between(lambda n=n: done.append(n))) for n in range(3)]
    await asyncio.sleep(0)
    await log.close()
    await asyncio.gather(*errands)
    assert done == [0, 1, 2]
