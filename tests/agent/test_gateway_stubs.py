"""Calls at the gateway beside the link, when the link is gone."""

import grpc
import pytest

from agent.gateway_stubs import GatewayStubs
from exchange.errors import GatewayAway
from exchange.rpc_errors import answered
from exchange.v1 import ticket_pb2


async def test_a_call_on_a_channel_that_was_closed_fails_and_does_no_more() -> None:
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    stubs = GatewayStubs(channel)
    await channel.close()
    with pytest.raises(GatewayAway):
        await answered(
            lambda: stubs.tickets.ReportQuality(ticket_pb2.ReportQualityRequest(), timeout=1),
            hop="gateway",
            away=GatewayAway,
        )
