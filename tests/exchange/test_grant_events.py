"""What is done to a grant besides accepting and revoking: supervision, extensions, leaving, attestations."""

from dataclasses import replace
from typing import Any

import pytest

from exchange import errors as e
from exchange.grant_events import MAX_REVISIONS, apply_event, follow, supervisor_of
from exchange.grants import check, read_event, read_grant
from exchange.identity import Identity, Role
from exchange.region_rules import ANYBODY, NO_RULES, RegionRules, Supervisor
from exchange.resources import Resource, parse_resource
from exchange.trust import Verified
from exchange.v1 import common_pb2, grant_pb2
from tests.support.region import (
    CIVIL,
    DOMAIN,
    HEALTH,
    POLICE,
    YEAR_MS,
    grant_body,
    item,
    moment,
    nonce,
    resource_body,
)
from tests.support.sealing import NOW_MS

G = grant_pb2
BUREAU = "11970000MB1A0002X6"
ABOUT = parse_resource(common_pb2.Statement(body=resource_body(NOW_MS)))
RULES = RegionRules(supervisors={POLICE: Supervisor(organisation=BUREAU, grants=True, catalogue=False)})
NO_CERTIFICATE: Any = None  # who signed is all that counts here
DAY_MS = 24 * 3600 * 1000


def who(organisation: str, role: Role = Role.STEWARD) -> Identity:
    return Identity(DOMAIN, "970100", role, organisation, "one")


class Case:
    """A grant, what is done to it, and by whom."""

    def __init__(self, rules: RegionRules = NO_RULES, about: Resource | None = ABOUT, **changes: Any) -> None:
        self.rules, self.about = rules, about
        self.grant = read_grant(common_pb2.Statement(body=grant_body(NOW_MS, **changes)))

    def event(self, action: str, at_ms: int = NOW_MS, **changes: Any) -> common_pb2.Statement:
        held: dict[str, Any] = {
            "nonce": nonce(),
            "grant_id": self.grant.grant_id,
            "revision": self.grant.revision + 1,
            "action": G.GrantAction.Value(f"GRANT_ACTION_{action}"),
            "issued_at": moment(at_ms),
        }
        return common_pb2.Statement(body=G.GrantEventBody(**(held | changes)).SerializeToString())

    def do(
        self, action: str, organisation: str, role: Role = Role.STEWARD, at_ms: int = NOW_MS, **changes: Any
    ) -> "Case":
        statement = self.event(action, at_ms, **changes)
        verified = Verified(
            identity=who(organisation, role), certificate=NO_CERTIFICATE, serial=1, not_after_ms=NOW_MS
        )
        self.grant = apply_event(self.grant, statement, verified, self.about, self.rules)
        return self

    def refused(
        self, error: type[e.ExchangeError], action: str, organisation: str, *rest: Any, **changes: Any
    ) -> None:
        before = self.grant
        with pytest.raises(error):
            self.do(action, organisation, *rest, **changes)
        assert self.grant is before

    @property
    def state(self) -> str:
        return G.GrantState.Name(self.grant.state).removeprefix("GRANT_STATE_")

    def passes(self, at_ms: int = NOW_MS) -> bool:
        try:
            check(
                self.grant,
                ABOUT,
                consumer=HEALTH,
                government=True,
                kind=common_pb2.KIND_QUERY,
                fields=["name"],
                purpose="birth",
                matter="newborn",
                step="",
                case_number="1",
                now_ms=at_ms,
            )
        except e.Refused:
            return False
        return True


def test_what_a_provider_accepts_waits_for_the_supervisor_that_the_rules_name() -> None:
    case = Case(RULES).do("ACCEPT", POLICE)
    assert (case.state, case.grant.supervisor, case.passes()) == ("SUPERVISING", BUREAU, False)
    case.do("SUPERVISE", BUREAU)
    assert (case.state, case.passes()) == ("ACTIVE", True)


def test_a_supervisor_that_refuses_ends_the_matter() -> None:
    case = Case(RULES).do("ACCEPT", POLICE).do("OVERRULE", BUREAU)
    assert (case.state, case.passes()) == ("REJECTED", False)
    case.refused(e.WrongState, "SUPERVISE", BUREAU)
    case.refused(e.WrongState, "ACCEPT", POLICE)


@pytest.mark.parametrize("action", ["SUPERVISE", "OVERRULE"])
def test_nobody_but_the_supervisors_steward_supervises(action: str) -> None:
    case = Case(RULES).do("ACCEPT", POLICE)
    for organisation in (POLICE, HEALTH, CIVIL):
        case.refused(e.RoleNotAllowed, action, organisation)
    case.refused(e.RoleNotAllowed, action, BUREAU, Role.AGENT)
    # A grant that nobody supervises has no supervisor to be played.
    free = Case().do("ACCEPT", POLICE)
    for organisation in (POLICE, HEALTH, BUREAU):
        free.refused(e.RoleNotAllowed, action, organisation)


