"""Exchanges without a link: the same guards, and one window for all calls of an agent."""

import asyncio
from typing import Any

import pytest

from exchange.trust import Verified
from exchange.v1 import audit_pb2, common_pb2, exchange_pb2, grant_pb2, link_pb2, reason_pb2
from gateway.exchange_service import ExchangeService
from tests.support.hostile import World, until
from tests.support.hostile_requests import signed_request

WINDOW = 3


class Ended(Exception):
    """The call was ended with a status."""


class Context:
    """A call."""

    async def abort(self, code: Any, details: str = "", trailing: Any = ()) -> None:
        raise Ended(code.name)


def served(world: World) -> ExchangeService:
    caller = Verified(identity=world.health.identity, certificate=None, serial=1, not_after_ms=1 << 60)  # type: ignore[arg-type]
    return ExchangeService(path=world.path, peer=lambda context: caller, consumer_window=WINDOW)


def call(
    service: ExchangeService, signed: common_pb2.Signed
) -> "asyncio.Task[exchange_pb2.ExchangeResponse]":
    context: Any = Context()
    return asyncio.create_task(service.Exchange(exchange_pb2.ExchangeRequest(request=signed), context))


async def test_a_call_is_guarded_as_a_link_is(world: World) -> None:
    service = served(world)
    answer = await call(service, signed_request(world))
    entry = audit_pb2.AuditEntry.FromString(answer.released.receipt.leaf).exchange
    assert entry.decision == audit_pb2.DECISION_RELEASED
    await world.region.decide(world.grant, grant_pb2.GRANT_ACTION_PAUSE, 2)
    with pytest.raises(Ended):
        await call(service, signed_request(world))
    assert world.entries()[-1].reason == reason_pb2.REASON_GRANT_PAUSED
    assert world.table.reads == 1


async def test_all_calls_of_an_agent_have_one_window_also_those_that_were_given_up(world: World) -> None:
    def swallow(frame: link_pb2.LinkRequest) -> link_pb2.LinkRequest:
        del frame.items[:]
        return frame

    world.police.wire.up = swallow
    service = served(world)
    calls = [call(service, signed_request(world)) for _ in range(WINDOW)]
    link = world.links.newest(world.police.identity.organisation, "police-1")
    await until(lambda: len(link.pending) == WINDOW)
    for one in calls:
        one.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    with pytest.raises(Ended, match="RESOURCE_EXHAUSTED"):
        await call(service, signed_request(world))
    assert world.entries()[-1].reason == reason_pb2.REASON_QUEUE_FULL
    assert len(link.pending) == WINDOW
    world.clock.ms += 11_000
    world.path.expire()
    await until(lambda: world.entries()[-1].reason == reason_pb2.REASON_DEADLINE_PASSED)
    world.police.wire.up = lambda frame: frame
    world.tell_trust()
    await call(service, signed_request(world))
