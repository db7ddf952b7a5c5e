"""The sequencer: groups, order, bounds, and what proofs say."""

import asyncio
from collections.abc import Sequence

import pytest

from exchange.errors import AuditUnavailable, Draining, ExchangeError, Oversized, QueueFull
from gateway.audit.log.logged import Logged
from gateway.audit.writing.sequencer import Sequencer
from tests.support.audit import (
    MemoryAuditStore,
    MemoryHighWater,
    entry,
    memory_sequencer,
    submit,
    verify_place,
)


@pytest.fixture
def store() -> MemoryAuditStore:
    return MemoryAuditStore()


@pytest.fixture
async def log(store: MemoryAuditStore) -> Sequencer:
    opened = memory_sequencer(store, MemoryHighWater(), max_queue=1000)
    await opened.open()
    return opened


async def hold(log: Sequencer, store: MemoryAuditStore) -> None:
    """Let a first group reach its commit and wait there."""
    store.gate.clear()
    store.reached.clear()
    submit(log, [entry(0)])
    assert await asyncio.get_running_loop().run_in_executor(None, store.reached.wait, 30)


async def test_an_entry_is_in_the_log_when_its_place_is_told(log: Sequencer, store: MemoryAuditStore) -> None:
    logged = await log.append(entry(1))
    assert (logged.index, store.entries, log.head.size) == (0, [entry(1)], 1)
    assert logged.checkpoint == log.checkpoint
    verify_place(entry(1), logged)
    await log.close()


async def test_nothing_is_told_before_the_commit(log: Sequencer, store: MemoryAuditStore) -> None:
    before = log.checkpoint
    await hold(log, store)
    outcome = submit(log, [entry(1)])
    for _ in range(20):
        await asyncio.sleep(0)
    assert not outcome.settled
    assert (log.head.size, log.checkpoint) == (0, before)
    store.gate.set()
    assert (await outcome.places())[0].index == 1
    await log.close()


async def test_what_comes_in_one_turn_of_the_loop_is_one_group(
    log: Sequencer, store: MemoryAuditStore
) -> None:
    outcomes = [submit(log, [entry(number), entry(number + 100)]) for number in range(10)]
    places = [place for outcome in outcomes for place in await outcome.places()]
    assert [place.index for place in places] == list(range(20))
    assert store.commits == [20]
    assert len({place.checkpoint for place in places}) == 1
    await log.close()


async def test_what_queues_during_a_commit_is_the_next_group_of_at_most_256(
    log: Sequencer, store: MemoryAuditStore
) -> None:
    await hold(log, store)
    leaves = [entry(number) for number in range(700)]
    outcomes = [submit(log, leaves[:300]), submit(log, leaves[300:400]), submit(log, leaves[400:])]
    store.gate.set()
    places = [place for outcome in outcomes for place in await outcome.places()]
    assert store.commits == [1, 256, 256, 188]
    assert store.entries[1:] == leaves
    assert [place.index for place in places] == list(range(1, 701))
    for leaf, place in zip(leaves, places, strict=True):
        verify_place(leaf, place)
    await log.close()


async def test_a_queue_that_is_full_refuses_exchanges_before_administrative_entries(
    log: Sequencer, store: MemoryAuditStore
) -> None:
    await hold(log, store)
    outcome = submit(log, [entry(number) for number in range(1000)])
    with pytest.raises(QueueFull):
        log.submit([entry(0)], outcome)
    appended = asyncio.ensure_future(log.append(entry(1)))
    await asyncio.sleep(0)
    store.gate.set()
    assert (await appended).index == 1001
    assert len(await outcome.places()) == 1000
    await log.close()


async def test_a_leaf_that_is_too_long_is_refused_and_the_longest_is_not(log: Sequencer) -> None:
    with pytest.raises(Oversized):
        log.submit([entry(0), bytes(65_536)], lambda outcome: None)
    assert (await log.append(bytes(65_535))).index == 0
    await log.close()


async def test_closing_finishes_what_is_queued_and_refuses_what_comes(
    log: Sequencer, store: MemoryAuditStore
) -> None:
    await hold(log, store)
    outcome = submit(log, [entry(1)])
    closing = asyncio.ensure_future(log.close())
    await asyncio.sleep(0)
    with pytest.raises(Draining):
        log.submit([entry(2)], outcome)
    store.gate.set()
    await closing
    assert outcome.settled
    assert len(store.entries) == 2


async def test_an_append_whose_wait_is_cancelled_is_in_the_log_all_the_same(
    log: Sequencer, store: MemoryAuditStore
) -> None:
    await hold(log, store)
    waiting = asyncio.ensure_future(log.append(entry(1)))
    await asyncio.sleep(0)
    waiting.cancel()
    store.gate.set()
    assert (await log.append(entry(2))).index == 2
    assert waiting.cancelled()
    await log.close()


async def test_a_waiter_that_raises_keeps_nobody_else_from_their_place(log: Sequencer) -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    def broken(outcome: Sequence[Logged] | ExchangeError) -> None:
        raise RuntimeError("a waiter's own fault")

    log.submit([entry(0)], broken)
    assert (await submit(log, [entry(1)]).places())[0].index == 1
    assert len(told) == 1
    await log.close()


async def test_subscribers_hear_of_every_entry_in_order(log: Sequencer) -> None:
    heard: list[tuple[int, list[bytes]]] = []
    end = log.subscribe(lambda first, leaves: heard.append((first, list(leaves))))
    await submit(log, [entry(0), entry(1)]).places()
    await log.append(entry(2))
    end()
    await log.append(entry(3))
    assert heard == [(0, [entry(0), entry(1)]), (2, [entry(2)])]
    await log.close()


async def test_exchanges_are_refused_before_administrative_entries_when_space_runs_out(
    log: Sequencer, store: MemoryAuditStore
) -> None:
    store.free = (1 << 20) - 1
    log._headroom.wrote(1 << 20)
    assert isinstance(log.fault, AuditUnavailable)
    with pytest.raises(AuditUnavailable):
        log.submit([entry(0)], lambda outcome: None)
    assert (await log.append(entry(0))).index == 0
    store.free = (1 << 17) - 1
    log._headroom.wrote(1 << 20)
    with pytest.raises(AuditUnavailable):
        await log.append(entry(1))
    store.free = 1 << 30
    assert log.fault is None
    assert (await submit(log, [entry(1)]).places())[0].index == 1
    await log.close()


async def test_free_space_is_measured_again_as_the_log_is_written(
    log: Sequencer, store: MemoryAuditStore
) -> None:
    await log.append(entry(0))
    store.free = 0
    await log.append(entry(1, size=60_000))
    await log.append(entry(2, size=60_000))
    with pytest.raises(AuditUnavailable):
        await log.append(entry(3))
    await log.close()
