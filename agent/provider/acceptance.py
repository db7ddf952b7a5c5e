"""Accepts applications for unconditional fields, as the provider's own signed catalogue says it shall.

Anything conditional waits for a steward: an agent never decides it.
"""

import secrets

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from agent.region import RegionView
from exchange import canonical, grants
from exchange.clock import Clock
from exchange.errors import ExchangeError, GatewayAway
from exchange.grants import Grant
from exchange.rpc_errors import answered
from exchange.statement import StatementSigner
from exchange.v1 import grant_pb2, grant_pb2_grpc

TIMEOUT_S = 5.0


class Acceptance:
    """Accepts what is unconditional.

    Args:
        organisation: credit code of this agent's organisation.
        region: the agent's own signed catalogue.
        clock: the time.
    """

    def __init__(self, *, organisation: str, region: RegionView, clock: Clock) -> None:
        self._organisation = organisation
        self._region = region
        self._clock = clock
        self._log = structlog.get_logger("agent.acceptance")

    def due(self, grant: Grant) -> bool:
        """Return whether a grant waits for exactly this agent's automatic acceptance."""
        if grant.provider != self._organisation or grant.state != grants.PENDING:
            return False
        try:
            resource = self._region.resource(grant.resource)
        except ExchangeError:
            return False
        return grants.automatic(grant, resource)

    async def accept(
        self, grant: Grant, signer: StatementSigner, stub: "grant_pb2_grpc.GrantServiceAsyncStub"
    ) -> None:
        """Sign and send the acceptance. A gateway that refuses it is logged; the steward can still decide."""
        issued_at = Timestamp()
        issued_at.FromMilliseconds(self._clock.now_ms())
        body = grant_pb2.GrantEventBody(
            nonce=secrets.token_bytes(16),
            grant_id=grant.grant_id,
            revision=grant.revision + 1,
            action=grants.ACCEPT,
            issued_at=issued_at,
            note="unconditional",
        ).SerializeToString()
        event = signer.sign(canonical.GRANT_EVENT, body)
        request = grant_pb2.DecideGrantRequest(event=event)
        try:
            await answered(
                lambda: stub.DecideGrant(request, timeout=TIMEOUT_S), hop="gateway", away=GatewayAway
            )
        except ExchangeError as refused:
            self._log.warning("acceptance refused", grant=grant.name, reason=refused.name)
