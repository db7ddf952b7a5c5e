"""Keeps the counts of verifications in a small file of their own: digests and numbers, no value.

Written once a second at most, without waiting for the disk (WAL, NORMAL): a crash of the process loses
nothing that was written, one of the machine at most what the last seconds brought.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.provider.verify_limits import Counted, Kept
from exchange.errors import StoreDamaged

_SCHEMA = """
CREATE TABLE IF NOT EXISTS subject (
  day INTEGER NOT NULL, digest BLOB NOT NULL, asked INTEGER NOT NULL, wrong INTEGER NOT NULL,
  PRIMARY KEY (day, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mismatched (
  hour INTEGER NOT NULL, consumer TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (hour, consumer, digest)
) WITHOUT ROWID;
"""


class VerifyStore:
    """The file.

    Args:
        path: where it is; made where it is missing.

    Raises:
        StoreDamaged: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        with _said():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def load(self, day: int, hour: int) -> Kept:
        """Return what was kept of a day and hour, and forget what is older.

        Raises:
            StoreDamaged.
        """
        with _said():
            self._db.execute("DELETE FROM subject WHERE day < ?", (day,))
            self._db.execute("DELETE FROM mismatched WHERE hour < ?", (hour,))
            rows = self._db.execute("SELECT digest, asked, wrong FROM subject WHERE day = ?", (day,))
            subjects = {digest: Counted(asked, wrong) for digest, asked, wrong in rows}
            mismatched: dict[str, set[bytes]] = {}
            for consumer, digest in self._db.execute(
                "SELECT consumer, digest FROM mismatched WHERE hour = ?", (hour,)
            ):
                mismatched.setdefault(consumer, set()).add(digest)
        found = {consumer: frozenset(digests) for consumer, digests in mismatched.items()}
        return Kept(day, subjects, hour, found)

    def save(self, changed: Kept) -> None:
        """Keep what has changed, and forget what is older.

        Raises:
            StoreDamaged.
        """
        subjects = [(changed.day, digest, *counted) for digest, counted in changed.subjects.items()]
        mismatched = [
            (changed.hour, consumer, digest)
            for consumer, digests in changed.mismatched.items()
            for digest in digests
        ]
        with _said(), self._db:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR REPLACE INTO subject VALUES (?, ?, ?, ?)", subjects)
            self._db.executemany("INSERT OR IGNORE INTO mismatched VALUES (?, ?, ?)", mismatched)
            self._db.execute("DELETE FROM subject WHERE day < ?", (changed.day,))
            self._db.execute("DELETE FROM mismatched WHERE hour < ?", (changed.hour,))


@contextmanager
def _said() -> Iterator[None]:
    """Turn what the file raises into an error of its class."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreDamaged(f"verify-counts.db: {type(error).__name__}") from error
