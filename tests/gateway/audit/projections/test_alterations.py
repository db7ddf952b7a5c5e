"""A projection compares itself with the log: what is taken away or altered comes back and is told of."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from exchange.clock import system_random
from exchange.errors import QueueFull, StoreDamaged
from exchange.identity import parse_uri
from exchange.subject_tags import TAG_BYTES, tag_root
from exchange.v1 import audit_pb2, reason_pb2
from gateway.audit.entries.alerts import Alerts
from gateway.audit.projections import alterations
from gateway.audit.projections.alterations import Alterations
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.search_rows import SearchContent
from gateway.audit.projections.trace_rows import TraceContent
from gateway.audit.writing.sequencer import Sequencer
from tests.support.audit import (
    ORIGIN,
    MemoryAuditStore,
    MemoryHighWater,
    Outcome,
    entry,
    memory_sequencer,
)
from tests.support.keeping import StillClock

SIZE = 150
GATEWAY = parse_uri("spiffe://970100.yunchuan.example/gateway/gateway-1")


def tags_of(number: int) -> list[bytes]:
    return [number.to_bytes(TAG_BYTES)] if number % 2 else []


def leaf(number: int) -> bytes:
    made = audit_pb2.AuditEntry.FromString(entry(number))
    made.exchange.case_number, made.exchange.purpose = f"LJ-{number}", "newborn"
    if tags := tags_of(number):
        made.exchange.tag_period, made.exchange.tag_count = "2026Q4", len(tags)
        made.exchange.tag_root = tag_root(tags)
    return made.SerializeToString()


@pytest.fixture
async def log() -> AsyncIterator[Sequencer]:
    made = memory_sequencer(MemoryAuditStore(), MemoryHighWater())
    await made.open()
    outcome = Outcome()
    made.submit(list(map(leaf, range(SIZE))), outcome, [b"".join(tags_of(number)) for number in range(SIZE)])
    await outcome.places()
    yield made
    await made.close()


ROWS = {
    "search": "SELECT idx, case_number, decision FROM entry ORDER BY idx",
    "trace": "SELECT tag, idx, time_ms, purpose FROM tag ORDER BY idx",
}
HARM = [
    ("search", "DELETE FROM entry WHERE idx = 149"),
    ("search", "UPDATE entry SET case_number = 5 WHERE idx = 70"),
    ("search", "UPDATE part SET high = 3"),
    ("trace", "DELETE FROM tag WHERE idx = 149"),
    ("trace", "UPDATE tag SET tag = zeroblob(32) WHERE idx = 71"),
    ("trace", "UPDATE tag SET time_ms = 9 WHERE idx = 71"),
    ("trace", "UPDATE tag SET purpose = 9 WHERE idx = 71"),
]


@pytest.mark.parametrize(("which", "harm"), HARM)
async def test_what_is_taken_away_or_altered_is_found_and_made_anew(
    log: Sequencer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, harm: str
) -> None:
    monkeypatch.setattr("gateway.audit.projections.projection.POLL_S", 0.0)
    told: asyncio.Queue[str] = asyncio.Queue()
    content = SearchContent() if which == "search" else TraceContent(log)
    path = tmp_path / f"{which}.db"
    async with AsyncExitStack() as stack:
        projection = Projection(path=path, log=log, content=content, altered=told.put_nowait)
        projection.start()
        stack.push_async_callback(projection.close)
        await projection.caught_up(SIZE)

        async def rows() -> list[object]:
            return await projection.query(lambda db: db.execute(ROWS[which]).fetchall())

        whole = await rows()
        assert whole and told.empty()
        with sqlite3.connect(path) as db:
            db.execute(harm)
        db.close()
        assert await asyncio.wait_for(told.get(), 20) == path.name
        made_anew: list[object] = []
        async with asyncio.timeout(20):
            # It is made anew in its own thread, which tells nobody; meanwhile a question may find no file.
            while made_anew != whole:
                await asyncio.sleep(0.01)
                with suppress(StoreDamaged):
                    made_anew = await rows()


async def test_a_whole_projection_is_compared_round_and_round_and_nothing_is_told(
    log: Sequencer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.audit.projections.projection.POLL_S", 0.0)
    told: list[str] = []
    loop, twice = asyncio.get_running_loop(), asyncio.Event()

    class Counted(SearchContent):
        compared = 0

        def lacks(self, db: sqlite3.Connection, entries: object) -> bool:
            found = super().lacks(db, entries)  # type: ignore[arg-type]
            self.compared += len(entries)  # type: ignore[arg-type]
            if self.compared > 2 * SIZE:
                loop.call_soon_threadsafe(twice.set)
            return found

    projection = Projection(path=tmp_path / "s.db", log=log, content=Counted(), altered=told.append)
    projection.start()
    await asyncio.wait_for(twice.wait(), 20)
    await projection.close()
    assert not told and projection.size == SIZE


async def test_an_alert_is_entered_once_also_when_the_log_is_full_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alterations, "RETRY_S", 0.0)
    entered: asyncio.Queue[bytes] = asyncio.Queue()
    refused = [QueueFull("full")]

    async def append(entry: bytes) -> None:
        if refused:
            raise refused.pop()
        await entered.put(entry)

    clock = StillClock()
    alerts = Alerts(append=append, gateway=GATEWAY, origin=ORIGIN, clock=clock, random=system_random)
    told = Alterations(alerts=alerts, clock=clock)
    task = asyncio.create_task(told.run())
    told.notice("trace.db")
    told.notice("trace.db")
    made = audit_pb2.AuditEntry.FromString(await asyncio.wait_for(entered.get(), 20)).administrative
    assert (made.act, made.subject) == (audit_pb2.ACT_ALERT, "trace.db: rows missing or altered")
    assert made.alert.severity == "critical" and made.alert.reason == reason_pb2.REASON_STORE_DAMAGED
    assert entered.empty() and not refused
    task.cancel()
