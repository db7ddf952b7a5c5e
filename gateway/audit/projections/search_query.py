"""The queries of a search: along one index in the order of the log, window by window."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exchange.v1 import audit_pb2
from gateway.audit.entries.filters import Filter
from gateway.audit.projections.search_rows import PART, digest

PAGE_S = 0.025
FIRST_WINDOW, MAX_WINDOW = PART, 1 << 30
WINDOW_S = PAGE_S / 4
_INDEXES = {"case_number": "by_case", "operator": "by_operator", "grant_id": "by_grant", "actor": "by_actor"}
"""Indexes of names, the one that leaves out most first."""


class Arm(NamedTuple):
    """One way along an index, in the order of the log; several are merged in that order."""

    along: str
    condition: str
    value: int


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of a walk.

    Attributes:
        index: of an entry that fits; None at the end of a window.
        position: from which to go on after it, or before which where the newest come first; None where
            nothing is left.
    """

    index: int | None
    position: int | None


def walk(
    db: sqlite3.Connection, wanted: Filter, *, low: int, high: int, newest_first: bool, limit: int
) -> Iterator[Step]:
    """Yield the entries of a range of indexes that fit, in order; ends once a page's time is over.

    Args:
        db: search.db.
        wanted: the filter.
        low, high: the first index, and the one after the last.
        newest_first: whether to go down.
        limit: of rows that one query returns.
    """
    low, high = _of_that_time(db, wanted.message, low, high)
    statement, values = _statement(wanted, newest_first, limit)
    begun, width = time.monotonic(), FIRST_WINDOW
    while low < high:
        first, last = (max(low, high - width), high) if newest_first else (low, min(high, low + width))
        looked = time.monotonic()
        rows = [row[0] for row in db.execute(statement, values(first, last))]
        for index in rows:
            yield Step(index, index if newest_first else index + 1)
        if len(rows) == limit:
            first, last = (rows[-1], last) if newest_first else (first, rows[-1] + 1)
        low, high = (low, first) if newest_first else (last, high)
        if low >= high:
            break
        yield Step(None, high if newest_first else low)
        now = time.monotonic()
        if now - begun > PAGE_S:
            return
        # As wide as takes a part of the page's time by what the last one took, and not much wider at once.
        growth = min(4.0, WINDOW_S / max(now - looked, 1e-6))
        width = max(FIRST_WINDOW, min(int(width * growth), MAX_WINDOW))
    yield Step(None, None)


def _of_that_time(
    db: sqlite3.Connection, asked: audit_pb2.EntryFilter, low: int, high: int
) -> tuple[int, int]:
    """Narrow a range of indexes to where entries of the wanted time can be."""
    if asked.since_ms:
        row = db.execute("SELECT min(n) FROM part WHERE high >= ?", (asked.since_ms,)).fetchone()
        low = high if row[0] is None else max(low, row[0] * PART)
    if asked.until_ms:
        row = db.execute("SELECT max(n) FROM part WHERE low < ?", (asked.until_ms,)).fetchone()
        high = low if row[0] is None else min(high, (row[0] + 1) * PART)
    return low, high


def _statement(
    wanted: Filter, newest_first: bool, limit: int
) -> tuple[str, Callable[[int, int], Sequence[int]]]:
    """Return the query of one window, and its values by the window's bounds."""
    rest, rest_values = _conditions(wanted)
    arms = _arms(wanted)
    # Names of columns and indexes are this module's own; everything from outside is a value.
    more = " AND ".join(["part.n >= ?", "part.n <= ?", "idx >= ?", "idx < ?", *rest])
    selects = [
        f"SELECT idx, part.n AS n FROM part CROSS JOIN entry {arm.along} ON entry.part = part.n "  # noqa: S608
        f"WHERE {arm.condition} AND {more}"
        for arm in arms
    ]
    # Every arm runs in the log's order, so they are merged as they come and end with the page.
    order = "DESC" if newest_first else "ASC"
    statement = f"{' UNION '.join(selects)} ORDER BY n {order}, idx {order} LIMIT {limit}"
    if not arms:
        alone = " AND ".join(["idx >= ?", "idx < ?", *rest])
        statement = f"SELECT idx FROM entry NOT INDEXED WHERE {alone} ORDER BY idx {order} LIMIT {limit}"  # noqa: S608

    def values(first: int, last: int) -> list[int]:
        if not arms:
            return [first, last, *rest_values]
        parts = (first // PART, (last - 1) // PART)
        return [value for arm in arms for value in (arm.value, *parts, first, last, *rest_values)]

    return statement, values


def _arms(wanted: Filter) -> list[Arm]:
    """Return the arms along the index that promises to leave out most; none where none does."""
    asked = wanted.message
    for name, index in _INDEXES.items():
        if getattr(asked, name):
            return [_arm(name, index, digest(getattr(asked, name)))]
    if asked.reasons:
        return [_arm("reason", "by_reason", one) for one in sorted(set(asked.reasons))]
    if asked.decisions and audit_pb2.DECISION_RELEASED not in asked.decisions:
        return [
            Arm("INDEXED BY by_decision", "decision > 1 AND decision = ?", one)
            for one in sorted(set(asked.decisions))
        ]
    if asked.acts:
        return [_arm("act", "by_act", one) for one in sorted(set(asked.acts))]
    if asked.resource and not wanted.prefix:
        return [_arm("resource", "by_resource", digest(asked.resource))]
    if asked.organisation:
        code = digest(asked.organisation)
        return [_arm(name, f"by_{name}", code) for name in ("consumer", "provider", "organisation")]
    return []


def _arm(column: str, index: str, value: int) -> Arm:
    return Arm(f"INDEXED BY {index}", f"{column} != 0 AND {column} = ?", value)


def _conditions(wanted: Filter) -> tuple[list[str], list[int]]:
    """Return every part of a filter as a condition on a row, and the values."""
    asked = wanted.message
    conditions: list[str] = []
    values: list[int] = []

    def one_of(columns: Sequence[str], wanted_values: Sequence[int]) -> None:
        marks = ", ".join("?" * len(wanted_values))
        conditions.append("(" + " OR ".join(f"{column} IN ({marks})" for column in columns) + ")")
        values.extend(value for _ in columns for value in wanted_values)

    for name in ("case_number", "operator", "grant_id", "actor", "purpose", "matter"):
        if getattr(asked, name):
            one_of((name,), (digest(getattr(asked, name)),))
    for name, numbers in (("decision", asked.decisions), ("reason", asked.reasons), ("act", asked.acts)):
        if numbers:
            one_of((name,), list(numbers))
    if asked.organisation:
        one_of(("consumer", "provider", "organisation"), (digest(asked.organisation),))
    if wanted.prefix:
        one_of(("above", "holder"), (digest(wanted.prefix),))
    elif asked.resource:
        one_of(("resource",), (digest(asked.resource),))
    if asked.since_ms:
        conditions.append("time_ms >= ?")
        values.append(asked.since_ms)
    if asked.until_ms:
        conditions.append("time_ms < ?")
        values.append(asked.until_ms)
    return conditions, values
