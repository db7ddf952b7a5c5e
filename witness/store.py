"""What the witness cosigned last, per log: `witness.db` in its folder, WAL, synchronous FULL.

One process has it open for writing (`witness.lock`) and writes over one connection, because SQLite before
3.51.3 can damage a WAL database that two write. After any failure the connection is closed: what the next one
reads has been recovered from the file, so a commit in doubt is decided before it counts.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from exchange.errors import StoreDamaged, WitnessAway, WrongState
from exchange.merkle import EMPTY_ROOT

DATABASE = "witness.db"
LOCK = "witness.lock"
T = TypeVar("T")

_TABLE = """
CREATE TABLE IF NOT EXISTS head (
    origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, time_s INTEGER NOT NULL,
    note TEXT NOT NULL) STRICT
"""
_INSERT = """
INSERT INTO head (origin, size, root, time_s, note) VALUES (?, ?, ?, ?, ?) ON CONFLICT (origin) DO NOTHING
"""
_UPDATE = """
UPDATE head SET size = ?, root = ?, time_s = ?, note = ?
WHERE origin = ? AND size = ? AND root = ? AND time_s = ?
"""


@dataclass(frozen=True, slots=True)
class Held:
    """The head of a log that was cosigned last.

    Attributes:
        size: number of entries.
        root: 32 bytes.
        time_s: of the newest cosignature, Unix seconds.
        note: the log's signed note.
    """

    size: int
    root: bytes
    time_s: int
    note: str


NOTHING = Held(0, EMPTY_ROOT, 0, "")
"""What is held of a log before its first cosignature: every log extends the empty one."""


class WitnessStore(Protocol):
    """Keeps what was cosigned last."""

    def held(self, origin: str) -> Held:
        """Return what is durably held of a log; `NOTHING` before its first cosignature.

        Raises:
            WitnessAway: it cannot be read now.
        """
        ...

    def replace(self, origin: str, expected: Held, new: Held) -> bool:
        """Hold a new head in place of the expected one, in one transaction; durable on return.

        Returns:
            False where something else than expected is held; nothing has changed then.

        Raises:
            WitnessAway: it failed or is in doubt: `held` tells what is true.
        """
        ...


class SqliteWitnessStore:
    """Keeps it in a folder (see `WitnessStore` for the contract).

    Args:
        folder: where `witness.db` is.
        make: whether it is made where it is absent; one that vanished must never be made anew in silence.

    Raises:
        StoreDamaged: it is absent, or no database.
        WrongState: another process has it open.
    """

    def __init__(self, *, folder: Path, make: bool = False) -> None:
        self._path = folder / DATABASE
        if not make and not self._path.exists():
            raise StoreDamaged(f"{DATABASE} is missing: what was cosigned is not known")
        self._using = threading.Lock()
        self._lock = _take_lock(folder / LOCK)
        self._db: sqlite3.Connection | None = None
        try:
            self._connect().execute(_TABLE)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreDamaged(f"{DATABASE}: {_name(error)}") from error

    def held(self, origin: str) -> Held:
        """Return what is durably held of a log."""
        sql = "SELECT size, root, time_s, note FROM head WHERE origin = ?"
        row = self._run(lambda db: db.execute(sql, (origin,)).fetchone())
        return Held(*row) if row else NOTHING

    def replace(self, origin: str, expected: Held, new: Held) -> bool:
        """Compare and set.

        A crash before the commit returns leaves the expected head or the new one, and no cosignature has
        left; the log then learns from the next answer which of the two is held.
        """

        def change(db: sqlite3.Connection) -> bool:
            db.execute("BEGIN IMMEDIATE")
            if expected == NOTHING:
                changed = db.execute(_INSERT, (origin, new.size, new.root, new.time_s, new.note)).rowcount
            else:
                was = (origin, expected.size, expected.root, expected.time_s)
                changed = db.execute(_UPDATE, (new.size, new.root, new.time_s, new.note, *was)).rowcount
            self._commit(db)
            return changed == 1

        return self._run(change)

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        with self._using:
            self._disconnect()
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _commit(self, db: sqlite3.Connection) -> None:
        """A method of its own, for tests to fail."""
        db.execute("COMMIT")

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._using:
            try:
                return work(self._db or self._connect())
            except (sqlite3.Error, OSError) as error:
                # Nothing that this connection says counts any more: the next one reads what is on the disk.
                self._disconnect()
                raise WitnessAway(f"{DATABASE}: {_name(error)}") from error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0.0)
        self._db = db
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise OSError("the file system does not allow a WAL")
        db.execute("PRAGMA synchronous = FULL")
        # Whatever a commit in doubt left in the WAL is written through and synced before it is read.
        busy, frames, written = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if busy or frames != written:
            raise OSError("something else holds it open")
        return db

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def read_all(folder: Path) -> list[tuple[str, Held]]:
    """Return what a witness's folder holds, by origin; the witness may be running.

    Raises:
        StoreDamaged: it cannot be read.
    """
    path = (folder / DATABASE).absolute()
    try:
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1.0)
        try:
            rows = db.execute("SELECT origin, size, root, time_s, note FROM head ORDER BY origin").fetchall()
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreDamaged(f"{DATABASE}: {_name(error)}") from error
    return [(origin, Held(*rest)) for origin, *rest in rows]


def _take_lock(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreDamaged(f"{LOCK}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise WrongState("another process has the witness's folder open") from None
    return lock


def _name(error: Exception) -> str:
    return getattr(error, "sqlite_errorname", "") or str(error) or type(error).__name__
