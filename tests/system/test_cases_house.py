"""Cases as events through a whole region: opened, asked about at once, closed, and refused by both sides."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange import canonical
from exchange.v1 import agent_pb2, audit_pb2, reason_pb2, rules_pb2, rules_pb2_grpc
from gateway.record import Exchange
from tests.support.casework import rules_body
from tests.support.house import House, house_at, question, until
from tests.support.running_authority import HEALTH, POLICE, admin_folder

pytestmark = pytest.mark.system

CASE = "LJ-2026-1"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as region:
        yield region


async def _events(house: House) -> None:
    """Have two administrators set that cases are events, and wait until the agents know."""
    body = rules_body(house.region.clock.now_ms())
    admins = [house.identities["wang"], admin_folder(house.folder, "li")]
    signed = [held.statement_signer().sign(canonical.RULES, body) for held in admins]
    stub = rules_pb2_grpc.RulesServiceStub(await house.channel(admins[0]))
    await stub.SetRules(rules_pb2.SetRulesRequest(rules=signed))
    for agent in (house.provider, house.consumer):
        await until(lambda agent=agent: not agent.governance.rules.current.claims, "the rules are known")


async def _outcome(house: House, **changes: object) -> tuple[str, audit_pb2.ExchangeEntry]:
    response = await house.consumer.consumer.ask(question(house.people[0], **changes))
    entry = audit_pb2.AuditEntry.FromString(response.receipt.receipt.leaf).exchange
    if response.HasField("answer"):
        return "answer", entry
    return reason_pb2.Reason.Name(response.failure.reason).removeprefix("REASON_"), entry


def _opening(number: str = CASE, **changes: object) -> agent_pb2.OpenCaseRequest:
    told: dict[str, object] = {"case_number": number, "matter": "newborn", "participants": [POLICE]}
    return agent_pb2.OpenCaseRequest(**(told | changes))  # type: ignore[arg-type]


async def test_an_exchange_passes_while_its_case_is_open_and_the_entries_say_so(house: House) -> None:
    outcome, entry = await _outcome(house, application="wards")
    assert (outcome, entry.case_standing) == ("answer", audit_pb2.CASE_STANDING_CLAIM)
    assert entry.application == "wards"
    await _events(house)
    outcome, entry = await _outcome(house)
    assert (outcome, entry.case_standing) == ("CASE_NOT_OPEN", audit_pb2.CASE_STANDING_NOT_OPEN)
    desk = house.consumer.local._desk._cases
    assert desk is not None
    # Asked in the same breath: the opening reaches the provider before the request does.
    for number in range(20):
        case = f"LJ-2026-9-{number}"
        await desk.open_case(_opening(case))
        outcome, entry = await _outcome(house, case_number=case)
        assert (outcome, entry.case_standing) == ("answer", audit_pb2.CASE_STANDING_OPEN)
        await desk.close_case(agent_pb2.CloseCaseRequest(case_number=case))
        assert (await _outcome(house, case_number=case))[0] == "CASE_NOT_OPEN"


def _lets_pass(guard: object, exchange: Exchange, trust: object, now_ms: int) -> None:
    """A gateway that lies: by an entry that says anything else the consumer would find it out."""
    exchange.case_standing = audit_pb2.CASE_STANDING_OPEN


async def test_a_provider_refuses_a_case_that_its_gateway_lets_pass(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _events(house)
    monkeypatch.setattr("gateway.cases.guard.CaseIsOpen.__call__", _lets_pass)
    outcome, entry = await _outcome(house)
    assert outcome == "CASE_NOT_OPEN" and entry.rule == "provider"
    desk = house.consumer.local._desk._cases
    assert desk is not None
    await desk.open_case(_opening(matter="housing"))
    assert (await _outcome(house))[0] == "CASE_NOT_OPEN"
    assert HEALTH in house.provider.governance.cases.get(CASE).parties  # type: ignore[union-attr]
