"""What counts as a promise not kept, and the figures for evaluation."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from exchange.region_rules import RegionRules
from exchange.resources import Responsibility
from exchange.v1 import report_pb2, ticket_pb2
from gateway.clocks.workdays import Workdays
from gateway.reports import performance, responsibility
from gateway.reports.steps import step_of
from gateway.reports.sums import Application, Measured, Ticket, Totals
from tests.support.region import HEALTH, POLICE

DAY_MS = 24 * 3600 * 1000
MONDAY_MS = 1_795_996_800_000
"""2026-11-30, 08:00 UTC+8."""
HOUSEHOLD = "970100/police/household"
CALENDAR = Workdays(RegionRules())


def resource(**promised: int) -> Any:
    told = Responsibility(
        unit="户政处",
        fresh_within_s=promised.get("fresh_within_s", 0),
        available_permille=promised.get("available_permille", 0),
        answer_within_ms=promised.get("answer_within_ms", 0),
        decide_within_days=promised.get("decide_within_days", 0),
    )
    return SimpleNamespace(id=HOUSEHOLD, provider=POLICE, responsibility=told)


def measured(
    *, asked: int = 0, answered: int = 0, times_ms: Sequence[float] = (), ages_s: Sequence[int] = ()
) -> Measured:
    times = [(step_of(one), 1) for one in times_ms]
    ages = [(step_of(one), 1) for one in ages_s]
    return Measured(asked, answered, len(ages), times, ages, max(ages_s, default=0))


def row(found: Measured, *, late: Sequence[Application] = (), days: int = 0, **promised: int) -> Any:
    (told,) = responsibility.rows(
        [resource(**promised)],
        {HOUSEHOLD: found},
        late,
        days_for=lambda application: days,
        calendar=CALENDAR,
        now_ms=MONDAY_MS + 30 * DAY_MS,
    )
    return told


@pytest.mark.parametrize(
    ("found", "promised", "breaches"),
    [
        (measured(asked=1000, answered=999), {"available_permille": 999}, []),
        (measured(asked=1000, answered=998), {"available_permille": 999}, ["BREACH_AVAILABILITY"]),
        (measured(), {"available_permille": 999}, []),
        (measured(times_ms=[10] * 95 + [900] * 5), {"answer_within_ms": 500}, []),
        (measured(times_ms=[10] * 94 + [900] * 6), {"answer_within_ms": 500}, ["BREACH_ANSWER_TIME"]),
        (measured(ages_s=[3600]), {"fresh_within_s": 3600}, []),
        (measured(ages_s=[10, 3601]), {"fresh_within_s": 3600}, ["BREACH_FRESHNESS"]),
        (measured(asked=5, times_ms=[10**6], ages_s=[10**6]), {}, []),
    ],
)
def test_a_breach_is_what_was_promised_and_for_certain_not_kept(
    found: Measured, promised: dict[str, int], breaches: list[str]
) -> None:
    assert [report_pb2.Breach.Name(one) for one in row(found, **promised).breaches] == breaches


def test_an_application_decided_late_or_waiting_too_long_is_counted() -> None:
    in_time = Application(b"a", POLICE, HOUSEHOLD, MONDAY_MS, MONDAY_MS + DAY_MS)
    late = Application(b"b", POLICE, HOUSEHOLD, MONDAY_MS, MONDAY_MS + 4 * DAY_MS)
    waiting = Application(b"c", POLICE, HOUSEHOLD, MONDAY_MS, 0)
    told = row(measured(), late=[in_time, late, waiting], days=2)
    assert told.decided_late == 2
    assert list(told.breaches) == [report_pb2.BREACH_DECISION_TIME]
    assert row(measured(), late=[late, waiting], days=0).decided_late == 0


def test_an_organisation_is_shown_with_what_it_received_answered_and_kept() -> None:
    organisations: Any = [
        SimpleNamespace(credit_code=POLICE, name_zh="临江市公安局"),
        SimpleNamespace(credit_code=HEALTH, name_zh="临江市卫生健康委员会"),
    ]
    promises = [row(measured(asked=10, answered=9), available_permille=999)]
    applications = [
        Application(b"a", POLICE, HOUSEHOLD, MONDAY_MS, MONDAY_MS + DAY_MS),
        Application(b"b", POLICE, HOUSEHOLD, MONDAY_MS, 0),
    ]
    correct = ticket_pb2.TICKET_ACTION_CORRECT
    tickets = [
        Ticket("dispute", POLICE, MONDAY_MS, MONDAY_MS + DAY_MS, correct),
        Ticket("dispute", POLICE, MONDAY_MS, MONDAY_MS + 29 * DAY_MS, correct),
        Ticket("demand", HEALTH, MONDAY_MS, MONDAY_MS + DAY_MS, ticket_pb2.TICKET_ACTION_ANSWER),
    ]
    police, health = performance.rows(
        organisations,
        {POLICE: Totals(asked=10, answered=9, resources_used=1), HEALTH: Totals(used=8, refused=2)},
        promises,
        applications,
        tickets,
        days_for=lambda application: 2,
        dispute_days=10,
        calendar=CALENDAR,
        now_ms=MONDAY_MS + 30 * DAY_MS,
    )
    assert (police.name, police.resources, police.resources_used) == ("临江市公安局", 1, 1)
    assert (police.applications, police.decided_in_time, police.breaches) == (2, 1, 1)
    assert (police.disputes, police.disputes_in_time, police.answered_permille) == (2, 1, 900)
    assert (health.used, health.refused, health.demands_answered, health.applications) == (8, 2, 1, 0)
