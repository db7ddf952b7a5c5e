import asyncio
import os
import sqlite3
import subprocess
import sys

import pytest

from agent.provider.journal import Journal
from agent.provider.journal_store import Answered
from exchange.errors import AuditUnavailable, Replayed, StoreDamaged

T0 = 1_790_000_000_000


class StillClock:
    def __init__(self, now_ms=T0):
        self.now = now_ms

    def now_ms(self):
        return self.now


def row(n, at_ms=T0):
    return Answered(n.to_bytes(16), bytes([n % 251]) * 32, bytes([n % 249]) * 32, at_ms)


def receipt(n, index=5):
    one = row(n)
    return (one.exchange_id, one.request_digest, one.response_digest, index)


@pytest.fixture
async def journal(tmp_path):
    one = Journal(path=tmp_path / "journal.db", clock=StillClock())
    await one.open()
    yield one
    await one.close()


async def reopened(journal, now_ms=T0):
    await journal.close()
    again = Journal(path=journal._path, clock=StillClock(now_ms))
    await again.open()
    return again


async def test_an_answer_is_on_disk_when_answered_returns(journal):
    await journal.answered([row(n) for n in range(1, 33)])
    reader = sqlite3.connect(f"file:{journal._path}?mode=ro", uri=True)
    assert reader.execute("SELECT count(*) FROM answered").fetchone() == (32,)
    assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal.open_items == 32


async def test_an_exchange_is_known_from_then_on_and_after_a_restart(journal):
    assert not journal.known(row(1).exchange_id)
    await journal.answered([row(1)])
    assert journal.known(row(1).exchange_id)
    again = await reopened(journal)
    assert again.known(row(1).exchange_id)
    with pytest.raises(Replayed):
        await again.answered([row(1)])
    await again.close()


async def test_a_replay_forgotten_by_memory_is_still_refused_by_the_file(journal):
    await journal.answered([row(1)])
    again = await reopened(journal, T0 + 10_000_000)
    assert not again.known(row(1).exchange_id)
    with pytest.raises(Replayed):
        await again.answered([row(1), row(2)])
    assert not again.known(row(2).exchange_id) or again.open_items == 1
    await again.close()


async def test_of_two_answers_to_one_exchange_at_once_only_one_is_noted(journal):
    outcomes = await asyncio.gather(
        journal.answered([row(1)]), journal.answered([row(1)]), return_exceptions=True
    )
    assert sorted(type(o).__name__ for o in outcomes) == ["NoneType", "Replayed"]
    with pytest.raises(Replayed):
        await journal.answered([row(2), row(2)])


async def test_batches_at_once_are_all_noted(journal):
    await asyncio.gather(*(journal.answered([row(n * 10 + k) for k in range(10)]) for n in range(1, 41)))
    assert journal.open_items == 400
    again = await reopened(journal)
    assert again.open_items == 400
    await again.close()


async def test_what_waits_too_long_for_its_receipt_is_overdue_and_a_receipt_settles_it(journal):
    await journal.answered([row(1, T0 - 30_000), row(2, T0 - 5_000)])
    assert journal.overdue(T0, 10) == [row(1).exchange_id]
    assert await journal.receipted([receipt(1)]) == []
    assert journal.overdue(T0, 10) == []
    again = await reopened(journal)
    assert again.overdue(T0, 1) == [row(2).exchange_id]
    await again.close()


async def test_a_receipt_that_fits_no_answer_is_told_and_settles_nothing(journal):
    await journal.answered([row(1), row(2)])
    other = (row(1).exchange_id, row(1).request_digest, b"\0" * 32, 9)
    odd = await journal.receipted([other, receipt(2), receipt(3)])
    assert odd == [row(1).exchange_id, row(3).exchange_id]
    assert journal.open_items == 1


async def test_what_a_broken_link_lost_is_not_overdue_and_a_late_receipt_still_counts(journal):
    await journal.answered([row(1, T0 - 60_000)])
    await journal.lost([row(1).exchange_id, row(7).exchange_id])
    assert journal.overdue(T0, 1) == []
    assert journal.lost_items == 1
    assert await journal.receipted([receipt(1)]) == []
    again = await reopened(journal)
    assert again.open_items == 0
    await again.close()


