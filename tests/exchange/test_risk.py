"""Which entries a draw may select, what makes them heavy, and who answers for them."""

import re
from pathlib import Path
from typing import Any

import pytest

from exchange.identity import Role
from exchange.population import (
    BUSY_FACTOR,
    BUSY_LEAST,
    ENUMERATION_LEAST,
    ENUMERATION_MS,
    Population,
    answerable,
)
from exchange.review import RANDOM, RISK
from exchange.risk import MANY_FIELDS, WEIGHTS, out_of_hours
from exchange.sampling import MAX_WEIGHT
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2, reason_pb2, review_pb2
from tests.support.region import CIVIL, HEALTH, POLICE, RESOURCE
from tests.support.reviewing import (
    CHEN,
    HOUR_MS,
    SUN,
    WANG,
    WEDNESDAY_NOON_MS,
    ZHAO,
    administrative,
    draw,
    exchange,
    person,
)

GATEWAY, AGENT = person(Role.GATEWAY, "gateway-1"), person(Role.AGENT, "health-1", HEALTH)
NIGHT_MS = WEDNESDAY_NOON_MS + 10 * HOUR_MS
VERIFY = common_pb2.KIND_VERIFY


def population(*entries: audit_pb2.AuditEntry, **changes: Any) -> Population:
    found = Population(draw(**({"strategy": RISK} | changes)))
    for index, entry in enumerate(entries):
        found.add(index, entry.SerializeToString())
    found.settle()
    return found


def rules(entry: audit_pb2.AuditEntry) -> set[str]:
    found = population(entry).rules(0)
    return {review_pb2.ReviewRule.Name(rule).removeprefix("REVIEW_RULE_") for rule in found}


def refused(reason: int) -> audit_pb2.AuditEntry:
    return exchange(decision=audit_pb2.DECISION_REFUSED, reason=reason)


def event(action: int) -> grant_pb2.GrantEventBody:
    return grant_pb2.GrantEventBody(action=action)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "due"),
    [
        (exchange(), set()),
        (exchange(case_number=""), {"NO_CASE"}),
        (exchange(case_number="  "), {"NO_CASE"}),
        (exchange(fields=[f"f{n}" for n in range(MANY_FIELDS)]), {"MANY_FIELDS"}),
        (exchange(fields=[f"f{n}" for n in range(MANY_FIELDS - 1)]), set()),
        (exchange(time_ms=NIGHT_MS), {"OUT_OF_HOURS"}),
        (exchange(case_number="", time_ms=NIGHT_MS), {"NO_CASE", "OUT_OF_HOURS"}),
        (refused(reason_pb2.REASON_NO_GRANT), {"SUSPICIOUS_REFUSAL"}),
        (refused(reason_pb2.REASON_REPLAYED), {"SUSPICIOUS_REFUSAL"}),
        (refused(reason_pb2.REASON_MALFORMED), set()),
        (exchange(decision=audit_pb2.DECISION_FAILED, reason=reason_pb2.REASON_SOURCE_DOWN), set()),
        (exchange(decision=audit_pb2.DECISION_FAILED, reason=reason_pb2.REASON_SEAL_BROKEN), {"BROKEN"}),
        (administrative(audit_pb2.ACT_ORGANISATION, WANG), {"ADMINISTRATIVE"}),
        (administrative(audit_pb2.ACT_RESOURCE, CHEN, time_ms=NIGHT_MS), {"ADMINISTRATIVE", "OUT_OF_HOURS"}),
        (administrative(audit_pb2.ACT_GRANT_EVENT, AGENT, event(1), time_ms=NIGHT_MS), set()),
        (administrative(audit_pb2.ACT_GRANT_EVENT, CHEN, event(1)), {"ADMINISTRATIVE"}),
        (administrative(audit_pb2.ACT_GRANT_EVENT, CHEN, event(5)), {"ADMINISTRATIVE", "REVOCATION"}),
        (
            administrative(
                audit_pb2.ACT_RESOURCE_STATE, CHEN, directory_pb2.ResourceStateBody(suspended=True)
            ),
            {"ADMINISTRATIVE", "REVOCATION"},
        ),
        (
            administrative(
                audit_pb2.ACT_RESOURCE_STATE, CHEN, directory_pb2.ResourceStateBody(suspended=False)
            ),
            {"ADMINISTRATIVE"},
        ),
        (administrative(audit_pb2.ACT_TRUST_LIST, person(Role.AUTHORITY, "")), {"REVOCATION"}),
        (administrative(audit_pb2.ACT_TAG_KEY_ERASED, GATEWAY), {"REVOCATION"}),
        (administrative(audit_pb2.ACT_REFUSED, WANG), {"REFUSED_CALL"}),
        (administrative(audit_pb2.ACT_ALERT, GATEWAY), {"ALERT"}),
        (administrative(audit_pb2.ACT_READ, SUN), set()),
        (audit_pb2.AuditEntry(refusals=audit_pb2.RefusalCount(count=9)), {"REFUSED_CALL"}),
    ],
)
def test_what_an_entry_says_decides_its_rules(entry: audit_pb2.AuditEntry, due: set[str]) -> None:
    assert rules(entry) == due


