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
        tagged = [one for one in entries if one.entry.exchange.tag_count]
        if tagged:
            first, last = tagged[0].index, tagged[-1].index
            self._add_tags(db, tagged, self._log.beside(first, last - first + 1))
        for one in entries:
            act = one.entry.administrative
            if act.act == audit_pb2.ACT_TAG_KEY_ERASED:
                db.execute("INSERT OR IGNORE INTO erased VALUES (?)", (act.subject,))
                db.execute("DELETE FROM tag WHERE period = ?", (act.subject,))

    def forget(self, db: sqlite3.Connection, first: int, end: int) -> None:
        """Drop the tags of entries that were erased."""
        db.execute("DELETE FROM tag WHERE idx >= ? AND idx < ?", (first, end))
        db.execute("DELETE FROM broken WHERE idx >= ? AND idx < ?", (first, end))

    def _add_tags(
        self, db: sqlite3.Connection, tagged: Sequence[Projected], beside: dict[int, bytes]
    ) -> None:
        rows: list[tuple[str, bytes, int, int, int]] = []
        for one in tagged:
            exchange = one.entry.exchange
            try:
                tags = check_list(exchange, beside.get(one.index, b""))
            except StoreDamaged:
                db.execute("INSERT OR IGNORE INTO broken VALUES (?)", (one.index,))
                continue
            purpose = digest(exchange.purpose)
            rows += [(exchange.tag_period, tag, one.index, one.entry.time_ms, purpose) for tag in tags]
        db.executemany("INSERT OR IGNORE INTO tag VALUES (?, ?, ?, ?, ?)", rows)
