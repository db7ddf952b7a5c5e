"""What explain says is what the path decides: the same guards; nothing is forwarded, held back or entered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange import errors as e
from exchange.identity import Identity, Role
from exchange.v1 import audit_pb2, common_pb2, grant_pb2, rules_pb2
from gateway.access.call_rate import CallRate
from gateway.access.guards import standard_guards
from gateway.rules.explain import Explainer
from tests.support.catalogue import BREAKING
from tests.support.region import CIVIL, DIVISION, DOMAIN, HEALTH, POLICE, RESOURCE, Authority, Region, moment
from tests.support.rules import (
    HOUR_MS,
    MORNING_MS,
    OpenPath,
    agent_of,
    digest_of,
    header,
    morning,
    set_rules,
    shipped,
)

ACCEPT, PAUSE = grant_pb2.GRANT_ACTION_ACCEPT, grant_pb2.GRANT_ACTION_PAUSE
QUERY, VERIFY = common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY
DAY_MS = 24 * HOUR_MS


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def region(tmp_path: Path, authority: Authority) -> Region:
    made = Region(tmp_path, authority=authority)
    morning(made)
    await made.settled()
    await made.add(CIVIL, "civil")
    await set_rules(made, *(text for _, text in shipped()))
    return made


async def granted(region: Region, **changes: Any) -> bytes:
    grant = await region.apply(**({"kinds": [QUERY, VERIFY]} | changes))
    await region.decide(grant, ACCEPT, 1)
    return grant


def explainer(region: Region, rate: CallRate | None = None) -> Explainer:
    return Explainer(
        registrar=region.registrar,
        state=region.state,
        guards=standard_guards(region.state),
        trust=lambda: region.feed.current,
        clock=region.clock,
        rate=rate or CallRate("explain", burst=1 << 20),
    )


def person(role: Role, organisation: str = "") -> Identity:
    return Identity(DOMAIN, DIVISION, role, organisation, "one")


def question(**changes: Any) -> rules_pb2.ExplainRequest:
    held: dict[str, Any] = {
        "consumer": HEALTH,
        "resource": RESOURCE,
        "kind": QUERY,
        "fields": ["name"],
        "purpose": "birth",
        "matter": "newborn",
        "case_number": "C-1",
    }
    return rules_pb2.ExplainRequest(**(held | changes))


async def explain(region: Region, by: Identity | None = None, **changes: Any) -> rules_pb2.ExplainResponse:
    return await explainer(region).answer(question(**changes), by or person(Role.STEWARD, HEALTH))


ASKED: list[dict[str, Any]] = [
    {},
    {"kind": VERIFY},
    {"fields": ["address"]},
    {"fields": ["address"], "case_number": ""},
    {"fields": ["name", "name"]},
    {"fields": ["station"]},
    {"fields": ["secret"]},
    {"fields": ["nothing"]},
    {"purpose": "death"},
    {"matter": "other"},
    {"case_number": ""},
    {"case_number": "   "},
    {"resource": "970100/police/nothing"},
    {"resource": "nonsense"},
    {"consumer": CIVIL},
    {"grant": "paused"},
    {"grant": "pending"},
    {"grant": "ended"},
    {"grant": "unknown"},
]
HOURS = (0, 11, 24 * 5 + 1)
CHANGES = {
    "none": lambda region: None,
    "suspended": lambda region: region.suspend(),
    "another version": lambda region: region.publish(version=2, compatibility=BREAKING, case_required=True),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_explain_says_what_the_path_decides(region: Region, change: str) -> None:
    """Each question is asked at the path at its time, and of explain about the same time."""
    grants = {"": await granted(region), "pending": await region.apply(), "unknown": b"u" * 32}
    grants["paused"] = await granted(region, fields=["name"])
    await region.decide(grants["paused"], PAUSE, 2)
    grants["ended"] = await granted(region, not_after=moment(MORNING_MS + HOUR_MS))
    done = CHANGES[change](region)
    if done is not None:
        await done
    path, asking = OpenPath(region, standard_guards(region.state)), explainer(region)
    outcomes = set()
    for hours in HOURS:
        region.clock.ms = MORNING_MS + hours * HOUR_MS
        region.feed.offer(region.authority.trust_list(region.clock.ms))
        for asked in ASKED:
            told = dict(asked)
            grant = grants[told.pop("grant", "")]
            about = header(grant, provider_organisation=POLICE, **_as_header(told))
            about.resource_digest = digest_of(region.state)
            decided = path.ask(about)
            answer = await asking.answer(question(grant_id=grant, **told), person(Role.OFFICER))
            last = answer.steps[-1]
            assert answer.allowed == (decided.error is None), asked
            if decided.error is not None:
                assert (last.rule, last.reason, last.subject) == (
                    decided.rule,
                    decided.error.reason,
                    decided.error.subject,
                ), asked
            outcomes.add(decided.rule)
    assert {"suspended": 2, "none": 4, "another version": 4}[change] <= len(outcomes)


def _as_header(told: dict[str, Any]) -> dict[str, Any]:
    return {"consumer_organisation" if name == "consumer" else name: value for name, value in told.items()}


async def test_rules_are_told_in_their_order_up_to_the_one_that_decides(region: Region) -> None:
    grant = await granted(region)
    allowed = await explain(region)
    assert allowed.allowed and allowed.grant_id == grant and allowed.rules_version == 1
    order = ["stop", "trust", "catalogue", "grant", "case", "purpose", "guard"]
    assert [step.rule for step in allowed.steps] == order
    refused = await explain(region, fields=["address"], at_ms=MORNING_MS + 11 * HOUR_MS)
    assert not refused.allowed
    assert [(step.rule, step.passed) for step in refused.steps][-2:] == [
        ("purpose", True),
        ("guard/l4-working-hours", False),
    ]
    assert refused.steps[-1].subject == "l4-working-hours"


async def test_without_a_grant_the_one_that_goes_furthest_answers(region: Region) -> None:
    assert (await explain(region)).steps[-1].reason == e.NoGrant.reason
    pending = await region.apply()
    assert (await explain(region)).grant_id == pending
    wrong_purpose = await granted(region, purposes=["death"])
    right = await granted(region, nonce=b"r" * 16)
    later = await granted(region, fields=["name"], matters=["other"])
    found = await explain(region)
    assert found.allowed and found.grant_id == right
    assert len({pending, wrong_purpose, right, later}) == 4


async def test_nothing_is_entered_but_that_overseers_looked(region: Region) -> None:
    await granted(region)
    entries = len(region.log.entries)
    await explain(region)
    await explain(region, person(Role.AGENT, POLICE))
    assert len(region.log.entries) == entries
    for role in (Role.OFFICER, Role.AUDITOR, Role.ADMIN):
        await explain(region, person(role))
    reads = region.log.acts()[entries:]
    assert [(act.act, act.subject) for act in reads] == [
        (audit_pb2.ACT_READ, f"Explain {HEALTH} {RESOURCE}")
    ] * 3


@pytest.mark.parametrize("role", [Role.STEWARD, Role.AGENT])
async def test_an_organisation_asks_about_its_own_exchanges_only(region: Region, role: Role) -> None:
    await granted(region)
    for party in (HEALTH, POLICE):
        assert (await explain(region, person(role, party))).allowed
    for changes in ({}, {"resource": "970100/police/nothing"}, {"resource": "nonsense"}):
        with pytest.raises(e.RoleNotAllowed):
            await explain(region, person(role, CIVIL), **changes)
    with pytest.raises(e.RoleNotAllowed):
        await explain(region, person(role, HEALTH), consumer=CIVIL)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"kind": 0}, e.Malformed),
        ({"fields": []}, e.Malformed),
        ({"fields": ["x"] * 65}, e.Malformed),
        ({"grant_id": b"short"}, e.Malformed),
        ({"at_ms": -1}, e.Malformed),
        ({"at_ms": 1 << 62}, e.Malformed),
        ({"consumer": "nobody"}, e.BadIdentifier),
        ({"matter": "m" * 201}, e.Oversized),
        ({"fields": ["f" * 201]}, e.Oversized),
    ],
)
async def test_what_no_request_could_say_is_no_question(
    region: Region, changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    with pytest.raises(error):
        await explain(region, **changes)


async def test_a_stale_trust_list_is_told_by_its_present_age(region: Region) -> None:
    await granted(region)
    assert (await explain(region, at_ms=MORNING_MS + DAY_MS)).allowed
    region.clock.ms += HOUR_MS
    stale = await explain(region)
    assert [(step.rule, step.reason) for step in stale.steps] == [("stop", 0), ("trust", e.TrustStale.reason)]


async def test_a_guard_that_holds_something_back_is_only_peeked_at(region: Region) -> None:
    grant = await granted(region)
    held: list[bytes] = []

    class Quota:
        def __call__(self, exchange: Any, trust: Any, now_ms: int) -> None:
            held.append(exchange.exchange_id)

        def peek(self, exchange: Any, trust: Any, now_ms: int) -> None:
            exchange.rule = "quota"
            if held:
                raise e.QuotaExceeded("day")

    guards = (*standard_guards(region.state), Quota())
    path = OpenPath(region, guards)
    asking = Explainer(
        registrar=region.registrar,
        state=region.state,
        guards=guards,
        trust=lambda: region.feed.current,
        clock=region.clock,
        rate=CallRate("explain"),
    )
    ask: Callable[[], Any] = lambda: asking.answer(question(), agent_of(HEALTH).identity)  # noqa: E731
    assert (await ask()).allowed and not held
    about = header(grant, provider_organisation=POLICE, resource_digest=digest_of(region.state))
    assert path.ask(about).error is None and len(held) == 1
    assert (await ask()).steps[-1].rule == "quota" and len(held) == 1


async def test_one_caller_asks_so_often_and_another_is_not_held_up(region: Region) -> None:
    asking = explainer(region, CallRate("explain", burst=2, per_second=0.5))
    steward, officer = person(Role.STEWARD, HEALTH), person(Role.OFFICER)
    for _ in range(2):
        await asking.answer(question(), steward)
        await asking.answer(question(), officer)
    size = region.log.head.size
    for caller in (steward, officer):
        with pytest.raises(e.TooMany) as refused:
            await asking.answer(question(), caller)
        assert (refused.value.subject, refused.value.retry_after_ms) == ("explain", 2000)
    # Not even an overseer's look is entered beyond the rate.
    assert region.log.head.size == size
    await asking.answer(question(), person(Role.STEWARD, POLICE))
    region.clock.ms += 2000
    await asking.answer(question(), steward)
    with pytest.raises(e.TooMany):
        await asking.answer(question(), steward)


async def test_what_is_malformed_counts_too(region: Region) -> None:
    asking = explainer(region, CallRate("explain", burst=1))
    with pytest.raises(e.Malformed):
        await asking.answer(question(consumer=HEALTH, fields=[]), person(Role.STEWARD, HEALTH))
    with pytest.raises(e.TooMany):
        await asking.answer(question(), person(Role.STEWARD, HEALTH))
