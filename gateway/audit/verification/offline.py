"""A gateway's folder read as its log, offline: one read-only connection, one snapshot.

A gateway may be running on it. Nothing here is verified: whoever reads believes the log's key alone
(`exchange.tile_reader`).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exchange.errors import BadConfiguration, StoreDamaged
from exchange.tlog_tiles import HashTile
from gateway.audit.log.tree import LogTree
from gateway.storage.ports import StoredHead
from gateway.storage.snapshot import head_in, snapshot
from gateway.storage.sqlite import DATABASE


class OfflineLog:
    """The log as it was when it was opened.

    Args:
        db: a connection in a transaction.
        head: the head that the snapshot has.
    """

    def __init__(self, *, db: sqlite3.Connection, head: StoredHead) -> None:
        self.head = head
        self._db = db
        self._tree = LogTree(read_tile=self._read_tile)
        self._tree.load(head.size, self.leaves)

    @property
    def checkpoint(self) -> str:
        """The head as a signed note."""
        return self.head.checkpoint

    def tile(self, wanted: HashTile) -> bytes:
        """Return a tile's hashes (see `LogTree.tile`)."""
        return self._tree.tile(wanted)

    def leaves(self, first: int, count: int) -> list[bytes]:
        """Return the leaves from an index on.

        Raises:
            StoreDamaged: one is missing.
        """
        wanted = max(0, min(count, self.head.size - first))
        sql = "SELECT leaf FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx"
        rows = self._db.execute(sql, (first, first + wanted)).fetchall()
        if len(rows) != wanted:
            raise StoreDamaged(f"an entry from {first} on is missing")
        return [row[0] for row in rows]

    def _read_tile(self, level: int, n: int) -> bytes | None:
        row = self._db.execute("SELECT data FROM tile WHERE level = ? AND n = ?", (level, n)).fetchone()
        return row[0] if row else None


@contextmanager
def offline_log(folder: Path) -> Iterator[OfflineLog]:
    """Open the log of a folder for as long as the context lasts.

    Raises:
        BadConfiguration: there is none, or nothing in it.
        StoreDamaged: it cannot be read.
    """
    try:
        with snapshot(folder) as db:
            head = head_in(db)
            if head is None:
                raise BadConfiguration(f"{folder}: the log is empty")
            yield OfflineLog(db=db, head=head)
    except sqlite3.Error as error:
        raise StoreDamaged(f"{DATABASE}: {getattr(error, 'sqlite_errorname', '')}") from error
