"""Who may ask whom for what, until when: every refusal has its own error."""

from dataclasses import replace
from typing import Any

import pytest

from exchange import errors as e
from exchange.grants import (
    MAX_REVISIONS,
    Grant,
    check,
    check_application,
    check_issued,
    check_signer,
    read_event,
    read_grant,
    transition,
)
from exchange.identity import Identity, Role
from exchange.region_rules import NO_RULES, Purpose, RegionRules
from exchange.resources import Resource, parse_resource
from exchange.v1 import common_pb2, directory_pb2, grant_pb2
from tests.support.region import (
    CIVIL,
    DOMAIN,
    HEALTH,
    POLICE,
    RESOURCE,
    YEAR_MS,
    grant_body,
    item,
    moment,
    resource_body,
)
from tests.support.sealing import NOW_MS

ACCEPT, REJECT = grant_pb2.GRANT_ACTION_ACCEPT, grant_pb2.GRANT_ACTION_REJECT
PAUSE, RESUME = grant_pb2.GRANT_ACTION_PAUSE, grant_pb2.GRANT_ACTION_RESUME
REVOKE = grant_pb2.GRANT_ACTION_REVOKE
PENDING, ACTIVE = grant_pb2.GRANT_STATE_PENDING, grant_pb2.GRANT_STATE_ACTIVE
PAUSED, REJECTED = grant_pb2.GRANT_STATE_PAUSED, grant_pb2.GRANT_STATE_REJECTED
REVOKED = grant_pb2.GRANT_STATE_REVOKED


def grant(state: int = ACTIVE, **changes: Any) -> Grant:
    return replace(read_grant(common_pb2.Statement(body=grant_body(NOW_MS, **changes))), state=state)


def resource(**changes: Any) -> Resource:
    return parse_resource(common_pb2.Statement(body=resource_body(NOW_MS, **changes)))


def event(of: Grant, action: Any, revision: int = 1, **changes: Any) -> common_pb2.Statement:
    held: dict[str, Any] = {"nonce": b"n" * 16, "issued_at": moment(NOW_MS), "grant_id": of.grant_id}
    body = grant_pb2.GrantEventBody(action=action, revision=revision, **(held | changes))
    return common_pb2.Statement(body=body.SerializeToString())


ASKED: dict[str, Any] = {
    "consumer": HEALTH,
    "government": True,
    "kind": common_pb2.KIND_QUERY,
    "fields": ["name"],
    "purpose": "birth",
    "matter": "newborn",
    "step": "",
    "case_number": "2026-1",
    "now_ms": NOW_MS,
}

APPLIED: dict[str, Any] = {"rules": NO_RULES, "government": lambda code: True, "now_ms": NOW_MS}


def ask(of: Grant, about: Resource, **changes: Any) -> None:
    check(of, about, **(ASKED | changes))


def test_what_the_grant_covers_passes() -> None:
    ask(grant(), resource())
    ask(grant(), resource(), fields=["address", "name"])
    ask(grant(matters=[]), resource(), matter="")
    ask(grant(case_required=False), resource(), case_number="")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"consumer": CIVIL}, e.GrantForeign),
        ({"kind": common_pb2.KIND_VERIFY}, e.KindNotGranted),
        ({"fields": []}, e.Malformed),
        ({"fields": ["name", "name"]}, e.Malformed),
        ({"fields": ["name", "nothing"]}, e.UnknownField),
        ({"fields": ["name", "secret"]}, e.NotShared),
        ({"fields": ["name", "station"]}, e.FieldNotGranted),
        ({"purpose": "curiosity"}, e.PurposeNotGranted),
        ({"purpose": ""}, e.PurposeNotGranted),
        ({"matter": "marriage"}, e.MatterNotGranted),
        ({"case_number": ""}, e.CaseRequired),
        ({"case_number": "  "}, e.CaseRequired),
        ({"now_ms": NOW_MS - 1001}, e.GrantExpired),
        ({"now_ms": NOW_MS + YEAR_MS}, e.GrantExpired),
    ],
)
def test_what_the_grant_does_not_cover_is_refused(
    changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    with pytest.raises(error):
        ask(grant(), resource(), **changes)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (PENDING, e.GrantPending),
        (PAUSED, e.GrantPaused),
        (REJECTED, e.GrantRevoked),
        (REVOKED, e.GrantRevoked),
        (99, e.NoGrant),
    ],
)
def test_a_grant_that_is_not_in_force_refuses(state: int, error: type[e.ExchangeError]) -> None:
    with pytest.raises(error):
        ask(grant(state), resource())


def test_a_grant_for_another_resource_or_provider_is_none() -> None:
    with pytest.raises(e.NoGrant):
        ask(grant(resource="970100/police/marriage"), resource())
    with pytest.raises(e.NoGrant):
        ask(grant(provider=CIVIL), resource())


