"""What this department answered, durable before an answer leaves, and settled when its receipt comes.

It is how a provider finds out a gateway that releases without logging: an answer without a receipt in time
is overdue. It is also what refuses a replayed request after a restart: ids are remembered for longer than
any request stays fresh.

One thread owns the one connection (WAL, FULL) and takes what queued meanwhile into one transaction. If a
transaction fails, nobody in it is told that it is durable, and memory does not count it.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar, cast

from agent.provider import journal_store as store
from agent.provider.journal_store import Answered, Receipted
from exchange.clock import Clock
from exchange.errors import AuditUnavailable, ExchangeError, QueueFull, Replayed

T = TypeVar("T")
GROUP = 64
WAITING = 4096


class _Job(NamedTuple):
    """Work for the next transaction, and who waits for it."""

    work: Callable[[sqlite3.Connection], Any]
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


class Journal:
    """The provider's journal.

    Args:
        path: its file.
        clock: the time.
        remember_s: how long ids are held in memory against replay, seconds: longer than requests stay fresh.
    """

    def __init__(self, *, path: Path, clock: Clock, remember_s: int = 3600) -> None:
        self._path, self._clock, self._remember_ms = path, clock, remember_s * 1000
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._recent: dict[bytes, int] = {}
        self._open: dict[bytes, int] = {}
        self._lost = 0

    async def open(self) -> None:
        """Open the file and load what must be remembered.

        Raises:
            StoreDamaged: the file is damaged or no journal.
            AuditUnavailable: it cannot be opened or written.
        """
        since_ms = self._clock.now_ms() - self._remember_ms
        connection = await asyncio.to_thread(store.connect, self._path)
        self._recent, self._open = await asyncio.to_thread(store.load, connection, since_ms)
        self._thread = threading.Thread(target=self._work, args=(connection,), name="journal", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Finish what is queued and close the file."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def known(self, exchange_id: bytes) -> bool:
        """Whether an exchange was answered, or is being written now."""
        return exchange_id in self._recent

    @property
    def open_items(self) -> int:
        """How many answers wait for their receipts."""
        return len(self._open)

    @property
    def lost_items(self) -> int:
        """How many answers were on links that broke since the journal was opened."""
        return self._lost

    def overdue(self, now_ms: int, after_s: float) -> list[bytes]:
        """Return the ids of answers that have waited longer for their receipts, oldest first, at most 100."""
        limit_ms = now_ms - int(after_s * 1000)
        late: list[bytes] = []
        for exchange_id, at_ms in self._open.items():
            if at_ms >= limit_ms or len(late) >= 100:
                break
            late.append(exchange_id)
        return late

    async def answered(self, rows: Sequence[Answered | tuple[bytes, bytes, bytes, int]]) -> None:
        """Note answers; when this returns they are durable and may leave.

        Args:
            rows: exchange id (16 bytes), request digest and response digest (32 bytes), Unix milliseconds.

        Raises:
            Replayed: one of the exchanges was answered before; none of the rows is noted.
            AuditUnavailable: they could not be made durable; nothing may leave.
            QueueFull: too much waits to be written.
        """
        if any(row[0] in self._recent for row in rows) or len({row[0] for row in rows}) < len(rows):
            raise Replayed("exchange")
        batch = [Answered(*row) for row in rows]
        self._recent.update((row.exchange_id, row.at_ms) for row in batch)
        try:
            await self._run(lambda connection: store.put(connection, batch))
        except ExchangeError as error:
            if not isinstance(error, Replayed):  # a replayed one stays known
                for row in batch:
                    self._recent.pop(row.exchange_id, None)
            raise
        self._open.update((row.exchange_id, row.at_ms) for row in batch)
        self._forget()

    async def receipted(self, rows: Sequence[Receipted | tuple[bytes, bytes, bytes, int]]) -> list[bytes]:
        """Note receipts that were verified.

        Args:
            rows: exchange id, request digest, response digest and index of the log entry.

        Returns:
            The ids of entries that fit no answer of this journal: somebody logged what was not answered so.

        Raises:
            AuditUnavailable: they could not be made durable.
        """
        batch = [Receipted(*row) for row in rows]
        odd = await self._run(lambda connection: store.settle(connection, batch))
        wrong = set(odd)
        for row in batch:
            if row.exchange_id not in wrong:
                self._open.pop(row.exchange_id, None)
        return odd

    async def lost(self, exchange_ids: Sequence[bytes]) -> None:
        """Note that the link of these answers broke, so that their receipts may never come.

        Raises:
            AuditUnavailable: it could not be made durable.
        """
        ids = list(exchange_ids)
        await self._run(lambda connection: store.lose(connection, ids))
        for exchange_id in ids:
            self._lost += self._open.pop(exchange_id, None) is not None

    async def prune(self, before_ms: int, *, most: int = 10_000) -> int:
        """Delete old answers that are not open, a bounded number at a time; return how many."""
        return await self._run(lambda connection: store.prune(connection, before_ms, most))

    def _forget(self) -> None:
        limit_ms = self._clock.now_ms() - self._remember_ms
        old = []
        for exchange_id, at_ms in self._recent.items():
            if at_ms >= limit_ms:
                break
            old.append(exchange_id)
        for exchange_id in old:
            del self._recent[exchange_id]

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            raise AuditUnavailable("journal: not open")
        if self._waiting >= WAITING:
            raise QueueFull("journal")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting += 1
        self._jobs.put(_Job(work, future, loop))
        # Shielded: a caller that gives up does not undo what may have become durable.
        return cast(T, await asyncio.shield(future))

    def _settle(self, outcomes: Sequence[tuple["asyncio.Future[Any]", Any]]) -> None:
        for future, outcome in outcomes:
            self._waiting -= 1
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
                future.exception()  # its caller may have given up; then nobody asks
            else:
                future.set_result(outcome)

    def _work(self, connection: sqlite3.Connection) -> None:
        """Take what queued, commit it as one transaction, tell everybody; until closed."""
        last = False
        while not last:
            group: list[_Job] = []
            job = self._jobs.get()
            while True:
                last = job is None
                if job is not None:
                    group.append(job)
                if last or len(group) >= GROUP:
                    break
                try:
                    job = self._jobs.get_nowait()
                except Empty:
                    break
            if group:
                self._tell(group, _transact(connection, group))
        connection.close()

    def _tell(self, group: Sequence[_Job], outcomes: Sequence[Any]) -> None:
        futures = [job.future for job in group]
        try:
            group[0].loop.call_soon_threadsafe(self._settle, list(zip(futures, outcomes, strict=True)))
        except RuntimeError:
            return  # the loop is closed: nobody waits


def _transact(connection: sqlite3.Connection, group: Sequence[_Job]) -> list[Any]:
    """Run a group in one transaction; return each job's result, or everybody's failure."""
    outcomes: list[Any] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for job in group:
            try:
                outcomes.append(job.work(connection))
            except ExchangeError as error:
                outcomes.append(error)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.rollback()
        return [store.fault(error) for _ in group]
    return outcomes
