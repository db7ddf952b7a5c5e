"""The gateway's half of the tags of subjects: its keys, and what it takes of an answer's tags."""

from dataclasses import dataclass
from typing import Any, cast

import pytest

from exchange.clock import system_random
from exchange.errors import ResponseMismatch, StoreDamaged
from exchange.keystore import MemoryKeyStore
from exchange.subject_tags import (
    STEPS,
    period_end_ms,
    period_start_ms,
    split_tags,
    tag_root,
)
from exchange.v1 import audit_pb2, exchange_pb2
from gateway.record import Exchange
from gateway.subject_tags import AnswerTags, GatewayTagKeys, check_list

PERIOD = "2026Q4"
NOW_MS = period_start_ms(PERIOD) + 86_400_000


@dataclass(frozen=True)
class Rule:
    format: str


@dataclass(frozen=True)
class Entry:
    sealed: bool = True
    parameters: Any = None


def asked(resource: Entry | None = None) -> Exchange:
    @dataclass
    class Asked:
        resource: Any

    return cast(Exchange, Asked(resource))


def inner(count: int) -> list[bytes]:
    return sorted(system_random(32) for _ in range(count))


def body(tags: list[bytes], period: str = PERIOD, **more: Any) -> exchange_pb2.ResponseBody:
    return exchange_pb2.ResponseBody(tag_period=period, subject_tags=tags, **more)


@pytest.fixture
def keys() -> GatewayTagKeys:
    return GatewayTagKeys(keystore=MemoryKeyStore())


@pytest.mark.parametrize("count", STEPS)
def test_an_answers_tags_become_outer_ones_in_an_order_of_their_own(keys: GatewayTagKeys, count: int) -> None:
    told = inner(count)
    taken = AnswerTags(keys=keys).take(asked(), body(told), NOW_MS)
    assert taken is not None and (taken.period, taken.count) == (PERIOD, count)
    tags = split_tags(taken.tags)
    assert tags == sorted(keys.present(PERIOD).of(tag) for tag in told)
    assert taken.root == tag_root(tags)
    assert not set(told) & set(tags)


def lying() -> list[exchange_pb2.ResponseBody]:
    four = inner(4)
    return [
        body([*four[:3], four[3][:31]]),
        body([*four[:3], four[3] + b"\0"]),
        body(four[:2]),
        body(four[::-1]),
        body([four[0]] * 4),
        body(inner(257)),
        body(inner(1024)),
        body([]),
        body(four, ""),
        body(four, "2026Q5"),
        body(four, "2026Q3"),
        body(four, "2027Q1"),
    ]


@pytest.mark.parametrize("told", lying())
def test_tags_of_a_wrong_form_or_time_are_no_answer(
    keys: GatewayTagKeys, told: exchange_pb2.ResponseBody
) -> None:
    with pytest.raises(ResponseMismatch):
        AnswerTags(keys=keys).take(asked(), told, NOW_MS)
    assert keys.periods == []


def test_around_a_quarters_change_either_period_will_do_for_ten_minutes(keys: GatewayTagKeys) -> None:
    take, end = AnswerTags(keys=keys).take, period_end_ms(PERIOD)
    assert take(asked(), body(inner(1), "2027Q1"), end - 600_000) is not None
    assert take(asked(), body(inner(1)), end + 599_999) is not None
    for period, at_ms in (("2027Q1", end - 600_001), (PERIOD, end + 600_000)):
        with pytest.raises(ResponseMismatch):
            take(asked(), body(inner(1), period), at_ms)
    assert keys.periods == [PERIOD, "2027Q1"]


def test_a_sealed_resource_asked_for_by_a_subject_must_be_tagged_and_a_failure_need_not(
    keys: GatewayTagKeys,
) -> None:
    take, none = AnswerTags(keys=keys).take, exchange_pb2.ResponseBody()
    by_subject = {"id": Rule("citizen_id")}
    with pytest.raises(ResponseMismatch):
        take(asked(Entry(parameters=by_subject)), none, NOW_MS)
    failed = exchange_pb2.ResponseBody(failure=1)
    for resource, told in (
        (Entry(parameters=by_subject), failed),
        (Entry(parameters={"district": Rule("division")}), none),
        (Entry(sealed=False, parameters=by_subject), none),
        (None, none),
    ):
        assert take(asked(resource), told, NOW_MS) is None


def test_a_key_is_kept_and_another_start_uses_the_same(keys: GatewayTagKeys) -> None:
    store = MemoryKeyStore()
    first = GatewayTagKeys(keystore=store)
    told = bytes(32)
    tag = first.present(PERIOD).of(told)
    assert first.present("2027Q1").of(told) != tag
    again = GatewayTagKeys(keystore=store)
    assert again.periods == [PERIOD, "2027Q1"] and again.outer(PERIOD, told) == tag


def test_an_erased_key_makes_no_tags_any_more_and_is_not_in_the_store() -> None:
    store = MemoryKeyStore()
    keys = GatewayTagKeys(keystore=store)
    keys.present(PERIOD)
    assert keys.outer(PERIOD, bytes(32)) is not None
    keys.erase(PERIOD)
    assert keys.outer(PERIOD, bytes(32)) is None and keys.periods == [] and store.names() == []


def test_a_key_that_cannot_be_kept_tags_nothing() -> None:
    class Full(MemoryKeyStore):
        def put(self, name: str, secret: bytes) -> None:
            raise StoreDamaged(name)

    keys = GatewayTagKeys(keystore=Full())
    with pytest.raises(StoreDamaged):
        AnswerTags(keys=keys).take(asked(), body(inner(1)), NOW_MS)
    assert keys.periods == []


def test_a_damaged_key_is_told_at_the_start() -> None:
    store = MemoryKeyStore()
    store.put("tags-2026q4", b"short")
    with pytest.raises(StoreDamaged):
        GatewayTagKeys(keystore=store)


@pytest.mark.parametrize("change", ["missing", "another", "more", "fewer", "torn"])
def test_a_list_that_is_not_the_entrys_is_found(keys: GatewayTagKeys, change: str) -> None:
    taken = AnswerTags(keys=keys).take(asked(), body(inner(4)), NOW_MS)
    assert taken is not None
    entry = audit_pb2.ExchangeEntry(tag_period=taken.period, tag_count=4, tag_root=taken.root)
    assert len(check_list(entry, taken.tags)) == 4
    changed = {
        "missing": b"",
        "another": taken.tags[:96] + bytes(32),
        "more": taken.tags + bytes(32),
        "fewer": taken.tags[:96],
        "torn": taken.tags[:-1],
    }[change]
    with pytest.raises(StoreDamaged):
        check_list(entry, changed)
