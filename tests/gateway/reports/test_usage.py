"""Sums of usage: what counts, under whom, how times and ages are read from steps."""

import sqlite3
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.v1 import audit_pb2, exchange_pb2, grant_pb2, report_pb2, ticket_pb2
from gateway.audit.projections.projection_file import Projected
from gateway.reports import sums
from gateway.reports.steps import above, bound_of, quantile, step_of
from gateway.reports.sums import Period
from gateway.reports.usage_rows import DAY_MS, UsageContent, day_of
from gateway.reports.usage_table import usage_rows
from tests.support.region import HEALTH, POLICE

NOON_MS = 20_000 * DAY_MS + 4 * 3600 * 1000
"""Noon of a day, UTC+8."""
HOUSEHOLD = "970100/police/household"
TODAY = Period(NOON_MS, NOON_MS + 1)
RELEASED = audit_pb2.DECISION_RELEASED
REFUSED = audit_pb2.DECISION_REFUSED
FAILED = audit_pb2.DECISION_FAILED


class Usage:
    """An empty `usage.db` in memory, and a log's entries that go into it."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.execute("CREATE TABLE progress (next INTEGER)")
        self.db.execute("INSERT INTO progress VALUES (0)")
        self.content = UsageContent()
        self.db.executescript(self.content.schema)
        self.entries: list[Projected] = []

    def add(self, *entries: audit_pb2.AuditEntry) -> None:
        first = len(self.entries)
        new = [Projected(index, b"", entry) for index, entry in enumerate(entries, first)]
        self.content.add(self.db, new)
        self.entries += new
        self.db.execute("UPDATE progress SET next = ?", (len(self.entries),))

    def exchange(self, time_ms: int = NOON_MS, **said: object) -> None:
        held: dict[str, object] = {
            "consumer_organisation": HEALTH,
            "provider_organisation": POLICE,
            "resource": HOUSEHOLD,
            "application": "counter",
            "decision": RELEASED,
            "provider_us": 5000,
            "response_bytes": 100,
        }
        entry = audit_pb2.AuditEntry(time_ms=time_ms)
        entry.exchange.MergeFrom(audit_pb2.ExchangeEntry(**(held | said)))  # type: ignore[arg-type]
        self.add(entry)

    def act(self, act: "audit_pb2.Act.ValueType", body: bytes, time_ms: int = NOON_MS) -> None:
        entry = audit_pb2.AuditEntry(time_ms=time_ms)
        entry.administrative.act = act
        entry.administrative.statement.body = body
        self.add(entry)

    def by(
        self, group: "report_pb2.UsageGroup.ValueType", period: Period = TODAY
    ) -> list[report_pb2.UsageRow]:
        return usage_rows(self.db, period, group, {HEALTH: "970100", POLICE: "970102"}.get)  # type: ignore[arg-type]


@pytest.fixture
def usage() -> Usage:
    return Usage()


@pytest.mark.parametrize(
    ("rule", "decision"), [("deadline", FAILED), ("stop/5b0e77d1", REFUSED), ("risk/death-address", REFUSED)]
)
def test_an_exchange_that_is_entered_again_for_its_providers_receipt_counts_once(
    usage: Usage, rule: str, decision: "audit_pb2.Decision.ValueType"
) -> None:
    usage.exchange(decision=decision, rule=rule)
    usage.exchange(decision=decision, rule=rule, response_digest=bytes(32))
    usage.exchange(decision=FAILED, rule="provider", response_digest=bytes(32))
    (row,) = usage.by(report_pb2.USAGE_GROUP_CONSUMER_RESOURCE)
    assert (row.refused, row.failed) == ((0, 2) if decision == FAILED else (1, 1))


def test_released_refused_and_failed_are_summed_by_consumer_and_resource(usage: Usage) -> None:
    usage.exchange(metering=exchange_pb2.METERING_UP_TO_100)
    usage.exchange()
    usage.exchange(decision=REFUSED, rule="grant")
    usage.exchange(decision=FAILED, rule="deadline")
    usage.exchange(resource="970100/police/station")
    (household, station) = usage.by(report_pb2.USAGE_GROUP_CONSUMER_RESOURCE)
    assert (household.released, household.refused, household.failed) == (2, 1, 1)
    assert (household.records_at_least, household.answer_bytes) == (11, 200)
    assert (station.resource, station.released) == ("970100/police/station", 1)


def test_a_day_begins_at_midnight_of_utc_8(usage: Usage) -> None:
    usage.exchange(NOON_MS + 12 * 3600 * 1000 - 1)
    usage.exchange(NOON_MS + 12 * 3600 * 1000)
    (today,) = usage.by(report_pb2.USAGE_GROUP_DAY)
    assert (today.day, today.released) == ("2024-10-04", 1)
    assert day_of(NOON_MS) == 20_000


def test_usage_is_summed_by_division_and_by_application(usage: Usage) -> None:
    usage.exchange()
    usage.exchange(consumer_organisation=POLICE, application="desk")
    regions = usage.by(report_pb2.USAGE_GROUP_REGION)
    assert [(row.division, row.released, row.consumer) for row in regions] == [
        ("970100", 1, ""),
        ("970102", 1, ""),
    ]
    applications = usage.by(report_pb2.USAGE_GROUP_APPLICATION)
    assert {(row.consumer, row.application) for row in applications} == {
        (HEALTH, "counter"),
        (POLICE, "desk"),
    }


def test_a_party_sees_what_it_used_and_what_was_used_of_it(usage: Usage) -> None:
    usage.exchange()
    usage.exchange(consumer_organisation="11980000MB1A0001X9", provider_organisation="11970000MB1A0001X5")
    seen = usage.by(report_pb2.USAGE_GROUP_CONSUMER, Period(NOON_MS, NOON_MS + 1, POLICE))
    assert [row.consumer for row in seen] == [HEALTH]


def test_entries_that_stay_when_others_are_erased_count_once(usage: Usage) -> None:
    usage.exchange()
    usage.content.forget(usage.db, 0, 1)
    usage.content.add(usage.db, usage.entries)
    assert [row.released for row in usage.by(report_pb2.USAGE_GROUP_CONSUMER)] == [1]


@pytest.mark.parametrize(
    ("said", "asked", "answered"),
    [
        ({}, 1, 1),
        ({"decision": REFUSED, "rule": "grant", "hop": "gateway/gateway-1"}, 0, 0),
        ({"decision": REFUSED, "rule": "provider", "hop": "provider/police-1"}, 1, 1),
        ({"decision": FAILED, "rule": "forward", "hop": "gateway/gateway-1"}, 1, 0),
        ({"decision": FAILED, "rule": "deadline", "hop": "provider/police-1"}, 1, 0),
        ({"decision": FAILED, "rule": "append", "hop": "gateway/gateway-1"}, 0, 0),
    ],
)
def test_a_provider_is_held_to_what_was_due_from_it_alone(
    usage: Usage, said: dict[str, object], asked: int, answered: int
) -> None:
    usage.exchange(**said)
    found = sums.measured(usage.db, TODAY)[HOUSEHOLD]
    assert (found.asked, found.answered) == (asked, answered)


def test_ages_are_those_of_answers_whose_source_tells(usage: Usage) -> None:
    usage.exchange()
    usage.exchange(data_as_of_ms=NOON_MS - 3_600_000)
    found = sums.measured(usage.db, TODAY)[HOUSEHOLD]
    assert (found.dated, found.oldest_s) == (1, 3600)
    assert above(found.ages, 3000) == 1 and above(found.ages, 3600) == 0


def test_applications_keep_when_they_were_handed_in_and_first_decided(usage: Usage) -> None:
    body = grant_pb2.GrantBody(provider=POLICE, consumer=HEALTH, resource=HOUSEHOLD).SerializeToString()
    usage.act(audit_pb2.ACT_GRANT, body, NOON_MS)
    (waiting,) = sums.applications(usage.db, Period(NOON_MS + 5 * DAY_MS, NOON_MS + 6 * DAY_MS))
    assert (waiting.applied_ms, waiting.decided_ms) == (NOON_MS, 0)
    for action, later in ((grant_pb2.GRANT_ACTION_ACCEPT, 1), (grant_pb2.GRANT_ACTION_REVOKE, 2)):
        event = grant_pb2.GrantEventBody(grant_id=waiting.grant_id, action=action).SerializeToString()
        usage.act(audit_pb2.ACT_GRANT_EVENT, event, NOON_MS + later)
    (decided,) = sums.applications(usage.db, TODAY)
    assert decided.decided_ms == NOON_MS + 1
    assert sums.applications(usage.db, Period(NOON_MS + 5 * DAY_MS, NOON_MS + 6 * DAY_MS)) == []


def test_a_dispute_counts_for_the_provider_and_a_demand_for_whom_it_was_given_to(usage: Usage) -> None:
    dispute = ticket_pb2.TicketBody(nonce=b"d", dispute=ticket_pb2.Dispute(provider=POLICE))
    demand = ticket_pb2.TicketBody(nonce=b"e", demand=ticket_pb2.Demand(title="x"))
    usage.act(audit_pb2.ACT_TICKET, dispute.SerializeToString())
    usage.act(audit_pb2.ACT_TICKET, demand.SerializeToString())
    assert [one.party for one in sums.tickets(usage.db, TODAY)] == [POLICE]
    ticket_id = usage.db.execute("SELECT ticket_id FROM ticket WHERE kind = 'demand'").fetchone()[0]
    given = ticket_pb2.TicketEventBody(
        ticket_id=ticket_id, action=ticket_pb2.TICKET_ACTION_ASSIGN, assigned_to=HEALTH
    )
    usage.act(audit_pb2.ACT_TICKET_EVENT, given.SerializeToString())
    assert {one.party for one in sums.tickets(usage.db, TODAY)} == {POLICE, HEALTH}


@given(st.lists(st.floats(min_value=0, max_value=1e9), min_size=1), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_quantile_is_never_below_the_true_one_nor_a_tenth_above(values: list[float], share: float) -> None:
    counts = [(step_of(value), 1) for value in values]
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1) - 1
    true = ordered[max(0, min(len(ordered) - 1, rank))]
    found = quantile(counts, share)
    assert found >= true * (1 - 1e-6)
    assert found <= max(1.0, true * 1.1) * (1 + 1e-6)


@given(st.lists(st.integers(min_value=0, max_value=10**9)), st.integers(min_value=1, max_value=10**9))
def test_what_is_above_a_bound_by_steps_is_above_it_in_truth(values: Sequence[int], bound: int) -> None:
    assert above([(step_of(value), 1) for value in values], bound) <= sum(value > bound for value in values)
    assert all(bound_of(step_of(value)) >= value * (1 - 1e-9) for value in values)
