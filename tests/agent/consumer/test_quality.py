"""Quality at the consumer's agent: what is counted, when it is reported, and that nothing counts twice."""

import json
from typing import Any

import pytest

from agent.consumer import quality as quality_module
from agent.consumer.field_checks import compile_checks, plain_pattern
from agent.consumer.quality import HOUR_MS, QualityBook
from exchange import errors as e
from exchange.clock import system_random
from exchange.identity import Role
from exchange.quality_report import read_quality
from exchange.resources import Resource, parse_resource
from exchange.v1 import agent_pb2, common_pb2, directory_pb2
from tests.support.region import HEALTH, RESOURCE, Authority, item, resource_body
from tests.support.sealing import NOW_MS, StillClock

AUTHORITY = Authority()
AGENT = AUTHORITY.person(Role.AGENT, "health-1", HEALTH)
DAY_MS = 24 * HOUR_MS
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string", "minLength": 2}, "age": {"minimum": 0, "maximum": 150}},
    }
)


class Kept:
    """What is kept of a region, in memory."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def keep(self, kind: str, key: str, value: bytes) -> None:
        self.values[key] = value

    def kept(self, kind: str) -> dict[str, bytes]:
        return dict(self.values)


class Desk:
    """Where reports are handed in."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.fails: e.ExchangeError | None = None

    async def hand_in(self, statement: common_pb2.Statement) -> None:
        if self.fails is not None:
            raise self.fails
        self.reports.append(read_quality(statement))


def household(version: int = 1, **changes: Any) -> Resource:
    fields = [item("name"), item("age", type="integer")]
    told = {"schema": SCHEMA, "responsibility": directory_pb2.Responsibility(fresh_within_s=3600)}
    body = resource_body(NOW_MS, version=version, fields=fields, **(told | changes))
    return parse_resource(common_pb2.Statement(body=body))


HOUSEHOLD = household()


def answer(*records: tuple[str, str]) -> agent_pb2.Answer:
    made = agent_pb2.Answer(records=len(records))
    for place, name in enumerate(("name", "age")):
        column = made.columns.add(name=name)
        column.values.extend(record[place] for record in records)
    return made


def book(kept: Kept | None = None, clock: StillClock | None = None, every_ms: int = DAY_MS) -> QualityBook:
    return QualityBook(
        region=kept or Kept(),
        clock=clock or StillClock(),
        random=system_random,
        signer=lambda: AGENT,
        every_ms=every_ms,
    )


async def test_missing_and_invalid_values_and_the_age_of_data_are_counted() -> None:
    clock, desk = StillClock(), Desk()
    counted = book(clock=clock)
    counted.observe(HOUSEHOLD, answer(("韩梅", "7"), ("", "200"), ("李", "")), NOW_MS - 7_200_000)
    counted.observe(HOUSEHOLD, answer(("李雷", "8")), NOW_MS - 60_000)
    counted.observe(HOUSEHOLD, answer(), 0)
    assert await counted.report(desk.hand_in) == 0
    clock.ms += DAY_MS
    assert await counted.report(desk.hand_in) == 1
    (told,) = desk.reports
    assert (told.resource, told.consumer, told.agent, told.version) == (RESOURCE, HEALTH, "health-1", 1)
    assert (told.since_ms, told.until_ms) == (NOW_MS, NOW_MS + DAY_MS)
    assert (told.exchanges, told.records) == (3, 4)
    assert (told.dated, told.stale, told.oldest_s) == (2, 1, 7200)
    assert (told.fields["name"].values, told.fields["name"].missing, told.fields["name"].invalid) == (4, 1, 1)
    assert (told.fields["age"].values, told.fields["age"].missing, told.fields["age"].invalid) == (4, 1, 1)
    # The next period begins where this one ended, and is not reported where nothing came.
    clock.ms += DAY_MS
    assert await counted.report(desk.hand_in) == 0


async def test_of_a_long_answer_the_first_records_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_module, "LOOKED_AT", 3)
    desk, counted = Desk(), book()
    counted.observe(HOUSEHOLD, answer(*[("", "1")] * 10), 0)
    await counted.report(desk.hand_in, all_=True)
    assert (desk.reports[0].records, desk.reports[0].fields["name"].missing) == (10, 3)


async def test_of_much_that_comes_in_a_second_a_sample_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_module, "PER_SECOND", 2)
    clock, desk = StillClock(), Desk()
    counted = book(clock=clock)
    for _ in range(5):
        counted.observe(HOUSEHOLD, answer(("", "1")), 0)
    clock.ms += 1000
    counted.observe(HOUSEHOLD, answer(("", "1")), 0)
    await counted.report(desk.hand_in, all_=True)
    assert (desk.reports[0].exchanges, desk.reports[0].fields["name"].missing) == (6, 3)


