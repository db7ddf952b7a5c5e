"""Keys that change under load: nothing that is asked meanwhile is lost."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from agent.app import Agent
from exchange import own_keys
from exchange.v1 import agent_pb2, reason_pb2
from tests.support.house import House, house_at, question, until

pytestmark = pytest.mark.system
ROTATIONS = 4
IN_FLIGHT = 16


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as region:
        yield region


class Load:
    """Asks without end, many at a time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.answered = 0
        self.failures: list[str] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(self._ask())

    def beyond(self, count: int) -> bool:
        return self.answered > count

    async def _ask(self) -> None:
        while True:
            response = await self._house.consumer.consumer.ask(question(self._house.people[0]))
            self._count(response)

    def _count(self, response: agent_pb2.AskResponse) -> None:
        if response.HasField("answer"):
            self.answered += 1
        else:
            self.failures.append(reason_pb2.Reason.Name(response.failure.reason))


async def _rotate(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Have an agent make new keys of both kinds and publish them; return the id of its signing key."""
    with monkeypatch.context() as patch:
        patch.setattr(own_keys, "SIGNING_RENEWAL_MS", 0)
        patch.setattr(own_keys, "SEALING_RENEWAL_MS", 0)
        assert agent.keys.rotate_if_due()
    await agent.duties.publish_keys()
    assert agent.keys.confirmed
    return agent.keys.signing_kid


@pytest.mark.parametrize("who", ["provider", "consumer"])
async def test_a_change_of_signing_and_sealing_keys_loses_no_exchange(
    house: House, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    agent: Agent = getattr(house, who)
    load = Load(house)
    asking = asyncio.create_task(load.run())
    try:
        await until(lambda: load.answered > 50, "exchanges before")
        kids = {agent.keys.signing_kid}
        for _ in range(ROTATIONS):
            kids.add(await _rotate(agent, monkeypatch))
            after = load.answered
            await until(partial(load.beyond, after + 50), "exchanges after")
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert len(kids) == ROTATIONS + 1
    assert load.failures == []