def test_every_rule_has_a_weight_and_every_weight_a_rule() -> None:
    assert set(WEIGHTS) == set(review_pb2.ReviewRule.values()) - {0}
    assert all(0 < weight < MAX_WEIGHT for weight in WEIGHTS.values())


def test_the_page_states_every_weight() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "review.md"
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d+) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    names = {
        review_pb2.ReviewRule.Name(rule).removeprefix("REVIEW_RULE_").lower(): weight
        for rule, weight in WEIGHTS.items()
    }
    assert {name: int(weight) for name, weight in rows} == names


def test_weights_of_several_rules_add_up_and_without_any_there_is_none() -> None:
    found = population(exchange(), exchange(case_number="", time_ms=NIGHT_MS))
    due = WEIGHTS[review_pb2.REVIEW_RULE_NO_CASE] + WEIGHTS[review_pb2.REVIEW_RULE_OUT_OF_HOURS]
    assert list(found.weighted(0, 10)) == [(0, 0), (1, due)]


def test_at_random_every_entry_weighs_the_same_and_shows_no_rule() -> None:
    found = population(exchange(), exchange(case_number=""), strategy=RANDOM)
    assert list(found.weighted(0, 10)) == [(0, 1), (1, 1)]
    assert found.rules(1) == ()


@pytest.mark.parametrize(
    ("hours", "outside"),
    [
        (-4.001, True),
        (-4, False),
        (0, False),
        (5.999, False),
        (6, True),
        (24, False),
        (3 * 24, True),  # Saturday
        (4 * 24, True),  # Sunday
        (5 * 24, False),  # Monday
    ],
)
def test_working_hours_are_weekdays_from_eight_to_six_in_utc_plus_eight(hours: float, outside: bool) -> None:
    assert out_of_hours(int(WEDNESDAY_NOON_MS + hours * HOUR_MS)) is outside


def ordinary(count: int) -> list[audit_pb2.AuditEntry]:
    """One exchange each of many operators and consumers."""
    return [exchange(operator=f"o{n}", consumer_organisation=f"{n:018}") for n in range(count)]


@pytest.mark.parametrize("short", [0, 1])
def test_an_operator_with_unusually_many_exchanges_is_busy(short: int) -> None:
    mine = [exchange(operator="op-1")] * (BUSY_LEAST - short)
    found = population(*ordinary(30), *mine)
    busy = {review_pb2.REVIEW_RULE_BUSY_OPERATOR, review_pb2.REVIEW_RULE_BUSY_CONSUMER}
    assert set(found.rules(30)) == (set() if short else busy)
    assert found.rules(0) == ()


def test_where_everybody_has_many_exchanges_nobody_is_busy() -> None:
    each = [exchange(operator=f"o{n % 3}") for n in range(3 * BUSY_LEAST)]
    assert population(*each).rules(0) == ()


def test_busy_counts_from_a_multiple_of_the_median() -> None:
    many = BUSY_LEAST // 2
    others = [exchange(operator=f"o{n % 5}", consumer_organisation=HEALTH) for n in range(5 * many)]
    for extra, due in ((-1, ()), (0, (review_pb2.REVIEW_RULE_BUSY_OPERATOR,))):
        mine = [exchange(operator="op-1")] * (BUSY_FACTOR * many + extra)
        assert population(*others, *mine).rules(len(others)) == due


