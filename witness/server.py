"""The witness's HTTP face: `POST /add-checkpoint`, over plain HTTP or HTTPS with TLS 1.3.

A request's head and body are bounded in size and time; a connection on which none comes is closed, so that
strangers who only hold connections keep no log from its witness for long. The few that are judged at a time
are judged in threads, because each waits for the disk. There is nothing to read here: what a witness holds it
tells whoever asks with an old size, and its operator by `shuqiao audit witness show`.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from exchange.add_checkpoint import MAX_REQUEST_BYTES, PATH
from exchange.errors import BadConfiguration
from exchange.serving import bound
from witness.config import Listen
from witness.judge import Reply

HEAD_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 8192
THREADS = 4
MAX_CONNECTIONS = 64

Judge = Callable[[bytes], Reply]


class _Connection(H11Protocol):
    """A connection that is closed where the head of its next request does not come whole in time."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        # Once there is a head, the application's own limit for the body holds.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class _Server(uvicorn.Server):
    """A server that leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WitnessServer:
    """Serves a witness.

    Args:
        judge: answers a request's body; called in threads.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="witness")
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, listen: Listen) -> int:
        """Bind and serve.

        Returns:
            The port.

        Raises:
            BadConfiguration: the address cannot be bound, or the certificate cannot be used.
        """
        config = uvicorn.Config(
            Starlette(routes=[Route(PATH, self._add_checkpoint, methods=["POST"])]),
            log_config=None,
            access_log=False,
            lifespan="off",
            http=_Connection,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            limit_concurrency=MAX_CONNECTIONS,
            ssl_certfile=listen.certificate_file or None,
            ssl_keyfile=listen.key_file or None,
        )
        try:
            config.load()
        except OSError as error:
            raise BadConfiguration(f"listen.certificate_file, listen.key_file: {error}") from None
        if config.ssl is not None:
            config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
        sock = bound(listen.host, listen.port, "listen.port")
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[sock]))
        return int(sock.getsockname()[1])

    async def stop(self) -> None:
        """Answer what is under way and stop."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        self._pool.shutdown()

    async def _add_checkpoint(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _body(request)
        except TimeoutError:
            return Response("too slow\n", status_code=408)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return Response("too long\n", status_code=413)
        loop = asyncio.get_running_loop()
        reply = await loop.run_in_executor(self._pool, self._judge, body)
        return Response(reply.body, status_code=reply.status, headers={"Content-Type": reply.kind})


async def _body(request: Request) -> bytes | None:
    """Return the body; None where it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            return None
    return bytes(body)
