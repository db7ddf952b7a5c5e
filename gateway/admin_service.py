"""Administration of the gateway: organisations, and how it is."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from exchange.identity import Identity
from exchange.trust_feed import TrustFeed
from exchange.v1 import admin_pb2, admin_pb2_grpc, audit_pb2
from gateway.calls import Calls
from gateway.registrar import Registrar

SERVICE = "/exchange.v1.AdminService"


Rotate = Callable[[int, Identity], tuple[bytes, str]]
"""Takes the overlap in seconds and who orders; returns the next key and the stage."""


class CheckpointSource(Protocol):
    """What is needed of the audit log."""

    @property
    def checkpoint(self) -> str:
        """The newest checkpoint, a C2SP signed note."""
        ...


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """Serves administrators and operators.

    Args:
        registrar: enters organisations.
        calls: what every call has around it.
        log: the audit log.
        trust_feed: the newest trust list.
        agents: returns SPIFFE id and exchanges under way of each linked agent.
        faults: returns what keeps the gateway from exchanging, in words of the error page.
        rotate: orders the change of the log's key; returns the next key and how far it has come.
    """

    def __init__(
        self,
        *,
        registrar: Registrar,
        calls: Calls,
        log: CheckpointSource,
        trust_feed: TrustFeed,
        agents: Callable[[], Sequence[tuple[str, int]]],
        faults: Callable[[], Sequence[str]],
        rotate: Rotate,
    ) -> None:
        self._registrar = registrar
        self._calls = calls
        self._log = log
        self._trust_feed = trust_feed
        self._agents = agents
        self._faults = faults
        self._rotate = rotate

    async def AddOrganisation(
        self, request: admin_pb2.AddOrganisationRequest, context: Any
    ) -> admin_pb2.AddOrganisationResponse:
        """Add an organisation or change its names."""
        return await self._calls.run(f"{SERVICE}/AddOrganisation", request, context, self._add)

    async def GetStatus(
        self, request: admin_pb2.GetStatusRequest, context: Any
    ) -> admin_pb2.GetStatusResponse:
        """Tell how the gateway is."""
        return await self._calls.run(f"{SERVICE}/GetStatus", request, context, self._status)

    async def RotateLogKey(
        self, request: admin_pb2.RotateLogKeyRequest, context: Any
    ) -> admin_pb2.RotateLogKeyResponse:
        """Order the planned change of the log's key."""
        return await self._calls.run(f"{SERVICE}/RotateLogKey", request, context, self._order)

    async def _order(
        self, request: admin_pb2.RotateLogKeyRequest, caller: Identity
    ) -> admin_pb2.RotateLogKeyResponse:
        key, stage = self._rotate(request.overlap_s, caller)
        return admin_pb2.RotateLogKeyResponse(next_key=key, stage=stage)

    async def _add(
        self, request: admin_pb2.AddOrganisationRequest, caller: Identity
    ) -> admin_pb2.AddOrganisationResponse:
        index = await self._registrar.record(audit_pb2.ACT_ORGANISATION, caller, request.organisation)
        return admin_pb2.AddOrganisationResponse(index=index)

    async def _status(
        self, request: admin_pb2.GetStatusRequest, caller: Identity
    ) -> admin_pb2.GetStatusResponse:
        faults, trust = list(self._faults()), self._trust_feed.current
        return admin_pb2.GetStatusResponse(
            ready=not faults,
            faults=faults,
            checkpoint=self._log.checkpoint,
            trust_list=trust.number if trust else 0,
            agents=[
                admin_pb2.LinkedAgent(spiffe_id=uri, in_flight=in_flight) for uri, in_flight in self._agents()
            ],
        )
