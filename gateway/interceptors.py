"""The chain that every call passes before its service sees it, as one list.

1. identity: TLS 1.3, a certificate under the pinned root, one role, not revoked; two roles are an alert
2. role: the method table, default deny; a refusal is a log entry
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any

import grpc

from exchange.errors import ExchangeError, NoIdentity
from exchange.rpc_errors import abort
from exchange.trust import Verified
from gateway.access.method_table import MethodTable
from gateway.registrar import Registrar

_verified: ContextVar[Verified] = ContextVar("verified")


def caller(_: object) -> Verified:
    """Return who makes the present call, as the chain found it.

    Raises:
        NoIdentity: outside a call.
    """
    try:
        return _verified.get()
    except LookupError:
        raise NoIdentity("no call") from None


class Gatekeeper(grpc.aio.ServerInterceptor):
    """Identity and role of every call.

    Args:
        identify: tells who calls from the call's context; raises an ExchangeError.
        table: which role may call what.
        registrar: logs refusals.
        nobody: told why a caller is nobody; raises an ExchangeError where it cannot take note.
    """

    def __init__(
        self,
        *,
        identify: Callable[[Any], Verified],
        table: MethodTable,
        registrar: Registrar,
        nobody: Callable[[ExchangeError], Awaitable[None]],
    ) -> None:
        self._identify = identify
        self._nobody = nobody
        self._table = table
        self._registrar = registrar

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the call's handler with both checks before it."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if handler.request_streaming and handler.response_streaming:
            inner = handler.stream_stream
            make = grpc.stream_stream_rpc_method_handler
        elif handler.response_streaming:
            inner, make = handler.unary_stream, grpc.unary_stream_rpc_method_handler
        elif handler.request_streaming:
            inner, make = handler.stream_unary, grpc.stream_unary_rpc_method_handler
        else:
            inner, make = handler.unary_unary, grpc.unary_unary_rpc_method_handler
        guarded = self._guard(inner, method)
        return make(guarded, handler.request_deserializer, handler.response_serializer)

    def _guard(self, inner: Callable[..., Any], method: str) -> Callable[..., Any]:
        if inspect.isasyncgenfunction(inner):

            async def generate(request: Any, context: Any) -> AsyncIterator[Any]:
                await self._check(method, context)
                async for response in inner(request, context):
                    yield response

            return generate

        async def call(request: Any, context: Any) -> Any:
            await self._check(method, context)
            answer = inner(request, context)
            return await answer if inspect.isawaitable(answer) else answer

        return call

    async def _check(self, method: str, context: Any) -> None:
        try:
            verified = self._identify(context)
        except ExchangeError as error:
            try:
                await self._nobody(error)
            except ExchangeError as not_durable:
                await abort(context, not_durable)
            await abort(context, error)
        _verified.set(verified)
        try:
            self._table.check(method, verified.identity.role)
        except ExchangeError as error:
            await self._registrar.record_refusal(verified.identity, method, error.reason)
            await abort(context, error)


def chain(
    *,
    identify: Callable[[Any], Verified],
    table: MethodTable,
    registrar: Registrar,
    nobody: Callable[[ExchangeError], Awaitable[None]],
) -> Sequence[grpc.aio.ServerInterceptor]:
    """Return the whole chain, outermost first."""
    return [Gatekeeper(identify=identify, table=table, registrar=registrar, nobody=nobody)]
