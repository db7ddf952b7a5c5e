"""Writes that fail, in pairs: failed and did not persist, failed but persisted."""

import asyncio

import pytest

from exchange.errors import AuditUnavailable, LogBehind, LogForked, StoreDamaged
from gateway.audit.writing.sequencer import Sequencer
from gateway.storage.ports import StoredHead
from tests.support.audit import (
    MemoryAuditStore,
    MemoryHighWater,
    entry,
    memory_sequencer,
    submit,
    verify_place,
)


class Setting:
    """A log of three entries whose disk can be made to fail."""

    def __init__(self) -> None:
        self.store = MemoryAuditStore()
        self.high_water = MemoryHighWater()
        self.log = memory_sequencer(self.store, self.high_water)
        self.heard: list[bytes] = []

    async def open(self) -> "Setting":
        await self.log.open()
        self.log.subscribe(lambda first, leaves: self.heard.extend(leaves))
        await submit(self.log, [entry(number) for number in range(3)]).places()
        return self

    async def healthy(self) -> Sequencer:
        while self.log.fault is not None:  # noqa: ASYNC110  the retry is on a timer of its own
            await asyncio.sleep(0)
        return self.log

    async def check_whole(self, count: int) -> None:
        """Check that the log goes on, that a restart agrees with it and that subscribers heard all of it."""
        logged = await self.log.append(entry(1000))
        assert logged.index == count
        verify_place(entry(1000), logged)
        assert self.heard == self.store.entries
        await self.log.close()
        again = memory_sequencer(self.store, self.high_water)
        await again.open()
        assert (again.head, again.checkpoint) == (self.log.head, self.log.checkpoint)
        await again.close()


@pytest.fixture
async def it() -> Setting:
    return await Setting().open()


async def test_a_group_that_failed_and_did_not_persist_is_failed_and_leaves_no_trace(it: Setting) -> None:
    it.store.commit_fault = "lost"
    outcome = submit(it.log, [entry(3), entry(4)])
    assert isinstance(await outcome.error(), AuditUnavailable)
    assert len(it.store.entries) == it.log.head.size == 3
    it.store.commit_fault = ""
    await it.healthy()
    await it.check_whole(3)


async def test_a_group_that_failed_but_persisted_is_read_back_and_released(it: Setting) -> None:
    it.store.commit_fault = "kept"
    outcome = submit(it.log, [entry(3), entry(4)])
    places = await outcome.places()
    assert [place.index for place in places] == [3, 4]
    verify_place(entry(4), places[1])
    it.store.commit_fault = ""
    await it.check_whole(5)


async def test_a_group_that_could_not_be_staged_is_failed(it: Setting) -> None:
    it.store.stage_fault = True
    assert isinstance(await submit(it.log, [entry(3)]).error(), AuditUnavailable)
    it.store.stage_fault = False
    await it.healthy()
    await it.check_whole(3)


async def test_a_durable_group_without_its_high_water_copy_is_not_released_until_that_is_written(
    it: Setting,
) -> None:
    it.high_water.fault = True
    outcome = submit(it.log, [entry(3)])
    assert isinstance(await outcome.error(), AuditUnavailable)
    assert isinstance(it.log.fault, AuditUnavailable)
    it.high_water.fault = False
    await it.healthy()
    await it.check_whole(4)


@pytest.mark.parametrize(("fault", "size"), [("lost", 3), ("kept", 4)])
async def test_while_the_disk_is_away_everything_is_refused_and_afterwards_it_goes_on(
    it: Setting, fault: str, size: int
) -> None:
    it.store.commit_fault, it.store.open_fault = fault, True
    outcome = submit(it.log, [entry(3)])
    assert isinstance(await outcome.error(), AuditUnavailable)
    assert isinstance(it.log.fault, AuditUnavailable)
    with pytest.raises(AuditUnavailable):
        it.log.submit([entry(9)], outcome)
    with pytest.raises(AuditUnavailable):
        await it.log.append(entry(9))
    it.store.commit_fault, it.store.open_fault = "", False
    await it.healthy()
    await it.check_whole(size)


