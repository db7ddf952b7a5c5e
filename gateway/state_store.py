"""`state.db`: a throw-away projection of the log, so that a start need not read every exchange again.

1. Grants are kept as they stand (`gateway.grant_table`): a region may have a million. Of all other acts that
   change the state it holds the entries' leaves, in order, and they are folded again.
2. Below `applied_index` the log holds no other change. Rows and `applied_index` change in one transaction.
3. The log is the truth: a projection that is damaged, altered, of another log or ahead of it is thrown away
   and made again by reading the log. Keyed sums over all rows and the heading show it (`gateway.row_sum`).

One connection, used by one thread.
"""

import contextlib
import hashlib
import hmac
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from exchange.clock import system_random
from exchange.errors import StoreDamaged
from exchange.keystore import KeyStore
from gateway.grant_rows import SHAPE, Unpacker
from gateway.grant_table import SCHEMA, Granted, GrantTable
from gateway.row_sum import SUM_BYTES, RowSum, added

EMPTY = bytes(SUM_BYTES)
_SCHEMA = (
    SCHEMA
    + """
CREATE TABLE event (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT;
CREATE TABLE meta (only INTEGER PRIMARY KEY CHECK (only = 1), origin TEXT NOT NULL,
                   applied_index INTEGER NOT NULL, last_index INTEGER NOT NULL, last_digest BLOB NOT NULL,
                   events BLOB NOT NULL, grants BLOB NOT NULL, seal BLOB NOT NULL) STRICT;
"""
)
SCHEMA_VERSION = int.from_bytes(hashlib.sha256((_SCHEMA + SHAPE).encode()).digest()[:4]) >> 1
"""Of the tables and of what a grant consists of: another one is thrown away."""

STATE_KEY = "state"

_META = "SELECT origin, applied_index, last_index, last_digest, events, grants, seal FROM meta"
_SET_META = """
UPDATE meta SET applied_index = ?, last_index = ?, last_digest = ?, events = ?, grants = ?, seal = ?
"""


def state_key(keystore: KeyStore) -> bytes:
    """Return the key of the projection's sums, 32 bytes; made where there is none."""
    key = keystore.get(STATE_KEY)
    if key is None:
        key = system_random(SUM_BYTES)
        keystore.put(STATE_KEY, key)
    return key


