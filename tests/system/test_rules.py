"""The region's rules in a region that runs: set by two people, in force at once, known to the agents."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc.aio import AioRpcError

from exchange import canonical
from exchange.errors import SecondPersonRequired, WrongState
from exchange.rpc_errors import from_rpc_error
from exchange.v1 import agent_pb2, audit_pb2, reason_pb2, rules_pb2, rules_pb2_grpc
from tests.support.house import FIELDS, House, house_at, moment, question, until
from tests.support.running_authority import admin_folder

pytestmark = pytest.mark.system

NO_ADDRESSES = """
@id("no-addresses") @reason_zh("不给住址") @reason_en("No addresses")
forbid (principal, action, resource) when { context.fields.contains("address") };
"""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as region:
        region.identities["li"] = admin_folder(tmp_path, "li")
        yield region


ORDER = ["stop", "trust", "catalogue", "grant", "case", "purpose", "guard", "risk", "quota"]
"""Step 4, as a person would ask; what reserves comes last."""


def rules_body(house: House, version: int, *guards: str) -> bytes:
    return rules_pb2.RegionRulesBody(
        nonce=secrets.token_bytes(16),
        version=version,
        issued_at=moment(house.region.clock.now_ms()),
        guards=[rules_pb2.GuardFile(name=f"file-{n}", text=text) for n, text in enumerate(guards)],
    ).SerializeToString()


async def set_rules(
    house: House, version: int, *guards: str, people: tuple[str, ...] = ("li", "wang")
) -> int:
    """Have some administrators sign rules, the first hand them in; return the index of the entry."""
    body = rules_body(house, version, *guards)
    signed = [house.identities[name].statement_signer().sign(canonical.RULES, body) for name in people]
    stub = rules_pb2_grpc.RulesServiceStub(await house.channel(house.identities[people[0]]))
    return (await stub.SetRules(rules_pb2.SetRulesRequest(rules=signed))).index


async def ask(house: House, *fields: str) -> agent_pb2.AskResponse:
    return await house.consumer.consumer.ask(question(house.people[0], fields=fields or tuple(FIELDS)))


async def explain(house: House, *fields: str) -> rules_pb2.ExplainResponse:
    asked = question(house.people[0], fields=fields)
    stub = rules_pb2_grpc.RulesServiceStub(await house.channel(house.identities["health-steward"]))
    return await stub.Explain(
        rules_pb2.ExplainRequest(
            consumer=house.identities["health-steward"].identity().organisation,
            resource=asked.resource,
            kind=asked.kind,
            fields=fields,
            purpose=asked.purpose,
            matter=asked.matter,
            case_number=asked.case_number,
        )
    )


async def dry_run(house: House, *guards: str) -> rules_pb2.DryRunResponse:
    stub = rules_pb2_grpc.RulesServiceStub(await house.channel(house.identities["li"]))
    return await stub.DryRun(rules_pb2.DryRunRequest(rules=rules_body(house, 1, *guards)))


async def refused(house: House) -> None:
    """One administrator alone, one twice, and two who skip a version."""
    for people, version, due in (
        (("li",), 1, SecondPersonRequired),
        (("li", "li"), 1, SecondPersonRequired),
        (("li", "wang"), 2, WrongState),
    ):
        with pytest.raises(AioRpcError) as caught:
            await set_rules(house, version, people=people)
        assert isinstance(from_rpc_error(caught.value, hop="gateway"), due)
    assert house.gateway.state.rules.current.version == 0


async def test_rules_of_two_administrators_are_in_force_at_once_and_reach_the_agents(
    house: House,
) -> None:
    assert (await ask(house)).HasField("answer")
    await refused(house)
    dry = await dry_run(house, NO_ADDRESSES)
    assert (dry.examined, dry.same) == (1, 0)
    assert [(group.rule, group.refused, group.count) for group in dry.groups] == [
        ("guard/no-addresses", True, 1)
    ]
    index = await set_rules(house, 1, NO_ADDRESSES)
    forbidden = await ask(house)
    assert forbidden.failure.reason == reason_pb2.REASON_FORBIDDEN_BY_RULE
    assert forbidden.failure.subject == "no-addresses"
    for agent in (house.provider, house.consumer):
        await until(lambda one=agent: one.governance.rules.current.version == 1, "the agent knows the rules")
    assert (await ask(house, "name")).HasField("answer")
    entry = audit_pb2.AuditEntry.FromString(house.gateway.registrar.leaf(index)).administrative
    assert entry.act == audit_pb2.ACT_RULES and len(entry.countersignatures) == 1
    steps = (await explain(house, "address")).steps
    assert [step.rule for step in steps][-1] == "guard/no-addresses"
    allowed = await explain(house, "name")
    assert allowed.allowed and [step.rule for step in allowed.steps] == ORDER
    await house.stop_gateway()
    await house.start_gateway()
    await until(lambda: len(list(house.gateway.links)) == 2, "both agents are linked again")
    await until(lambda: house.consumer.link.fault is None, "the consumer has its link again")
    again = await ask(house)
    assert again.failure.subject == "no-addresses", "the rules are folded from the log"
