"""A change of the rules is replayed against the log before anybody signs it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from exchange import errors as e
from exchange.identity import Identity, Role
from exchange.v1 import audit_pb2, grant_pb2, reason_pb2, rules_pb2
from gateway.access.guards import standard_guards
from gateway.rules.dry_run import DryRuns
from tests.support.region import (
    CIVIL,
    DIVISION,
    DOMAIN,
    HEALTH,
    RESOURCE,
    Authority,
    Region,
)
from tests.support.rules import (
    HOUR_MS,
    MORNING_MS,
    NIGHT,
    NOBODY,
    ReadLog,
    enter,
    morning,
    rules_body,
    set_rules,
)

OFFICER = Identity(DOMAIN, DIVISION, Role.OFFICER, "", "officer-1")
REFUSED = audit_pb2.DECISION_REFUSED
CASE_LOAD = """
[[rule]]
id = "load"
kind = "case_load"
title_zh = "题"
title_en = "title"
severity = "notice"
window = "1h"
least = 4
"""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def region(tmp_path: Path, authority: Authority) -> Region:
    made = Region(tmp_path, authority=authority, log=ReadLog())
    morning(made)
    await made.settled()
    return made


async def granted(region: Region, **changes: Any) -> bytes:
    grant = await region.apply(**changes)
    await region.decide(grant, grant_pb2.GRANT_ACTION_ACCEPT, 1)
    return grant


def runs(region: Region) -> DryRuns:
    return DryRuns(
        log=region.log,
        registrar=region.registrar,
        state=region.state,
        make_guards=standard_guards,
        trust=lambda: region.feed.current,
        clock=region.clock,
    )


async def dry_run(region: Region, *guards: str, **more: Any) -> rules_pb2.DryRunResponse:
    changes = more.pop("rules", {})
    body = rules_body(region.state.rules.current.version + 1, region.clock.ms, *guards, **changes)
    held: dict[str, Any] = {"until_ms": MORNING_MS + 48 * HOUR_MS, "rules": body}
    return await runs(region).answer(rules_pb2.DryRunRequest(**(held | more)), OFFICER)


def groups(answer: rules_pb2.DryRunResponse) -> Sequence[tuple[Any, ...]]:
    return [(g.rule, g.consumer, g.resource, g.refused, g.count, g.example) for g in answer.groups]


async def test_what_would_be_refused_is_grouped_the_most_frequent_first(region: Region) -> None:
    grant = await granted(region)
    late = [enter(region, grant, MORNING_MS + (11 + n) * HOUR_MS, fields=["address"]) for n in range(3)]
    for hour in range(3):
        enter(region, grant, MORNING_MS + hour * HOUR_MS, fields=["address"])
    verify = '@id("m") @reason_zh("因") @reason_en("m") forbid (principal, action, resource)'
    other = enter(region, grant, MORNING_MS, fields=["name"], step="odd")
    answer = await dry_run(region, NIGHT, verify + ' when { context.step == "odd" };')
    assert (answer.examined, answer.same) == (7, 3)
    assert groups(answer) == [
        ("guard/by-night", HEALTH, RESOURCE, True, 3, late[-1]),
        ("guard/m", HEALTH, RESOURCE, True, 1, other),
    ]


async def test_what_would_now_pass_is_told_by_the_rule_that_refused_it(region: Region) -> None:
    grant = await granted(region)
    await set_rules(region, NOBODY)
    refused = {"decision": REFUSED, "rule": "guard/nobody", "reason": reason_pb2.REASON_FORBIDDEN_BY_RULE}
    index = enter(region, grant, MORNING_MS, **refused)
    answer = await dry_run(region)
    assert groups(answer) == [("guard/nobody", HEALTH, RESOURCE, False, 1, index)]


async def test_purposes_are_rules_as_well(region: Region) -> None:
    grant = await granted(region)
    index = enter(region, grant, MORNING_MS)
    purposes = [rules_pb2.Purpose(code="death", title_zh="死亡", legal_basis="法")]
    answer = await dry_run(region, rules={"purposes": purposes})
    assert groups(answer) == [("purpose", HEALTH, RESOURCE, True, 1, index)]


async def test_what_no_rule_decided_is_left_out(region: Region) -> None:
    grant = await granted(region)
    enter(region, grant, MORNING_MS, decision=REFUSED, rule="request")
    enter(region, grant, MORNING_MS, decision=audit_pb2.DECISION_FAILED, rule="deadline")
    enter(region, b"", MORNING_MS, decision=REFUSED)
    assert (await dry_run(region, NOBODY)).examined == 0


async def test_what_grants_and_catalogue_decide_is_the_same_under_both(region: Region) -> None:
    enter(region, b"u" * 32, MORNING_MS, decision=REFUSED, rule="grant")
    enter(region, await granted(region), MORNING_MS, resource="970100/police/gone")
    answer = await dry_run(region, NOBODY)
    assert (answer.examined, answer.same) == (2, 2)


async def test_what_a_quota_refused_is_the_same_under_both_for_rules_change_no_quota(region: Region) -> None:
    day = grant_pb2.Quota(period=grant_pb2.QUOTA_PERIOD_DAY, exchanges=1)
    grant = await granted(region, quotas=[day])
    for hour in range(3):
        used_up = (
            {"decision": REFUSED, "rule": "quota", "reason": reason_pb2.REASON_QUOTA_EXCEEDED} if hour else {}
        )
        enter(region, grant, MORNING_MS + hour * HOUR_MS, **used_up)
    answer = await dry_run(region)
    assert (answer.examined, answer.same) == (3, 3)
    told = [field.name for field in rules_pb2.RegionRulesBody.DESCRIPTOR.fields]
    assert not [name for name in told if "quota" in name], "a dry run must then count them"


async def test_only_exchanges_of_the_time_are_looked_at_the_newest_first(region: Region) -> None:
    grant = await granted(region)
    for number in range(600):
        enter(region, grant, MORNING_MS + number * 1000)
    first = len(region.log.entries) - 600
    hundred = {"since_ms": MORNING_MS + 300_000, "until_ms": MORNING_MS + 400_000}
    answer = await dry_run(region, NOBODY, **hundred)
    assert groups(answer) == [("guard/nobody", HEALTH, RESOURCE, True, 100, first + 399)]
    assert (await dry_run(region, NOBODY, limit=7)).examined == 7
    assert groups(await dry_run(region, NOBODY, limit=7))[0][-1] == first + 599
    assert (await dry_run(region, NOBODY, limit=500)).examined == 500


async def test_the_reading_is_entered_and_nothing_else_is(region: Region) -> None:
    enter(region, await granted(region), MORNING_MS)
    entries = len(region.log.entries)
    await dry_run(region, NOBODY, since_ms=5, until_ms=6)
    acts = region.log.acts()[entries:]
    assert [(act.act, act.subject) for act in acts] == [
        (audit_pb2.ACT_READ, "DryRun since=5 until=6 limit=100000")
    ]
    assert region.state.rules.current.version == 0


@pytest.mark.parametrize(
    ("guards", "more", "error"),
    [
        (["permit (principal, action, resource);"], {}, e.RulesInvalid),
        ([], {"rules": b"\xff"}, e.Malformed),
        ([], {"limit": 1_000_001}, e.Malformed),
        ([], {"since_ms": 5, "until_ms": 5}, e.Malformed),
        ([], {"since_ms": -1}, e.Malformed),
    ],
)
async def test_rules_or_bounds_that_will_not_do_are_refused_before_anything_is_read(
    region: Region, guards: list[str], more: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    standard_guards(region.state)
    entries = len(region.log.entries)
    body = rules_body(1, region.clock.ms, *guards)
    request = rules_pb2.DryRunRequest(**({"rules": body} | more))
    with pytest.raises(error):
        await runs(region).answer(request, OFFICER)
    assert len(region.log.entries) == entries


async def test_one_dry_run_at_a_time(region: Region) -> None:
    grant = await granted(region)
    for _ in range(50):
        enter(region, grant, MORNING_MS)
    asking = runs(region)
    request = rules_pb2.DryRunRequest(rules=rules_body(1, region.clock.ms), until_ms=1 << 60)
    first = asyncio.create_task(asking.answer(request, OFFICER))
    await asyncio.sleep(0)
    with pytest.raises(e.TooMany):
        await asking.answer(request, OFFICER)
    assert (await first).examined == 50
    assert (await asking.answer(request, OFFICER)).examined == 50


async def test_what_risk_rules_would_have_found_comes_with_it(region: Region) -> None:
    grant = await granted(region)
    for _ in range(4):
        enter(region, grant, MORNING_MS)
    answer = await dry_run(region, rules={"risk": CASE_LOAD}, since_ms=MORNING_MS)
    assert (answer.examined, answer.same, answer.risk.examined) == (4, 4, 4)
    assert [(one.rule, one.HasField("in_force"), one.proposed) for one in answer.risk.rules] == [
        ("load", False, 1)
    ]
    assert not (await dry_run(region)).HasField("risk")
    entries = len(region.log.entries)
    with pytest.raises(e.RulesInvalid):
        await dry_run(region, rules={"risk": "[[rule]]"})
    assert len(region.log.entries) == entries


async def test_a_dry_run_leaves_the_guards_of_the_path_alone(region: Region) -> None:
    await set_rules(region, NIGHT)
    guards = standard_guards(region.state)
    enter(region, await granted(region), MORNING_MS)
    await dry_run(region, NOBODY)
    assert [g.id for g in guards[-1]._guards.all] == ["by-night"]  # type: ignore[attr-defined]
    assert CIVIL not in region.state.organisations.by_code
