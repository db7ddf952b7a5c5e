"""A gateway whose log was set back goes on under a new epoch that two people opened, and agents follow it."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agent.app import Agent
from exchange.errors import (
    BadSignature,
    LogBehind,
    LogForked,
    Malformed,
    SecondPersonRequired,
    WrongState,
)
from exchange.receipt import ReceiptVerifier
from exchange.v1 import agent_pb2, audit_pb2
from gateway.audit.verify import verify_folder
from tests.support.epochs import folder_of, opened, proposed, signed
from tests.support.house import House, house_at, question, until

pytestmark = pytest.mark.system
Stop = Callable[[], Awaitable[None]]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as region:
        yield region


async def asked(house: House, count: int = 1) -> list[agent_pb2.VerifiedReceipt]:
    """Ask, and return the receipts."""
    receipts = []
    for _ in range(count):
        response = await house.consumer.consumer.ask(question(house.people[0]))
        assert response.HasField("answer"), response.failure
        receipts.append(response.receipt)
    return receipts


def home(house: House) -> Path:
    return house.folder / "gateway-1"


async def set_back(house: House, lost: int) -> int:
    """Lose the newest entries: put a copy of the database in place that was made before them."""
    await house.stop_gateway()
    copy = house.folder / "copy.db"
    shutil.copy(home(house) / "audit.db", copy)
    await house.start_gateway()
    kept = house.log_size
    await linked(house)
    await asked(house, lost)
    await house.stop_gateway()
    shutil.copy(copy, home(house) / "audit.db")
    return kept


async def linked(house: House, origin: str = "") -> None:
    def up(agent: Agent) -> bool:
        return agent.link.fault is None and agent.origin == (origin or agent.origin)

    await until(lambda: up(house.provider) and up(house.consumer), "agents are linked")


def verifier(house: House, origin: str) -> ReceiptVerifier:
    trust = house.consumer.feed.current
    assert trust is not None
    keys = trust.gateways[origin].log_keys
    return ReceiptVerifier(origin=origin, log_keys=keys, lineage=trust.lineage(origin))


def verify(house: House, receipts: list[agent_pb2.VerifiedReceipt]) -> None:
    """Verify receipts against the newest trust list alone."""
    for receipt in receipts:
        origin = receipt.checkpoint.partition("\n")[0]
        verifier(house, origin).verify(receipt.receipt, receipt.checkpoint)


async def test_two_people_let_a_log_that_was_set_back_go_on_and_agents_follow(house: House) -> None:
    before = await asked(house)
    origin = house.gateway.origin
    kept = await set_back(house, lost=3)
    with pytest.raises(LogBehind) as refused:
        await house.start_gateway()
    assert "shuqiao gateway epoch propose" in refused.value.sentence.remedy_en
    body = await proposed(house)
    epoch = await opened(house, signed(house, body, "wang", "li"))
    assert (epoch.kept_size, epoch.previous_origin) == (kept, origin)
    assert epoch.lost_size >= kept + 3
    await house.start_gateway()
    await linked(house, f"{origin}/epoch-2")
    after = await asked(house, 3)
    verify(house, [*before, *after])
    await house.stop_gateway()
    trust = house.consumer.feed.current
    assert trust is not None
    old, new = trust.gateways[origin], trust.gateways[f"{origin}/epoch-2"]
    assert (old.closed, old.addresses, new.closed) == (True, (), False)
    assert (new.first_entry, new.lost_size) == (kept, epoch.lost_size)
    report = verify_folder(home(house), trust, anchor=house.region.anchor)
    assert report.faults == []
    (found,) = report.epochs
    assert found.index == kept and found.epoch.lost_size == epoch.lost_size
    assert [uri.rpartition("/")[2] for uri in found.people] == ["wang", "li"]
    assert verify_folder(home(house)).faults == []