async def test_a_report_that_fails_is_handed_in_again_and_one_that_is_there_already_is_done() -> None:
    clock, desk = StillClock(), Desk()
    counted = book(clock=clock)
    counted.observe(HOUSEHOLD, answer(("韩梅", "7")), 0)
    clock.ms += DAY_MS
    desk.fails = e.GatewayAway("no link")
    with pytest.raises(e.GatewayAway):
        await counted.report(desk.hand_in)
    counted.observe(HOUSEHOLD, answer(("韩梅", "7")), 0)
    clock.ms += DAY_MS
    desk.fails = e.WrongState("period")
    assert await counted.report(desk.hand_in) == 0
    desk.fails = None
    counted.observe(HOUSEHOLD, answer(("韩梅", "7")), 0)
    clock.ms += DAY_MS
    assert await counted.report(desk.hand_in) == 1
    desk.fails = e.NoGrant(RESOURCE)
    counted.observe(HOUSEHOLD, answer(("韩梅", "7")), 0)
    assert await counted.report(desk.hand_in, all_=True) == 0
    desk.fails = None
    assert await counted.report(desk.hand_in, all_=True) == 0


async def test_counts_outlive_a_restart_and_periods_do_not_overlap() -> None:
    kept, clock, desk = Kept(), StillClock(), Desk()
    before = book(kept, clock)
    before.observe(HOUSEHOLD, answer(("韩梅", "7")), 0)
    before.keep()
    clock.ms += HOUR_MS
    after = book(kept, clock)
    after.observe(HOUSEHOLD, answer(("李雷", "8"), ("", "")), 0)
    after.keep_now()
    clock.ms += DAY_MS
    assert await book(kept, clock).report(desk.hand_in) == 2
    first, second = desk.reports
    assert (first.records, second.records) == (1, 2)
    assert first.since_ms < first.until_ms <= second.since_ms < second.until_ms


async def test_a_new_version_of_a_resource_is_counted_by_itself() -> None:
    clock, desk = StillClock(), Desk()
    counted = book(clock=clock)
    counted.observe(HOUSEHOLD, answer(("韩", "7")), 0)
    clock.ms += HOUR_MS
    counted.observe(household(2, schema=""), answer(("韩", "7")), 0)
    clock.ms += HOUR_MS
    assert await counted.report(desk.hand_in, all_=True) == 2
    assert [(one.version, one.fields["name"].invalid) for one in desk.reports] == [(1, 1), (2, 0)]
    assert desk.reports[0].until_ms <= desk.reports[1].since_ms


async def test_nothing_is_counted_where_it_is_switched_off() -> None:
    kept, desk = Kept(), Desk()
    counted = book(kept, every_ms=0)
    counted.observe(HOUSEHOLD, answer(("韩梅", "7")), 0)
    counted.keep()
    assert await counted.report(desk.hand_in, all_=True) == 0 and not kept.values


async def test_counts_hold_no_value() -> None:
    kept = Kept()
    counted = book(kept)
    counted.observe(HOUSEHOLD, answer(("韩梅梅", "7")), 0)
    counted.keep_now()
    assert "韩梅梅".encode() not in b"".join(kept.values.values())
    assert json.dumps("韩梅梅").encode() not in b"".join(kept.values.values())


@pytest.mark.parametrize(
    ("told", "kind", "good", "bad"),
    [
        ({"enum": ["1", "2"]}, "text", ["1"], ["3"]),
        ({"enum": [1, 2]}, "integer", ["1"], ["3"]),
        ({"const": True}, "boolean", ["true"], ["false"]),
        ({"minimum": 0, "exclusiveMaximum": 10.5}, "decimal", ["0", "10.49"], ["-1", "10.50"]),
        ({"minLength": 2, "maxLength": 3}, "text", ["ab", "abc"], ["a", "abcd"]),
        ({"pattern": "^[0-9]{17}[0-9X]$"}, "text", ["97010219900101002X"], ["x"]),
        ({"$ref": "#/$defs/short"}, "text", ["ab"], ["abc"]),
    ],
)
def test_what_a_schema_says_of_a_value_is_checked(
    told: dict[str, Any], kind: str, good: list[str], bad: list[str]
) -> None:
    schema = json.dumps({"properties": {"a": told}, "$defs": {"short": {"maxLength": 2}}})
    check = compile_checks(schema, {"a": kind})["a"]
    assert all(map(check, good)) and not any(map(check, bad))


@pytest.mark.parametrize(
    "schema",
    ["", "{", "[]", "null", '{"properties": []}', '{"properties": {"a": 7}}', "[" * 5000, " " * 20_000,
     '{"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}',
     '{"properties": {"a": {"minLength": "x", "enum": {}, "minimum": [], "pattern": 7}}}'],
)  # fmt: skip
def test_a_schema_that_cannot_be_read_counts_for_nothing(schema: str) -> None:
    assert compile_checks(schema, {"a": "text"}) == {}


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "a*a*a*b", "(a|aa)+", "a{1,}b{1,}c{1,}", r"(.)\1", "x" * 500, "[", "a{9999}"]
)
def test_a_pattern_that_could_take_long_is_not_tried(pattern: str) -> None:
    assert plain_pattern(pattern) is None


def test_plain_patterns_are_tried() -> None:
    for pattern in ("^[0-9]{6}$", r"^\d{4}-\d{2}$", "^[A-Z]+[0-9]*$", "[()|*+]x"):
        assert plain_pattern(pattern) is not None
