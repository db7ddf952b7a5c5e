"""A version in review, in one process over real TLS: exchanges go on, and agents wait for the approval."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange import canonical
from exchange.identity import Role
from exchange.v1 import common_pb2, directory_pb2, directory_pb2_grpc, rules_pb2, rules_pb2_grpc
from tests.support.house import HOUSEHOLD, POLICE, House, house_at, moment, question, until
from tests.support.running_authority import admin_folder

pytestmark = pytest.mark.system


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as region:
        yield region


async def set_rules(house: House) -> None:
    """Have two administrators ask for a second person's review of the catalogue."""
    body = rules_pb2.RegionRulesBody(
        nonce=secrets.token_bytes(16),
        version=1,
        issued_at=moment(house.region.clock.now_ms()),
        catalogue_review=True,
    ).SerializeToString()
    house.identities["li"] = admin_folder(house.folder, "li")
    signed = [
        house.identities[name].statement_signer().sign(canonical.RULES, body) for name in ("wang", "li")
    ]
    stub = rules_pb2_grpc.RulesServiceStub(await house.channel(house.identities["wang"]))
    await stub.SetRules(rules_pb2.SetRulesRequest(rules=signed))


async def approve(house: House, steward: str, version: int) -> None:
    held = house.identities[steward]
    body = directory_pb2.ResourceStateBody(
        nonce=secrets.token_bytes(16),
        id=HOUSEHOLD,
        version=version,
        revision=1,
        action=directory_pb2.RESOURCE_ACTION_APPROVE,
        issued_at=moment(house.region.clock.now_ms()),
    ).SerializeToString()
    statement: common_pb2.Statement = held.statement_signer().sign(canonical.RESOURCE_STATE, body)
    stub = directory_pb2_grpc.DirectoryServiceStub(await house.channel(held))
    await stub.SetResourceState(directory_pb2.SetResourceStateRequest(state=statement))


async def answered(house: House) -> bool:
    response = await house.consumer.consumer.ask(question(house.people[0]))
    return response.HasField("answer")


async def test_exchanges_go_on_under_the_version_before_until_the_next_is_approved(house: House) -> None:
    await set_rules(house)
    await house.publish(version=2)
    agents = (house.provider, house.consumer)
    await until(lambda: all(a.governance.rules.current.version == 1 for a in agents), "the rules are known")
    assert await answered(house)
    await house.enrol(Role.STEWARD, "police-second", POLICE)
    await approve(house, "police-second", 2)
    await until(
        lambda: all(a.region.resource(HOUSEHOLD).version == 2 for a in agents), "the approval is known"
    )
    assert await answered(house)
