"""The log's key is changed while exchanges go on; the old key alone does until the overlap ends."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from exchange.errors import ReceiptBroken
from exchange.receipt import ReceiptVerifier
from exchange.v1 import admin_pb2, admin_pb2_grpc, agent_pb2, audit_pb2
from gateway.audit.verification.verify import verify_folder
from tests.support.house import House, house_at, question, until
from tests.support.running_authority import TurnedClock

pytestmark = pytest.mark.system
DAY_MS = 86_400_000
IN_FLIGHT = 8


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as region:
        yield region


class Load:
    """Asks without end, many at a time, and keeps the receipts."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.receipts: list[agent_pb2.VerifiedReceipt] = []
        self.failures: list[agent_pb2.AskResponse] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(self._ask())

    async def more(self, count: int) -> None:
        wanted = len(self.receipts) + count
        await until(lambda: len(self.receipts) >= wanted, "exchanges go on")

    async def _ask(self) -> None:
        while True:
            response = await self._house.consumer.consumer.ask(question(self._house.people[0]))
            if response.HasField("answer"):
                self.receipts.append(response.receipt)
            else:
                self.failures.append(response)


def turned(house: House, monkeypatch: pytest.MonkeyPatch) -> TurnedClock:
    """Give the change of the key a clock that the test turns."""
    clock = TurnedClock()
    monkeypatch.setattr(house.gateway.rotation, "_clock", clock)
    return clock


async def order(house: House, name: str = "wang") -> admin_pb2.RotateLogKeyResponse:
    stub = admin_pb2_grpc.AdminServiceStub(await house.channel(house.identities[name]))
    return await stub.RotateLogKey(admin_pb2.RotateLogKeyRequest())


def signatures(house: House) -> int:
    return house.gateway.sequencer.checkpoint.count("— ")


def named(house: House) -> int:
    trust = house.consumer.feed.current
    return len(trust.gateways[house.gateway.origin].log_keys) if trust else 0


async def to_overlap(house: House, clock: TurnedClock) -> None:
    assert (await order(house)).stage == "announcing"
    await until(lambda: named(house) == 2, "the trust list names both keys")
    change = house.gateway.rotation
    await until(lambda: change.state.change is not None and change.state.change.named_ms, "it is out")
    clock.ahead_ms += 301_000
    await until(lambda: (change.state.change is not None) and change.state.change.body, "both sign")


def changes(house: House) -> list[int]:
    log = house.gateway.sequencer
    entries = [audit_pb2.AuditEntry.FromString(leaf) for leaf in log.leaves(0, log.head.size)]
    return [i for i, one in enumerate(entries) if one.administrative.act == audit_pb2.ACT_LOG_KEY]


async def test_a_change_of_the_logs_key_under_load_fails_no_exchange(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, load, origin = turned(house, monkeypatch), Load(house), house.gateway.origin
    (old,) = house.gateway.rotation.announced
    asking = asyncio.create_task(load.run())
    try:
        await load.more(30)
        await to_overlap(house, clock)
        await load.more(30)
        assert signatures(house) == 2
        clock.ahead_ms += DAY_MS
        await until(lambda: house.gateway.rotation.state.change is None, "the old key is gone")
        await load.more(30)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert load.failures == []
    assert signatures(house) == 1
    assert len(changes(house)) == 1
    trust = house.consumer.feed.current
    assert trust is not None
    new, *past = trust.gateways[origin].log_keys
    assert past == [old] and house.gateway.rotation.announced == (new,)
    receipts = ReceiptVerifier(origin=origin, log_keys=(new, old))
    for receipt in load.receipts:
        receipts.verify(receipt.receipt, receipt.checkpoint)
    await house.stop_gateway()
    home = house.folder / "gateway-1"
    assert not (home / "keys" / "log.key").exists()
    assert verify_folder(home, trust).faults == [] == verify_folder(home).faults
    await house.start_gateway()
    for agent in (house.consumer, house.provider):
        await until(lambda agent=agent: agent.link.fault is None, "linked again")  # type: ignore[misc]
    response = await house.consumer.consumer.ask(question(house.people[0]))
    assert response.HasField("answer")
    with pytest.raises(ReceiptBroken):
        ReceiptVerifier(origin=origin, log_keys=[old]).checkpoints.open(response.receipt.checkpoint)


async def test_an_agent_with_the_old_trust_list_goes_on_during_the_overlap_and_not_after(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, held = turned(house, monkeypatch), house.provider.feed.current
    monkeypatch.setattr(house.provider.log, "_trust", lambda: held)
    await to_overlap(house, clock)
    for _ in range(3):
        response = await house.consumer.consumer.ask(question(house.people[0]))
        assert response.HasField("answer")
    assert house.provider.link.fault is None
    clock.ahead_ms += DAY_MS
    await until(lambda: house.gateway.rotation.state.change is None, "the old key is gone")
    ask = partial(house.consumer.consumer.ask, question(house.people[0]))
    await ask()
    await until(lambda: isinstance(house.provider.link.fault, ReceiptBroken), "the provider refuses")
    monkeypatch.undo()
    await until(lambda: house.provider.link.fault is None, "with the newest trust list it links again")
    assert (await ask()).HasField("answer")


async def test_only_an_administrator_orders_a_change_and_once(house: House) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await order(house, "police-steward")
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    first = await order(house)
    assert (await order(house)).next_key == first.next_key
