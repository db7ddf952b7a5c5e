"""Risk in a running region: a rule refuses, a person decides; what is held back has its receipt."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from exchange import canonical
from exchange.identity import Role
from exchange.v1 import agent_pb2, audit_pb2, reason_pb2, risk_pb2, risk_pb2_grpc, rules_pb2, rules_pb2_grpc
from tests.support.house import House, house_at, moment, question, until
from tests.support.risk import REFUSALS
from tests.support.running_authority import admin_folder

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

WHOLE = """
[[rule]]
id = "name-and-address"
kind = "combination"
title_zh = "姓名与住址"
title_en = "name and address"
severity = "critical"
action = "approval"
window = "1d"
fields = ["*/*/household#name", "*/*/household#address"]
"""
HOUR_MS = 3_600_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with house_at(tmp_path_factory.mktemp("house")) as region:
        await region.enrol(Role.OFFICER, "officer-1")
        yield region


def reason(response: agent_pb2.AskResponse) -> str:
    assert response.HasField("failure"), response
    return reason_pb2.Reason.Name(response.failure.reason).removeprefix("REASON_")


async def ask(house: House, person: int = 0, **changes: Any) -> agent_pb2.AskResponse:
    return await house.consumer.consumer.ask(question(house.people[person], **changes))


async def set_rules(house: House, text: str) -> None:
    """Two administrators sign."""
    body = rules_pb2.RegionRulesBody(
        nonce=secrets.token_bytes(16),
        version=house.gateway.state.rules.current.version + 1,
        issued_at=moment(house.region.clock.now_ms()),
        risk=text,
    ).SerializeToString()
    admins = [house.identities["wang"], admin_folder(house.folder, "li")]
    signed = [admin.statement_signer().sign(canonical.RULES, body) for admin in admins]
    stub = rules_pb2_grpc.RulesServiceStub(await house.channel(admins[0]))
    await stub.SetRules(rules_pb2.SetRulesRequest(rules=signed))


async def decide(house: House, name: str, row: risk_pb2.FindingRow) -> None:
    now_ms = house.region.clock.now_ms()
    body = risk_pb2.FindingDecisionBody(
        nonce=secrets.token_bytes(16),
        finding_id=row.finding.finding_id,
        verdict=risk_pb2.FINDING_VERDICT_APPROVE,
        until=moment(now_ms + HOUR_MS),
        note="asked on duty",
        issued_at=moment(now_ms),
    ).SerializeToString()
    signer = house.identities[name]
    stub = risk_pb2_grpc.RiskServiceStub(await house.channel(signer))
    decision = signer.statement_signer().sign(canonical.FINDING_DECISION, body)
    await stub.DecideFinding(risk_pb2.DecideFindingRequest(decision=decision))


async def holding(house: House, name: str) -> risk_pb2.FindingRow:
    """Return the one finding that holds something back, once it is in the log."""
    now_ms = house.region.clock.now_ms()

    def entered() -> bool:
        return any(row.held_until_ms > now_ms for row in house.gateway.state.findings)

    await until(entered, "the finding is in the log")
    stub = risk_pb2_grpc.RiskServiceStub(await house.channel(house.identities[name]))
    (row,) = (await stub.ListFindings(risk_pb2.ListFindingsRequest(holding=True))).findings
    return row


async def test_who_asks_again_and_again_without_a_case_is_refused_until_an_officer_decides(
    house: House,
) -> None:
    await set_rules(house, REFUSALS)
    for person in range(5):
        assert reason(await ask(house, person, case_number="")) == "CASE_REQUIRED"
    refused = await ask(house)
    assert reason(refused) == "RISK_REFUSED"
    entry = audit_pb2.AuditEntry.FromString(refused.receipt.receipt.leaf).exchange
    assert (entry.rule, entry.decision) == ("risk/in-a-row", audit_pb2.DECISION_REFUSED)
    row = await holding(house, "officer-1")
    assert row.finding.finding_id.hex() in refused.failure.subject
    await decide(house, "officer-1", row)
    assert (await ask(house)).HasField("answer")


async def test_an_answer_is_held_back_its_provider_gets_its_receipt_and_a_steward_lets_the_next_pass(
    house: House,
) -> None:
    await set_rules(house, WHOLE)
    # Nobody who was asked about before: the windows were rebuilt from the log when the rules changed.
    assert (await ask(house, 10, fields=["name"])).HasField("answer")
    held = await ask(house, 10, fields=["address"])
    assert reason(held) == "APPROVAL_REQUIRED"
    assert not held.HasField("answer")
    assert (await ask(house, 11, fields=["address"])).HasField("answer")
    journal = house.provider.provider._.journal
    await until(lambda: journal.open_items == 0, "the provider has all its receipts")
    assert house.provider.provider.fault is None
    await decide(house, "police-steward", await holding(house, "police-steward"))
    assert (await ask(house, 10, fields=["address"])).HasField("answer")
