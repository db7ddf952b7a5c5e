"""What every call to the authority passes first: TLS 1.3, and on the mutual port identity and role.

The table is default deny: a method without a row is refused to everybody. Errors leave as
google.rpc.Status; what is unforeseen leaves as INTERNAL without its detail.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import grpc
import structlog

from exchange.errors import ExchangeError, Internal, NoIdentity, RoleNotAllowed
from exchange.identity import Role
from exchange.rpc_errors import abort
from exchange.trust import Verified

HOP = "authority"
ANY = frozenset(Role)
_ADMIN = frozenset({Role.ADMIN})
_SERVICE = "/exchange.v1.AuthorityService/"
METHODS: Mapping[str, frozenset[Role]] = {
    f"{_SERVICE}Renew": ANY - {Role.AUTHORITY},
    f"{_SERVICE}CreateToken": _ADMIN,
    f"{_SERVICE}ApproveToken": _ADMIN,
    f"{_SERVICE}ListTokens": frozenset({Role.ADMIN, Role.OFFICER, Role.AUDITOR, Role.AGENT, Role.STEWARD}),
    f"{_SERVICE}CountersignToken": frozenset({Role.AGENT, Role.STEWARD}),
    f"{_SERVICE}Revoke": frozenset({Role.ADMIN, Role.OFFICER}),
    f"{_SERVICE}ListCertificates": frozenset({Role.ADMIN, Role.OFFICER, Role.AUDITOR}),
    f"{_SERVICE}RegisterGateway": frozenset({Role.GATEWAY}),
    f"{_SERVICE}GetTagKeys": frozenset({Role.AGENT}),
    f"{_SERVICE}DeriveTags": frozenset({Role.OFFICER, Role.AUDITOR}),
    f"{_SERVICE}DeriveCorrectionTags": frozenset({Role.STEWARD}),
    f"{_SERVICE}EraseTagKey": frozenset({Role.ADMIN, Role.OFFICER}),
    "/grpc.health.v1.Health/Check": ANY,
    "/grpc.health.v1.Health/List": ANY,
    "/grpc.health.v1.Health/Watch": ANY,
}
Context = Any


class Gate(grpc.aio.ServerInterceptor):
    """Checks a call before its service sees it.

    Args:
        identify: tells who calls; None on the port that asks for no certificate.
        methods: which role may call what; looked at where `identify` is given.
    """

    def __init__(
        self,
        *,
        identify: Callable[[Context], Verified] | None,
        methods: Mapping[str, frozenset[Role]] = METHODS,
    ) -> None:
        self._identify = identify
        self._methods = methods
        self._caller: ContextVar[Verified] = ContextVar("caller")
        self._log = structlog.get_logger("certs.gate")

    def caller(self) -> Verified:
        """Return who makes the present call.

        Raises:
            NoIdentity: outside a call, or on the port without certificates.
        """
        try:
            return self._caller.get()
        except LookupError:
            raise NoIdentity("no call") from None

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the call's handler with the checks before it."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _check(self, method: str, context: Context) -> None:
        if self._identify is None:
            if context.auth_context().get("ssl_tls_version", [b""])[0] != b"TLSv1.3":
                raise NoIdentity("TLS 1.3 is needed")
            return
        verified = self._identify(context)
        if verified.identity.role not in self._methods.get(method, frozenset()):
            raise RoleNotAllowed(f"{verified.identity} {method}")
        self._caller.set(verified)

    def _unary(self, method: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def run(request: Any, context: Context) -> Any:
            try:
                self._check(method, context)
                return await inner(request, context)
            except Exception as error:
                await abort(context, self._told(method, error))

        return run

    def _stream(self, method: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def run(request: Any, context: Context) -> Any:
            try:
                self._check(method, context)
                async for message in inner(request, context):
                    yield message
            except Exception as error:
                await abort(context, self._told(method, error))

        # A handler that writes by itself is awaited like a unary one.
        return run if inspect.isasyncgenfunction(inner) else self._unary(method, inner)

    def _told(self, method: str, error: Exception) -> ExchangeError:
        """Return the error as the caller may see it, and log it."""
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if not isinstance(error, ExchangeError):
            self._log.error("unforeseen", method=method, error=type(error).__name__)
            return Internal(hop=HOP)
        error.hop = error.hop or HOP
        self._log.info("refused", method=method, reason=error.name, subject=error.subject)
        return error
