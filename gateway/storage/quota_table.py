"""How much of each quota is used: the table `quota` of `audit.db`, written with the entries that count.

Whoever restores an older copy of the database restores its counts with it; they are no part of the log, and
can be counted again from its entries.
"""

import sqlite3
from collections.abc import Iterable, Mapping

from exchange.v1 import grant_pb2
from gateway.storage.ports import QuotaKey, Used

_DAY_MS = 86_400_000
_KEPT_MS: dict[int, int] = {grant_pb2.QUOTA_PERIOD_DAY: _DAY_MS, grant_pb2.QUOTA_PERIOD_MONTH: 31 * _DAY_MS}
"""Of the periods before the newest one only the last is kept: an exchange may still end in it."""

_ADD = """
INSERT INTO quota (grant_id, period, start_ms, used) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET used = used + excluded.used RETURNING used
"""
_FORGET = "DELETE FROM quota WHERE grant_id = ? AND period = ? AND start_ms < ?"
_USED = """
SELECT coalesce((SELECT used FROM quota WHERE grant_id = ? AND period = ? AND start_ms = ?), 0),
       coalesce((SELECT size FROM head), 0)
"""

Row = tuple[bytes, int, int, int]
"""Grant id, period, start of the period in Unix milliseconds, and how many exchanges."""


def add(db: sqlite3.Connection, counts: Mapping[QuotaKey, int]) -> None:
    """Count entries against their quotas, in the transaction that writes them; forget periods long over."""
    for key, count in counts.items():
        used = db.execute(_ADD, (*key, count)).fetchone()[0]
        kept_ms = _KEPT_MS.get(key.period)
        if used == count and kept_ms is not None:
            # The first of its period.
            db.execute(_FORGET, (key.grant_id, key.period, key.start_ms - kept_ms))


def used(db: sqlite3.Connection, key: QuotaKey) -> Used:
    """Return a quota's count and the size of the log that it goes with, read at once."""
    return Used(*db.execute(_USED, key).fetchone())


def rows(db: sqlite3.Connection) -> list[Row]:
    """Return all counts."""
    return db.execute("SELECT grant_id, period, start_ms, used FROM quota").fetchall()


def put(db: sqlite3.Connection, counts: Iterable[Row]) -> None:
    """Write counts that were taken from another database."""
    db.executemany("INSERT INTO quota (grant_id, period, start_ms, used) VALUES (?, ?, ?, ?)", counts)
