"""Lines of usage by whatever they are summed by."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from exchange.v1 import report_pb2
from gateway.reports import sums
from gateway.reports.sums import Period

DAY_S = 24 * 3600
_BY: dict[int, Sequence[str]] = {
    report_pb2.USAGE_GROUP_CONSUMER: ("consumer",),
    report_pb2.USAGE_GROUP_RESOURCE: ("resource",),
    report_pb2.USAGE_GROUP_REGION: ("consumer",),
    report_pb2.USAGE_GROUP_CONSUMER_RESOURCE: ("consumer", "resource"),
    report_pb2.USAGE_GROUP_DAY: ("day",),
    report_pb2.USAGE_GROUP_APPLICATION: ("consumer", "application"),
}


def usage_rows(
    db: sqlite3.Connection, period: Period, group: int, division: Callable[[str], str]
) -> list[report_pb2.UsageRow]:
    """Return the lines of usage.

    Args:
        group: a UsageGroup, set.
        division: returns an organisation's division by its credit code.
    """
    rows = [_row(found) for found in sums.usage(db, period, _BY[group])]
    return _by_division(rows, division) if group == report_pb2.USAGE_GROUP_REGION else rows


def _row(found: sums.Usage) -> report_pb2.UsageRow:
    row = report_pb2.UsageRow(
        consumer=str(found.by.get("consumer", "")),
        resource=str(found.by.get("resource", "")),
        application=str(found.by.get("application", "")),
        released=found.released,
        refused=found.refused,
        failed=found.failed,
        answer_bytes=found.answer_bytes,
        records_at_least=found.records_at_least,
    )
    day = found.by.get("day")
    if isinstance(day, int):
        row.day = datetime.fromtimestamp(day * DAY_S, UTC).date().isoformat()
    return row


def _by_division(
    rows: Sequence[report_pb2.UsageRow], division: Callable[[str], str]
) -> list[report_pb2.UsageRow]:
    found: dict[str, report_pb2.UsageRow] = {}
    for row in rows:
        code = division(row.consumer)
        into = found.setdefault(code, report_pb2.UsageRow(division=code))
        for name in ("released", "refused", "failed", "answer_bytes", "records_at_least"):
            setattr(into, name, getattr(into, name) + getattr(row, name))
    return [found[code] for code in sorted(found)]
