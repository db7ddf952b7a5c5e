"""A projection of the log: a database that answers questions, and may be thrown away at any time.

1. A thread of its own catches up, in small pieces that give way to exchanges (`gateway.audit.pace`); the
   event loop neither parses nor writes. It looks for new entries a few times a second, at once when asked.
2. One connection writes, a second one reads only, in another thread: questions wait for no catching up.
3. What is kept is what the log says up to `size`: the rows of a step and the progress are one transaction,
   so a crash loses the step. Progress names the last leaf by its digest; a file of another log, of another
   version or a damaged one is thrown away and made anew.
4. An entry that was erased has no row from then on; a row that was made before stays.
5. It tells only where to look. Whoever asked gets the log's own bytes.

A subclass or user adds meaning by a `Content`; see `gateway.audit.search`.
"""

import asyncio
import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import structlog
from google.protobuf.message import DecodeError

from exchange.errors import AuditUnavailable, EntryErased, ExchangeError, StoreDamaged
from exchange.v1 import audit_pb2
from gateway.audit.kept import kept_leaves
from gateway.audit.pace import Pace
from gateway.audit.questions import Questions, is_damage
from gateway.fold import Head

STEP = 512
"""Entries of one transaction."""
PIECE = 32
"""Entries that are parsed and added at a time, before others get their turn."""
POLL_S = 0.25
RETRY_S = 1.0
QUIET_SHARE = 0.1
HURRIED_SHARE = 0.5
CAUGHT_UP_S = 5.0

_PROGRESS = """
CREATE TABLE IF NOT EXISTS progress (only INTEGER PRIMARY KEY CHECK (only = 1), version INTEGER NOT NULL,
                                     next INTEGER NOT NULL, last BLOB NOT NULL) STRICT
"""
_log = structlog.get_logger("gateway.audit")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Projected:
    """One entry on its way into a projection."""

    index: int
    leaf: bytes
    entry: audit_pb2.AuditEntry


class _Foreign(Exception):
    """The file is of another log or version."""


