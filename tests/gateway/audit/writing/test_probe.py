"""A disk that fails while nobody asks is noticed, and noticed again once it is back."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.errors import AuditUnavailable, LogForked, StoreDamaged
from gateway.audit.writing import sequencer as sequencer_module
from gateway.audit.writing.folder import sequencer_in
from gateway.audit.writing.sequencer import Sequencer
from tests.support.audit import (
    SIGNER,
    MemoryAuditStore,
    MemoryHighWater,
    entry,
    memory_sequencer,
    submit,
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer_module, "QUIET_S", 0.0)


async def probed_until(log: Sequencer, holds: Callable[[], object]) -> None:
    """Probe as the gateway does until something holds."""
    async with asyncio.timeout(20):
        while not holds():
            log.probe()
            await asyncio.sleep(0)


async def test_a_disk_that_takes_no_writes_turns_the_log_red_without_any_entry_and_green_again() -> None:
    store = MemoryAuditStore()
    log = memory_sequencer(store, MemoryHighWater())
    await log.open()
    store.probe_fault = True
    await probed_until(log, lambda: log.fault)
    assert isinstance(log.fault, AuditUnavailable)
    with pytest.raises(AuditUnavailable):
        submit(log, [entry(1)])
    store.probe_fault = False
    await probed_until(log, lambda: log.fault is None)
    assert (await submit(log, [entry(1)]).places())[0].index == 0
    await log.close()


async def test_reloading_alone_does_not_make_a_log_well_while_the_disk_takes_no_writes() -> None:
    store = MemoryAuditStore()
    log = memory_sequencer(store, MemoryHighWater())
    await log.open()
    store.probe_fault = True
    await probed_until(log, lambda: log.fault)
    before = store.probes
    await probed_until(log, lambda: store.probes > before + 3)
    assert log.fault is not None
    store.probe_fault = False
    await probed_until(log, lambda: log.fault is None)
    await log.close()


async def test_a_disk_that_does_not_answer_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryAuditStore()
    log = memory_sequencer(store, MemoryHighWater())
    await log.open()
    monkeypatch.setattr(sequencer_module, "STALL_S", 0.0)
    store.gate.clear()
    await probed_until(log, lambda: log.fault)
    assert isinstance(log.fault, AuditUnavailable)
    store.gate.set()
    await probed_until(log, lambda: log.fault is None)
    await log.close()


async def test_entries_that_come_during_a_probe_are_appended_after_it() -> None:
    store = MemoryAuditStore()
    log = memory_sequencer(store, MemoryHighWater())
    await log.open()
    store.gate.clear()
    log.probe()
    waiting = submit(log, [entry(1), entry(2)])
    store.gate.set()
    assert [place.index for place in await waiting.places()] == [0, 1]
    await log.close()


async def test_room_that_others_take_is_noticed_without_any_entry() -> None:
    store = MemoryAuditStore()
    log = memory_sequencer(store, MemoryHighWater(), min_free_bytes=1 << 20)
    await log.open()
    await submit(log, [entry(1)]).places()
    store.free = 1000
    await probed_until(log, lambda: log.fault)
    assert isinstance(log.fault, AuditUnavailable)
    store.free = 1 << 30
    await probed_until(log, lambda: log.fault is None)
    await log.close()


async def test_a_database_that_is_replaced_under_the_gateway_is_a_fault(tmp_path: Path) -> None:
    log = sequencer_in(tmp_path, signer=SIGNER, retry_s=0.0)
    await log.open()
    await submit(log, [entry(number) for number in range(3)]).places()
    (tmp_path / "audit.db").rename(tmp_path / "moved.db")
    await probed_until(log, lambda: log.fault)
    await log.close()


async def test_a_head_that_is_changed_by_hand_stops_the_log_for_good(tmp_path: Path) -> None:
    log = sequencer_in(tmp_path, signer=SIGNER, retry_s=0.0)
    await log.open()
    await submit(log, [entry(number) for number in range(3)]).places()
    with sqlite3.connect(tmp_path / "audit.db") as db:
        db.execute("UPDATE head SET size = 2")
    await probed_until(log, lambda: log.fault and not log.fault.retryable)
    assert isinstance(log.fault, (LogForked, StoreDamaged))
    with pytest.raises((LogForked, StoreDamaged)):
        submit(log, [entry(9)])
    await log.close()
