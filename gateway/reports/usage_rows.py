"""The rows of `usage.db`: sums by day, and when applications and tickets were handed in and answered.

Sums outlive the entries they were made of (`forget` keeps them): they hold no personal data. Made anew, the
file holds what the log still has; `counted` tells from which day on. Days are those of UTC+8.
"""

import sqlite3
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from exchange.canonical import GRANT, TICKET, digest
from exchange.clock import BEIJING_MS
from exchange.entries import counted_before
from exchange.v1 import audit_pb2, exchange_pb2, grant_pb2, ticket_pb2
from gateway.audit.projections.projection_file import Projected
from gateway.reports.steps import step_of

USAGE = "usage.db"
DAY_MS = 24 * 3600 * 1000

_AT_LEAST: dict[int, int] = {
    exchange_pb2.METERING_UP_TO_1: 0,
    exchange_pb2.METERING_UP_TO_10: 2,
    exchange_pb2.METERING_UP_TO_100: 11,
    exchange_pb2.METERING_UP_TO_1000: 101,
    exchange_pb2.METERING_MORE: 1001,
}
_PROVIDERS_FAULT = frozenset({"forward", "link", "deadline", "provider", "match"})
"""Rules that end an exchange after it was due at its provider."""
_SUMS = ("released", "refused", "failed", "bytes", "records", "asked", "answered", "dated")
_ADD = f"""
INSERT INTO usage VALUES (?, ?, ?, ?, ?, {", ".join("?" * len(_SUMS))}) ON CONFLICT DO UPDATE
    SET {", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)}
"""  # noqa: S608  constant names
_TIME = "INSERT INTO answer VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1"
_AGE = """
INSERT INTO age VALUES (?, ?, ?, 1, ?) ON CONFLICT DO UPDATE SET n = n + 1, most = max(most, excluded.most)
"""
_APPLY = "INSERT OR IGNORE INTO application VALUES (?, ?, ?, ?, ?, 0)"
_DECIDE = "UPDATE application SET decided_ms = ? WHERE grant_id = ? AND decided_ms = 0"
_RAISE = "INSERT OR IGNORE INTO ticket VALUES (?, ?, ?, ?, 0, 0)"
_ASSIGN = "UPDATE ticket SET party = ?, raised_ms = ? WHERE ticket_id = ? AND answered_ms = 0"
_ANSWER = "UPDATE ticket SET answered_ms = ?, outcome = ? WHERE ticket_id = ? AND answered_ms = 0"
_DECIDING = frozenset(
    {grant_pb2.GRANT_ACTION_ACCEPT, grant_pb2.GRANT_ACTION_REJECT, grant_pb2.GRANT_ACTION_REVOKE}
)
_ANSWERING = frozenset(
    {
        ticket_pb2.TICKET_ACTION_ANSWER,
        ticket_pb2.TICKET_ACTION_DECLINE,
        ticket_pb2.TICKET_ACTION_CORRECT,
        ticket_pb2.TICKET_ACTION_WITHDRAW,
    }
)


def day_of(time_ms: int) -> int:
    """Return the day of a moment (Unix milliseconds), counted from 1970-01-01, by UTC+8."""
    return (time_ms + BEIJING_MS) // DAY_MS