class Content(Protocol):
    """What is projected. All is called in the projection's threads.

    Attributes:
        version: of the schema and of what `add` makes of an entry; another version is made anew.
        schema: SQL statements, for an empty file.
    """

    version: int
    schema: str

    def add(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> None:
        """Add the rows of some entries, ascending; adding an entry again must change nothing.

        Raises:
            sqlite3.Error: it cannot; the whole step is undone.
        """
        ...


class Log(Protocol):
    """What is needed of the audit log; used from other threads than the event loop's."""

    @property
    def head(self) -> Head:
        """The newest durable head."""
        ...

    def leaves(self, first: int, count: int) -> Sequence[bytes]:
        """Return at most `count` leaves from an index on; EntryErased where one of them is gone."""
        ...


class Projection:
    """Keeps a projection caught up and answers from it.

    Args:
        path: of the database file.
        log: the audit log.
        content: what is projected.
        share: of the time that catching up may take of one core while exchanges run and nobody waits.
    """

    def __init__(self, *, path: Path, log: Log, content: Content, share: float = QUIET_SHARE) -> None:
        self.path = path
        self._log = log
        self._content = content
        self._share = share
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._waiters: set[tuple[int, asyncio.Future[None]]] = set()
        self._questions = Questions(path)
        self._db: sqlite3.Connection | None = None
        self._spoilt = False
        self.size = 0
        self.fault: ExchangeError | None = None

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
        pace = Pace(lambda: self._log.head.size, share=self._share)
        while not self._stopping.is_set():
            self._wanted.clear()
            try:
                self._catch_up(pace)
                self.fault = None
                pause_s = POLL_S
            except Exception as error:
                # Whatever it is, the thread lives on: it is logged, told to who waits, and tried again.
                self._fail(error)
                pause_s = RETRY_S
            self._wanted.wait(pause_s)
        self._disconnect()

    def _catch_up(self, pace: Pace) -> None:
        db = self._db
        if db is None or self._spoilt or self._questions.damaged:
            db = self._open()
        while self.size < self._log.head.size and not self._stopping.is_set():
            self._step(db, min(STEP, self._log.head.size - self.size), pace)
            self._call(self._settle, None)

    def _step(self, db: sqlite3.Connection, count: int, pace: Pace) -> None:
        """Project the next entries. A crash in here loses them from the projection only."""
        first = self.size
        leaves = kept_leaves(self._log, first, count)
        db.execute("BEGIN IMMEDIATE")
        try:
            for at in range(0, len(leaves), PIECE):
                begun = time.thread_time()
                self._content.add(db, _parsed(leaves[at : at + PIECE]))
                rest_s = pace.rest_s(time.thread_time() - begun, share=HURRIED_SHARE if self._waiters else 0)
                if rest_s:
                    self._stopping.wait(rest_s)
            # Where the last entry was erased there is nothing to know the log by; the digest is of nothing.
            last = _digest(leaves[-1][1]) if leaves and leaves[-1][0] == first + count - 1 else b""
            progress = (self._content.version, first + count, last)
            db.execute("INSERT OR REPLACE INTO progress VALUES (1, ?, ?, ?)", progress)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.rollback()
            raise
        self.size = first + count

    def _open(self) -> sqlite3.Connection:
        spoilt = self._spoilt or self._questions.damaged
        self._spoilt = self._questions.damaged = False
        self._disconnect()
        if not spoilt:
            try:
                return self._connect()
            except (sqlite3.Error, _Foreign) as error:
                if not is_damage(error) and not isinstance(error, _Foreign):
                    raise
                _log.warning("projection_made_anew", name=self.path.name, reason=type(error).__name__)
        # Nothing is lost: everything in the file is in the log.
        self._disconnect()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._questions.reopen()
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        self._db = db = sqlite3.connect(self.path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA wal_autocheckpoint = 4000")
        db.execute(_PROGRESS)
        row = db.execute("SELECT version, next, last FROM progress").fetchone()
        version, size, last = row or (self._content.version, 0, b"")
        if version != self._content.version or not self._same_log(size, last):
            raise _Foreign
        if row is None:
            # A crash in here leaves an empty file, which the next start fills.
            begin = f"INSERT INTO progress VALUES (1, {self._content.version:d}, 0, x'')"  # noqa: S608  a number
            db.executescript(f"BEGIN IMMEDIATE; {self._content.schema}; {begin}; COMMIT;")
        self.size = size
        return db

    def _same_log(self, size: int, last: bytes) -> bool:
        if size > self._log.head.size:
            return False
        if not last:
            return True
        try:
            return [_digest(leaf) for leaf in self._log.leaves(size - 1, 1)] == [last]
        except EntryErased:
            return True

    def _fail(self, error: Exception) -> None:
        """Tell who waits; the file is closed, and opened or made anew at the next attempt."""
        self._disconnect()
        self._spoilt = self._spoilt or is_damage(error)
        told = error if isinstance(error, ExchangeError) else StoreDamaged(self.path.name)
        if self.fault is None:
            _log.warning("projection_stands", name=self.path.name, error=type(error).__name__)
        self.fault = told
        self._call(self._settle, told)

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _call(self, callback: Callable[[ExchangeError | None], None], error: ExchangeError | None) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, error)

    # -- on the event loop -------------------------------------------------------------------------------

    def _settle(self, error: ExchangeError | None) -> None:
        for size, future in tuple(self._waiters):
            if future.done():
                continue
            if error is not None:
                future.set_exception(type(error)(error.subject))
            elif size <= self.size:
                future.set_result(None)


def _parsed(leaves: Sequence[tuple[int, bytes]]) -> list[Projected]:
    """Return entries parsed; one that cannot be is a matter of verification, not of search."""
    entries = []
    for index, leaf in leaves:
        try:
            entries.append(Projected(index, leaf, audit_pb2.AuditEntry.FromString(leaf)))
        except DecodeError:
            continue
    return entries


def _digest(leaf: bytes) -> bytes:
    return hashlib.sha256(leaf).digest()
