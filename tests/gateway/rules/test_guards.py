"""The guard of step 4 that asks the policies: in force with the rules, kept while nothing changes."""

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange import canonical
from exchange import errors as e
from exchange.identity import Role
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2, reason_pb2, rules_pb2
from gateway.access.guards import standard_guards
from gateway.record import Exchange
from gateway.rules.guards import Decisions, RegionGuards
from gateway.rules.situation import Situation
from gateway.rules.supposed import suppose
from tests.support.catalogue import BREAKING
from tests.support.region import HEALTH, POLICE, Authority, Region, item, organisation_body
from tests.support.rules import (
    HOUR_MS,
    MORNING_MS,
    NIGHT,
    NOBODY,
    OpenPath,
    agent_of,
    digest_of,
    header,
    morning,
    rules_body,
    set_rules,
    shipped,
)

ACCEPT = grant_pb2.GRANT_ACTION_ACCEPT
PAUSE, RESUME = grant_pb2.GRANT_ACTION_PAUSE, grant_pb2.GRANT_ACTION_RESUME


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def region(tmp_path: Path, authority: Authority) -> Region:
    made = Region(tmp_path, authority=authority)
    morning(made)
    await made.settled()
    return made


async def granted(region: Region, **changes: Any) -> bytes:
    kinds = [common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY]
    grant = await region.apply(**({"kinds": kinds, "matters": []} | changes))
    await region.decide(grant, ACCEPT, 1)
    return grant


def supposed(region: Region, grant: bytes, **changes: Any) -> Exchange:
    """Return an exchange as it is after the grant guard."""
    asked = suppose(region.state, agent_of(HEALTH).identity, header(grant, **changes))
    asked.grant_revision = region.state.grants.one(grant).revision
    return asked


def decide(guard: RegionGuards, exchange: Exchange, now_ms: int) -> str:
    """Return the rule that refuses, "" where none does."""
    try:
        guard(exchange, None, now_ms)
    except e.ForbiddenByRule as error:
        assert exchange.rule == f"guard/{error.subject}"
        return error.subject
    return ""


async def test_without_guards_nothing_is_forbidden(region: Region) -> None:
    guard = RegionGuards(state=region.state)
    assert decide(guard, supposed(region, await granted(region)), region.clock.ms) == ""


async def test_a_guard_is_in_force_with_the_entry_that_sets_it_and_gone_with_the_next(region: Region) -> None:
    grant = await granted(region)
    path = OpenPath(region, standard_guards(region.state))
    asked = header(grant, resource_digest=digest_of(region.state), provider_organisation=POLICE)
    assert path.ask(asked).error is None
    index = await set_rules(region, NOBODY)
    refused = path.ask(asked)
    assert isinstance(refused.error, e.ForbiddenByRule)
    entry = audit_pb2.AuditEntry.FromString(path.log.leaves[-1]).exchange
    assert (entry.rule, entry.reason, entry.rules_version) == (
        "guard/nobody",
        reason_pb2.REASON_FORBIDDEN_BY_RULE,
        1,
    )
    assert region.state.rules.index == index
    await set_rules(region)
    assert path.ask(asked).error is None


async def test_rules_that_do_not_compile_are_refused_before_they_are_logged(region: Region) -> None:
    RegionGuards(state=region.state)
    entries = len(region.log.entries)
    with pytest.raises(e.RulesInvalid, match="file-0:1"):
        await set_rules(region, "permit (principal, action, resource);")
    assert len(region.log.entries) == entries
    assert region.state.rules.current.version == 0


async def test_one_administrator_alone_sets_no_rules(region: Region) -> None:
    body = rules_body(1, region.clock.ms)
    statement = region.admin.sign(canonical.RULES, body)
    for more in ([], [region.admin.sign(canonical.RULES, body)]):
        with pytest.raises(e.SecondPersonRequired):
            await region.registrar.record(
                audit_pb2.ACT_RULES, region.admin.identity, statement, countersignatures=more
            )


