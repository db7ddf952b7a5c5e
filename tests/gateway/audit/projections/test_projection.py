"""A projection of the log: caught up in its own thread, thrown away and made anew whenever it must be."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from exchange.errors import AuditUnavailable, EntryErased, StoreDamaged, TooMany
from gateway.audit.projections import questions
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.projection_file import Log, Projected
from gateway.audit.writing.sequencer import Sequencer
from gateway.pace import Pace
from tests.support.audit import MemoryAuditStore, MemoryHighWater, entry, memory_sequencer, submit


class Times:
    """Projects each entry's index and time."""

    version = 1
    schema = "CREATE TABLE seen (idx INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL) STRICT;"

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self.fault: Exception | None = None
        self.added = 0
        self.gate = threading.Event()
        self.gate.set()

    def add(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> None:
        assert self.gate.wait(30)
        self.threads.add(threading.current_thread().name)
        self.added += len(entries)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        rows = [(one.index, one.entry.time_ms) for one in entries]
        db.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", rows)

    def lacks(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> bool:
        return False


class Retained:
    """A log of which a part was erased."""

    def __init__(self, log: Sequencer) -> None:
        self._log = log
        self.erased = range(0)

    @property
    def head(self) -> object:
        return self._log.head

    def leaves(self, first: int, count: int) -> list[bytes]:
        if any(index in self.erased for index in range(first, min(first + count, self._log.head.size))):
            raise EntryErased(str(first))
        return self._log.leaves(first, count)


async def opened() -> Sequencer:
    log = memory_sequencer(MemoryAuditStore(), MemoryHighWater())
    await log.open()
    return log


@pytest.fixture
async def log() -> AsyncIterator[Sequencer]:
    made = await opened()
    await submit(made, [entry(number) for number in range(1200)]).places()
    yield made
    await made.close()


@asynccontextmanager
async def running(path: Path, log: object, content: Times | None = None) -> AsyncIterator[Projection]:
    projection = Projection(path=path / "times.db", log=log, content=content or Times())  # type: ignore[arg-type]
    projection.start()
    try:
        yield projection
    finally:
        await projection.close()


async def seen(projection: Projection, log: Log) -> list[int]:
    assert await projection.caught_up(log.head.size) == log.head.size
    rows = await projection.query(lambda db: db.execute("SELECT idx FROM seen ORDER BY idx").fetchall())
    return [index for (index,) in rows]


async def test_it_holds_the_log_as_soon_as_somebody_waits_for_it_and_parses_in_its_own_thread(
    log: Sequencer, tmp_path: Path
) -> None:
    content = Times()
    async with running(tmp_path, log, content) as projection:
        assert await seen(projection, log) == list(range(1200))
        await log.append(entry(1200))
        assert await seen(projection, log) == list(range(1201))
        assert await projection.caught_up(0) == 1201
        asked_in = await projection.query(lambda db: threading.current_thread().name)
    assert content.threads == {"times"} and asked_in.startswith("times-read")


async def test_it_goes_on_where_it_was_after_a_restart(log: Sequencer, tmp_path: Path) -> None:
    async with running(tmp_path, log) as projection:
        await seen(projection, log)
    await log.append(entry(1200))
    content = Times()
    async with running(tmp_path, log, content) as projection:
        assert await seen(projection, log) == list(range(1201))
    assert content.added == 1


@pytest.mark.parametrize(
    "how", ["thrown away", "not a database", "torn", "of another version", "without a table"]
)
async def test_a_file_that_is_damaged_or_of_another_version_is_made_anew(
    log: Sequencer, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "times.db"
    async with running(tmp_path, log) as projection:
        await seen(projection, log)
    content = Times()
    if how == "thrown away":
        path.unlink()
    elif how == "not a database":
        path.write_bytes(b"no database" * 1000)
    elif how == "torn":
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "of another version":
        content.version = 2
    else:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("DROP TABLE progress")
        other.close()
    async with running(tmp_path, log, content) as projection:
        assert await seen(projection, log) == list(range(1200))
    assert content.added >= 1200


async def test_a_file_of_another_log_or_of_a_longer_one_is_made_anew(log: Sequencer, tmp_path: Path) -> None:
    other = await opened()
    await submit(other, [entry(number) for number in range(5000, 6300)]).places()
    async with running(tmp_path, other) as projection:
        await seen(projection, other)
    await other.close()
    async with running(tmp_path, log) as projection:
        assert await seen(projection, log) == list(range(1200))
        times = await projection.query(lambda db: db.execute("SELECT max(time_ms) FROM seen").fetchone())
    assert times == (1199,)


@pytest.mark.parametrize("fault", [sqlite3.OperationalError("disk I/O error"), ValueError("unforeseen")])
async def test_a_step_that_failed_is_told_to_who_waits_and_made_again(
    log: Sequencer, tmp_path: Path, fault: Exception
) -> None:
    content = Times()
    content.fault = fault
    content.gate.clear()
    async with running(tmp_path, log, content) as projection:
        waiting = asyncio.create_task(projection.caught_up(1200))
        await asyncio.sleep(0)
        content.gate.set()
        with pytest.raises(StoreDamaged):
            await waiting
        assert await seen(projection, log) == list(range(1200))
        assert content.fault is None


async def test_half_a_step_is_undone(log: Sequencer, tmp_path: Path) -> None:
    class Half(Times):
        def add(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> None:
            if entries[0].index >= 640 and not self.threads:
                self.threads.add("failed once")
                raise sqlite3.OperationalError("disk I/O error")
            db.executemany("INSERT INTO seen VALUES (?, ?)", [(one.index, 0) for one in entries])

    # Plain inserts: a row left behind by the half that was written would be in the way of its repetition.
    async with running(tmp_path, log, Half()) as projection:
        while projection.size < 1200:
            with suppress(StoreDamaged):
                await projection.caught_up(1200)
        assert await seen(projection, log) == list(range(1200))


async def test_a_file_that_breaks_while_it_is_asked_is_made_anew(log: Sequencer, tmp_path: Path) -> None:
    content = Times()
    async with running(tmp_path, log, content) as projection:
        await seen(projection, log)
        other = sqlite3.connect(tmp_path / "times.db", isolation_level=None)
        other.execute("DROP TABLE seen")
        other.close()
        with pytest.raises(StoreDamaged):
            await seen(projection, log)
        await log.append(entry(1200))
        assert await seen(projection, log) == list(range(1201))
    assert content.added == 1200 + 1201


async def test_erased_entries_are_passed_over_and_rows_made_before_stay(
    log: Sequencer, tmp_path: Path
) -> None:
    retained = Retained(log)
    async with running(tmp_path, retained) as projection:
        await seen(projection, log)
        retained.erased = range(100, 700)
        assert await seen(projection, log) == list(range(1200))
    (tmp_path / "times.db").unlink()
    async with running(tmp_path, retained) as projection:
        assert await seen(projection, log) == [*range(100), *range(700, 1200)]
    retained.erased = range(100, 1200)
    async with running(tmp_path, retained) as projection:
        assert await seen(projection, log) == [*range(100), *range(700, 1200)]


async def test_a_log_that_cannot_be_read_is_told_to_who_waits(log: Sequencer, tmp_path: Path) -> None:
    class Down(Retained):
        down = True

        def leaves(self, first: int, count: int) -> list[bytes]:
            if self.down:
                raise AuditUnavailable("disk")
            return super().leaves(first, count)

    down = Down(log)
    async with running(tmp_path, down) as projection:
        with pytest.raises(AuditUnavailable):
            await projection.caught_up(1200)
        down.down = False
        async with asyncio.timeout(30):
            while projection.size < 1200:
                # The attempt that was under way may tell once more that the log was down.
                with suppress(AuditUnavailable):
                    await projection.caught_up(1200)
        assert await seen(projection, log) == list(range(1200))


async def test_who_waits_too_long_is_told_how_far_it_goes(log: Sequencer, tmp_path: Path) -> None:
    content = Times()
    content.gate.clear()
    async with running(tmp_path, log, content) as projection:
        assert await projection.caught_up(1200, timeout_s=0.01) == 0
        content.gate.set()
        assert await seen(projection, log) == list(range(1200))


async def test_only_so_many_ask_at_a_time_and_nobody_after_the_end(log: Sequencer, tmp_path: Path) -> None:
    gate = threading.Event()
    async with running(tmp_path, log) as projection:
        await seen(projection, log)
        asked = [
            asyncio.create_task(projection.query(lambda db: gate.wait(30)))
            for _ in range(questions.MAX_QUESTIONS)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooMany):
            await projection.query(lambda db: True)
        gate.set()
        assert all(await asyncio.gather(*asked))
    with pytest.raises(AuditUnavailable):
        await projection.query(lambda db: True)


async def test_a_question_can_change_nothing(log: Sequencer, tmp_path: Path) -> None:
    async with running(tmp_path, log) as projection:
        await seen(projection, log)
        with pytest.raises(StoreDamaged):
            await projection.query(lambda db: db.execute("DELETE FROM seen"))
        assert await seen(projection, log) == list(range(1200))


def test_work_rests_in_proportion_while_the_log_grows_and_not_at_all_while_it_does_not() -> None:
    size, now = 0, 0.0
    pace = Pace(lambda: size, share=0.1, clock=lambda: now)
    assert pace.rest_s(0.001) == 0.0
    size = 1
    assert pace.rest_s(0.001) == pytest.approx(0.009)
    assert pace.rest_s(0.001, share=0.5) == pytest.approx(0.001)
    now = 1.5
    assert pace.rest_s(0.001) == 0.0
