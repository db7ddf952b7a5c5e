"""The gateway's gRPC server: its chain, its port, health and reflection."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from exchange.errors import BadConfiguration
from exchange.tls import SERVER_OPTIONS, reloading_server_credentials
from exchange.v1 import (
    admin_pb2,
    audit_pb2,
    case_pb2,
    directory_pb2,
    exchange_pb2,
    grant_pb2,
    link_pb2,
    report_pb2,
    review_pb2,
    risk_pb2,
    rules_pb2,
    stop_pb2,
    ticket_pb2,
)

SERVICES = (
    admin_pb2,
    audit_pb2,
    case_pb2,
    directory_pb2,
    exchange_pb2,
    grant_pb2,
    link_pb2,
    report_pb2,
    review_pb2,
    risk_pb2,
    rules_pb2,
    stop_pb2,
    ticket_pb2,
)


class GatewayServer:
    """One gRPC server.

    Args:
        interceptors: the chain, outermost first.
    """

    def __init__(self, *, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        self._log = structlog.get_logger("gateway.server")
        self._health = health.aio.HealthServicer()
        self.grpc = grpc.aio.server(interceptors=interceptors, options=SERVER_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        names = [name for module in SERVICES for name in _services_of(module)]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self.grpc)

    def bind(self, host: str, port: int, *, tls: Callable[[], tuple[bytes, bytes]], root_pem: bytes) -> int:
        """Bind the port, mutual TLS only.

        Args:
            host, port: where; port 0 takes a free one.
            tls: returns private key and chain, PEM; asked at each handshake.
            root_pem: the root that callers' certificates must lead to.

        Returns:
            The port.

        Raises:
            BadConfiguration: it cannot be bound.
        """
        credentials = reloading_server_credentials(
            newest=tls,
            root_pem=root_pem,
            mutual=True,
            alarm=lambda error: self._log.error("certificate not reloaded", error=type(error).__name__),
        )
        try:
            bound = self.grpc.add_secure_port(f"{host}:{port}", credentials)
        except RuntimeError:
            bound = 0
        if not bound:
            raise BadConfiguration(f"listen.port {port} cannot be bound")
        return bound

    async def start(self) -> None:
        """Serve, and say so to whoever asks for health."""
        await self.grpc.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def leave(self) -> None:
        """Tell whoever asks for health that the server is about to stop."""
        await self._health.enter_graceful_shutdown()


def _services_of(module: ModuleType) -> list[str]:
    descriptor: Any = module.DESCRIPTOR
    return [service.full_name for service in descriptor.services_by_name.values()]