async def test_of_two_administrators_who_race_the_second_is_refused(region: Region) -> None:
    other = region.authority.person(Role.ADMIN, "admin-2")
    bodies = [rules_body(1, region.clock.ms, text) for text in (NIGHT, NOBODY)]

    async def publish(body: bytes) -> int:
        return await region.registrar.record(
            audit_pb2.ACT_RULES,
            region.admin.identity,
            region.admin.sign(canonical.RULES, body),
            countersignatures=[other.sign(canonical.RULES, body)],
        )

    await publish(bodies[0])
    with pytest.raises(e.WrongState, match="due is 2"):
        await publish(bodies[1])
    assert "by-night" in region.state.rules.current.guards[0][1]


async def test_a_gateway_that_cannot_compile_the_guards_in_force_lets_nothing_pass(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules are in the log already: set elsewhere, or before an upgrade."""
    grant = await granted(region)
    await set_rules(region, NIGHT)
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "cedarpy":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    guard = RegionGuards(state=region.state)
    assert isinstance(guard.fault, e.RulesInvalid)
    assert decide(guard, supposed(region, grant), MORNING_MS) == "broken"
    monkeypatch.undo()
    await set_rules(region)
    assert guard.fault is None
    assert decide(guard, supposed(region, grant), MORNING_MS) == ""


async def test_a_decision_ages_with_the_hour(region: Region) -> None:
    grant = await granted(region)
    guard = RegionGuards(state=region.state)
    await set_rules(region, NIGHT)
    asked = supposed(region, grant, fields=["address"])
    hours = (0, 9, 10, 13, 14, 24)
    said = [decide(guard, asked, MORNING_MS + hours_on * HOUR_MS) for hours_on in hours]
    assert said == ["", "", "by-night", "by-night", "", ""]


async def test_a_day_off_of_the_region_counts_as_none_of_work(region: Region) -> None:
    grant = await granted(region)
    guard = RegionGuards(state=region.state)
    text = '@id("off") @reason_zh("休") @reason_en("off") forbid (principal, action, resource)'
    text += " unless { context.working_day };"
    await set_rules(region, text, days_off=["2026-09-23"], working_days=["2026-09-26"])
    asked = supposed(region, grant)
    days = [decide(guard, asked, MORNING_MS + day * 24 * HOUR_MS) for day in range(7)]
    # The 25th of September 2026 is Mid-Autumn, the 26th would be a Saturday.
    assert days == ["", "off", "", "off", "", "off", ""]


async def test_the_same_question_is_decided_once(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    grant, again = await granted(region), await granted(region, nonce=b"2" * 16)
    guard = RegionGuards(state=region.state)
    await set_rules(region, NIGHT)
    asked: list[object] = []
    guards = guard._guards
    assert guards is not None
    real = guards.forbidding
    monkeypatch.setattr(guards, "forbidding", lambda facts: asked.append(facts) or real(facts))
    for one in (grant, grant, again):
        assert decide(guard, supposed(region, one), MORNING_MS) == ""
    assert len(asked) == 1, "another grant of which the policies read nothing else is the same question"
    decide(guard, supposed(region, grant, fields=["address"]), MORNING_MS)
    assert len(asked) == 2
    decide(guard, supposed(region, grant, fields=["address"], matter="other"), MORNING_MS)
    assert len(asked) == 2


def test_decisions_are_bounded_and_those_asked_for_stay() -> None:
    kept = Decisions(most=4)
    for number in range(100):
        kept.keep(number, str(number))
        kept.get(0) if number else None
    assert len(kept) <= 8
    assert kept.get(0) == "0"
    assert kept.get(50) is None
    kept.clear()
    assert kept.get(0) is None


Change = Callable[[Region, bytes], Any]


async def _organisation(region: Region, **changes: Any) -> None:
    region.clock.ms += 1
    body = organisation_body(region.clock.ms, HEALTH, "health", **changes)
    statement = region.admin.sign(canonical.ORGANISATION, body)
    await region.enter(audit_pb2.ACT_ORGANISATION, region.admin, statement)


async def _kind(region: Region, grant: bytes) -> None:
    await _organisation(region, kind=directory_pb2.ORGANISATION_KIND_OTHER)


async def _important(region: Region, grant: bytes) -> None:
    important = item("name", data_class=directory_pb2.DATA_CLASS_IMPORTANT)
    await region.publish(
        version=2, compatibility=BREAKING, fields=[important, item("address", 4), item("station", 2, 1)]
    )


async def _level(region: Region, grant: bytes) -> None:
    await region.publish(
        version=2, compatibility=BREAKING, fields=[item("name", 4), item("address", 2), item("station", 2, 1)]
    )


async def _derived(region: Region, grant: bytes) -> None:
    await region.publish(
        version=2, compatibility=BREAKING, fields=[item("name", derived=True), item("address", 4)]
    )


@pytest.mark.parametrize("change", [_kind, _important, _level, _derived])
async def test_a_change_of_the_state_that_changes_a_fact_changes_the_key(
    region: Region, change: Change
) -> None:
    grant = await granted(region)
    situation = Situation(state=region.state)
    before = supposed(region, grant)
    key, facts = situation.key(before, MORNING_MS), situation.facts(before, MORNING_MS)
    await change(region, grant)
    after = supposed(region, grant)
    assert situation.facts(after, MORNING_MS) != facts
    assert situation.key(after, MORNING_MS) != key


QUESTIONS: list[dict[str, Any]] = [
    {},
    {"kind": common_pb2.KIND_VERIFY},
    {"fields": ["address"]},
    {"fields": ["name", "address"]},
    {"purpose": "death"},
    {"matter": "other"},
    {"step": "first"},
    {"case_number": ""},
    {"case_number": "  "},
]
GRANTS: list[dict[str, Any]] = [
    {"scope": grant_pb2.GRANT_SCOPE_WHOLE},
    {"scope": grant_pb2.GRANT_SCOPE_DOMAIN, "domains": ["newborn"]},
    {"scope": grant_pb2.GRANT_SCOPE_SCENARIO, "matters": ["newborn", "other"]},
    {"purposes": ["birth", "death"]},
    {"fetch_modes": [directory_pb2.FETCH_MODE_BATCH]},
]


async def test_exchanges_whose_facts_differ_have_other_keys(region: Region) -> None:
    """Every input of every fact is varied, and all outcomes are compared with all."""
    situation = Situation(state=region.state)
    seen: dict[object, object] = {}
    differing = set()
    for number, of_grant in enumerate(GRANTS):
        grant = await granted(region, nonce=number.to_bytes(16), **of_grant)
        for question in QUESTIONS:
            for standing in audit_pb2.CaseStanding.values():
                for hours in (0, 12, 24 * 5):
                    exchange = supposed(region, grant, **question)
                    exchange.case_standing = standing
                    at_ms = MORNING_MS + hours * HOUR_MS
                    facts = situation.facts(exchange, at_ms)
                    assert seen.setdefault(situation.key(exchange, at_ms), facts) == facts
                    differing.add(facts)
    assert len(differing) > 300


async def test_a_step_of_a_grants_history_changes_the_key(region: Region) -> None:
    grant = await granted(region)
    situation = Situation(state=region.state)
    key = situation.key(supposed(region, grant), MORNING_MS)
    await region.decide(grant, PAUSE, 2)
    await region.decide(grant, RESUME, 3)
    assert situation.key(supposed(region, grant), MORNING_MS) != key


async def test_the_decision_kept_is_the_decision_made_anew(region: Region) -> None:
    """One guard answers everything twice, another that keeps nothing answers once."""
    grant = await granted(region)
    guard = RegionGuards(state=region.state)
    await set_rules(region, *(text for _, text in shipped()))
    for _ in range(2):
        for question in QUESTIONS:
            for hours in (0, 12, 24 * 5):
                anew = RegionGuards(state=region.state.under(region.state.rules.current))
                at_ms = MORNING_MS + hours * HOUR_MS
                asked = supposed(region, grant, **question)
                assert decide(guard, asked, at_ms) == decide(anew, asked, at_ms)


async def test_purposes_that_the_rules_do_not_name_are_refused(region: Region) -> None:
    grant = await granted(region)
    path = OpenPath(region, standard_guards(region.state))
    asked = header(grant, resource_digest=digest_of(region.state), provider_organisation=POLICE)

    def purposes(code: str, *matters: str) -> list[rules_pb2.Purpose]:
        return [rules_pb2.Purpose(code=code, title_zh="用途", legal_basis="法", matters=matters)]

    for told, due in ((("death",), e.PurposeUnknown), (("birth", "x"), e.PurposeUnknown), (("birth",), None)):
        await set_rules(region, purposes=purposes(*told))
        error = path.ask(asked).error
        assert type(error) is (due or type(None))