def test_the_resource_has_its_say_too() -> None:
    with pytest.raises(e.Suspended):
        ask(grant(), resource().with_suspended(True))
    with pytest.raises(e.KindNotGranted):
        ask(grant(), resource(kinds=[common_pb2.KIND_VERIFY]))
    with pytest.raises(e.CaseRequired):
        ask(grant(case_required=False), resource(case_required=True), case_number="")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"nonce": b""}, e.Malformed),
        ({"consumer": ""}, e.BadIdentifier),
        ({"resource": "household"}, e.BadIdentifier),
        ({"fields": []}, e.Malformed),
        ({"fields": ["name", "name"]}, e.Malformed),
        ({"fields": [f"f{n}" for n in range(65)]}, e.Oversized),
        ({"kinds": []}, e.Malformed),
        ({"purposes": []}, e.Malformed),
        ({"purposes": [""]}, e.Malformed),
        ({"purposes": ["p" * 65]}, e.Oversized),
        ({"purposes": [f"p{n}" for n in range(17)]}, e.Oversized),
        ({"matters": [f"m{n}" for n in range(65)]}, e.Oversized),
        ({"not_after": None}, e.Malformed),
        ({"not_before": moment(NOW_MS + YEAR_MS)}, e.Malformed),
        ({"not_after": moment(NOW_MS + 6 * YEAR_MS)}, e.Malformed),
        ({"justification": "j" * 501}, e.Oversized),
    ],
)
def test_an_application_that_breaks_a_rule_is_refused(
    changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    with pytest.raises(error):
        grant(**changes)


def test_a_term_beyond_all_time_is_refused() -> None:
    body = grant_pb2.GrantBody.FromString(grant_body(NOW_MS))
    body.not_after.seconds = 1 << 62
    with pytest.raises(e.Malformed):
        read_grant(common_pb2.Statement(body=body.SerializeToString()))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"resource": "970100/police/marriage"}, e.UnknownResource),
        ({"provider": CIVIL}, e.UnknownResource),
        ({"fields": ["name", "nothing"]}, e.UnknownField),
        ({"fields": ["name", "secret"]}, e.NotShared),
        ({"kinds": [1, 2]}, e.KindNotGranted),
        ({"not_before": moment(NOW_MS - 9), "not_after": moment(NOW_MS)}, e.GrantExpired),
    ],
)
def test_an_application_beyond_the_catalogue_is_refused(
    changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    with pytest.raises(error):
        check_application(grant(PENDING, **changes), resource(kinds=[1]), **APPLIED)
    check_application(grant(PENDING), resource(), **APPLIED)


@pytest.mark.parametrize(
    ("state", "action", "after"),
    [
        (PENDING, ACCEPT, ACTIVE),
        (PENDING, REJECT, REJECTED),
        (PENDING, REVOKE, REVOKED),
        (ACTIVE, PAUSE, PAUSED),
        (ACTIVE, REVOKE, REVOKED),
        (PAUSED, RESUME, ACTIVE),
        (PAUSED, REVOKE, REVOKED),
    ],
)
def test_a_legal_action_leads_on(state: int, action: int, after: int) -> None:
    before = grant(state)
    statement = event(before, action)
    moved = transition(before, read_event(statement), statement)
    assert (moved.state, moved.revision) == (after, 1)
    assert (moved.record.state, moved.record.revision, list(moved.record.events)) == (after, 1, [statement])
    assert not before.record.events


def test_every_other_action_is_refused() -> None:
    legal = {(PENDING, ACCEPT), (PENDING, REJECT), (PENDING, REVOKE), (ACTIVE, PAUSE), (ACTIVE, REVOKE)}
    legal |= {(PAUSED, RESUME), (PAUSED, REVOKE)}
    for state in (PENDING, ACTIVE, PAUSED, REJECTED, REVOKED):
        for action in (ACCEPT, REJECT, PAUSE, RESUME, REVOKE):
            if (state, action) not in legal:
                before = grant(state)
                statement = event(before, action)
                with pytest.raises(e.WrongState):
                    transition(before, read_event(statement), statement)


@pytest.mark.parametrize("revision", [1, 2, 4, 9])
def test_a_revision_is_neither_repeated_nor_left_out(revision: int) -> None:
    before = replace(grant(ACTIVE), revision=2)
    statement = event(before, PAUSE, revision)
    with pytest.raises(e.WrongState):
        transition(before, read_event(statement), statement)


def test_after_many_events_a_grant_can_only_be_revoked() -> None:
    before = replace(grant(ACTIVE), revision=MAX_REVISIONS)
    for action in (PAUSE, REVOKE):
        statement = event(before, action, MAX_REVISIONS + 1)
        if action == REVOKE:
            assert transition(before, read_event(statement), statement).state == REVOKED
        else:
            with pytest.raises(e.WrongState):
                transition(before, read_event(statement), statement)


def test_an_event_of_another_grant_is_refused() -> None:
    before = grant(PENDING)
    statement = event(before, ACCEPT, grant_id=b"x" * 32)
    with pytest.raises(e.UnknownGrant):
        transition(before, read_event(statement), statement)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"nonce": b""}, e.Malformed),
        ({"grant_id": b"short"}, e.Malformed),
        ({"issued_at": None}, e.Malformed),
        ({"note": "n" * 501}, e.Oversized),
        ({"note": "n" * 5000}, e.Oversized),
    ],
)
def test_an_event_that_breaks_a_rule_is_refused(
    changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    with pytest.raises(error):
        read_event(event(grant(), ACCEPT, **changes))


@pytest.mark.parametrize(("action", "revision"), [(0, 1), (ACCEPT, 0), (77, 1)])
def test_an_event_without_action_or_revision_is_refused(action: int, revision: int) -> None:
    with pytest.raises(e.Malformed):
        read_event(event(grant(), action, revision))


def who(role: Role, organisation: str) -> Identity:
    return Identity(DOMAIN, "970100", role, organisation, "one")


@pytest.mark.parametrize("action", [ACCEPT, REJECT, PAUSE, RESUME, REVOKE])
def test_who_may_do_what_to_a_grant(action: int) -> None:
    conditional, open_grant = grant(PENDING), grant(PENDING, fields=["station"])
    allowed = [
        (conditional, who(Role.STEWARD, POLICE), True),
        (conditional, who(Role.STEWARD, HEALTH), action == REVOKE),
        (conditional, who(Role.STEWARD, CIVIL), False),
        (conditional, who(Role.AGENT, POLICE), False),
        (open_grant, who(Role.AGENT, POLICE), action == ACCEPT),
        (open_grant, who(Role.AGENT, HEALTH), False),
        (open_grant, Identity(DOMAIN, "970100", Role.ADMIN, "", "one"), False),
    ]
    for of, signer, may in allowed:
        done = read_event(event(of, action))
        if may:
            check_signer(of, done, signer, resource())
        else:
            with pytest.raises(e.RoleNotAllowed):
                check_signer(of, done, signer, resource())


def test_an_agent_accepts_nothing_of_a_resource_it_does_not_know() -> None:
    of = grant(PENDING, fields=["station"])
    other = resource(id="970100/police/other")
    for known in (None, other):
        with pytest.raises(e.RoleNotAllowed):
            check_signer(of, read_event(event(of, ACCEPT)), who(Role.AGENT, POLICE), known)


def test_a_statement_from_another_hour_is_refused() -> None:
    check_issued(NOW_MS - 300_000, NOW_MS)
    check_issued(NOW_MS + 300_000, NOW_MS)
    for issued_ms in (NOW_MS - 300_001, NOW_MS + 300_001):
        with pytest.raises(e.ClockSkew):
            check_issued(issued_ms, NOW_MS)


def test_the_subject_of_a_refusal_repeats_no_unknown_name() -> None:
    with pytest.raises(e.UnknownField) as caught:
        ask(grant(), resource(), fields=["970102199001010011"])
    assert caught.value.subject == RESOURCE


def test_a_grant_for_domains_covers_their_matters_and_no_others() -> None:
    of = grant(scope=2, matters=[], domains=["birth", "marriage"])
    ask(of, resource(), matter="birth.newborn")
    ask(of, resource(), matter="marriage")
    for matter in ("", "death.notice", "births", ".birth"):
        with pytest.raises(e.MatterNotGranted):
            ask(of, resource(), matter=matter)


def test_a_grant_for_steps_covers_these_and_no_others() -> None:
    of = grant(matters=["newborn", "marriage"], steps=["newborn/household", "marriage/verify"])
    ask(of, resource(), step="household")
    for matter, step in (("newborn", ""), ("newborn", "verify"), ("marriage", "household")):
        with pytest.raises(e.StepNotGranted):
            ask(of, resource(), matter=matter, step=step)
    ask(grant(), resource(), step="anything")


def test_a_grant_covers_the_ways_of_fetching_it_names_and_on_demand_where_it_names_none() -> None:
    ask(grant(), resource())
    with pytest.raises(e.KindNotGranted):
        ask(grant(), resource(), fetch_mode=directory_pb2.FETCH_MODE_BATCH)
    batch = grant(fetch_modes=[directory_pb2.FETCH_MODE_BATCH])
    ask(batch, resource(), fetch_mode=directory_pb2.FETCH_MODE_BATCH)
    with pytest.raises(e.KindNotGranted):
        ask(batch, resource())


BOTH = [common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY]
DERIVED = [item("name"), item("address"), item("station", 2, 1), item("adult", 2, derived=True)]


def test_a_body_that_is_no_governments_verifies_or_gets_derived_fields_only() -> None:
    about, of = resource(fields=DERIVED), grant(kinds=BOTH, fields=["name", "adult"])
    ask(of, about, government=False, kind=common_pb2.KIND_VERIFY)
    ask(of, about, government=False, fields=["adult"])
    ask(of, about, fields=["name", "adult"])
    with pytest.raises(e.NonGovernment):
        ask(of, about, government=False, fields=["adult", "name"])


def test_an_application_of_such_a_body_asks_for_no_more_and_is_passed_on_to_none() -> None:
    about = resource(fields=DERIVED)
    others = APPLIED | {"government": lambda code: code not in (HEALTH, CIVIL)}
    check_application(grant(PENDING, fields=["adult"]), about, **others)
    check_application(grant(PENDING, kinds=[common_pb2.KIND_VERIFY]), about, **others)
    with pytest.raises(e.NonGovernment):
        check_application(grant(PENDING), about, **others)
    onward = APPLIED | {"government": lambda code: code != CIVIL}
    check_application(grant(PENDING, fields=["adult"], redisclosure_to=[CIVIL]), about, **onward)
    with pytest.raises(e.Redisclosure):
        check_application(grant(PENDING, redisclosure_to=[CIVIL]), about, **onward)


def purpose(**changes: Any) -> RegionRules:
    held: dict[str, Any] = {"matters": frozenset(), "max_term_days": 0}
    made = Purpose(code="birth", title_zh="出生", title_en="Birth", legal_basis="Act 1", **(held | changes))
    return RegionRules(purposes={"birth": made})


@pytest.mark.parametrize(
    ("rules", "changes"),
    [
        (NO_RULES, {"purposes": ["anything"]}),
        (purpose(), {}),
        (purpose(), {"matters": []}),
        (purpose(matters=frozenset({"newborn", "marriage"})), {}),
        (purpose(max_term_days=366), {}),
    ],
)
def test_a_purpose_that_the_rules_know_for_matters_and_term_may_be_named(
    rules: RegionRules, changes: dict[str, Any]
) -> None:
    check_application(grant(PENDING, **changes), resource(), **(APPLIED | {"rules": rules}))


@pytest.mark.parametrize(
    ("rules", "changes"),
    [
        (purpose(), {"purposes": ["birth", "curiosity"]}),
        (purpose(matters=frozenset({"marriage"})), {}),
        (purpose(matters=frozenset({"newborn"})), {"matters": ["newborn", "marriage"]}),
        (purpose(matters=frozenset({"newborn"})), {"matters": []}),
        (purpose(matters=frozenset({"birth.newborn"})), {"scope": 2, "matters": [], "domains": ["birth"]}),
        (purpose(max_term_days=365), {}),
    ],
)
def test_any_other_purpose_is_unknown(rules: RegionRules, changes: dict[str, Any]) -> None:
    with pytest.raises(e.PurposeUnknown):
        check_application(grant(PENDING, **changes), resource(), **(APPLIED | {"rules": rules}))


@pytest.mark.parametrize(
    ("field", "operator", "values", "error"),
    [
        ("nothing", 1, ["1"], e.UnknownField),
        ("count", 2, ["1"], e.Malformed),
        ("count", 1, ["1", "many"], e.Malformed),
        ("born", 1, ["soon"], e.Malformed),
        ("share", 1, ["1.5"], e.Malformed),
        ("at", 1, ["2026-01-01T00:00:00Z"], e.Malformed),
        ("raw", 1, ["AAAA"], e.Malformed),
    ],
)
def test_a_row_filter_that_means_nothing_is_refused(
    field: str, operator: Any, values: list[str], error: type[e.ExchangeError]
) -> None:
    types = {"count": "integer", "born": "date", "share": "decimal", "at": "timestamp", "raw": "bytes"}
    about = resource(fields=[item("name"), item("address"), *(item(n, type=t) for n, t in types.items())])
    told = grant_pb2.RowFilter(field=field, operator=operator, values=values)
    with pytest.raises(error):
        check_application(grant(PENDING, row_filters=[told]), about, **APPLIED)
    good = [
        grant_pb2.RowFilter(field="count", operator=1, values=["1", "-2"]),
        grant_pb2.RowFilter(field="born", operator=1, values=["2026-01-01"]),
        grant_pb2.RowFilter(field="name", operator=2, values=["王"]),
    ]
    check_application(grant(PENDING, row_filters=good), about, **APPLIED)
