"""`search.db`: exchange id → index, so that the log itself needs no second index.

A throw-away projection, caught up from the log when somebody asks. What it says is only where to look:
whoever asked gets the entry itself, with its proof. An id may be in several entries (a replay is refused
under the id it repeats): a released exchange goes before others, among equals the first.
"""

import asyncio
import hashlib
import sqlite3
from pathlib import Path
from typing import Protocol

from google.protobuf.message import DecodeError

from exchange.checkpoint import Checkpoint
from exchange.errors import EntryErased, StoreDamaged
from exchange.v1 import audit_pb2
from gateway.audit.log import Present

SEARCH = "search.db"
STEP = 512
EXCHANGE_ID_BYTES = 16
_SCHEMA = """
CREATE TABLE IF NOT EXISTS exchange (id BLOB PRIMARY KEY, idx INTEGER NOT NULL, released INTEGER NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (only INTEGER PRIMARY KEY CHECK (only = 1), next INTEGER NOT NULL,
                                     last BLOB NOT NULL) STRICT;
"""
_ADD = """
INSERT INTO exchange (id, idx, released) VALUES (?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET idx = excluded.idx, released = excluded.released
    WHERE excluded.released > released
"""


class Log(Protocol):
    """What is needed of the audit log."""

    @property
    def head(self) -> Checkpoint:
        """The newest durable head."""
        ...

    def leaves(self, first: int, count: int) -> list[bytes]:
        """Return at most `count` leaves from an index on; EntryErased where one was erased."""
        ...

    def present(self, first: int, count: int) -> Present:
        """Return at most `count` entries from an index on, leaving out what was erased."""
        ...


class ExchangeIndex:
    """Finds the entry of an exchange. Used on the event loop; catching up lets others run every 512 entries.

    Args:
        path: of the database file; made where it is absent, made anew where it is damaged or of another log.
        log: the audit log, open.
    """

    def __init__(self, *, path: Path, log: Log) -> None:
        self._path = path
        self._log = log
        self._db: sqlite3.Connection | None = None
        self._next = 0
        self._catching_up = asyncio.Lock()

    async def find(self, exchange_id: bytes) -> int | None:
        """Return the index of an exchange's entry.

        Args:
            exchange_id: 16 bytes.

        Returns:
            The index; None where the log has no such exchange.

        Raises:
            StoreDamaged: the projection cannot be read or written.
            AuditUnavailable: the log cannot be read.
        """
        try:
            async with self._catching_up:
                db = self._db or self._open()
                while self._next < self._log.head.size:
                    self._catch_up(db)
                    await asyncio.sleep(0)
            row = db.execute("SELECT idx FROM exchange WHERE id = ?", (exchange_id,)).fetchone()
        except sqlite3.Error as error:
            self.close()
            raise StoreDamaged(SEARCH) from error
        return row[0] if row else None

    async def forget(self, first: int, end: int) -> None:
        """Remove what is held of the entries from an index to before another, which were erased.

        Raises:
            StoreDamaged: it cannot be removed.
        """
        try:
            async with self._catching_up:
                db = self._db or self._open()
                db.execute("DELETE FROM exchange WHERE idx >= ? AND idx < ?", (first, end))
        except sqlite3.Error as error:
            self.close()
            raise StoreDamaged(SEARCH) from error

    def close(self) -> None:
        """Close the file; the next question opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except (sqlite3.DatabaseError, StoreDamaged):
            # Nothing is lost: everything in the file is in the log.
            self.close()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        self._db = db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA secure_delete = ON")
        db.executescript(_SCHEMA)
        row = db.execute("SELECT next, last FROM progress").fetchone()
        self._next, last = row or (0, b"")
        if self._next and self._digest_at(self._next - 1) != last:
            raise StoreDamaged(f"{SEARCH} is of another log")
        return db

    def _digest_at(self, index: int) -> bytes:
        try:
            return _digest(self._log.leaves(index, 1))
        except EntryErased:
            # So far behind that nothing shows whose projection it is: it is made anew.
            raise StoreDamaged(f"{SEARCH} lags behind what was erased") from None

    def _catch_up(self, db: sqlite3.Connection) -> None:
        """Project the next entries; a crash here loses them from the projection only."""
        entries, end = self._log.present(self._next, STEP)
        rows = []
        for index, leaf in entries:
            exchange = _exchange(leaf)
            if exchange is not None:
                released = exchange.decision == audit_pb2.DECISION_RELEASED
                rows.append((exchange.exchange_id, index, int(released)))
        last = [leaf for index, leaf in entries[-1:] if index == end - 1]
        db.execute("BEGIN")
        try:
            db.executemany(_ADD, rows)
            db.execute("INSERT OR REPLACE INTO progress VALUES (1, ?, ?)", (end, _digest(last)))
            db.execute("COMMIT")
        except sqlite3.Error:
            db.rollback()
            raise
        self._next = end


def _exchange(leaf: bytes) -> audit_pb2.ExchangeEntry | None:
    try:
        entry = audit_pb2.AuditEntry.FromString(leaf)
    except DecodeError:
        # A leaf that cannot be parsed is a matter of verification; it is no exchange that could be asked for.
        return None
    exchange = entry.exchange
    return exchange if len(exchange.exchange_id) == EXCHANGE_ID_BYTES else None


def _digest(leaves: list[bytes]) -> bytes:
    return hashlib.sha256(b"".join(leaves)).digest()
