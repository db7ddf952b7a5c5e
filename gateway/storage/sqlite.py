"""The audit log in SQLite: `audit.db`, WAL, synchronous FULL.

One connection writes and checkpoints, used by one thread at a time; a second, read-only one reads. SQLite
before 3.51.3 can damage a WAL database that two connections write or checkpoint, hence also the lock on
`audit.lock`. Pages never spill before the commit, so staging stays in memory. Few indexes: searches run on
a projection.
"""

import fcntl
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

from exchange.errors import AuditUnavailable, StoreDamaged, WrongState
from exchange.segment import Item
from gateway.storage import quota_table, segment_table
from gateway.storage.ports import Gap, Group, QuotaKey, Segment, StoredHead, Used
from gateway.storage.segment_table import SegmentBook
from gateway.storage.segments import SegmentFiles

DATABASE = "audit.db"
LOCK = "audit.lock"
T = TypeVar("T")

# Forward steps: step n leads from schema version n to n + 1 and notes it. Never edited, only added to.
STEPS = (
    """
    CREATE TABLE entry (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT;
    CREATE TABLE tile (level INTEGER NOT NULL, n INTEGER NOT NULL, data BLOB NOT NULL,
                       PRIMARY KEY (level, n)) STRICT;
    CREATE TABLE head (only INTEGER PRIMARY KEY CHECK (only = 1), size INTEGER NOT NULL,
                       root BLOB NOT NULL, checkpoint TEXT NOT NULL) STRICT;
    INSERT INTO schema (version) VALUES (1);
    """,
    """
    CREATE TABLE beside (idx INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
    INSERT INTO schema (version) VALUES (2);
    """,
    """
    CREATE TABLE segment (first INTEGER PRIMARY KEY, end INTEGER NOT NULL, digest BLOB NOT NULL,
                          kept BLOB NOT NULL, newest_ms INTEGER NOT NULL, cleared INTEGER NOT NULL,
                          sealed_entry INTEGER, erased_entry INTEGER, gone INTEGER NOT NULL) STRICT;
    INSERT INTO schema (version) VALUES (3);
    """,
    """
    CREATE TABLE quota (grant_id BLOB NOT NULL, period INTEGER NOT NULL, start_ms INTEGER NOT NULL,
                        used INTEGER NOT NULL, PRIMARY KEY (grant_id, period, start_ms))
                        STRICT, WITHOUT ROWID;
    INSERT INTO schema (version) VALUES (4);
    """,
)

_SETTINGS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_spill = OFF",
    "PRAGMA cache_size = -16384",
    "PRAGMA wal_autocheckpoint = 2000",
    "PRAGMA journal_size_limit = 67108864",
    # What moved into a segment must not stay readable in free pages: erasing the key would erase nothing.
    "PRAGMA secure_delete = ON",
)
_HEAD = "SELECT size, root, checkpoint FROM head"
_SET_HEAD = "INSERT OR REPLACE INTO head (only, size, root, checkpoint) VALUES (1, ?, ?, ?)"


