"""Scope, steps, row filters, quotas and the like: what a body may say, and that equal parts are shared."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from exchange import errors as e
from exchange.grant_body import read_event, read_grant
from exchange.grant_limits import DOMAIN, ON_DEMAND, SCENARIO, WHOLE, QuotaRule, RowFilter
from exchange.grants import Grant
from exchange.v1 import common_pb2, directory_pb2, grant_pb2
from tests.support.region import CIVIL, HEALTH, grant_body, moment
from tests.support.sealing import NOW_MS

IN, PREFIX = grant_pb2.FILTER_OPERATOR_IN, grant_pb2.FILTER_OPERATOR_PREFIX
DAY, MONTH = grant_pb2.QUOTA_PERIOD_DAY, grant_pb2.QUOTA_PERIOD_MONTH


def grant(**changes: Any) -> Grant:
    return read_grant(common_pb2.Statement(body=grant_body(NOW_MS, **changes)))


def a_filter(field: str = "station", operator: Any = IN, values: Any = ("临江",)) -> grant_pb2.RowFilter:
    return grant_pb2.RowFilter(field=field, operator=operator, values=values)


def quota(period: Any = DAY, exchanges: int = 10) -> grant_pb2.Quota:
    return grant_pb2.Quota(period=period, exchanges=exchanges)


def test_everything_that_narrows_a_grant_is_read() -> None:
    limits = grant(
        scope=SCENARIO,
        steps=["newborn/household", "newborn/insurance"],
        row_filters=[a_filter(), a_filter("name", PREFIX, ["王", "李"])],
        quotas=[quota(), quota(MONTH, 200)],
        fetch_modes=[ON_DEMAND, directory_pb2.FETCH_MODE_BATCH],
        data_life_days=30,
        redisclosure_to=[CIVIL],
    ).limits
    assert limits.scope == SCENARIO
    assert limits.steps == {"newborn/household", "newborn/insurance"}
    assert limits.row_filters == (
        RowFilter("station", IN, ("临江",)),
        RowFilter("name", PREFIX, ("王", "李")),
    )
    assert limits.quotas == (QuotaRule(DAY, 10), QuotaRule(MONTH, 200))
    assert limits.fetch_modes == {ON_DEMAND, directory_pb2.FETCH_MODE_BATCH}
    assert (limits.data_life_days, limits.redisclosure_to) == (30, {CIVIL})


@pytest.mark.parametrize(
    ("changes", "scope"),
    [
        ({}, SCENARIO),
        ({"matters": []}, WHOLE),
        ({"matters": [], "scope": DOMAIN, "domains": ["birth"]}, DOMAIN),
        ({"steps": ["newborn/household"]}, SCENARIO),
    ],
)
def test_a_scope_that_is_not_named_follows_from_the_matters(changes: dict[str, Any], scope: int) -> None:
    assert grant(**changes).limits.scope == scope


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": WHOLE},
        {"scope": WHOLE, "matters": [], "domains": ["birth"]},
        {"scope": WHOLE, "matters": [], "steps": ["newborn/household"]},
        {"scope": DOMAIN, "matters": []},
        {"scope": DOMAIN, "domains": ["birth"]},
        {"scope": DOMAIN, "matters": [], "domains": ["birth"], "steps": ["birth/x"]},
        {"scope": DOMAIN, "matters": [], "domains": ["birth.newborn"]},
        {"scope": SCENARIO, "matters": []},
        {"scope": SCENARIO, "domains": ["birth"]},
        {"matters": [], "steps": ["newborn/household"]},
        {"scope": 9},
        {"steps": ["household"]},
        {"steps": ["newborn/"]},
        {"steps": ["newborn/a/b"]},
        {"steps": ["marriage/household"]},
        {"matters": ["newborn", "marriage"], "steps": ["newborn/household"]},
        {"steps": ["newborn/a", "newborn/a"]},
        {"row_filters": [a_filter(operator=0)]},
        {"row_filters": [a_filter(operator=9)]},
        {"row_filters": [a_filter(field="")]},
        {"row_filters": [a_filter(values=[])]},
        {"row_filters": [a_filter(values=[""])]},
        {"row_filters": [a_filter(values=["a", "a"])]},
        {"quotas": [quota(0)]},
        {"quotas": [quota(9)]},
        {"quotas": [quota(exchanges=0)]},
        {"quotas": [quota(exchanges=10**12 + 1)]},
        {"quotas": [quota(), quota()]},
        {"fetch_modes": [0]},
        {"fetch_modes": [7]},
        {"fetch_modes": [1, 1]},
        {"data_life_days": 3661},
        {"redisclosure_to": [HEALTH]},
        {"redisclosure_to": [CIVIL, CIVIL]},
    ],
)
def test_what_does_not_hold_together_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(e.Malformed):
        grant(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": DOMAIN, "matters": [], "domains": [f"d{n}" for n in range(17)]},
        {"steps": [f"newborn/s{n}" for n in range(65)]},
        {"row_filters": [a_filter(f"f{n}") for n in range(9)]},
        {"row_filters": [a_filter(values=[str(n) for n in range(33)])]},
        {"row_filters": [a_filter(values=["v" * 101])]},
        {"redisclosure_to": [f"x{n}" for n in range(17)]},
    ],
)
def test_what_is_too_much_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(e.Oversized):
        grant(**changes)


def test_whom_it_may_be_passed_on_to_is_named_by_a_credit_code() -> None:
    with pytest.raises(e.BadIdentifier):
        grant(redisclosure_to=["the bank"])


def test_equal_parts_of_a_million_grants_are_held_once() -> None:
    one, other = grant(), grant()
    assert one.grant_id != other.grant_id
    for name in ("fields", "kinds", "purposes", "matters", "limits", "consumer", "provider", "resource"):
        assert getattr(one, name) is getattr(other, name), name
    quotas = grant(quotas=[quota()]), grant(quotas=[quota()])
    assert quotas[0].limits is quotas[1].limits


def event(**changes: Any) -> common_pb2.Statement:
    held: dict[str, Any] = {
        "nonce": b"n" * 16,
        "grant_id": b"g" * 32,
        "revision": 1,
        "action": grant_pb2.GRANT_ACTION_PAUSE,
        "issued_at": moment(NOW_MS),
    }
    return common_pb2.Statement(body=grant_pb2.GrantEventBody(**(held | changes)).SerializeToString())


@pytest.mark.parametrize(
    "changes",
    [
        {"action": grant_pb2.GRANT_ACTION_EXTEND},
        {"action": grant_pb2.GRANT_ACTION_ATTEST_DELETION},
        {"not_after": moment(NOW_MS)},
        {"deleted_before": moment(NOW_MS)},
        {"action": grant_pb2.GRANT_ACTION_EXTEND, "not_after": Timestamp(seconds=1 << 60)},
        {"action": grant_pb2.GRANT_ACTION_EXTEND, "not_after": moment(0)},
        {"action": grant_pb2.GRANT_ACTION_EXTEND, "not_after": Timestamp(seconds=1, nanos=-1)},
        {
            "action": grant_pb2.GRANT_ACTION_EXTEND,
            "not_after": moment(NOW_MS),
            "deleted_before": moment(NOW_MS),
        },
    ],
)
def test_an_event_names_a_moment_where_its_action_has_one_and_nowhere_else(changes: dict[str, Any]) -> None:
    with pytest.raises(e.Malformed):
        read_event(event(**changes))
