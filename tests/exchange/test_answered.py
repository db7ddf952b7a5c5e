"""A call that is made while its channel ends is told apart from a task that is cancelled."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from exchange.errors import GatewayAway
from exchange.rpc_errors import answered
from exchange.v1 import audit_pb2, audit_pb2_grpc

REQUEST = audit_pb2.GetCheckpointRequest()


class Silent(audit_pb2_grpc.AuditServiceServicer):
    """Takes calls and never answers."""

    def __init__(self) -> None:
        self.called = asyncio.Event()

    async def GetCheckpoint(self, request: object, context: object) -> audit_pb2.GetCheckpointResponse:
        self.called.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture
async def silent() -> AsyncIterator[tuple[Silent, grpc.aio.Channel]]:
    server, servicer = grpc.aio.server(), Silent()
    audit_pb2_grpc.add_AuditServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    yield servicer, channel
    await channel.close()
    await server.stop(0)


def _ask(channel: grpc.aio.Channel) -> "asyncio.Task[audit_pb2.GetCheckpointResponse]":
    stub: audit_pb2_grpc.AuditServiceAsyncStub = audit_pb2_grpc.AuditServiceStub(channel)
    return asyncio.ensure_future(
        answered(lambda: stub.GetCheckpoint(REQUEST, timeout=20), hop="gateway", away=GatewayAway)
    )


async def test_a_channel_that_closes_under_a_call_is_a_gateway_that_is_away(
    silent: tuple[Silent, grpc.aio.Channel],
) -> None:
    servicer, channel = silent
    asking = _ask(channel)
    await servicer.called.wait()
    await channel.close()
    with pytest.raises(GatewayAway):
        await asking


async def test_a_channel_that_is_closed_is_a_gateway_that_is_away(
    silent: tuple[Silent, grpc.aio.Channel],
) -> None:
    _, channel = silent
    await channel.close()
    with pytest.raises(GatewayAway):
        await _ask(channel)


async def test_a_task_that_is_cancelled_stays_cancelled(silent: tuple[Silent, grpc.aio.Channel]) -> None:
    servicer, channel = silent
    asking = _ask(channel)
    await servicer.called.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
