"""What stands before every route of the HTTP face, cheapest check first.

Host must be one of the configured names (DNS rebinding), no browser may call (any Origin is refused, there is
no CORS), the caller has a token, and a body is JSON of bounded size. The documentation needs no token.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

import structlog

from agent.consumer.credentials import Credentials
from agent.consumer.http_errors import error_headers, error_json, status_of
from exchange.errors import DeadlinePassed, ExchangeError, Internal, Malformed, Oversized

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

APPLICATION = "shuqiao.application"
BODY_TIMEOUT_S = 15.0
_OPEN = ("/docs", "/openapi.json")


class Rejected(Exception):
    """A refusal with an HTTP status of its own.

    Args:
        error: what to tell.
        status: the status.
    """

    def __init__(self, error: ExchangeError, status: int) -> None:
        super().__init__(error.name)
        self.error = error
        self.status = status


class Guard:
    """Wraps the application.

    Args:
        app: what is guarded.
        credentials: who may call.
        hosts: exact values of the Host header that are served, lower case.
        max_body_bytes: largest body announced.
        hop: this agent as errors name it.
    """

    def __init__(
        self, *, app: App, credentials: Credentials, hosts: Collection[str], max_body_bytes: int, hop: str
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._hosts = frozenset(each.lower().encode() for each in hosts)
        self._max_body_bytes = max_body_bytes
        self._hop = hop
        self._log = structlog.get_logger("shuqiao.agent.http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the request, pass it on, and turn whatever goes wrong into JSON."""
        if scope["type"] != "http":
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, watch)
        except Rejected as refusal:
            await send_error(send, refusal.error, hop=self._hop, status=refusal.status)
        except ExchangeError as error:
            await send_error(send, error, hop=self._hop)
        except Exception as fault:
            self._log.error("http_request_failed", fault=type(fault).__name__, path=scope["path"])
            if not started:
                await send_error(send, Internal(), hop=self._hop)

    def _check(self, scope: Scope) -> None:
        hosts: list[bytes] = []
        authorization: bytes | None = None
        content_type = b""
        length = b"0"
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"authorization":
                authorization = value
            elif name == b"content-type":
                content_type = value
            elif name == b"content-length":
                length = value
            elif name == b"origin":
                raise Rejected(Malformed("header: origin"), 403)
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise Rejected(Malformed("header: host"), 421)
        if scope["path"].startswith(_OPEN):
            return
        token = authorization.decode("latin-1") if authorization is not None else None
        scope[APPLICATION] = self._credentials.application(token)
        if scope["method"] == "POST":
            if content_type.partition(b";")[0].strip().lower() != b"application/json":
                raise Rejected(Malformed("header: content-type"), 415)
            if not length.isdigit() or int(length) > self._max_body_bytes:
                raise Rejected(Oversized(f"body: at most {self._max_body_bytes} bytes"), 413)


async def read_body(receive: Receive, max_body_bytes: int) -> bytes:
    """Read a request's body.

    Args:
        receive: where it comes from.
        max_body_bytes: most that is taken, whatever length was announced.

    Returns:
        The body.

    Raises:
        Rejected: it is too large.
        DeadlinePassed: it did not arrive in time.
        Malformed: the caller went away before its end.
    """
    body, more = b"", True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Malformed("body: caller went away")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > max_body_bytes:
                    raise Rejected(Oversized(f"body: at most {max_body_bytes} bytes"), 413)
    except TimeoutError:
        raise DeadlinePassed("body") from None
    return body


async def send_error(
    send: Send, error: ExchangeError, *, hop: str, status: int = 0, exchange_id: str = ""
) -> None:
    """Send an error; its status follows from its code unless one is given."""
    error.hop = error.hop or hop
    status = status or status_of(error)
    await send_json(
        send, error_json(error, exchange_id=exchange_id), status=status, headers=error_headers(error, status)
    )


async def send_json(send: Send, body: bytes, *, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    """Send a whole response."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