class StateStore:
    """Keeps what changes the state.

    Args:
        path: of the database file; made where it is absent.
        origin: of the log it projects.
        key: secret, at most 64 bytes: who does not have it cannot alter the file unnoticed. Empty tells
            damage only.
    """

    def __init__(self, *, path: Path, origin: str, key: bytes = b"") -> None:
        self._path = path
        self._origin = origin
        self._key = key
        self._db: sqlite3.Connection | None = None
        self._table = GrantTable(key=key)
        self._leaves = RowSum(key=key, table="event")
        self._applied = 0
        self._last = (-1, b"")
        self._events = self._grants = EMPTY

    def open(self) -> int:
        """Open the store.

        Returns:
            `applied_index`: where the log is to be read on; 0 where there is nothing to go by.
        """
        try:
            return self._read()
        except (sqlite3.DatabaseError, StoreDamaged):
            # Nothing is lost: everything in the file is in the log.
            return self.reset()

    def reset(self) -> int:
        """Throw everything away and begin anew."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        return self._read()

    def add(
        self,
        events: Iterable[tuple[int, bytes]],
        applied_index: int,
        *,
        grants: Iterable[Granted] = (),
        last: tuple[int, bytes] | None = None,
    ) -> None:
        """Keep leaves and grants, and note that the log was read up to `applied_index`, in one transaction.

        A crash here loses the tail of the projection only; the next start reads it from the log.

        Args:
            events: index and leaf of entries that are folded again.
            applied_index: below it the log holds no other change.
            grants: as they stand, in the order of the entries that changed them.
            last: index and leaf of the last entry of all these; by default of the last of the events.

        Raises:
            StoreDamaged: the file cannot be written.
        """
        rows = list(events)
        newest = last or (rows[-1] if rows else None)
        noted = self._last if newest is None else (newest[0], hashlib.sha256(newest[1]).digest())
        change = self._leaves.many(rows)
        try:
            with self._open_db as db:
                db.executemany("INSERT INTO event (idx, leaf) VALUES (?, ?)", rows)
                held = added(self._grants, self._table.put(db, grants))
                self._note(db, applied_index, noted, added(self._events, change), held)
        except (sqlite3.Error, TypeError) as error:
            raise StoreDamaged("state.db") from error

    def forget(self, indexes: Sequence[int]) -> None:
        """Keep leaves no longer that make nothing of the state any more, in one transaction.

        Raises:
            StoreDamaged: the file cannot be written.
        """
        change = 0
        try:
            with self._open_db as db:
                for index in indexes:
                    row = db.execute("DELETE FROM event WHERE idx = ? RETURNING leaf", (index,)).fetchone()
                    if row is not None:
                        change -= self._leaves.one(index, row[0])
                self._note(db, self._applied, self._last, added(self._events, change), self._grants)
        except sqlite3.Error as error:
            raise StoreDamaged("state.db") from error

    def events(self) -> Iterator[tuple[int, bytes]]:
        """Yield (index, leaf) of every entry that is folded again, in order."""
        yield from self._open_db.execute("SELECT idx, leaf FROM event ORDER BY idx")

    def grants(self) -> tuple[Iterator[tuple[int, bytes]], Unpacker]:
        """Return the rows of all grants, in order of application, and what reads them.

        Raises:
            StoreDamaged: also while iterating, at the end at the latest, where a row was changed, added or
                taken away.
        """
        return self._table.load(self._open_db, self._grants)

    def last(self) -> tuple[int, bytes] | None:
        """Return index and SHA-256 of the leaf of the last entry that changed the state; None for none."""
        return None if self._last[0] < 0 else self._last

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None
        self._table.forget()

    @property
    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreDamaged("state.db is closed")
        return self._db

    def _note(
        self, db: sqlite3.Connection, applied: int, last: tuple[int, bytes], events: bytes, grants: bytes
    ) -> None:
        """Write the heading; what is in memory follows it, and a transaction undone is never gone on from."""
        seal = self._seal(applied, last, events, grants)
        db.execute(_SET_META, (applied, *last, events, grants, seal))
        self._applied, self._last, self._events, self._grants = applied, last, events, grants

    def _seal(self, applied: int, last: tuple[int, bytes], events: bytes, grants: bytes) -> bytes:
        parts = self._origin, applied, last[0], last[1].hex(), events.hex(), grants.hex()
        text = "\n".join(map(str, parts)).encode()
        return hashlib.blake2b(text, key=self._key, digest_size=SUM_BYTES, person=b"meta").digest()

    def _read(self) -> int:
        self._db = db = sqlite3.connect(self._path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            self._make(db)
        if db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
            raise StoreDamaged("state.db")
        origin, applied, last_index, last_digest, events, grants, seal = db.execute(_META).fetchone()
        last = last_index, last_digest
        whole = hmac.compare_digest(seal, self._seal(applied, last, events, grants))
        if origin != self._origin or not whole:
            raise StoreDamaged("state.db")
        if added(EMPTY, self._leaves.many(self.events())) != events:
            raise StoreDamaged("state.db")
        self._applied, self._last, self._events, self._grants = applied, last, events, grants
        return int(applied)

    def _make(self, db: sqlite3.Connection) -> None:
        with db, contextlib.closing(db.cursor()) as cursor:
            for statement in _SCHEMA.split(";"):
                cursor.execute(statement)
            seal = self._seal(0, (-1, b""), EMPTY, EMPTY)
            row = (1, self._origin, 0, -1, b"", EMPTY, EMPTY, seal)
            cursor.execute("INSERT INTO meta VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