def test_an_overseer_who_reads_unusually_much_is_busy() -> None:
    officers = [person(Role.OFFICER, f"o{n}") for n in range(3)]
    reads = [administrative(audit_pb2.ACT_READ, one) for one in officers]
    mine = [administrative(audit_pb2.ACT_READ, ZHAO)] * BUSY_LEAST
    found = population(*reads, *mine)
    assert (found.rules(0), found.rules(3)) == ((), (review_pb2.REVIEW_RULE_BUSY_READER,))


def test_many_verifications_of_one_operator_within_ten_minutes_are_enumeration() -> None:
    start = WEDNESDAY_NOON_MS // ENUMERATION_MS * ENUMERATION_MS
    quick = [
        exchange(kind=VERIFY, operator="op-1", time_ms=start + n * 1000) for n in range(ENUMERATION_LEAST)
    ]
    slow = [
        exchange(kind=VERIFY, operator="op-2", time_ms=start + n * ENUMERATION_MS)
        for n in range(ENUMERATION_LEAST)
    ]
    queries = [exchange(operator="op-3", time_ms=start)] * ENUMERATION_LEAST
    found = population(*quick, *slow, *queries)
    marked = [
        index for index in range(len(found)) if review_pb2.REVIEW_RULE_ENUMERATION in found.rules(index)
    ]
    assert marked == list(range(ENUMERATION_LEAST))


def test_what_machines_enter_and_reviews_are_not_drawn() -> None:
    acts = (
        audit_pb2.ACT_LOG_OPENED,
        audit_pb2.ACT_BUNDLE,
        audit_pb2.ACT_SEGMENT_SEALED,
        audit_pb2.ACT_REVIEW_DRAW,
        audit_pb2.ACT_REVIEW_EVENT,
    )
    left_out = [administrative(act, GATEWAY) for act in acts] + [audit_pb2.AuditEntry(version=1)]
    assert len(population(*left_out, strategy=RANDOM)) == 0


def test_a_leaf_that_is_no_entry_is_left_out() -> None:
    found = Population(draw(strategy=RANDOM))
    found.add(0, b"\xff\xff")
    found.add(1, exchange().SerializeToString())
    assert list(found.weighted(0, 9)) == [(1, 1)]


@pytest.mark.parametrize(
    ("narrowing", "due"),
    [
        ({"organisation": HEALTH}, [0, 3, 5]),
        ({"organisation": POLICE}, [0, 1, 5]),
        ({"organisation": CIVIL}, [1]),
        ({"resource": RESOURCE}, [0, 1, 4]),
        ({"resource": "970100/police/*"}, [0, 1, 4, 5]),
        ({"resource": "970100/police/*", "organisation": HEALTH}, [0, 5]),
        ({"resource": "970100/police"}, []),
    ],
)
def test_a_draw_is_narrowed_to_an_organisation_and_a_resource(
    narrowing: dict[str, str], due: list[int]
) -> None:
    entries = [
        exchange(),
        exchange(consumer_organisation=CIVIL),
        administrative(audit_pb2.ACT_ORGANISATION, WANG, subject=HEALTH),
        administrative(audit_pb2.ACT_GRANT, CHEN),
        administrative(audit_pb2.ACT_RESOURCE, WANG, subject=RESOURCE),
        exchange(resource="970100/police/register"),
    ]
    found = population(*entries, strategy=RANDOM, **narrowing)
    assert [index for index, _ in found.weighted(0, 9)] == due


@pytest.mark.parametrize(
    ("entry", "organisation", "by"),
    [
        (exchange(), HEALTH, ""),
        (administrative(audit_pb2.ACT_GRANT, CHEN), HEALTH, ""),
        (administrative(audit_pb2.ACT_GRANT_EVENT, AGENT), HEALTH, ""),
        (administrative(audit_pb2.ACT_READ, SUN), "", SUN.uri),
        (administrative(audit_pb2.ACT_ORGANISATION, WANG), "", WANG.uri),
        (administrative(audit_pb2.ACT_ALERT, GATEWAY), "", ""),
        (audit_pb2.AuditEntry(refusals=audit_pb2.RefusalCount(caller=AGENT.uri)), HEALTH, ""),
        (audit_pb2.AuditEntry(refusals=audit_pb2.RefusalCount(caller="nobody")), "", ""),
    ],
)
def test_the_consumer_or_whoever_acted_answers_for_an_entry(
    entry: audit_pb2.AuditEntry, organisation: str, by: str
) -> None:
    found = answerable(3, entry)
    assert (found.index, found.organisation, found.person) == (3, organisation, by)
