"""The queries of a search: along one index in the order of the log, window by window."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exchange.v1 import audit_pb2
from gateway.audit.filters import Filter
from gateway.audit.search_rows import SPAN, digest

FIRST_WINDOW, MAX_WINDOW = 16_384, 1 << 30
PAGE_S = 0.03
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
        width = min(width * 2, MAX_WINDOW) if now - looked < PAGE_S / 8 else max(width // 2, FIRST_WINDOW)
    yield Step(None, None)


def _of_that_time(
    db: sqlite3.Connection, asked: audit_pb2.EntryFilter, low: int, high: int
) -> tuple[int, int]:
    """Narrow a range of indexes to where entries of the wanted time can be."""
    if asked.since_ms:
        row = db.execute("SELECT min(first) FROM span WHERE high >= ?", (asked.since_ms,)).fetchone()
        low = high if row[0] is None else max(low, row[0])
    if asked.until_ms:
        row = db.execute("SELECT max(first) FROM span WHERE low < ?", (asked.until_ms,)).fetchone()
        high = low if row[0] is None else min(high, row[0] + SPAN)
    return low, high


def _statement(
    wanted: Filter, newest_first: bool, limit: int
) -> tuple[str, Callable[[int, int], Sequence[int]]]:
    """Return the query of one window, and its values by the window's bounds."""
    rest, rest_values = _conditions(wanted)
    arms = _arms(wanted)
    order = "DESC" if newest_first else "ASC"
    more = " AND ".join(["idx >= ?", "idx < ?", *rest])
    # Names of columns and indexes are this module's own; everything from outside is a value.
    selects = [f"SELECT idx FROM entry {arm.along} WHERE {arm.condition} AND {more}" for arm in arms]  # noqa: S608
    # Every arm runs in the log's order, so they are merged as they come and end with the page.
    statement = f"{' UNION '.join(selects)} ORDER BY idx {order} LIMIT {limit}"

    def values(first: int, last: int) -> list[int]:
        return [value for arm in arms for value in (arm.value, first, last, *rest_values)]

    return statement, values


def _arms(wanted: Filter) -> list[Arm]:
    """Return the arms along the index that promises to leave out most."""
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
    return [Arm("NOT INDEXED", "idx >= ?", 0)]


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
