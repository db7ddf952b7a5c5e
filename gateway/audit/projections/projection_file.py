"""The file of a projection: what an entry's rows are, and how they get in and out of it.

Used by one thread, the projection's. The rows of a step and how far they go are one transaction, so a crash
loses the step. How far they go names the last leaf by its digest: a file of another log is not gone on with.
"""

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError

from exchange.errors import EntryErased
from exchange.v1 import audit_pb2
from gateway.audit.log.kept import kept_leaves
from gateway.audit.projections.questions import is_damage
from gateway.fold import Head

READ = 256
"""Entries of one reading."""
PIECE = 16
"""Entries that are parsed and added at a time, before others get their turn."""

_PROGRESS = """
CREATE TABLE IF NOT EXISTS progress (only INTEGER PRIMARY KEY CHECK (only = 1), version INTEGER NOT NULL,
                                     next INTEGER NOT NULL, last BLOB NOT NULL) STRICT
"""
_log = structlog.get_logger("gateway.audit")


@dataclass(frozen=True, slots=True)
class Projected:
    """One entry on its way into a projection."""

    index: int
    leaf: bytes
    entry: audit_pb2.AuditEntry


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

    def forget(self, db: sqlite3.Connection, first: int, end: int) -> None:
        """Remove the rows of the entries from an index to before another.

        Raises:
            sqlite3.Error: it cannot; nothing is removed then.
        """
        ...

    def lacks(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> bool:
        """Return whether a row that `add` made of one of these entries is not there, or is another.

        Raises:
            sqlite3.Error: the file cannot be read.
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


class _Foreign(Exception):
    """The file is of another log or version."""


class ProjectionFile:
    """A projection's file and the one connection that writes it.

    Args:
        path: of the database file.
        log: the audit log.
        content: what is projected.

    Attributes:
        size: up to where it holds the log; may be read from any thread.
    """

    def __init__(self, *, path: Path, log: Log, content: Content) -> None:
        self._path = path
        self._log = log
        self._content = content
        self._db: sqlite3.Connection | None = None
        self.size = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._db is not None

    def open(self) -> bool:
        """Open the file, or make it where it is absent.

        Returns:
            Whether it can be gone on with; otherwise it is damaged, or of another log or version.

        Raises:
            sqlite3.Error: it is out of reach.
            StoreDamaged, AuditUnavailable: the log cannot be read.
        """
        self.close()
        try:
            self._connect()
        except (sqlite3.Error, _Foreign) as error:
            if not is_damage(error) and not isinstance(error, _Foreign):
                raise
            _log.warning("projection_made_anew", name=self._path.name, reason=type(error).__name__)
            return False
        return True

    def remove(self) -> None:
        """Throw the file away. Nothing is lost: everything in it is in the log."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the connection."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def step(self, count: int, worked: Callable[[float], None]) -> None:
        """Project the next entries. A crash in here loses them from the projection only.

        Args:
            count: how many; the log has them.
            worked: told after each piece how many seconds of the processor it took; may rest.

        Raises:
            sqlite3.Error: they cannot be written; the step is undone.
            StoreDamaged, AuditUnavailable: the log cannot be read; the step is undone.
        """
        end = self.size + count
        with self._transaction() as db:
            # Where the last entry was erased there is nothing to know the log by; the digest is of nothing.
            last = b""
            for first in range(self.size, end, READ):
                leaves = kept_leaves(self._log, first, min(READ, end - first))
                for at in range(0, len(leaves), PIECE):
                    begun = time.thread_time()
                    self._content.add(db, _parsed(leaves[at : at + PIECE]))
                    worked(time.thread_time() - begun)
                last = _digest(leaves[-1][1]) if leaves and leaves[-1][0] == end - 1 else b""
            progress = (self._content.version, end, last)
            db.execute("INSERT OR REPLACE INTO progress VALUES (1, ?, ?, ?)", progress)
        self.size = end

    def forget(self, first: int, end: int) -> None:
        """Remove the rows of erased entries, save for those of them that are kept.

        Raises:
            sqlite3.Error: they cannot be removed; nothing is.
            StoreDamaged, AuditUnavailable: the log cannot be read; nothing is removed.
        """
        kept = kept_leaves(self._log, first, min(end, self.size) - first) if first < self.size else []
        with self._transaction() as db:
            self._content.forget(db, first, end)
            self._content.add(db, _parsed(kept))

    def lacks(self, first: int, count: int, worked: Callable[[float], None]) -> bool:
        """Return whether rows of some entries are missing or altered.

        Args:
            first, count: entries that were projected.
            worked: as `step`.

        Raises:
            sqlite3.Error: the file cannot be read.
            StoreDamaged, AuditUnavailable: the log cannot be read.
        """
        assert self._db is not None
        leaves = kept_leaves(self._log, first, count)
        for at in range(0, len(leaves), PIECE):
            begun = time.thread_time()
            if self._content.lacks(self._db, _parsed(leaves[at : at + PIECE])):
                return True
            worked(time.thread_time() - begun)
        return False

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db
        assert db is not None
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.rollback()
            raise

    def _connect(self) -> None:
        self._db = db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA wal_autocheckpoint = 4000")
        db.execute("PRAGMA cache_size = -32768")
        # What was erased must not stay readable in free pages.
        db.execute("PRAGMA secure_delete = ON")
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

    def _same_log(self, size: int, last: bytes) -> bool:
        if size > self._log.head.size:
            return False
        if not last:
            return True
        try:
            return [_digest(leaf) for leaf in self._log.leaves(size - 1, 1)] == [last]
        except EntryErased:
            return True


def held(db: sqlite3.Connection) -> int:
    """Return up to where a projection holds the log, as the file that is asked says itself."""
    row = db.execute("SELECT next FROM progress").fetchone()
    return int(row[0])


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
