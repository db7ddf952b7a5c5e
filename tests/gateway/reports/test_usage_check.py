"""Sums are compared with what the log has: what was taken away or altered is found, told of and put back."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from exchange.v1 import audit_pb2, grant_pb2
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.projection_file import Projected
from gateway.audit.writing.sequencer import Sequencer
from gateway.reports.usage_rows import DAY_MS, USAGE, UsageContent
from tests.gateway.reports.test_usage import FAILED, NOON_MS, REFUSED, Usage
from tests.support.audit import MemoryAuditStore, MemoryHighWater, Outcome, memory_sequencer
from tests.support.region import HEALTH, POLICE
from tests.support.tickets import demand, dispute

TABLES = ("usage", "answer", "age", "application", "ticket")
OTHER = "11980000MB1A0001X9"


def filled() -> Usage:
    """Six days with three exchanges each, an application and two tickets."""
    usage = Usage()
    for day in range(6):
        at_ms = NOON_MS + day * DAY_MS
        usage.exchange(at_ms, data_as_of_ms=at_ms - 60_000)
        usage.exchange(at_ms, decision=REFUSED, hop="provider/police-1")
        usage.exchange(at_ms, decision=FAILED, consumer_organisation=OTHER, rule="deadline")
    grant = grant_pb2.GrantBody(consumer=HEALTH, provider=POLICE, resource="r", nonce=b"n" * 16)
    usage.act(audit_pb2.ACT_GRANT, grant.SerializeToString(), NOON_MS + 5 * DAY_MS)
    for body in (dispute(b"e" * 16), demand()):
        usage.act(audit_pb2.ACT_TICKET, body.SerializeToString(), NOON_MS + 5 * DAY_MS)
    return usage


def contents(db: sqlite3.Connection) -> dict[str, set[object]]:
    return {name: set(db.execute(f"SELECT * FROM {name}")) for name in TABLES}


def round_of(usage: Usage, entries: Sequence[Projected] | None = None, piece: int = 4) -> bool:
    """Compare every entry that is there, as the projection does; return whether anything was found."""
    there = usage.entries if entries is None else entries
    for at in range(0, len(there), piece):
        if usage.content.lacks(usage.db, there[at : at + piece]):
            assert usage.content.lacks(usage.db, there[at : at + piece]), "asked twice it is the same"
            return True
    return False


def mended(usage: Usage, entries: Sequence[Projected] | None = None) -> int:
    """Compare and mend until nothing is found; return how often something was."""
    for count in range(20):
        if not round_of(usage, entries):
            return count
        assert usage.content.mend(usage.db)
    raise AssertionError("it never ends")


HARM = [
    "DELETE FROM usage WHERE day = (SELECT min(day) FROM usage)",
    "DELETE FROM usage WHERE day = (SELECT max(day) FROM usage)",
    "UPDATE usage SET refused = refused - 1 WHERE refused > 0",
    "UPDATE usage SET released = released + 1 WHERE day = (SELECT min(day) FROM usage)",
    "UPDATE usage SET released = released + 1 WHERE day = (SELECT max(day) FROM usage)",
    f"UPDATE usage SET consumer = '{POLICE}' WHERE consumer = '{OTHER}'",
    "INSERT INTO usage SELECT day, consumer, 'x', resource, provider, 1, 0, 0, 1, 1, 1, 1, 0 FROM usage"
    " LIMIT 1",
    "UPDATE answer SET n = n + 1",
    "DELETE FROM answer",
    "UPDATE age SET most = 1",
    "UPDATE age SET n = 0",
    "DELETE FROM application",
    "UPDATE application SET decided_ms = 7",
    "DELETE FROM ticket WHERE kind = 'dispute'",
    "UPDATE ticket SET answered_ms = 7, outcome = 4",
]


def test_a_whole_file_is_compared_round_and_round_and_nothing_is_found() -> None:
    usage = filled()
    for piece in (1, 4, 16, 100):
        assert not round_of(usage, piece=piece) and not round_of(usage, piece=piece)
    usage.exchange(NOON_MS + 9 * DAY_MS)
    assert not round_of(usage)


@pytest.mark.parametrize("harm", HARM)
def test_what_is_taken_away_added_or_altered_is_found_and_put_right(harm: str) -> None:
    usage = filled()
    whole = contents(usage.db)
    assert usage.db.execute(harm).rowcount
    assert mended(usage)
    assert contents(usage.db) == whole


@pytest.mark.parametrize("erased", [range(3), range(4), range(4, 8), range(7, 9)])
def test_sums_of_erased_entries_stay_and_are_no_fault(erased: range) -> None:
    usage = filled()
    whole = contents(usage.db)
    there = [one for one in usage.entries if one.index not in erased]
    assert not round_of(usage, there)
    # What is less than the entries that are there is found all the same; other days are put right exactly.
    usage.db.execute("UPDATE usage SET refused = refused + 1 WHERE day = (SELECT max(day) FROM usage)")
    usage.db.execute("DELETE FROM answer WHERE day = (SELECT max(day) FROM answer)")
    assert mended(usage, there)
    assert contents(usage.db) == whole


def test_a_day_that_was_erased_in_part_is_mended_up_to_what_is_left() -> None:
    usage = filled()
    there = usage.entries[1:]
    usage.db.execute("UPDATE usage SET refused = 0 WHERE day = (SELECT min(day) FROM usage)")
    assert mended(usage, there)
    first = usage.db.execute(
        "SELECT sum(released), sum(refused) FROM usage WHERE day = (SELECT min(day) FROM usage)"
    ).fetchone()
    assert first == (1, 1), "the exchange that was erased is counted still"


def test_an_entry_that_comes_days_late_is_no_fault_and_counts() -> None:
    usage = filled()
    usage.exchange(NOON_MS)
    assert not round_of(usage)
    whole = contents(usage.db)
    usage.db.execute("DELETE FROM usage WHERE day = (SELECT min(day) FROM usage)")
    assert mended(usage)
    assert len(contents(usage.db)["usage"]) == len(whole["usage"])


def test_an_entry_that_comes_days_late_while_a_round_is_under_way_is_no_fault() -> None:
    usage = filled()
    assert not usage.content.lacks(usage.db, usage.entries[:18])
    usage.exchange(NOON_MS)
    assert not usage.content.lacks(usage.db, usage.entries[18:])
    assert not round_of(usage)


@pytest.fixture
async def log() -> AsyncIterator[Sequencer]:
    made = memory_sequencer(MemoryAuditStore(), MemoryHighWater())
    await made.open()
    outcome = Outcome()
    made.submit([one.entry.SerializeToString() for one in filled().entries], outcome)
    await outcome.places()
    yield made
    await made.close()


async def test_a_file_that_was_altered_is_told_of_and_mended_where_it_stands(
    log: Sequencer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.audit.projections.projection.POLL_S", 0.0)
    told: asyncio.Queue[str] = asyncio.Queue()
    path = tmp_path / USAGE
    projection = Projection(path=path, log=log, content=UsageContent(), altered=told.put_nowait)
    projection.start()
    await projection.caught_up(log.head.size)
    whole = await projection.query(contents)
    with sqlite3.connect(path) as db:
        # Of a day of which the log has nothing any more: it is nowhere else.
        db.execute("INSERT INTO answer VALUES (7, 'r', 1, 5)")
        db.execute("DELETE FROM usage WHERE day > 7")
    db.close()
    assert await asyncio.wait_for(told.get(), 20) == USAGE
    whole["answer"].add((7, "r", 1, 5))
    async with asyncio.timeout(20):
        while await projection.query(contents) != whole:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await projection.close()