async def test_pruning_takes_settled_answers_and_never_open_ones(journal):
    await journal.answered([row(n, T0 - 1000 * n) for n in range(1, 11)])
    await journal.receipted([receipt(n) for n in range(1, 6)])
    await journal.lost([row(6).exchange_id])
    assert await journal.prune(T0, most=4) == 4
    assert await journal.prune(T0) == 2
    assert await journal.prune(T0) == 0
    assert journal.open_items == 4


async def test_ids_are_forgotten_when_no_request_can_be_fresh_any_more(tmp_path):
    clock = StillClock()
    journal = Journal(path=tmp_path / "j.db", clock=clock, remember_s=60)
    await journal.open()
    await journal.answered([row(1)])
    clock.now = T0 + 120_000
    await journal.answered([row(2, clock.now)])
    assert not journal.known(row(1).exchange_id)
    assert journal.known(row(2).exchange_id)
    await journal.close()


async def test_a_failed_transaction_tells_everybody_and_leaves_nothing_behind(journal):
    blocker = sqlite3.connect(journal._path, isolation_level=None)
    await journal.answered([row(1)])
    journal_timeout = "PRAGMA busy_timeout = 1"
    await journal._run(lambda connection: connection.execute(journal_timeout).fetchall())
    blocker.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(
        journal.answered([row(2)]), journal.answered([row(3)]), return_exceptions=True
    )
    assert [type(o) for o in outcomes] == [AuditUnavailable, AuditUnavailable]
    assert not journal.known(row(2).exchange_id)
    assert journal.open_items == 1
    blocker.execute("ROLLBACK")
    await journal.answered([row(2)])
    assert journal.open_items == 2


async def test_a_full_disk_refuses_the_answer_and_the_journal_goes_on_when_there_is_room(journal):
    await journal._run(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchall())
    with pytest.raises(AuditUnavailable):
        await journal.answered([row(n) for n in range(1, 400)])
    assert journal.open_items == 0
    await journal._run(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchall())
    await journal.answered([row(n) for n in range(1, 400)])
    assert journal.open_items == 399


async def test_a_file_that_is_no_journal_or_a_newer_one_is_damaged(tmp_path):
    bad = tmp_path / "bad.db"
    bad.write_bytes(b"nonsense" * 1000)
    newer = tmp_path / "newer.db"
    database = sqlite3.connect(newer)
    database.execute("PRAGMA user_version = 99")
    database.commit()
    for path in (bad, newer):
        with pytest.raises(StoreDamaged):
            await Journal(path=path, clock=StillClock()).open()


async def test_a_journal_that_cannot_be_opened_is_unavailable(tmp_path):
    with pytest.raises(AuditUnavailable):
        await Journal(path=tmp_path / "nowhere" / "j.db", clock=StillClock()).open()


async def test_a_caller_that_gives_up_does_not_undo_what_became_durable(journal):
    task = asyncio.create_task(journal.answered([row(1)]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again = await reopened(journal)
    assert again.known(row(1).exchange_id)
    await again.close()


KILLED = """
import asyncio, os, pathlib, sys
from agent.provider.journal import Journal
from exchange.clock import SystemClock

async def main():
    journal = Journal(path=pathlib.Path(sys.argv[1]), clock=SystemClock())
    await journal.open()
    for n in range(1, 10_000):
        await journal.answered([(n.to_bytes(16), bytes(32), bytes(32), SystemClock().now_ms())])
        os.write(1, n.to_bytes(4))

asyncio.run(main())
"""


def test_what_was_told_durable_is_there_after_kill_9(tmp_path):
    path = tmp_path / "journal.db"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": "."},
    )
    for _ in range(50):
        told = int.from_bytes(child.stdout.read(4))
    child.kill()
    rest = child.stdout.read()
    told = int.from_bytes(rest[-4:]) if rest else told
    child.wait()
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("SELECT count(*) FROM answered").fetchone()[0] >= told >= 50
