"""What every administrative call has around it: who calls, may they, and an entry where it is refused.

1. The caller is known from the certificate; the role is checked again by the method table.
2. A refusal by policy is an entry; a change that is refused for whatever reason is one too.
3. Where that entry cannot be written the answer is UNAVAILABLE.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from exchange.errors import Code, ExchangeError, Refused
from exchange.identity import Identity
from exchange.rpc_errors import abort
from exchange.trust import Verified
from gateway.access.method_table import MethodTable
from gateway.registrar import Registrar

Peer = Callable[[Any], Verified]

CHANGES = frozenset(
    {
        "/exchange.v1.DirectoryService/PublishResource",
        "/exchange.v1.DirectoryService/SetResourceState",
        "/exchange.v1.DirectoryService/PublishBundle",
        "/exchange.v1.GrantService/ApplyGrant",
        "/exchange.v1.GrantService/DecideGrant",
        "/exchange.v1.AdminService/AddOrganisation",
        "/exchange.v1.ReviewService/Draw",
        "/exchange.v1.ReviewService/Act",
        "/exchange.v1.RulesService/SetRules",
        "/exchange.v1.CaseService/SubmitCaseEvent",
        "/exchange.v1.StopService/Stop",
        "/exchange.v1.StopService/Lift",
        "/exchange.v1.TicketService/RaiseTicket",
        "/exchange.v1.TicketService/ActOnTicket",
        "/exchange.v1.TicketService/ReportQuality",
        "/exchange.v1.RiskService/DecideFinding",
    }
)
"""Methods that change the region's state."""
_NO_REFUSALS = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED, Code.INTERNAL})

Q = TypeVar("Q")
A = TypeVar("A")


class Calls:
    """Runs administrative calls.

    Args:
        registrar: enters refusals.
        peer: tells who calls; raises an ExchangeError where nobody may be told.
        table: which role may call what.
    """

    def __init__(self, *, registrar: Registrar, peer: Peer, table: MethodTable | None = None) -> None:
        self._registrar = registrar
        self._peer = peer
        self._table = table or MethodTable()

    def enter(self, method: str, context: Any) -> Identity:
        """Return who calls a method.

        Raises:
            NoIdentity, Revoked, RoleNotAllowed.
        """
        return self.verified(method, context).identity

    def verified(self, method: str, context: Any) -> Verified:
        """Return who calls a method, with the certificate that says so. Raises as `enter`."""
        caller = self._peer(context)
        self._table.check(method, caller.identity.role)
        return caller

    async def run(
        self, method: str, request: Q, context: Any, act: Callable[[Q, Identity], Awaitable[A]]
    ) -> A:
        """Return what an act answers; end the call where it is refused.

        Args:
            method: full method name.
            request: the call's request.
            context: the call.
            act: does what is asked; raises ExchangeErrors.
        """
        try:
            return await act(request, self.enter(method, context))
        except ExchangeError as error:
            await self.refuse(method, context, error)
            raise

    async def refuse(self, method: str, context: Any, error: ExchangeError) -> None:
        """End a call with an error, entered in the log first where it is a refusal."""
        if _is_refusal(method, error):
            try:
                await self._registrar.record_refusal(self._peer(context).identity, method, error.reason)
            except ExchangeError as not_durable:
                await abort(context, not_durable)
        await abort(context, error)


def _is_refusal(method: str, error: ExchangeError) -> bool:
    return isinstance(error, Refused) or (method in CHANGES and error.code not in _NO_REFUSALS)
