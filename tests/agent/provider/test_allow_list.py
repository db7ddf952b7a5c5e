"""The department's own allow-list."""

from typing import Any

import pytest
from pydantic import ValidationError

from agent.provider.allow_list import AllowConfig, AllowList
from exchange.errors import ProviderVeto
from exchange.v1 import exchange_pb2
from tests.support.region import CIVIL, HEALTH, RESOURCE

MIDNIGHT_MS = 1_767_196_800_000
"""2026-01-01 00:00 in Beijing."""
HOUR_MS = 3_600_000


def a_rule(**changes: Any) -> AllowConfig:
    held: dict[str, Any] = {"consumer": HEALTH, "resource": RESOURCE, "purposes": ["birth"]}
    return AllowConfig.model_validate(held | changes)


def vetoes(rules: Any, *, hour: float = 9, **changes: Any) -> bool:
    held: dict[str, Any] = {
        "consumer_organisation": HEALTH,
        "resource": RESOURCE,
        "purpose": "birth",
        "fields": ["name", "address"],
    }
    header = exchange_pb2.RequestHeader(**(held | changes))
    try:
        AllowList(rules).check(header, MIDNIGHT_MS + int(hour * HOUR_MS))
    except ProviderVeto:
        return True
    return False


def test_without_a_list_everything_passes_and_with_an_empty_one_nothing() -> None:
    assert not vetoes(None)
    assert vetoes([])


@pytest.mark.parametrize(
    "changes",
    [
        {"consumer_organisation": CIVIL},
        {"resource": "970100/police/stations"},
        {"resource": f"{RESOURCE}-more"},
        {"purpose": "other"},
        {"purpose": ""},
    ],
)
def test_what_is_not_listed_is_refused(changes: dict[str, Any]) -> None:
    assert not vetoes([a_rule()])
    assert vetoes([a_rule()], **changes)


def test_a_field_that_is_not_listed_is_refused_and_rules_do_not_add_up() -> None:
    rules = [a_rule(fields=["name"]), a_rule(fields=["address"])]
    assert not vetoes(rules, fields=["name"])
    assert not vetoes(rules, fields=["address"])
    assert vetoes(rules, fields=["name", "address"])
    assert not vetoes([*rules, a_rule(fields=["address", "name", "station"])])


@pytest.mark.parametrize("prefix", ["970100/*", "970100/police/*"])
def test_a_beginning_covers_what_begins_so(prefix: str) -> None:
    assert not vetoes([a_rule(resource=prefix)])
    assert vetoes([a_rule(resource=prefix)], resource="970101/police/household")
    assert not vetoes([a_rule(resource="*")], resource="970101/police/household")


def test_everybody_and_any_purpose_are_said_by_a_star() -> None:
    assert not vetoes([a_rule(consumer="*", purposes=["*"])], consumer_organisation=CIVIL, purpose="other")


@pytest.mark.parametrize(
    ("hours", "open_at", "closed_at"),
    [("08:00-18:00", (8, 17.9), (7.9, 18, 0)), ("22:00-06:00", (22, 23.9, 0, 5.9), (6, 12, 21.9))],
)
def test_hours_count_by_the_departments_clock(
    hours: str, open_at: tuple[float, ...], closed_at: tuple[float, ...]
) -> None:
    rules = [a_rule(hours=hours)]
    assert not any(vetoes(rules, hour=hour) for hour in open_at)
    assert all(vetoes(rules, hour=hour) for hour in closed_at)
    assert vetoes([a_rule(hours=hours, utc_offset="+00:00")], hour=open_at[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"consumer": "nobody"},
        {"resource": ""},
        {"resource": "household"},
        {"resource": "970100/police/household*"},
        {"purposes": []},
        {"fields": []},
        {"hours": "8-18"},
        {"hours": "08:00-08:00"},
        {"utc_offset": "Beijing"},
        {"surprise": 1},
    ],
)
def test_a_rule_that_is_not_well_formed_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_rule(**changes)
