"""Cases as an agent knows them: what it takes over, what it leaves out, how long it remembers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cases import LATE_MS, AgentCases
from agent.region import RegionView
from agent.region_rules import AgentRules
from exchange import canonical
from exchange import errors as e
from exchange.cases import CHANGE, DAY_MS
from exchange.identity import Role
from exchange.trust import TrustAnchor
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, exchange_pb2
from tests.support.casework import CASE, MATTER, closing, rules_body, step
from tests.support.region import CIVIL, DIVISION, DOMAIN, HEALTH, ORIGIN, POLICE, Authority, moment
from tests.support.sealing import NOW_MS, StillClock

AUTHORITY = Authority()
AGENT = AUTHORITY.person(Role.AGENT, "health-1", HEALTH)
CIVIL_AGENT = AUTHORITY.person(Role.AGENT, "civil-1", CIVIL)
ADMINS = [AUTHORITY.person(Role.ADMIN, name) for name in ("wang", "li")]


class Told:
    """An agent's view, told of entries as a gateway would."""

    def __init__(self, folder: Path) -> None:
        self.clock = StillClock()
        anchor = TrustAnchor(root_pem=AUTHORITY.root_pem, division=DIVISION, trust_domain=DOMAIN)
        trust = anchor.verify_trust_list(AUTHORITY.trust_list(), now_ms=NOW_MS, held=None)
        self.view = RegionView(
            path=folder / "region.db", origin=ORIGIN, anchor=anchor, trust=lambda: trust, clock=self.clock
        )
        self.rules = AgentRules(region=self.view)
        self.cases = AgentCases(region=self.view, rules=self.rules, organisation=POLICE)

    def tell(
        self, act: "audit_pb2.Act.ValueType", statement: common_pb2.Statement, *others: common_pb2.Statement
    ) -> None:
        entry = audit_pb2.AuditEntry(time_ms=self.clock.ms)
        entry.administrative.act = act
        entry.administrative.statement.CopyFrom(statement)
        entry.administrative.countersignatures.extend(others)
        event = directory_pb2.Event(index=self.view.cursor, leaf=entry.SerializeToString())
        self.view.take_event(event)

    def case(self, statement: common_pb2.Statement) -> None:
        self.tell(audit_pb2.ACT_CASE, statement)

    def set_rules(self, **changes: Any) -> None:
        body = rules_body(self.clock.ms, self.rules.current.version + 1, **changes)
        self.tell(audit_pb2.ACT_RULES, *(admin.sign(canonical.RULES, body) for admin in ADMINS))

    def refuses(self, **changes: Any) -> bool:
        told: dict[str, Any] = {
            "consumer_organisation": HEALTH,
            "provider_organisation": POLICE,
            "matter": MATTER,
            "case_number": CASE,
        }
        try:
            self.cases.check(exchange_pb2.RequestHeader(**(told | changes)), self.clock.ms)
        except e.CaseNotOpen:
            return True
        return False


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    agent = Told(tmp_path)
    agent.set_rules()
    yield agent
    agent.view.close()


def test_a_provider_that_was_not_told_of_a_case_refuses(told: Told) -> None:
    assert told.refuses()
    told.case(step(AGENT))
    assert not told.refuses()


def test_a_provider_refuses_other_parties_another_matter_and_a_case_that_is_over(told: Told) -> None:
    told.case(step(AGENT))
    assert told.refuses(consumer_organisation=CIVIL)
    assert told.refuses(matter="housing")
    told.clock.ms += 30 * DAY_MS
    assert told.refuses()


def test_a_closed_case_is_refused(told: Told) -> None:
    told.case(step(AGENT))
    told.case(closing(AGENT))
    told.clock.ms += 1
    assert not told.refuses(case_number="") and told.refuses()


def test_where_case_numbers_are_claims_any_passes(told: Told) -> None:
    told.set_rules(case_mode=1)
    assert not told.refuses()


def test_what_others_sign_in_a_leads_name_is_left_out(told: Told) -> None:
    told.case(CIVIL_AGENT.sign(canonical.CASE, step(AGENT).body))
    altered = step(AGENT)
    altered.body = step(AGENT, matter="housing").body
    told.case(altered)
    told.case(AUTHORITY.person(Role.AUDITOR, "one").sign(canonical.CASE, step(AGENT).body))
    assert len(told.cases) == 0


def test_where_case_services_are_named_others_cases_are_left_out(told: Told) -> None:
    told.set_rules(case_services=[CIVIL])
    told.case(step(AGENT))
    assert told.refuses()


def test_an_older_step_changes_nothing(told: Told) -> None:
    opened = step(AGENT)
    told.case(opened)
    told.clock.ms += 1
    told.case(closing(AGENT, told.clock.ms))
    told.case(opened)
    told.case(step(AGENT, told.clock.ms + 1, revision=2, action=CHANGE))
    assert told.refuses()


def test_another_lead_may_not_take_a_number_before_its_case_is_over(told: Told) -> None:
    told.case(step(AGENT))
    others = {"lead": CIVIL, "participants": [POLICE]}
    told.clock.ms += 1
    told.case(step(CIVIL_AGENT, told.clock.ms, **others))
    assert not told.refuses()
    told.case(closing(AGENT, told.clock.ms))
    told.clock.ms += DAY_MS
    told.case(step(CIVIL_AGENT, told.clock.ms, **others))
    assert told.refuses() and not told.refuses(consumer_organisation=CIVIL)


def test_a_number_is_anothers_once_this_organisation_takes_no_part_in_its_case(told: Told) -> None:
    told.case(step(AGENT))
    told.case(step(AGENT, revision=2, action=CHANGE, participants=[CIVIL]))
    assert told.refuses()
    told.clock.ms += 1
    told.case(step(CIVIL_AGENT, told.clock.ms, lead=CIVIL, participants=[POLICE]))
    assert not told.refuses(consumer_organisation=CIVIL)


def test_a_lead_opens_anew_what_its_gateway_has_forgotten(told: Told) -> None:
    told.case(step(AGENT))
    told.case(step(AGENT, revision=2, action=CHANGE, issued_at=moment(NOW_MS + 1)))
    told.clock.ms += 2
    told.case(step(AGENT, told.clock.ms, participants=[POLICE, CIVIL]))
    held = told.cases.get(CASE)
    assert held is not None and held.revision == 1 and CIVIL in held.parties


def test_what_ended_is_forgotten_a_day_later_and_cannot_be_shown_again(told: Told) -> None:
    opened = step(AGENT)
    told.case(opened)
    told.case(closing(AGENT, told.clock.ms + 1))
    told.clock.ms += DAY_MS + 1
    told.case(step(AGENT, told.clock.ms, case_number="LJ-2"))
    assert told.cases.get(CASE) is None and list(told.view.kept("case")) == ["LJ-2"]
    told.case(opened)
    assert told.refuses()


def test_steps_that_came_in_another_order_than_they_were_signed_are_taken(told: Told) -> None:
    told.case(step(AGENT, told.clock.ms + LATE_MS, case_number="LJ-2"))
    told.case(step(AGENT))
    assert not told.refuses()


def test_what_was_taken_over_is_there_after_a_restart(told: Told, tmp_path: Path) -> None:
    told.case(step(AGENT))
    again = Told(tmp_path)
    assert again.cases.get(CASE) == told.cases.get(CASE) and again.cases.mark == told.cases.mark
    again.view.close()