@pytest.mark.parametrize("fault", ["lost", "kept"])
async def test_what_is_queued_behind_a_group_in_doubt_is_appended_once_the_doubt_is_gone(
    it: Setting, fault: str
) -> None:
    it.store.gate.clear()
    it.store.reached.clear()
    first = submit(it.log, [entry(3)])
    await asyncio.get_running_loop().run_in_executor(None, it.store.reached.wait, 30)
    it.store.commit_fault = fault
    second = submit(it.log, [entry(4)])
    opened = it.store.open

    def mend() -> StoredHead | None:
        it.store.commit_fault = ""
        return opened()

    it.store.open = mend  # type: ignore[method-assign]
    it.store.gate.set()
    if fault == "lost":
        assert isinstance(await first.error(), AuditUnavailable)
        assert (await second.places())[0].index == 3
        await it.check_whole(4)
    else:
        assert (await first.places())[0].index == 3
        assert (await second.places())[0].index == 4
        await it.check_whole(5)


@pytest.mark.parametrize("fault", ["lost", "kept"])
async def test_a_long_submission_that_fails_in_part_is_failed_once_and_released_in_no_part(
    it: Setting, fault: str
) -> None:
    it.store.commit_fault, it.store.open_fault = fault, True
    outcome = submit(it.log, [entry(number) for number in range(3, 700)])
    assert isinstance(await outcome.error(), AuditUnavailable)
    it.store.commit_fault, it.store.open_fault = "", False
    await it.healthy()
    await it.check_whole(3 if fault == "lost" else 3 + 256)


async def test_a_long_submission_whose_first_group_was_in_doubt_but_persisted_goes_on(it: Setting) -> None:
    it.store.commit_fault = "kept"
    places = await submit(it.log, [entry(number) for number in range(3, 700)]).places()
    assert [place.index for place in places] == list(range(3, 700))
    it.store.commit_fault = ""
    await it.check_whole(700)


async def test_a_reload_that_finds_less_than_was_released_never_signs_again(it: Setting) -> None:
    it.store.commit_fault = "lost"
    it.store.entries, it.store.head, it.high_water.notes = [], None, None
    assert isinstance(await submit(it.log, [entry(3)]).error(), AuditUnavailable)
    it.store.commit_fault = ""
    assert isinstance(it.log.fault, LogBehind)
    with pytest.raises(LogBehind):
        await it.log.append(entry(4))
    await it.log.close()


async def test_a_reload_that_finds_another_log_never_signs_again(it: Setting) -> None:
    other = Setting()
    await other.log.open()
    await submit(other.log, [entry(number) for number in range(10, 14)]).places()
    it.store.commit_fault = "lost"
    it.store.entries, it.store.head = other.store.entries, other.store.head
    it.high_water.notes = other.high_water.notes
    assert isinstance(await submit(it.log, [entry(3)]).error(), AuditUnavailable)
    assert isinstance(it.log.fault, LogForked)
    with pytest.raises(LogForked):
        it.log.submit([entry(4)], lambda outcome: None)
    await it.log.close()
    await other.log.close()


async def test_a_reload_that_finds_entries_nobody_wrote_never_signs_again(it: Setting) -> None:
    other = Setting()
    await other.open()
    await submit(other.log, [entry(3)]).places()
    it.store.commit_fault = "lost"
    it.store.entries, it.store.head = other.store.entries, other.store.head
    assert isinstance(await submit(it.log, [entry(99)]).error(), AuditUnavailable)
    assert isinstance(it.log.fault, LogForked)
    await it.log.close()
    await other.log.close()


async def test_a_reload_that_finds_damage_never_signs_again(it: Setting) -> None:
    it.store.commit_fault = "lost"
    it.store.entries[1] = entry(77)
    assert isinstance(await submit(it.log, [entry(3)]).error(), AuditUnavailable)
    assert isinstance(it.log.fault, StoreDamaged)
    await it.log.close()


async def test_a_log_in_trouble_can_be_closed(it: Setting) -> None:
    it.store.commit_fault, it.store.open_fault = "lost", True
    assert isinstance(await submit(it.log, [entry(3)]).error(), AuditUnavailable)
    await it.log.close()
    assert it.log.fault is not None