def test_a_supervisor_does_nothing_else() -> None:
    case = Case(RULES)
    for action in ("ACCEPT", "REJECT"):
        case.refused(e.RoleNotAllowed, action, BUREAU)
    case.do("ACCEPT", POLICE)
    for action in ("REVOKE", "EXIT", "PAUSE"):
        case.refused(e.RoleNotAllowed, action, BUREAU)


def test_an_organisation_that_supervises_itself_is_no_second_person() -> None:
    own = RegionRules(supervisors={ANYBODY: Supervisor(organisation=HEALTH, grants=True, catalogue=False)})
    Case(own).refused(e.SecondPersonRequired, "ACCEPT", POLICE)
    # Whom the rules name as its own supervisor has none.
    self_named = RegionRules(
        supervisors={POLICE: Supervisor(organisation=POLICE, grants=True, catalogue=False)}
    )
    assert Case(self_named).do("ACCEPT", POLICE).state == "ACTIVE"


def test_what_is_unconditional_waits_for_nobody_unless_it_is_passed_on() -> None:
    assert Case(RULES, fields=["station"]).do("ACCEPT", POLICE, Role.AGENT).state == "ACTIVE"
    onward = Case(RULES, fields=["station"], redisclosure_to=[CIVIL])
    onward.refused(e.RoleNotAllowed, "ACCEPT", POLICE, Role.AGENT)
    assert onward.do("ACCEPT", POLICE).state == "SUPERVISING"
    assert supervisor_of(onward.grant, None, RULES) == BUREAU


def test_rules_that_come_later_change_nothing_that_was_accepted() -> None:
    case = Case().do("ACCEPT", POLICE)
    case.rules = RULES
    assert case.do("PAUSE", POLICE).do("RESUME", POLICE).passes()
    waiting = Case(RULES).do("ACCEPT", POLICE)
    waiting.rules = NO_RULES
    assert waiting.do("SUPERVISE", BUREAU).state == "ACTIVE"


def until(at_ms: int) -> dict[str, Any]:
    return {"not_after": moment(at_ms)}


def test_an_extension_moves_the_end() -> None:
    case = Case().do("ACCEPT", POLICE)
    assert not case.passes(NOW_MS + YEAR_MS)
    case.do("EXTEND", POLICE, **until(NOW_MS + 2 * YEAR_MS))
    assert case.passes(NOW_MS + 2 * YEAR_MS - 1) and not case.passes(NOW_MS + 2 * YEAR_MS)


def test_a_supervised_extension_waits_while_the_old_term_runs_on() -> None:
    case = Case(RULES).do("ACCEPT", POLICE).do("SUPERVISE", BUREAU)
    case.do("EXTEND", POLICE, **until(NOW_MS + 2 * YEAR_MS))
    assert case.state == "ACTIVE" and case.passes() and not case.passes(NOW_MS + YEAR_MS)
    case.refused(e.WrongState, "EXTEND", POLICE, **until(NOW_MS + 3 * YEAR_MS))
    refused = Case(RULES).do("ACCEPT", POLICE).do("SUPERVISE", BUREAU)
    refused.do("EXTEND", POLICE, **until(NOW_MS + 2 * YEAR_MS)).do("OVERRULE", BUREAU)
    assert refused.state == "ACTIVE" and not refused.passes(NOW_MS + YEAR_MS)
    case.do("PAUSE", POLICE).do("SUPERVISE", BUREAU)
    assert case.state == "PAUSED" and not case.passes()
    assert case.do("RESUME", POLICE).passes(NOW_MS + YEAR_MS)


@pytest.mark.parametrize(
    ("end_ms", "at_ms"),
    [
        (NOW_MS + YEAR_MS, NOW_MS),
        (NOW_MS + YEAR_MS - 1, NOW_MS),
        (NOW_MS + 5 * 366 * DAY_MS + 1, NOW_MS),
        (NOW_MS + 2 * YEAR_MS, NOW_MS + YEAR_MS),
    ],
    ids=["the same", "earlier", "beyond five years", "after the end"],
)
def test_an_extension_leads_from_a_running_term_to_a_later_end_within_five_years(
    end_ms: int, at_ms: int
) -> None:
    Case().do("ACCEPT", POLICE).refused(e.WrongState, "EXTEND", POLICE, at_ms=at_ms, **until(end_ms))


