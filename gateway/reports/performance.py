"""Figures for evaluation, one line for each organisation."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from exchange.v1 import report_pb2, ticket_pb2
from gateway.directory.organisations import Organisation
from gateway.reports.responsibility import Calendar, late, permille
from gateway.reports.sums import Application, Ticket, Totals

NOTHING = Totals()


def rows(
    organisations: Iterable[Organisation],
    totals: Mapping[str, Totals],
    responsibilities: Sequence[report_pb2.ResponsibilityRow],
    applications: Sequence[Application],
    tickets: Sequence[Ticket],
    *,
    days_for: Callable[[Application], int],
    dispute_days: int,
    calendar: Calendar,
    now_ms: int,
) -> list[report_pb2.PerformanceRow]:
    """Return a line for each organisation, by credit code.

    Args:
        totals: what each did.
        responsibilities: the responsibility list of the same period.
        applications, tickets: of the period.
        days_for: the working days within which an application is due; 0 for no clock.
        dispute_days: the same of a dispute.
        calendar: of the region.
        now_ms: the end of the period or now, whichever is earlier, Unix milliseconds.
    """
    resources = Counter(row.provider for row in responsibilities)
    breaches: Counter[str] = Counter()
    for row in responsibilities:
        breaches[row.provider] += len(row.breaches)
    received, in_time = Counter(one.provider for one in applications), Counter[str]()
    for one in applications:
        in_time[one.provider] += bool(one.decided_ms) and not late(one, days_for(one), calendar, now_ms)
    disputes, answered, demands = Counter[str](), Counter[str](), Counter[str]()
    for ticket in tickets:
        if ticket.kind == "dispute":
            disputes[ticket.party] += 1
            due_ms = calendar.after(ticket.raised_ms, dispute_days) if dispute_days else now_ms
            answered[ticket.party] += 0 < ticket.answered_ms <= max(due_ms, ticket.raised_ms)
        else:
            demands[ticket.party] += ticket.outcome == ticket_pb2.TICKET_ACTION_ANSWER
    return [
        report_pb2.PerformanceRow(
            organisation=code,
            name=organisation.name_zh,
            resources=resources[code],
            resources_used=(total := totals.get(code, NOTHING)).resources_used,
            applications=received[code],
            decided_in_time=in_time[code],
            asked=total.asked,
            answered_permille=permille(total.answered, total.asked),
            used=total.used,
            refused=total.refused,
            disputes=disputes[code],
            disputes_in_time=answered[code],
            demands_answered=demands[code],
            breaches=breaches[code],
        )
        for organisation in organisations
        for code in [organisation.credit_code]
    ]