class SqliteAuditStore:
    """Keeps a log in a folder (see `AuditStore` for the contract).

    Args:
        folder: where `audit.db` is; made where it is absent.
        files: the sealed segments; without them what is sealed cannot be read.
    """

    def __init__(self, *, folder: Path, files: SegmentFiles | None = None) -> None:
        self._folder = folder
        self._book = SegmentBook(files=files)
        self._path = folder / DATABASE
        self._lock: int | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        # Reads come from the event loop while a reopening may run in the commit thread.
        self._reading = threading.Lock()

    def open(self) -> StoredHead | None:
        """Open or reopen, forgetting whatever is uncertain.

        Closing *both* connections first makes SQLite recover the WAL, so that a commit in doubt is decided
        by what is in the file. The checkpoint then writes it through to the database and syncs: after a
        failed fsync the page cache alone would only look durable.
        """
        with self._reading:
            self._disconnect()
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._take_lock()
                self._writer = self._connect()
                self._upgrade(self._writer)
                busy, frames, written = self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if busy or frames != written:
                    raise AuditUnavailable("audit.db: something else holds the log open")
                self._reader = sqlite3.connect(
                    f"{self._path.absolute().as_uri()}?mode=ro",
                    uri=True,
                    check_same_thread=False,
                    timeout=1.0,
                )
                row = self._writer.execute(_HEAD).fetchone()
                self._book.load(self._writer)
                self._opened = self._path.stat()
            except (sqlite3.Error, OSError) as error:
                self._disconnect()
                raise _failure(error) from error
            except (AuditUnavailable, StoreDamaged):
                self._disconnect()
                raise
        return StoredHead(size=row[0], root=row[1], checkpoint=row[2]) if row else None

    def stage(self, group: Group) -> None:
        """Insert a group without committing it; a crash here leaves nothing of it."""
        head = group.head
        try:
            db = self._open_writer
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO entry (idx, leaf) VALUES (?, ?)", enumerate(group.leaves, group.first)
            )
            if group.beside:
                db.executemany("INSERT INTO beside (idx, data) VALUES (?, ?)", group.beside.items())
            for tile in group.tiles:
                db.execute(
                    "INSERT INTO tile (level, n, data) VALUES (?, ?, ?)", (tile.level, tile.n, tile.hashes)
                )
            quota_table.add(db, group.quotas)
            db.execute(_SET_HEAD, (head.size, head.root, head.checkpoint))
        except sqlite3.Error as error:
            raise _unavailable(error) from error

    def commit(self) -> None:
        """Commit what is staged: the WAL is written and synced.

        A crash in here leaves all of the group or nothing; nobody has been told of it yet.
        """
        try:
            self._open_writer.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unavailable(error) from error

    def probe(self) -> StoredHead | None:
        """Write and sync a number that means nothing, on the way that a group takes; return the head."""
        try:
            opened, there = self._opened, self._path.stat()
            if opened is None or (opened.st_dev, opened.st_ino) != (there.st_dev, there.st_ino):
                raise AuditUnavailable("audit.db was replaced under the running gateway")
            db = self._open_writer
            turn = db.execute("PRAGMA user_version").fetchone()[0]
            db.execute(f"PRAGMA user_version = {1 - turn if turn in (0, 1) else 0}")
            row = db.execute(_HEAD).fetchone()
        except (sqlite3.Error, OSError) as error:
            raise _failure(error) from error
        return StoredHead(size=row[0], root=row[1], checkpoint=row[2]) if row else None

    def leaves(self, first: int, count: int) -> list[bytes]:
        """Return the committed leaves from an index on, fewer where the log ends or has a gap."""
        rows = self.rows(first, first + count, count)
        if len(rows) == count or not self._book.covers(first):
            return [leaf for place, (index, leaf) in enumerate(rows, first) if index == place]
        return self._book.weave(dict(rows), first, count)

    def rows(self, first: int, end: int, most: int) -> list[tuple[int, bytes]]:
        """Return index and leaf of rows."""
        sql = "SELECT idx, leaf FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx LIMIT ?"
        return self._read(lambda db: db.execute(sql, (first, end, most)).fetchall())

    def taken(self, first: int, end: int) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]]:
        """Return the rows of entries, and the rows beside them, of a range as they are; nothing sealed."""
        sql = "SELECT idx, data FROM beside WHERE idx >= ? AND idx < ? ORDER BY idx"
        beside = self._read(lambda db: db.execute(sql, (first, end)).fetchall())
        return self.rows(first, end, end - first), beside

    def put(self, rows: Sequence[tuple[int, bytes]], beside: Sequence[tuple[int, bytes]]) -> None:
        """Write rows that were taken from another store, into one that is made anew and nobody reads yet."""

        def change(db: sqlite3.Connection) -> None:
            db.executemany("INSERT INTO entry (idx, leaf) VALUES (?, ?)", rows)
            db.executemany("INSERT INTO beside (idx, data) VALUES (?, ?)", beside)

        self._write(change)

    def put_quotas(self, source: "SqliteAuditStore") -> None:
        """Take over what another store has counted, into one that is made anew."""
        counts = source._read(quota_table.rows)
        self._write(lambda db: quota_table.put(db, counts))

    def segments(self) -> Sequence[Segment]:
        """Return what is sealed or was."""
        return self._book.segments

    def gaps(self) -> Sequence[Gap]:
        """Return what was erased."""
        return self._book.gaps

    def items(self, first: int, count: int) -> list[Item]:
        """Return entries with what is beside them."""
        leaves = self.leaves(first, count)
        beside = self._read(lambda db: segment_table.read_beside(db, first, first + len(leaves)))
        return [
            Item(leaf, tuple(beside.get(index, ())) or self._book.beside(index))
            for index, leaf in enumerate(leaves, first)
        ]

    def note(self, segment: Segment) -> None:
        """Keep a segment's state; a crash in here leaves the state before."""
        self._write(lambda db: segment_table.put(db, segment))
        self._book.put(segment)

    def clear(self, segment: Segment, end: int, kept: Collection[int]) -> None:
        """Remove rows that are sealed; a crash in here leaves them all.

        Their pages go through the WAL once, as zeros: the caller keeps the range small.
        """
        self._write(lambda db: segment_table.clear(db, segment, end, kept))
        self._book.put(segment_table.cleared_to(segment, end))

    def beside(self, first: int, count: int) -> dict[int, bytes]:
        """Return what is kept beside entries from an index on, by index, sealed or not."""
        sql = "SELECT idx, data FROM beside WHERE idx >= ? AND idx < ?"
        found = dict(self._read(lambda db: db.execute(sql, (first, first + count)).fetchall()))
        if self._book.covers(first):
            sealed = ((index, self._book.beside(index)) for index in range(first, first + count))
            found |= {index: parts[0] for index, parts in sealed if parts}
        return found

    def used(self, key: QuotaKey) -> Used:
        """Return what is counted against a quota."""
        return self._read(lambda db: quota_table.used(db, key))

    def tile(self, level: int, n: int) -> bytes | None:
        """Return a full tile; None where there is none."""
        sql = "SELECT data FROM tile WHERE level = ? AND n = ?"
        row = self._read(lambda db: db.execute(sql, (level, n)).fetchone())
        return row[0] if row else None

    def free_bytes(self) -> int:
        """Return the free space of the file system that the folder is on."""
        try:
            return shutil.disk_usage(self._folder).free
        except OSError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Close both connections, the reading one first, and let go of the lock."""
        with self._reading:
            self._disconnect()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    @property
    def _open_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            raise AuditUnavailable("audit.db is not open")
        return self._writer

    def _write(self, change: Callable[[sqlite3.Connection], None]) -> None:
        try:
            db = self._open_writer
            db.execute("BEGIN IMMEDIATE")
            change(db)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unavailable(error) from error

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with self._reading:
            if self._reader is None:
                raise AuditUnavailable("audit.db is not open")
            try:
                return query(self._reader)
            except sqlite3.Error as error:
                raise _failure(error) from error

    def _connect(self) -> sqlite3.Connection:
        # Time-out 0: nothing else may write, and the event loop must not wait for it if it does.
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0.0)
        self._writer = db
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise AuditUnavailable("audit.db: the file system does not allow a WAL")
        for setting in _SETTINGS:
            db.execute(setting)
        return db

    def _upgrade(self, db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL) STRICT")
        row = db.execute("SELECT max(version) FROM schema").fetchone()
        version = row[0] or 0
        if version > len(STEPS):
            raise StoreDamaged("audit.db was written by a newer version")
        for step in STEPS[version:]:
            # A crash inside leaves the step undone: it is one transaction.
            db.executescript(f"BEGIN IMMEDIATE; {step} COMMIT;")

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise WrongState("another process has the audit log open") from None
        self._lock = lock

    def _disconnect(self) -> None:
        for db in (self._reader, self._writer):
            if db is not None:
                db.close()
        self._reader = self._writer = None


def _failure(error: Exception) -> AuditUnavailable | StoreDamaged:
    """Tell a damaged file from one that cannot be reached now."""
    damaged = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    code: Any = getattr(error, "sqlite_errorcode", 0)
    return StoreDamaged("audit.db") if code & 0xFF in damaged else _unavailable(error)


def _unavailable(error: Exception) -> AuditUnavailable:
    name = getattr(error, "sqlite_errorname", "") or getattr(error, "strerror", "") or type(error).__name__
    return AuditUnavailable(f"audit.db: {name}")
