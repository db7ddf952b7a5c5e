"""Risk rules are tried on the log before anybody signs them."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from exchange import errors as e
from exchange.region_rules import RegionRules
from exchange.v1 import audit_pb2, common_pb2, reason_pb2, rules_pb2
from gateway.risk import trial as trials
from gateway.risk.trial import RiskTrial
from tests.support.region import HEALTH
from tests.support.risk import (
    COMBINATION,
    DEATHS,
    FIELDS,
    HOUR,
    HOUSEHOLD,
    MINUTE,
    OWNERS,
    REFUNDS,
    REFUSALS,
    RESOURCES,
    tag,
)
from tests.support.rules import MORNING_MS, ReadLog, enter

LOOSER = REFUSALS.replace("least = 5", "least = 50")
ALERT = (
    REFUSALS.replace('"in-a-row"', '"many"').replace('action = "refuse"\n', "").replace('hold = "30m"\n', "")
)
HOLDING = COMBINATION + f'believes = ["{OWNERS[DEATHS]}", "{OWNERS[HOUSEHOLD]}"]\n'


class Past:
    """A log, and what is put into it at its time."""

    def __init__(self) -> None:
        self.log = ReadLog()
        self.ms = MORNING_MS

    def refused(self, times: int = 1) -> None:
        for _ in range(times):
            self._put(
                HOUSEHOLD,
                decision=audit_pb2.DECISION_REFUSED,
                reason=reason_pb2.REASON_CASE_REQUIRED,
                rule="case",
                hop="gateway/gateway-1",
            )

    def answered(self, resource: str, subject: str) -> None:
        self.log.tags[self._put(resource)] = tag(subject)

    def _put(self, resource: str, **changes: Any) -> int:
        told: dict[str, Any] = {
            "resource": resource,
            "fields": FIELDS[resource],
            "provider_organisation": OWNERS[resource],
            "operator": "op-secret",
            "request_signature": common_pb2.Signature(signature=b"s"),
        }
        return enter(SimpleNamespace(log=self.log), b"g" * 32, self.ms, **(told | changes))  # type: ignore[arg-type]

    def trial(self, before: str, after: str, **times: int) -> RiskTrial:
        held = {"since_ms": MORNING_MS, "until_ms": MORNING_MS + 24 * HOUR} | times
        return RiskTrial(
            self.log,
            RESOURCES.get,
            in_force=RegionRules(version=1, risk=before),
            proposed=RegionRules(version=2, risk=after),
            **held,
        )

    async def found(self, before: str, after: str, **times: int) -> dict[str, tuple[int | None, int | None]]:
        told = await self.told(before, after, **times)
        return {
            one.rule: (
                one.in_force if one.HasField("in_force") else None,
                one.proposed if one.HasField("proposed") else None,
            )
            for one in told.rules
        }

    async def told(self, before: str, after: str, **times: int) -> rules_pb2.RiskDryRun:
        told = await self.trial(before, after, **times).run()
        assert told is not None
        return told


async def test_what_changed_rules_would_have_found_stands_beside_what_those_in_force_would_have() -> None:
    past = Past()
    past.refused(6)
    told = await past.told(LOOSER, REFUSALS)
    assert (told.examined, told.since_ms) == (6, MORNING_MS)
    [rule] = told.rules
    assert (rule.rule, rule.in_force, rule.proposed) == ("in-a-row", 0, 1)
    [first] = rule.first
    assert (first.time_ms, first.consumer, list(first.resources)) == (MORNING_MS, HEALTH, [HOUSEHOLD])
    assert first.count == 5


async def test_a_rule_that_one_side_lacks_is_told_apart_from_one_that_finds_nothing() -> None:
    past = Past()
    past.refused(5)
    assert await past.found(REFUSALS, ALERT) == {"in-a-row": (1, None), "many": (None, 1)}
    assert await past.found("", ALERT) == {"many": (None, 1)}
    assert await past.found(ALERT, "") == {"many": (1, None)}


async def test_without_risk_rules_on_either_side_there_is_nothing_to_tell() -> None:
    past = Past()
    past.refused(5)
    assert await past.trial("", "").run() is None


async def test_windows_are_full_when_the_time_begins() -> None:
    past = Past()
    past.refused(4)
    past.ms += MINUTE
    past.refused(1)
    assert await past.found(LOOSER, REFUSALS, since_ms=past.ms) == {"in-a-row": (0, 1)}


async def test_what_was_found_before_the_time_or_comes_after_it_is_not_told() -> None:
    past = Past()
    past.refused(5)
    past.ms += MINUTE
    past.refused(3)
    assert await past.found("", ALERT, since_ms=past.ms) == {"many": (None, 0)}
    past.ms += HOUR
    past.refused(5)
    assert await past.found("", ALERT, since_ms=MORNING_MS + MINUTE, until_ms=past.ms) == {"many": (None, 0)}


async def test_what_a_rule_would_have_held_back_counts_for_no_other() -> None:
    past = Past()
    past.refused(40)
    later = ALERT.replace("least = 5", "least = 30")
    assert await past.found(later, REFUSALS + later) == {"many": (1, 0), "in-a-row": (None, 1)}


async def test_an_answer_that_would_have_been_held_back_is_a_finding_without_tags_or_operators() -> None:
    past = Past()
    for resource in (DEATHS, HOUSEHOLD, REFUNDS):
        past.answered(resource, "somebody")
    told = await past.told("", HOLDING)
    assert [(one.rule, one.proposed) for one in told.rules] == [("combined", 1)]
    raw = told.SerializeToString()
    assert tag("somebody") not in raw and b"op-secret" not in raw


async def test_the_first_three_findings_are_shown_and_all_are_counted() -> None:
    past = Past()
    for _ in range(5):
        past.refused(5)
        past.ms += HOUR
    [rule] = (await past.told("", REFUSALS)).rules
    assert rule.proposed == 5
    assert [one.time_ms for one in rule.first] == [MORNING_MS + hours * HOUR for hours in range(3)]


async def test_of_a_log_that_is_too_long_the_newest_is_looked_at_and_the_answer_says_from_when(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trials, "MAX_ENTRIES", 7)
    past = Past()
    for _ in range(4):
        past.refused(5)
        past.ms += HOUR
    told = await past.told("", REFUSALS)
    assert (told.examined, told.since_ms) == (7, MORNING_MS + 2 * HOUR)
    assert [one.proposed for one in told.rules] == [1]


async def test_others_have_their_turn_between_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "CHUNK", 2)
    past, turns = Past(), 0
    past.refused(40)

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert (await past.told("", REFUSALS)).examined == 40
    task.cancel()
    assert turns >= 20


def test_rules_that_cannot_be_read_are_refused_before_anything_is_read() -> None:
    with pytest.raises(e.RulesInvalid):
        Past().trial("", "[[rule]]\nid = 7")