class UsageContent:
    """The rows of `usage.db`; see `gateway.audit.projections.projection_file.Content`."""

    version = 1
    schema = """
    CREATE TABLE usage (
        day INTEGER, consumer TEXT, application TEXT, resource TEXT, provider TEXT,
        released INTEGER NOT NULL, refused INTEGER NOT NULL, failed INTEGER NOT NULL, bytes INTEGER NOT NULL,
        records INTEGER NOT NULL, asked INTEGER NOT NULL, answered INTEGER NOT NULL, dated INTEGER NOT NULL,
        PRIMARY KEY (day, consumer, application, resource, provider)) STRICT, WITHOUT ROWID;
    CREATE TABLE answer (day INTEGER, resource TEXT, step INTEGER, n INTEGER NOT NULL,
        PRIMARY KEY (day, resource, step)) STRICT, WITHOUT ROWID;
    CREATE TABLE age (day INTEGER, resource TEXT, step INTEGER, n INTEGER NOT NULL, most INTEGER NOT NULL,
        PRIMARY KEY (day, resource, step)) STRICT, WITHOUT ROWID;
    CREATE TABLE application (grant_id BLOB PRIMARY KEY, provider TEXT NOT NULL, resource TEXT NOT NULL,
        consumer TEXT NOT NULL, applied_ms INTEGER NOT NULL, decided_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE ticket (ticket_id BLOB PRIMARY KEY, kind TEXT NOT NULL, party TEXT NOT NULL,
        raised_ms INTEGER NOT NULL, answered_ms INTEGER NOT NULL, outcome INTEGER NOT NULL) STRICT;
    """

    def add(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> None:
        """Add to the sums. Entries that were counted before, and stay when others are erased, count once."""
        counted = int(db.execute("SELECT next FROM progress").fetchone()[0])
        for one in entries:
            if one.index < counted:
                continue
            which = one.entry.WhichOneof("subject")
            if which == "exchange" and not counted_before(one.entry.exchange):
                _count(db, one.entry.time_ms, one.entry.exchange)
            elif which == "administrative":
                _note(db, one.entry.time_ms, one.entry.administrative)

    def lacks(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> bool:
        """Return False: a sum does not tell of which entries it was made."""
        return False

    def forget(self, db: sqlite3.Connection, first: int, end: int) -> None:
        """Keep the sums: nobody is found by them."""


def _count(db: sqlite3.Connection, time_ms: int, told: audit_pb2.ExchangeEntry) -> None:
    day = day_of(time_ms)
    released = told.decision == audit_pb2.DECISION_RELEASED
    refused = told.decision == audit_pb2.DECISION_REFUSED
    by_provider = released or told.rule in _PROVIDERS_FAULT
    answered = released or (refused and told.hop.startswith("provider/"))
    sums = (
        released,
        refused,
        told.decision == audit_pb2.DECISION_FAILED,
        told.response_bytes if released else 0,
        _AT_LEAST.get(told.metering, 0) if released else 0,
        by_provider or answered,
        answered,
        released and told.data_as_of_ms > 0,
    )
    place = (told.consumer_organisation, told.application, told.resource, told.provider_organisation)
    db.execute(_ADD, (day, *place, *map(int, sums)))
    if answered and told.provider_us:
        db.execute(_TIME, (day, told.resource, step_of(told.provider_us / 1000)))
    if released and told.data_as_of_ms:
        age_s = max(0, time_ms - told.data_as_of_ms) // 1000
        db.execute(_AGE, (day, told.resource, step_of(age_s), age_s))


def _note(db: sqlite3.Connection, time_ms: int, told: audit_pb2.AdministrativeEntry) -> None:
    body = told.statement.body
    try:
        if told.act == audit_pb2.ACT_GRANT:
            grant = grant_pb2.GrantBody.FromString(body)
            grant_id = digest(GRANT, body)
            db.execute(_APPLY, (grant_id, grant.provider, grant.resource, grant.consumer, time_ms))
        elif told.act == audit_pb2.ACT_GRANT_EVENT:
            event = grant_pb2.GrantEventBody.FromString(body)
            if event.action in _DECIDING:
                db.execute(_DECIDE, (time_ms, event.grant_id))
        elif told.act == audit_pb2.ACT_TICKET:
            _raise(db, time_ms, body)
        elif told.act == audit_pb2.ACT_TICKET_EVENT:
            step = ticket_pb2.TicketEventBody.FromString(body)
            if step.action == ticket_pb2.TICKET_ACTION_ASSIGN:
                db.execute(_ASSIGN, (step.assigned_to, time_ms, step.ticket_id))
            elif step.action in _ANSWERING:
                db.execute(_ANSWER, (time_ms, step.action, step.ticket_id))
    except DecodeError:
        # Entered, so it was read before: an entry that cannot be is found by the verification of the log.
        return


def _raise(db: sqlite3.Connection, time_ms: int, body: bytes) -> None:
    ticket = ticket_pb2.TicketBody.FromString(body)
    which = ticket.WhichOneof("subject") or ""
    party = ticket.dispute.provider if which == "dispute" else ticket.demand.addressed_to
    db.execute(_RAISE, (digest(TICKET, body), which, party, time_ms))
