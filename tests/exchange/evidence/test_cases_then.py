"""Whether a case was open when an exchange for it was admitted, from the steps that a bundle holds."""

from types import SimpleNamespace
from typing import Any

import pytest

from exchange import errors as e
from exchange.cases import CHANGE
from exchange.evidence.cases_then import CasesThen
from exchange.evidence.exchanges import Exchanges
from exchange.evidence.findings import Check, Findings
from exchange.evidence.grants_then import GrantsThen
from exchange.identity import Identity, Role
from exchange.v1 import audit_pb2
from tests.support.casework import CASE, MATTER, closing, step
from tests.support.region import CIVIL, DIVISION, DOMAIN, HEALTH, POLICE, Authority
from tests.support.sealing import NOW_MS

AGENT = Authority().person(Role.AGENT, "health-1", HEALTH)


def _verified(organisation: str = HEALTH) -> Any:
    return SimpleNamespace(identity=Identity(DOMAIN, DIVISION, Role.AGENT, organisation, "one"))


@pytest.fixture
def then() -> CasesThen:
    known = CasesThen()
    known.enter(step(AGENT), _verified(), NOW_MS)
    known.enter(closing(AGENT, NOW_MS + 5000), _verified(), NOW_MS + 5000)
    return known


def said(**changes: Any) -> audit_pb2.ExchangeEntry:
    told: dict[str, Any] = {
        "consumer_organisation": HEALTH,
        "provider_organisation": POLICE,
        "matter": MATTER,
        "case_number": CASE,
        "case_standing": audit_pb2.CASE_STANDING_OPEN,
    }
    return audit_pb2.ExchangeEntry(**(told | changes))


def test_an_exchange_between_opening_and_closing_was_for_an_open_case(then: CasesThen) -> None:
    then.check(said(), NOW_MS + 1000, NOW_MS + 2000)
    # Admitted at some moment of these, and the case was open at one of them.
    then.check(said(), NOW_MS - 1000, NOW_MS)
    then.check(said(), NOW_MS + 4000, NOW_MS + 9000)


@pytest.mark.parametrize(
    ("changes", "from_ms", "to_ms"),
    [
        ({}, NOW_MS - 2000, NOW_MS - 1000),
        ({}, NOW_MS + 5001, NOW_MS + 6000),
        ({"matter": "housing"}, NOW_MS + 1000, NOW_MS + 2000),
        ({"consumer_organisation": CIVIL}, NOW_MS + 1000, NOW_MS + 2000),
    ],
)
def test_an_exchange_before_after_or_of_others_was_not(
    then: CasesThen, changes: dict[str, Any], from_ms: int, to_ms: int
) -> None:
    with pytest.raises(e.CaseNotOpen):
        then.check(said(**changes), from_ms, to_ms)


def test_steps_of_others_and_steps_that_do_not_count_up_are_refused(then: CasesThen) -> None:
    with pytest.raises(e.RoleNotAllowed):
        then.enter(step(AGENT), _verified(POLICE), NOW_MS)
    with pytest.raises(e.WrongState):
        then.enter(step(AGENT, revision=2, action=CHANGE), _verified(), NOW_MS)


def _verdict(then: CasesThen, entry: audit_pb2.AuditEntry) -> Findings:
    findings = Findings()
    nobody: Any = object()
    exchanges = Exchanges(keys=nobody, grants=GrantsThen(), cases=then, findings=findings)
    exchanges._case(entry.exchange, entry.time_ms - 1000, entry.time_ms)
    return findings


def test_an_entry_that_says_open_is_held_to_it_where_the_steps_are_there(then: CasesThen) -> None:
    good = audit_pb2.AuditEntry(time_ms=NOW_MS + 2000, exchange=said())
    assert _verdict(then, good).counted["cases_hold"] == 1
    late = audit_pb2.AuditEntry(time_ms=NOW_MS + 9000, exchange=said())
    assert [fault.check for fault in _verdict(then, late).faults] == [Check.CASE]
    unknown = audit_pb2.AuditEntry(time_ms=NOW_MS, exchange=said(case_number="LJ-9"))
    assert _verdict(then, unknown).counted["cases_unproven"] == 1
    claim = audit_pb2.AuditEntry(time_ms=NOW_MS, exchange=said(case_standing=audit_pb2.CASE_STANDING_CLAIM))
    assert not _verdict(then, claim).counted
