"""A gateway that checks nothing, or lies: the provider's agent refuses from its own signed state and list."""

from collections.abc import Mapping
from typing import Any

import pytest

from agent.provider.allow_list import AllowConfig, AllowList
from exchange import canonical
from exchange.identity import Role
from exchange.v1 import audit_pb2, common_pb2, grant_pb2, rules_pb2
from tests.support.hostile import World, outcome, until
from tests.support.hostile_requests import provider_reason, signed_request
from tests.support.region import CIVIL, HEALTH, RESOURCE, moment
from tests.support.rules import rules_body


async def knows(world: World, grant_id: bytes, revision: int) -> None:
    """Wait until public security's agent has seen a grant at a revision."""
    view = world.police.view
    await until(lambda: (held := view.grant(grant_id)) is not None and held.revision >= revision)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"grant_id": bytes(32)}, "NO_GRANT"),
        ({"fields": ["name", "station"]}, "FIELD_NOT_GRANTED"),
        ({"fields": ["secret"]}, "NOT_SHARED"),
        ({"fields": ["nothing"]}, "UNKNOWN_FIELD"),
        ({"purpose": "other"}, "PURPOSE_NOT_GRANTED"),
        ({"matter": "other"}, "MATTER_NOT_GRANTED"),
        ({"case_number": ""}, "CASE_REQUIRED"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
async def test_what_a_gateway_lets_pass_the_provider_refuses_before_it_reads(
    world: World, changes: Mapping[str, Any], reason: str
) -> None:
    assert await provider_reason(world, signed_request(world, **changes)) == reason
    assert world.table.reads == 0


async def test_a_grant_of_another_department_is_refused(world: World) -> None:
    foreign = await world.region.apply(
        world.authority.person(world.region.health.identity.role, "civil-steward", CIVIL), consumer=CIVIL
    )
    await world.region.decide(foreign, grant_pb2.GRANT_ACTION_ACCEPT, 1)
    await knows(world, foreign, 1)
    assert await provider_reason(world, signed_request(world, grant_id=foreign)) == "GRANT_FOREIGN"
    assert await provider_reason(world, signed_request(world, grant_id=world.open_grant)) == "NO_GRANT"
    assert world.table.reads == 0


async def test_a_pause_that_the_gateway_ignores_is_kept_by_the_provider(world: World) -> None:
    await world.region.decide(world.grant, grant_pb2.GRANT_ACTION_PAUSE, 2)
    await knows(world, world.grant, 2)
    assert await provider_reason(world, signed_request(world, grant_revision=1)) == "GRANT_PAUSED"
    await world.region.decide(world.grant, grant_pb2.GRANT_ACTION_RESUME, 3)
    await knows(world, world.grant, 3)
    assert await provider_reason(world, signed_request(world)) == ""


async def test_a_grant_whose_term_is_over_is_refused_and_one_not_accepted_yet_too(world: World) -> None:
    short = await world.region.apply(not_after=moment(world.clock.ms + 60_000), kinds=[common_pb2.KIND_QUERY])
    await knows(world, short, 0)
    assert await provider_reason(world, signed_request(world, grant_id=short)) == "GRANT_PENDING"
    await world.region.decide(short, grant_pb2.GRANT_ACTION_ACCEPT, 1)
    await knows(world, short, 1)
    assert await provider_reason(world, signed_request(world, grant_id=short)) == ""
    world.clock.ms += 61_000
    assert await provider_reason(world, signed_request(world, grant_id=short)) == "GRANT_EXPIRED"


PURPOSE = {"title_zh": "出生", "legal_basis": "Act 5"}


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"purposes": [{"code": "other", **PURPOSE}]}, "PURPOSE_UNKNOWN"),
        ({"purposes": [{"code": "birth", "matters": ["other"], **PURPOSE}]}, "PURPOSE_UNKNOWN"),
        ({"purposes": [{"code": "birth", "matters": ["newborn"], **PURPOSE}]}, ""),
        ({"case_mode": rules_pb2.CASE_MODE_EVENTS}, "CASE_NOT_OPEN"),
        ({"case_mode": rules_pb2.CASE_MODE_CLAIMS}, ""),
    ],
)
async def test_the_provider_holds_a_gateway_that_forgets_them_to_the_regions_rules(
    world: World, rules: Mapping[str, Any], reason: str
) -> None:
    body = rules_body(1, world.clock.ms, **rules)
    first, second = world.region.admin, world.authority.person(Role.ADMIN, "admin-2")
    await world.region.registrar.record(
        audit_pb2.ACT_RULES,
        first.identity,
        first.sign(canonical.RULES, body),
        countersignatures=[second.sign(canonical.RULES, body)],
    )
    await until(lambda: world.police.rules.current.version == 1)
    assert await provider_reason(world, signed_request(world)) == reason
    assert world.table.reads == (0 if reason else 1)
    asked = outcome(await world.ask())
    assert asked == (reason or "ANSWER")
    assert world.entries()[-1].rules_version == 1


async def test_a_step_that_was_not_granted_is_refused(world: World) -> None:
    kinds = [common_pb2.KIND_QUERY]
    scope = {"scope": grant_pb2.GRANT_SCOPE_SCENARIO, "steps": ["newborn/household"]}
    stepped = await world.region.apply(kinds=kinds, **scope)
    await world.region.decide(stepped, grant_pb2.GRANT_ACTION_ACCEPT, 1)
    await knows(world, stepped, 1)
    for step in ("", "other", "newborn/household"):
        request = signed_request(world, grant_id=stepped, step=step)
        assert await provider_reason(world, request) == "STEP_NOT_GRANTED"
    assert world.table.reads == 0
    assert await provider_reason(world, signed_request(world, grant_id=stepped, step="household")) == ""


@pytest.mark.parametrize(
    ("changes", "vetoed"),
    [
        ({}, False),
        ({"consumer": CIVIL}, True),
        ({"resource": "970100/police/stations"}, True),
        ({"purposes": ("other",)}, True),
        ({"fields": ("name",)}, True),
        ({"fields": ("name", "address")}, False),
    ],
)
async def test_what_is_granted_and_not_on_the_departments_list_is_vetoed_with_an_entry(
    world: World, changes: Mapping[str, Any], vetoed: bool
) -> None:
    rule = {"consumer": HEALTH, "resource": RESOURCE, "purposes": ("birth",)} | changes
    world.police.inspector._.allow = AllowList([AllowConfig.model_validate(rule)])
    assert outcome(await world.ask()) == ("PROVIDER_VETO" if vetoed else "ANSWER")
    assert world.table.reads == (0 if vetoed else 1)
    assert world.entries()[-1].rule == ("provider" if vetoed else world.entries()[-1].rule)
