"""The rows of `trace.db`: which entries bear which tag. A projection like any other: thrown away at will.

A row has the outer tag as the log has it beside the entry, decoys too, and what of the entry a delayed
purpose is told by. A list is compared with the root in its entry first: one that was changed is noted, and no
trace is answered until it is repaired and `trace.db` made anew. When a period's key is erased its rows go.
"""

import sqlite3
from collections.abc import Sequence
from typing import Protocol

from exchange.errors import StoreDamaged
from exchange.v1 import audit_pb2
from gateway.audit.projections.projection_file import Projected
from gateway.audit.projections.search_rows import digest
from gateway.subject_tags import check_list

TRACE = "trace.db"
_HAS_TAG = "SELECT 1 FROM tag WHERE period = ? AND tag = ? AND idx = ? AND time_ms = ? AND purpose = ?"

Row = tuple[str, bytes, int, int, int]
"""Of a tag: its period, itself, the entry's index, its time and the digest of its purpose."""


class Beside(Protocol):
    """What is needed of the audit log; used from the projection's thread."""

    def beside(self, first: int, count: int) -> dict[int, bytes]:
        """Return what is kept beside entries from an index on, by index."""
        ...


class TraceContent:
    """The rows of `trace.db`; see `projection_file.Content`.

    Args:
        log: the audit log.
    """

    version = 1
    schema = """
    CREATE TABLE tag (period TEXT NOT NULL, tag BLOB NOT NULL, idx INTEGER NOT NULL, time_ms INTEGER NOT NULL,
                      purpose INTEGER NOT NULL, PRIMARY KEY (period, tag, idx)) STRICT, WITHOUT ROWID;
    CREATE TABLE erased (period TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE broken (idx INTEGER PRIMARY KEY) STRICT;
    """

    def __init__(self, log: Beside) -> None:
        self._log = log

    def add(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> None:
        """Add the tags of exchanges; drop those of a period whose key was erased."""
        rows, broken = self._rows(entries)
        db.executemany("INSERT OR IGNORE INTO tag VALUES (?, ?, ?, ?, ?)", rows)
        db.executemany("INSERT OR IGNORE INTO broken VALUES (?)", [(index,) for index in broken])
        for one in entries:
            act = one.entry.administrative
            if act.act == audit_pb2.ACT_TAG_KEY_ERASED:
                db.execute("INSERT OR IGNORE INTO erased VALUES (?)", (act.subject,))
                db.execute("DELETE FROM tag WHERE period = ?", (act.subject,))

    def forget(self, db: sqlite3.Connection, first: int, end: int) -> None:
        """Drop the tags of entries that were erased."""
        db.execute("DELETE FROM tag WHERE idx >= ? AND idx < ?", (first, end))
        db.execute("DELETE FROM broken WHERE idx >= ? AND idx < ?", (first, end))

    def lacks(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> bool:
        """Return whether a tag of these exchanges is missing; whose key was erased has none."""
        erased = {period for (period,) in db.execute("SELECT period FROM erased")}
        rows, broken = self._rows([one for one in entries if one.entry.exchange.tag_period not in erased])
        return any(db.execute(_HAS_TAG, row).fetchone() is None for row in rows) or any(
            db.execute("SELECT 1 FROM broken WHERE idx = ?", (index,)).fetchone() is None for index in broken
        )

    def _rows(self, entries: Sequence[Projected]) -> tuple[list[Row], list[int]]:
        """Return the tags of exchanges, and the indexes of those whose list is not the one entered."""
        tagged = [one for one in entries if one.entry.exchange.tag_count]
        if not tagged:
            return [], []
        first, last = tagged[0].index, tagged[-1].index
        beside = self._log.beside(first, last - first + 1)
        rows: list[Row] = []
        broken: list[int] = []
        for one in tagged:
            exchange = one.entry.exchange
            try:
                tags = check_list(exchange, beside.get(one.index, b""))
            except StoreDamaged:
                broken.append(one.index)
                continue
            purpose = digest(exchange.purpose)
            rows += [(exchange.tag_period, tag, one.index, one.entry.time_ms, purpose) for tag in tags]
        return rows, broken
