"""Questions to `usage.db`; all run in the projection's reading thread."""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.reports.usage_rows import day_of

MAX_ROWS = 20_000
GROUPS = ("consumer", "resource", "day", "application")
_SUMS = "sum(released), sum(refused), sum(failed), sum(bytes), sum(records)"


@dataclass(frozen=True, slots=True)
class Period:
    """From a moment (Unix milliseconds) to before another, by whole days of UTC+8; whose, or everybody's.

    Attributes:
        party: credit code; empty for all.
    """

    since_ms: int
    until_ms: int
    party: str = ""

    @property
    def days(self) -> tuple[int, int]:
        """First and last day."""
        return day_of(self.since_ms), day_of(max(self.since_ms, self.until_ms - 1))


class Usage(NamedTuple):
    """A line of usage: what it is summed by, and the sums."""

    by: Mapping[str, object]
    released: int
    refused: int
    failed: int
    answer_bytes: int
    records_at_least: int


class Measured(NamedTuple):
    """What was measured of a resource.

    Attributes:
        times, ages: step and number; see `gateway.reports.steps`.
        oldest_s: greatest age, seconds.
    """

    asked: int
    answered: int
    dated: int
    times: Sequence[tuple[int, int]]
    ages: Sequence[tuple[int, int]]
    oldest_s: int


class Application(NamedTuple):
    """An application: when it was handed in and decided, Unix milliseconds; 0 where it was not."""

    grant_id: bytes
    provider: str
    resource: str
    applied_ms: int
    decided_ms: int


class Ticket(NamedTuple):
    """A dispute or demand: with whom it was, since when, when that party answered and how."""

    kind: str
    party: str
    raised_ms: int
    answered_ms: int
    outcome: int


class Totals(NamedTuple):
    """What an organisation did as provider and as consumer."""

    asked: int = 0
    answered: int = 0
    resources_used: int = 0
    used: int = 0
    refused: int = 0


def usage(db: sqlite3.Connection, period: Period, by: Sequence[str]) -> list[Usage]:
    """Return usage summed by some of GROUPS, at most 20,000 lines."""
    assert set(by) <= set(GROUPS)
    columns = ", ".join(by)
    query = f"""
        SELECT {columns}, {_SUMS} FROM usage
        WHERE day BETWEEN ? AND ? AND (? = '' OR consumer = ? OR provider = ?)
        GROUP BY {columns} ORDER BY {columns} LIMIT {MAX_ROWS}
    """  # noqa: S608  names from GROUPS
    rows = db.execute(query, (*period.days, *[period.party] * 3))
    return [Usage(dict(zip(by, row, strict=False)), *row[len(by) :]) for row in rows]


def measured(db: sqlite3.Connection, period: Period, resource: str = "") -> Mapping[str, Measured]:
    """Return what was measured, by resource."""
    days = period.days
    wanted = (*days, resource, resource)
    where = "WHERE day BETWEEN ? AND ? AND (? = '' OR resource = ?)"
    times: dict[str, list[tuple[int, int]]] = defaultdict(list)
    ages: dict[str, list[tuple[int, int]]] = defaultdict(list)
    oldest: dict[str, int] = defaultdict(int)
    answers = f"SELECT resource, step, sum(n) FROM answer {where} GROUP BY resource, step"  # noqa: S608
    for name, step, number in db.execute(answers, wanted):
        times[name].append((step, number))
    aged = f"SELECT resource, step, sum(n), max(most) FROM age {where} GROUP BY resource, step"  # noqa: S608
    for name, step, number, most in db.execute(aged, wanted):
        ages[name].append((step, number))
        oldest[name] = max(oldest[name], most)
    sums = f"SELECT resource, sum(asked), sum(answered), sum(dated) FROM usage {where} GROUP BY resource"  # noqa: S608
    return {
        name: Measured(asked, answered, dated, times[name], ages[name], oldest[name])
        for name, asked, answered, dated in db.execute(sums, wanted)
    }


def applications(db: sqlite3.Connection, period: Period) -> list[Application]:
    """Return the applications that were handed in or decided in a period, or still wait."""
    query = """
        SELECT grant_id, provider, resource, applied_ms, decided_ms FROM application
        WHERE applied_ms < ?1 AND (decided_ms = 0 OR decided_ms >= ?2 OR applied_ms >= ?2)
          AND (?3 = '' OR provider = ?3)
        ORDER BY applied_ms LIMIT ?4
    """
    rows = db.execute(query, (period.until_ms, period.since_ms, period.party, MAX_ROWS))
    return [Application(*row) for row in rows]


def tickets(db: sqlite3.Connection, period: Period) -> list[Ticket]:
    """Return the tickets that came to a party in a period, or that it answered in it."""
    query = """
        SELECT kind, party, raised_ms, answered_ms, outcome FROM ticket
        WHERE party != '' AND raised_ms < ?1 AND (raised_ms >= ?2 OR answered_ms >= ?2)
          AND (?3 = '' OR party = ?3)
        ORDER BY raised_ms LIMIT ?4
    """
    rows = db.execute(query, (period.until_ms, period.since_ms, period.party, MAX_ROWS))
    return [Ticket(*row) for row in rows]


def totals(db: sqlite3.Connection, period: Period) -> Mapping[str, Totals]:
    """Return what each organisation did, by credit code."""
    found: dict[str, Totals] = defaultdict(Totals)
    asked = """
        SELECT provider, sum(asked), sum(answered), count(DISTINCT CASE WHEN asked > 0 THEN resource END)
        FROM usage WHERE day BETWEEN ? AND ? AND provider != '' GROUP BY provider
    """
    for code, *sums in db.execute(asked, period.days):
        found[code] = Totals(*sums)
    used = (
        "SELECT consumer, sum(released), sum(refused) FROM usage WHERE day BETWEEN ? AND ? GROUP BY consumer"
    )
    for code, released, refused in db.execute(used, period.days):
        found[code] = found[code]._replace(used=released, refused=refused)
    return found
