"""A projection of the log: a database that answers questions, and may be thrown away at any time.

1. A thread of its own catches up, in small pieces that give way to exchanges (`gateway.pace`); the
   event loop neither parses nor writes. It looks for new entries every second, at once when asked.
2. One connection writes, a second one reads only, in another thread: questions wait for no catching up.
3. What is kept is what the log says up to `size`: the rows of a step and the progress are one transaction,
   so a crash loses the step. Progress names the last leaf by its digest; a file of another log, of another
   version or a damaged one is thrown away and made anew.
4. An entry that was erased has no row: one made before is overwritten when it is (`forget`).
5. It tells only where to look. Whoever asked gets the log's own bytes, so rows that were put there deceive
   nobody; rows that were taken away or altered would. While it has nothing to catch up with, it compares what
   it holds with the log, round and round; a file that lacks something is told of and made anew.

What is in it a `Content` says (`projection_file`); see `search_rows`.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from exchange.errors import AuditUnavailable, ExchangeError, StoreDamaged
from gateway.audit.projections.erasures import Erasures
from gateway.audit.projections.projection_file import Content, Log, ProjectionFile
from gateway.audit.projections.questions import Questions, is_damage
from gateway.pace import Pace

STEP = 4096
"""Entries of one transaction: pages that many of them touch are written once."""
POLL_S = 1.0
COMPARED = 64
"""Entries compared after each poll."""
RETRY_S = 1.0
QUIET_SHARE, HURRIED_SHARE, ASKED_SHARE = 0.08, 0.15, 0.2
"""Of one core while exchanges run: to catch up while nobody waits, while somebody does, and for questions."""
CAUGHT_UP_S = 5.0
_log = structlog.get_logger("gateway.audit")

T = TypeVar("T")


class Projection:
    """Keeps a projection caught up and answers from it.

    Args:
        path: of the database file.
        log: the audit log.
        content: what is projected.
        altered: told its name, on the event loop, when rows were found missing or altered.
    """

    def __init__(
        self, *, path: Path, log: Log, content: Content, altered: Callable[[str], None] = lambda name: None
    ) -> None:
        self.path = path
        self._altered = altered
        self._compared = 0
        self._log = log
        self._file = ProjectionFile(path=path, log=log, content=content)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._waiters: set[tuple[int, asyncio.Future[None]]] = set()
        self._questions = Questions(path, Pace(lambda: log.head.size, share=ASKED_SHARE))
        self._erasures = Erasures()
        self._spoilt = False
        self.fault: ExchangeError | None = None

    @property
    def size(self) -> int:
        """Up to where it holds the log."""
        return self._file.size

    def start(self) -> None:
        """Begin to catch up, on the event loop; the log is open."""
        self._loop = asyncio.get_running_loop()
        self._stopping.clear()
        self._questions.start()
        self._thread = threading.Thread(target=self._run, name=self.path.stem, daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Stop after the piece that is under way, and close the file."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        # The writing connection goes last: the last to close writes the WAL back and removes it.
        await self._questions.close()
        self._stopping.set()
        self._wanted.set()
        await asyncio.to_thread(thread.join)
        self._settle(AuditUnavailable(self.path.name))

    async def caught_up(self, size: int, *, timeout_s: float = CAUGHT_UP_S) -> int:
        """Wait until the projection holds the log up to a size, for so long at most.

        Args:
            size: at most the log's.
            timeout_s: seconds.

        Returns:
            Up to where it holds the log: `size` or more, or less where the time did not suffice.

        Raises:
            StoreDamaged: it cannot be written or made anew.
            StoreDamaged, AuditUnavailable: the log cannot be read.
        """
        if self.size < size:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiter = size, future
            self._waiters.add(waiter)
            self._wanted.set()
            try:
                async with asyncio.timeout(timeout_s):
                    await future
            except TimeoutError:
                pass  # The answer says how far it goes.
            finally:
                self._waiters.discard(waiter)
        return self.size

    async def forget(self, first: int, end: int) -> None:
        """Remove what is held of entries that were erased, save for those of them that are kept.

        Args:
            first: index of the first entry.
            end: index after the last.

        Raises:
            AuditUnavailable: it is not removed for certain; try again.
        """
        if self._thread is None:
            raise AuditUnavailable(self.path.name)
        future = self._erasures.add(first, end)
        self._wanted.set()
        await future

    async def query(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a question finds.

        Args:
            ask: called in the reading thread with a connection that can only read; must be short.

        Raises:
            StoreDamaged: the file cannot be read; it is made anew if it is damaged.
            TooMany: too many ask.
            AuditUnavailable: the projection is closed.
            ExchangeError: what `ask` raises.
        """
        return await self._questions.ask(ask)

    # -- in the catching-up thread -----------------------------------------------------------------------

    def _run(self) -> None:
        pace = Pace(lambda: self._log.head.size, share=QUIET_SHARE)
        while not self._stopping.is_set():
            self._wanted.clear()
            try:
                self._catch_up(pace)
                self._compare(pace)
                self.fault = None
                pause_s = POLL_S
            except Exception as error:
                # Whatever it is, the thread lives on: it is logged, told to who waits, and tried again.
                self._fail(error)
                pause_s = RETRY_S
            self._wanted.wait(pause_s)
        self._file.close()

    def _catch_up(self, pace: Pace) -> None:
        if not self._file.is_open or self._spoilt or self._questions.damaged:
            self._open()
        self._forget_erased()
        while self.size < self._log.head.size and not self._stopping.is_set():
            self._forget_erased()
            self._file.step(min(STEP, self._log.head.size - self.size), partial(self._rest, pace))
            self._call(self._settle, None)

    def _compare(self, pace: Pace) -> None:
        """Compare some of what is held with the log; where something is missing all is made anew."""
        first = self._compared if self._compared < self.size else 0
        count = min(COMPARED, self.size - first)
        worked = partial(self._rest, pace)
        # Twice: an entry may be erased between being read and what is beside it being read.
        if self._file.lacks(first, count, worked) and self._file.lacks(first, count, worked):
            _log.critical("projection_altered", name=self.path.name, index=first, count=count)
            self._spoilt = True
            self._wanted.set()
            self._call(lambda _: self._altered(self.path.name), None)
            count = -first
        self._compared = first + count

    def _rest(self, pace: Pace, worked_s: float) -> None:
        rest_s = pace.rest_s(worked_s, share=HURRIED_SHARE if self._waiters else 0)
        if rest_s:
            self._stopping.wait(rest_s)

    def _forget_erased(self) -> None:
        while erasure := self._erasures.next():
            self._file.forget(erasure.first, erasure.end)
            erasure.done = True
            self._call(self._settle, None)

    def _open(self) -> None:
        spoilt = self._spoilt or self._questions.damaged
        self._spoilt = self._questions.damaged = False
        if not spoilt and self._file.open():
            return
        self._file.remove()
        self._questions.reopen()
        if not self._file.open():
            raise StoreDamaged(self.path.name)

    def _fail(self, error: Exception) -> None:
        """Tell who waits; the file is closed, and opened or made anew at the next attempt."""
        self._file.close()
        self._spoilt = self._spoilt or is_damage(error)
        told = error if isinstance(error, ExchangeError) else StoreDamaged(self.path.name)
        if self.fault is None:
            _log.warning("projection_stands", name=self.path.name, error=type(error).__name__)
        self.fault = told
        self._call(self._settle, told)

    def _call(self, callback: Callable[[ExchangeError | None], None], error: ExchangeError | None) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, error)

    # -- on the event loop -------------------------------------------------------------------------------

    def _settle(self, error: ExchangeError | None) -> None:
        self._erasures.settle(AuditUnavailable(self.path.name) if error is not None else None)
        for size, future in tuple(self._waiters):
            if future.done():
                continue
            if error is not None:
                future.set_exception(error.again())
            elif size <= self.size:
                future.set_result(None)
