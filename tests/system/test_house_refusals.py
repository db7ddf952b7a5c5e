"""What a consumer hears when it asks for what it may not have, or for what cannot be."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from exchange.v1 import agent_pb2, audit_pb2, reason_pb2
from tests.support.house import House, house_at, question

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with house_at(tmp_path_factory.mktemp("house")) as region:
        yield region


def reason(response: agent_pb2.AskResponse) -> str:
    assert response.HasField("failure"), response
    return reason_pb2.Reason.Name(response.failure.reason).removeprefix("REASON_")


async def ask(house: House, **changes: Any) -> agent_pb2.AskResponse:
    return await house.consumer.consumer.ask(question(house.people[0], **changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fields": ["name", "nonsense"]}, "UNKNOWN_FIELD"),
        ({"purpose": "curiosity"}, "PURPOSE_NOT_GRANTED"),
        ({"matter": "retirement"}, "MATTER_NOT_GRANTED"),
        ({"case_number": ""}, "CASE_REQUIRED"),
        ({"grant_id": b"x" * 32}, "NO_GRANT"),
    ],
)
async def test_the_gateway_refuses_and_the_refusal_is_an_entry(
    house: House, changes: dict[str, Any], expected: str
) -> None:
    response = await ask(house, **changes)
    assert reason(response) == expected
    entry = audit_pb2.AuditEntry.FromString(response.receipt.receipt.leaf).exchange
    assert entry.decision == audit_pb2.DECISION_REFUSED
    assert entry.reason == response.failure.reason
    assert response.failure.hop == "gateway/gateway-1"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"parameters": []}, "BAD_PARAMETER"),
        ({"parameters": [agent_pb2.NamedValue(name="surprise", value="1")]}, "BAD_PARAMETER"),
        (
            {"parameters": [agent_pb2.NamedValue(name="citizen_id", value="970102199001010012")]},
            "BAD_IDENTIFIER",
        ),
        ({"kind": 0}, "MALFORMED"),
        ({"resource": "970100/public-security/unicorns"}, "UNKNOWN_RESOURCE"),
        ({"resource": "../etc/passwd"}, "BAD_IDENTIFIER"),
    ],
)
async def test_what_no_request_can_be_made_of_fails_with_its_own_reason(
    house: House, changes: dict[str, Any], expected: str
) -> None:
    assert reason(await ask(house, **changes)) == expected
    assert (await ask(house)).HasField("answer")
