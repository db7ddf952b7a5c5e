"""The journal's tables, and what one transaction does to them. Runs in the journal's thread alone.

A row is open from the answer on until its receipt comes (receipted) or its link breaks (lost). A receipt
may still come for a lost one. A crash before the commit leaves no trace of an answer, and none has left;
a crash after it leaves an open row whose answer may or may not have left, which is what open means.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from exchange.errors import AuditUnavailable, ExchangeError, Replayed, StoreDamaged

SCHEMA_VERSION = 1
OPEN, RECEIPTED, LOST = 0, 1, 2

_SCHEMA = """
CREATE TABLE answered (
  exchange_id BLOB PRIMARY KEY,
  request_digest BLOB NOT NULL,
  response_digest BLOB NOT NULL,
  at_ms INTEGER NOT NULL,
  state INTEGER NOT NULL DEFAULT 0,
  log_index INTEGER
) WITHOUT ROWID;
CREATE INDEX answered_open ON answered (at_ms) WHERE state = 0;
CREATE INDEX answered_at ON answered (at_ms);
"""


_SETTLE = (
    "UPDATE answered SET state = 1, log_index = ?"
    " WHERE exchange_id = ? AND request_digest = ? AND response_digest = ?"
)


class Answered(NamedTuple):
    """One answer that is about to leave."""

    exchange_id: bytes
    request_digest: bytes
    response_digest: bytes
    at_ms: int


class Receipted(NamedTuple):
    """One receipt that was verified: what its log entry says."""

    exchange_id: bytes
    request_digest: bytes
    response_digest: bytes
    log_index: int


def connect(path: Path) -> sqlite3.Connection:
    """Open the journal, making it where it does not exist.

    Raises:
        StoreDamaged: it is no journal, or a newer one, or its pages are damaged.
        AuditUnavailable: it cannot be opened or written.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION:d}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise StoreDamaged("journal: of another version")
        connection.execute("SELECT count(*) FROM answered WHERE state = 0").fetchone()
    except sqlite3.Error as error:
        raise fault(error) from error
    return connection


def fault(error: sqlite3.Error) -> ExchangeError:
    """Return what a failure of the journal's file means."""
    if isinstance(error, sqlite3.OperationalError):
        return AuditUnavailable("journal")
    return StoreDamaged("journal")


def put(connection: sqlite3.Connection, rows: Sequence[Answered]) -> None:
    """Add answers, all or none of them.

    Raises:
        Replayed: one of the exchanges was answered before.
    """
    connection.execute("SAVEPOINT batch")
    try:
        connection.executemany(
            "INSERT INTO answered (exchange_id, request_digest, response_digest, at_ms) VALUES (?, ?, ?, ?)",
            rows,
        )
    except sqlite3.IntegrityError:
        connection.execute("ROLLBACK TO batch")
        connection.execute("RELEASE batch")
        raise Replayed("exchange") from None
    connection.execute("RELEASE batch")


def settle(connection: sqlite3.Connection, rows: Sequence[Receipted]) -> list[bytes]:
    """Note receipts; return the ids of those that fit no answer of this journal."""
    values = [(row.log_index, row.exchange_id, row.request_digest, row.response_digest) for row in rows]
    if connection.executemany(_SETTLE, values).rowcount == len(values):
        return []
    return [value[1] for value in values if connection.execute(_SETTLE, value).rowcount != 1]


def lose(connection: sqlite3.Connection, exchange_ids: Sequence[bytes]) -> None:
    """Note that the link of open answers broke."""
    connection.executemany(
        "UPDATE answered SET state = 2 WHERE exchange_id = ? AND state = 0", [(one,) for one in exchange_ids]
    )


def prune(connection: sqlite3.Connection, before_ms: int, most: int) -> int:
    """Delete old rows that are not open, a bounded number of them; return how many."""
    done = connection.execute(
        "DELETE FROM answered WHERE exchange_id IN"
        " (SELECT exchange_id FROM answered WHERE at_ms < ? AND state <> 0 ORDER BY at_ms LIMIT ?)",
        (before_ms, most),
    )
    return done.rowcount


def load(connection: sqlite3.Connection, since_ms: int) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Return the ids answered since a time, and those still open, each with the time of its answer."""
    recent = connection.execute(
        "SELECT exchange_id, at_ms FROM answered WHERE at_ms >= ? ORDER BY at_ms", (since_ms,)
    )
    still = connection.execute("SELECT exchange_id, at_ms FROM answered WHERE state = 0 ORDER BY at_ms")
    return dict(recent.fetchall()), dict(still.fetchall())
