"""The rows of `search.db`: what an entry can be found by. Names are kept as 63-bit digests."""

import hashlib
import sqlite3
from collections.abc import Sequence
from functools import lru_cache

from exchange.v1 import audit_pb2
from gateway.audit.filters import facts, prefixes
from gateway.audit.projection import Projected

EXCHANGE_ID_BYTES = 16
SPAN = 1024
"""Entries whose earliest and latest time are kept together."""
_COLUMNS = (
    "idx", "time_ms", "kind", "decision", "reason", "act", "exchange_id", "consumer", "provider",
    "organisation", "resource", "above", "holder", "purpose", "matter", "case_number", "operator", "grant_id",
    "actor",
)  # fmt: skip
_ADD = f"INSERT OR REPLACE INTO entry ({', '.join(_COLUMNS)}) VALUES "  # noqa: S608  constant names
_ROW = f"({', '.join('?' * len(_COLUMNS))})"
_SPAN = """
INSERT INTO span VALUES (?, ?, ?) ON CONFLICT (first) DO UPDATE
    SET low = min(low, excluded.low), high = max(high, excluded.high)
"""


class SearchContent:
    """The rows of `search.db`; see `gateway.audit.projection.Content`.

    `above` and `holder` are the digests of a resource's first part and of its first two. A span tells the
    range of times of 1,024 entries: times may go backward, the log's order does not.
    """

    version = 1
    schema = """
    CREATE TABLE entry (
        idx INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, kind INTEGER NOT NULL, decision INTEGER NOT NULL,
        reason INTEGER NOT NULL, act INTEGER NOT NULL, exchange_id BLOB, consumer INTEGER NOT NULL,
        provider INTEGER NOT NULL, organisation INTEGER NOT NULL, resource INTEGER NOT NULL,
        above INTEGER NOT NULL, holder INTEGER NOT NULL, purpose INTEGER NOT NULL, matter INTEGER NOT NULL,
        case_number INTEGER NOT NULL, operator INTEGER NOT NULL, grant_id INTEGER NOT NULL,
        actor INTEGER NOT NULL) STRICT;
    CREATE INDEX by_exchange ON entry (exchange_id) WHERE exchange_id IS NOT NULL;
    CREATE INDEX by_case ON entry (case_number) WHERE case_number != 0;
    CREATE INDEX by_operator ON entry (operator) WHERE operator != 0;
    CREATE INDEX by_grant ON entry (grant_id) WHERE grant_id != 0;
    CREATE INDEX by_actor ON entry (actor) WHERE actor != 0;
    CREATE INDEX by_reason ON entry (reason) WHERE reason != 0;
    CREATE INDEX by_decision ON entry (decision) WHERE decision > 1;
    CREATE INDEX by_act ON entry (act) WHERE act != 0;
    CREATE INDEX by_resource ON entry (resource) WHERE resource != 0;
    CREATE INDEX by_consumer ON entry (consumer) WHERE consumer != 0;
    CREATE INDEX by_provider ON entry (provider) WHERE provider != 0;
    CREATE INDEX by_organisation ON entry (organisation) WHERE organisation != 0;
    CREATE TABLE span (first INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL)
        STRICT;
    """

    def add(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> None:
        """Add rows, all by one statement: each statement gives the interpreter away and must get it back."""
        values: list[object] = []
        spans: dict[int, tuple[int, int]] = {}
        for one in entries:
            values += _row(one.index, one.entry)
            first, moment = one.index - one.index % SPAN, one.entry.time_ms
            low, high = spans.get(first, (moment, moment))
            spans[first] = min(low, moment), max(high, moment)
        if entries:
            db.execute(_ADD + ", ".join([_ROW] * len(entries)), values)
        for first, (low, high) in spans.items():
            db.execute(_SPAN, (first, low, high))


def _row(index: int, entry: audit_pb2.AuditEntry) -> tuple[int | bytes | None, ...]:
    known = facts(entry)
    above, holder, *_ = *map(digest, prefixes(known.resource)), 0, 0
    exchange_id = known.exchange_id if len(known.exchange_id) == EXCHANGE_ID_BYTES else None
    return (
        index,
        known.time_ms,
        known.kind,
        known.decision,
        known.reason,
        known.act,
        exchange_id,
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


@lru_cache(maxsize=1 << 16)
def digest(name: str | bytes) -> int:
    """Return 63 bits by which a name is compared; 0 for none."""
    if not name:
        return 0
    raw = name.encode() if isinstance(name, str) else name
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big") >> 1 or 1
