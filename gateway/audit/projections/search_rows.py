"""The rows of `search.db`: what an entry can be found by.

Names are kept as 31-bit digests: a comparison needs no more, for what is found is compared with the filter
again. Indexes begin with the part of the log that an entry is in, so that new rows go where rows went just
before: an index over digests alone would write a page for nearly every row.
"""

import sqlite3
import zlib
from collections.abc import Sequence

from exchange.v1 import audit_pb2
from gateway.audit.entries.filters import facts, prefixes
from gateway.audit.projections.projection_file import Projected

EXCHANGE_ID_BYTES = 16
PART = 16_384
"""Entries of a part."""
_COLUMNS = (
    "idx", "part", "time_ms", "decision", "reason", "act", "exchange", "consumer", "provider", "organisation",
    "resource", "above", "holder", "purpose", "matter", "case_number", "operator", "grant_id", "actor",
)  # fmt: skip
_ADD = f"INSERT OR IGNORE INTO entry ({', '.join(_COLUMNS)}) VALUES "  # noqa: S608  constant names
_FIND = f"SELECT {', '.join(_COLUMNS)} FROM entry WHERE idx = ?"  # noqa: S608  constant names
_SPANS = "SELECT 1 FROM part WHERE n = ? AND low <= ? AND high >= ?"
_ROW = f"({', '.join('?' * len(_COLUMNS))})"
_PART = """
INSERT INTO part VALUES (?, ?, ?) ON CONFLICT (n) DO UPDATE
    SET low = min(low, excluded.low), high = max(high, excluded.high)
"""


class SearchContent:
    """The rows of `search.db`; see `projection_file.Content`.

    `above` and `holder` are the digests of a resource's first part and of its first two. A part tells the
    range of times of its entries: times may go backward, the log's order does not.
    """

    version = 1
    schema = """
    CREATE TABLE entry (
        idx INTEGER PRIMARY KEY, part INTEGER NOT NULL, time_ms INTEGER NOT NULL, decision INTEGER NOT NULL,
        reason INTEGER NOT NULL, act INTEGER NOT NULL, exchange INTEGER NOT NULL, consumer INTEGER NOT NULL,
        provider INTEGER NOT NULL, organisation INTEGER NOT NULL, resource INTEGER NOT NULL,
        above INTEGER NOT NULL, holder INTEGER NOT NULL, purpose INTEGER NOT NULL, matter INTEGER NOT NULL,
        case_number INTEGER NOT NULL, operator INTEGER NOT NULL, grant_id INTEGER NOT NULL,
        actor INTEGER NOT NULL) STRICT;
    CREATE INDEX by_exchange ON entry (exchange) WHERE exchange != 0;
    CREATE INDEX by_case ON entry (part, case_number) WHERE case_number != 0;
    CREATE INDEX by_operator ON entry (part, operator) WHERE operator != 0;
    CREATE INDEX by_grant ON entry (part, grant_id) WHERE grant_id != 0;
    CREATE INDEX by_actor ON entry (part, actor) WHERE actor != 0;
    CREATE INDEX by_reason ON entry (part, reason) WHERE reason != 0;
    CREATE INDEX by_decision ON entry (part, decision) WHERE decision > 1;
    CREATE INDEX by_act ON entry (part, act) WHERE act != 0;
    CREATE INDEX by_resource ON entry (part, resource) WHERE resource != 0;
    CREATE INDEX by_consumer ON entry (part, consumer) WHERE consumer != 0;
    CREATE INDEX by_provider ON entry (part, provider) WHERE provider != 0;
    CREATE INDEX by_organisation ON entry (part, organisation) WHERE organisation != 0;
    CREATE TABLE part (n INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL) STRICT;
    """

    def add(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> None:
        """Add rows, all by one statement: each statement gives the interpreter away and must get it back."""
        values: list[object] = []
        parts: dict[int, tuple[int, int]] = {}
        for one in entries:
            values += _row(one.index, one.entry)
            number, moment = one.index // PART, one.entry.time_ms
            low, high = parts.get(number, (moment, moment))
            parts[number] = min(low, moment), max(high, moment)
        if entries:
            db.execute(_ADD + ", ".join([_ROW] * len(entries)), values)
        for number, (low, high) in parts.items():
            db.execute(_PART, (number, low, high))

    def lacks(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> bool:
        """Return whether an entry has another row than it must, or its part says another range of times."""
        for one in entries:
            due = _row(one.index, one.entry)
            if db.execute(_FIND, (one.index,)).fetchone() != due:
                return True
            if db.execute(_SPANS, (one.index // PART, *(one.entry.time_ms,) * 2)).fetchone() is None:
                return True
        return False

    def forget(self, db: sqlite3.Connection, first: int, end: int) -> None:
        """Remove the rows of a range; the times of its spans stay."""
        db.execute("DELETE FROM entry WHERE idx >= ? AND idx < ?", (first, end))


def exchange_key(exchange_id: bytes) -> int:
    """Return the 63 bits by which an exchange is looked up: the beginning of its id, which is its time.

    Args:
        exchange_id: 16 bytes; anything else is no id and gives 0.
    """
    if len(exchange_id) != EXCHANGE_ID_BYTES:
        return 0
    return int.from_bytes(exchange_id[:8], "big") >> 1 or 1


def _row(index: int, entry: audit_pb2.AuditEntry) -> tuple[int, ...]:
    known = facts(entry)
    above, holder, *_ = *map(digest, prefixes(known.resource)), 0, 0
    return (
        index,
        index // PART,
        known.time_ms,
        known.decision,
        known.reason,
        known.act,
        exchange_key(known.exchange_id),
        digest(known.consumer),
        digest(known.provider),
        digest(known.organisation),
        digest(known.resource),
        above,
        holder,
        digest(known.purpose),
        digest(known.matter),
        digest(known.case_number),
        digest(known.operator),
        digest(known.grant_id),
        digest(known.actor),
    )


def digest(name: str | bytes) -> int:
    """Return 31 bits by which a name is compared; 0 for none."""
    if not name:
        return 0
    return zlib.crc32(name.encode() if isinstance(name, str) else name) >> 1 or 1
