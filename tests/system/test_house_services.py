"""Health and reflection, over the same port and the same mutual TLS as everything else."""

from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.house import house_at

pytestmark = pytest.mark.system


async def test_health_says_serving_and_reflection_names_every_service(tmp_path: Path) -> None:
    async with house_at(tmp_path) as house:
        channel = await house.channel(house.identities["health-steward"])
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        reply = await call.read()
        call.cancel()
        named = {service.name for service in reply.list_services_response.service}
        wanted = {"Link", "Exchange", "Directory", "Grant", "Audit", "Admin", "Review"}
        assert {f"exchange.v1.{name}Service" for name in wanted} <= named


async def test_health_is_not_told_without_a_certificate(tmp_path: Path) -> None:
    async with house_at(tmp_path) as house:
        root = house.identities["wang"].root_pem()
        async with grpc.aio.secure_channel(
            f"127.0.0.1:{house.port}", grpc.ssl_channel_credentials(root)
        ) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
