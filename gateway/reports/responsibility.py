"""The responsibility list: what providers promised, what the log measured, and what was not kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from exchange.resources import Resource
from exchange.v1 import report_pb2
from gateway.reports.steps import above, quantile
from gateway.reports.sums import Application, Measured

NOTHING = Measured(0, 0, 0, (), (), 0)
P95 = 0.95


class Calendar(Protocol):
    """Counts working days."""

    def after(self, time_ms: int, days: int) -> int:
        """Return the end of the last of so many working days after a moment, Unix milliseconds."""
        ...


def late(application: Application, days: int, calendar: Calendar, now_ms: int) -> bool:
    """Return whether an application was decided later than in so many working days, or still waits then."""
    return bool(days) and (application.decided_ms or now_ms) > calendar.after(application.applied_ms, days)


def rows(
    resources: Iterable[Resource],
    measured: Mapping[str, Measured],
    applications: Sequence[Application],
    *,
    days_for: Callable[[Application], int],
    calendar: Calendar,
    now_ms: int,
) -> list[report_pb2.ResponsibilityRow]:
    """Return a line for each resource.

    Args:
        resources: of the catalogue.
        measured: by resource.
        applications: of the period.
        days_for: the working days within which an application is due; 0 for no clock.
        calendar: of the region.
        now_ms: the end of the period or now, whichever is earlier, Unix milliseconds.
    """
    decided_late: dict[str, int] = {}
    for application in applications:
        if late(application, days_for(application), calendar, now_ms):
            decided_late[application.resource] = decided_late.get(application.resource, 0) + 1
    return [
        _row(resource, measured.get(resource.id, NOTHING), decided_late.get(resource.id, 0))
        for resource in resources
    ]


def _row(resource: Resource, found: Measured, decided_late: int) -> report_pb2.ResponsibilityRow:
    row = report_pb2.ResponsibilityRow(
        resource=resource.id,
        provider=resource.provider,
        asked=found.asked,
        answered_permille=permille(found.answered, found.asked),
        answer_p95_ms=round(quantile(found.times, P95)),
        dated=found.dated,
        oldest_s=found.oldest_s,
        decided_late=decided_late,
    )
    promised = resource.responsibility
    if promised is None:
        return row
    row.unit = promised.unit
    row.fresh_within_s = promised.fresh_within_s
    row.available_permille = promised.available_permille
    row.answer_within_ms = promised.answer_within_ms
    row.decide_within_days = promised.decide_within_days
    if promised.fresh_within_s and found.oldest_s > promised.fresh_within_s:
        # The oldest is beyond it for certain; how many more is counted by steps, never too many.
        row.stale = max(1, above(found.ages, promised.fresh_within_s))
        row.breaches.append(report_pb2.BREACH_FRESHNESS)
    if found.answered * 1000 < promised.available_permille * found.asked:
        row.breaches.append(report_pb2.BREACH_AVAILABILITY)
    if promised.answer_within_ms and _slow(found, promised.answer_within_ms):
        row.breaches.append(report_pb2.BREACH_ANSWER_TIME)
    if decided_late:
        row.breaches.append(report_pb2.BREACH_DECISION_TIME)
    return row


def _slow(found: Measured, within_ms: int) -> bool:
    """Whether more than 5 of 100 answers took longer for certain."""
    total = sum(number for _, number in found.times)
    return above(found.times, within_ms) > total * (1 - P95)


def permille(part: int, whole: int) -> int:
    """Return a share in per mille, rounded down; 1000 of nothing."""
    return part * 1000 // whole if whole else 1000
