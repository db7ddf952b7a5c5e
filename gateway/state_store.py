"""`state.db`: a throw-away projection of the log, so that a start need not read every exchange again.

It holds the leaves of the entries that change the state and `applied_index`, below which the log holds no
others. The log is the truth: a projection that is damaged, of another log or ahead of it is thrown away
and made again by reading the log. One connection, used by one thread.
"""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from exchange.errors import StoreDamaged

SCHEMA_VERSION = 2
EMPTY = bytes(32)
"""The digest of no events."""
_SCHEMA = """
CREATE TABLE event (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT;
CREATE TABLE meta (only INTEGER PRIMARY KEY CHECK (only = 1), origin TEXT NOT NULL,
                   applied_index INTEGER NOT NULL, chain BLOB NOT NULL) STRICT;
"""


class StateStore:
    """Keeps the leaves that change the state.

    Args:
        path: of the database file; made where it is absent.
        origin: of the log it projects.
    """

    def __init__(self, *, path: Path, origin: str) -> None:
        self._path = path
        self._origin = origin
        self._db: sqlite3.Connection | None = None
        self._chain = EMPTY

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

    def add(self, events: Iterable[tuple[int, bytes]], applied_index: int) -> None:
        """Keep leaves and note that the log was read up to `applied_index`, in one transaction.

        A crash here loses the tail of the projection only; the next start reads it from the log.

        Raises:
            StoreDamaged: the file cannot be written.
        """
        rows, chain = list(events), self._chain
        for index, leaf in rows:
            chain = _toggled(chain, index, leaf)
        try:
            with self._open_db as db:
                db.executemany("INSERT INTO event (idx, leaf) VALUES (?, ?)", rows)
                db.execute("UPDATE meta SET applied_index = ?, chain = ?", (applied_index, chain))
        except sqlite3.Error as error:
            raise StoreDamaged("state.db") from error
        self._chain = chain

    def forget(self, indexes: Sequence[int]) -> None:
        """Keep leaves no longer that make nothing of the state any more, in one transaction.

        Raises:
            StoreDamaged: the file cannot be written.
        """
        chain = self._chain
        try:
            with self._open_db as db:
                for index in indexes:
                    row = db.execute("DELETE FROM event WHERE idx = ? RETURNING leaf", (index,)).fetchone()
                    if row is not None:
                        chain = _toggled(chain, index, row[0])
                db.execute("UPDATE meta SET chain = ?", (chain,))
        except sqlite3.Error as error:
            raise StoreDamaged("state.db") from error
        self._chain = chain

    def events(self) -> Iterator[tuple[int, bytes]]:
        """Yield (index, leaf) of everything held, in order."""
        yield from self._open_db.execute("SELECT idx, leaf FROM event ORDER BY idx")

    def last(self) -> tuple[int, bytes] | None:
        """Return index and leaf of the last event held, None where there is none."""
        found = self._open_db.execute("SELECT idx, leaf FROM event ORDER BY idx DESC LIMIT 1").fetchone()
        return None if found is None else (found[0], found[1])

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    @property
    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreDamaged("state.db is closed")
        return self._db

    def _read(self) -> int:
        self._db = db = sqlite3.connect(self._path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            with db, contextlib.closing(db.cursor()) as cursor:
                for statement in _SCHEMA.split(";"):
                    cursor.execute(statement)
                cursor.execute("INSERT INTO meta VALUES (1, ?, 0, ?)", (self._origin, EMPTY))
                cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        origin, applied_index, expected = db.execute(
            "SELECT origin, applied_index, chain FROM meta"
        ).fetchone()
        self._chain = EMPTY
        for index, leaf in self.events():
            self._chain = _toggled(self._chain, index, leaf)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if (version, origin, self._chain) != (SCHEMA_VERSION, self._origin, expected):
            raise StoreDamaged("state.db")
        return int(applied_index)


def _toggled(chain: bytes, index: int, leaf: bytes) -> bytes:
    """Return the digest of a set of events after one more or less; damage shows in it."""
    one = hashlib.sha256(index.to_bytes(8, "big") + leaf).digest()
    return (int.from_bytes(chain) ^ int.from_bytes(one)).to_bytes(len(one))