def test_who_may_extend_and_what() -> None:
    Case().refused(e.WrongState, "EXTEND", POLICE, **until(NOW_MS + 2 * YEAR_MS))
    case = Case(fields=["station"]).do("ACCEPT", POLICE)
    for organisation, role in ((HEALTH, Role.STEWARD), (POLICE, Role.AGENT), (CIVIL, Role.STEWARD)):
        case.refused(e.RoleNotAllowed, "EXTEND", organisation, role, **until(NOW_MS + 2 * YEAR_MS))


@pytest.mark.parametrize("steps", [[], ["ACCEPT"], ["ACCEPT", "PAUSE"]])
def test_the_consumer_gives_a_grant_back_at_any_time(steps: list[str]) -> None:
    case = Case()
    for step in steps:
        case.do(step, POLICE)
    case.refused(e.RoleNotAllowed, "EXIT", POLICE)
    case.refused(e.RoleNotAllowed, "EXIT", HEALTH, Role.AGENT)
    assert (case.do("EXIT", HEALTH).state, case.passes()) == ("ENDED", False)
    for action in ("ACCEPT", "RESUME", "REVOKE", "PAUSE"):
        case.refused(e.WrongState, action, POLICE)


def before(at_ms: int) -> dict[str, Any]:
    return {"deleted_before": moment(at_ms)}


def test_deletion_is_attested_forward_and_never_beyond_now() -> None:
    case = Case().do("ACCEPT", POLICE).do("ATTEST_DELETION", HEALTH, **before(NOW_MS - 1))
    assert (case.state, case.grant.deleted_before_ms, case.passes()) == ("ACTIVE", NOW_MS - 1, True)
    for at_ms in (NOW_MS - 1, NOW_MS - 2, NOW_MS + 1):
        case.refused(e.WrongState, "ATTEST_DELETION", HEALTH, **before(at_ms))
    for organisation, role in ((POLICE, Role.STEWARD), (HEALTH, Role.AGENT), (CIVIL, Role.STEWARD)):
        case.refused(e.RoleNotAllowed, "ATTEST_DELETION", organisation, role, **before(NOW_MS))
    case.do("REVOKE", POLICE).do("ATTEST_DELETION", HEALTH, **before(NOW_MS))
    assert (case.state, case.grant.deleted_before_ms) == ("REVOKED", NOW_MS)


def test_what_was_never_in_force_has_nothing_to_delete() -> None:
    for steps in ([], [("REJECT", POLICE)], [("REVOKE", HEALTH)], [("EXIT", HEALTH)]):
        case = Case()
        for action, organisation in steps:
            case.do(action, organisation)
        case.refused(e.WrongState, "ATTEST_DELETION", HEALTH, **before(NOW_MS))


def test_after_many_events_nothing_but_an_end_is_taken() -> None:
    case = Case().do("ACCEPT", POLICE)
    case.grant = replace(case.grant, revision=MAX_REVISIONS)
    case.refused(e.WrongState, "ATTEST_DELETION", HEALTH, **before(NOW_MS))
    case.refused(e.WrongState, "EXTEND", POLICE, **until(NOW_MS + 2 * YEAR_MS))
    assert case.do("EXIT", HEALTH).state == "ENDED"


def test_a_field_that_becomes_conditional_needs_the_supervisor_from_then_on() -> None:
    case = Case(RULES, fields=["station"]).do("ACCEPT", POLICE)
    case.about = parse_resource(
        common_pb2.Statement(body=resource_body(NOW_MS, version=2, fields=[item("station", 2, 2)]))
    )
    case.do("EXTEND", POLICE, **until(NOW_MS + 2 * YEAR_MS))
    assert (case.grant.supervisor, case.grant.extended_to_ms) == (BUREAU, NOW_MS + 2 * YEAR_MS)


@pytest.mark.parametrize("action", ["REVOKE", "EXIT"])
def test_whoever_follows_a_log_takes_an_end_though_it_missed_something(action: str) -> None:
    case = Case().do("ACCEPT", POLICE)
    late = case.event(action, revision=7)
    ended = follow(case.grant, read_event(late), late)
    assert ended.state in (G.GRANT_STATE_REVOKED, G.GRANT_STATE_ENDED) and ended.revision == 7
    for other in ("PAUSE", "ATTEST_DELETION"):
        changes = before(NOW_MS) if other == "ATTEST_DELETION" else {}
        early = case.event(other, revision=7, **changes)
        with pytest.raises(e.WrongState):
            follow(case.grant, read_event(early), early)
    again = case.event(action, revision=8)
    with pytest.raises(e.WrongState):
        follow(ended, read_event(again), again)
