"""What a case is, what may follow what, and which exchanges may be for it."""

from typing import Any

import pytest

from exchange import errors as e
from exchange.cases import (
    CHANGE,
    CLOSE,
    DAY_MS,
    MAX_TERM_MS,
    OPEN,
    Case,
    check,
    check_signer,
    follows,
    read_case,
)
from exchange.identity import Identity, Role
from exchange.v1 import case_pb2
from tests.support.casework import CASE, MATTER, case_body
from tests.support.region import CIVIL, DIVISION, DOMAIN, HEALTH, POLICE, moment
from tests.support.sealing import NOW_MS


def case(**changes: Any) -> Case:
    return read_case(case_body(**changes))


def covered(held: Case | None, **changes: Any) -> None:
    asked: dict[str, Any] = {"consumer": HEALTH, "provider": POLICE, "matter": MATTER, "now_ms": NOW_MS}
    check(held, **(asked | changes))


def test_an_exchange_between_its_parties_for_its_matter_is_covered_while_it_is_open() -> None:
    covered(case())
    covered(case(), consumer=POLICE, provider=HEALTH)
    covered(case(), now_ms=NOW_MS + 30 * DAY_MS - 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"consumer": CIVIL},
        {"provider": CIVIL},
        {"matter": "housing"},
        {"matter": ""},
        {"now_ms": NOW_MS + 30 * DAY_MS},
    ],
)
def test_an_exchange_of_others_of_another_matter_or_after_its_end_is_not(changes: dict[str, Any]) -> None:
    with pytest.raises(e.CaseNotOpen):
        covered(case(), **changes)


def test_a_case_that_is_closed_or_that_nobody_knows_covers_nothing() -> None:
    for held in (None, case(revision=2, action=CLOSE)):
        with pytest.raises(e.CaseNotOpen):
            covered(held)


def test_a_case_is_opened_changed_and_closed_one_revision_after_the_other() -> None:
    opened, changed = case(), case(revision=2, action=CHANGE, participants=[POLICE, CIVIL])
    follows(None, opened, NOW_MS)
    follows(opened, changed, NOW_MS)
    follows(changed, case(revision=3, action=CLOSE), NOW_MS)


@pytest.mark.parametrize(
    ("held", "then", "due"),
    [
        (None, {"revision": 2, "action": CHANGE}, e.WrongState),
        (None, {"revision": 2, "action": CLOSE}, e.WrongState),
        ({}, {}, e.Replayed),
        ({"revision": 2, "action": CLOSE}, {}, e.Replayed),
        ({"revision": 2, "action": CLOSE}, {"revision": 3, "action": CHANGE}, e.WrongState),
        ({"revision": 2, "action": CLOSE}, {"revision": 3, "action": CLOSE}, e.WrongState),
        ({}, {"revision": 3, "action": CLOSE}, e.WrongState),
        ({}, {"revision": 2, "action": CHANGE, "matter": "housing"}, e.WrongState),
        ({}, {"revision": 2, "action": CLOSE, "lead": POLICE, "participants": []}, e.RoleNotAllowed),
    ],
)
def test_what_does_not_follow_is_refused(
    held: dict[str, Any] | None, then: dict[str, Any], due: type[Exception]
) -> None:
    with pytest.raises(due):
        follows(None if held is None else case(**held), case(**then), NOW_MS)


def test_a_case_that_is_over_by_itself_is_neither_changed_nor_closed() -> None:
    later = NOW_MS + 30 * DAY_MS
    for action in (CHANGE, CLOSE):
        with pytest.raises(e.WrongState):
            follows(case(), case(at_ms=later, revision=2, action=action), later)


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": b"short"},
        {"case_number": ""},
        {"case_number": " LJ-1"},
        {"case_number": "LJ\n1"},
        {"case_number": "x" * 65},
        {"matter": ""},
        {"matter": "x" * 65},
        {"revision": 0},
        {"revision": 2},
        {"revision": 1, "action": CLOSE},
        {"action": case_pb2.CASE_ACTION_UNSPECIFIED},
        {"action": 7},
        {"lead": "nobody"},
        {"participants": ["nobody"]},
        {"participants": [POLICE, POLICE]},
        {"participants": [HEALTH]},
        {"participants": [POLICE] * 65},
        {"expires_at": moment(NOW_MS + MAX_TERM_MS + 1)},
        {"expires_at": moment(NOW_MS)},
        {"expires_at": None},
        {"issued_at": None},
    ],
)
def test_a_body_that_breaks_a_bound_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(e.BadInput):
        case(**changes)


def test_bytes_that_are_no_case_are_refused() -> None:
    for body in (b"\xff\xff", b"", b"\x0a" + b"\xff" * 9000):
        with pytest.raises(e.BadInput):
            read_case(body)


def test_agents_and_stewards_of_the_lead_sign_and_only_case_services_where_these_are_named() -> None:
    def who(role: Role, organisation: str) -> Identity:
        return Identity(DOMAIN, DIVISION, role, organisation, "one")

    opened = case()
    for role in (Role.AGENT, Role.STEWARD):
        check_signer(opened, who(role, HEALTH), ())
        check_signer(opened, who(role, HEALTH), {HEALTH})
        with pytest.raises(e.RoleNotAllowed):
            check_signer(opened, who(role, POLICE), ())
        with pytest.raises(e.RoleNotAllowed):
            check_signer(opened, who(role, HEALTH), {POLICE})
    with pytest.raises(e.RoleNotAllowed):
        check_signer(opened, who(Role.ADMIN, ""), ())


def test_the_newest_body_says_everything() -> None:
    found = case(revision=3, action=CHANGE, participants=[CIVIL])
    assert (found.number, found.revision, found.lead) == (CASE, 3, HEALTH)
    assert found.parties == {HEALTH, CIVIL} and not found.closed
    assert case(action=OPEN).ended_ms == NOW_MS + 30 * DAY_MS
    assert case(revision=2, action=CLOSE).ended_ms == NOW_MS
