"""Listens over HTTPS, TLS 1.3 only, and serves one ASGI application.

A client's certificate is asked for and not demanded; one that is sent must lead to the pinned root, or the
handshake fails. No session is resumed, so whoever is known was shown by certificate on this connection. Each
handshake uses the newest certificate of the gateway. uvicorn's protocol is used without its server: that one
has no time limit for handshakes.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import structlog
import uvicorn
from uvicorn.server import ServerState

from exchange.serving import BACKLOG, bound
from exchange.tls import load_identity
from gateway.peer_protocol import PeerProtocol

HANDSHAKE_S = 5.0
GRACE_S = 2.0
KEEP_ALIVE_S = 15
MAX_HEAD_BYTES = 8192

App = Callable[[Any, Any, Any], Any]


class LogServer:
    """The server.

    Args:
        app: the ASGI application; its scope has the peer's chain (`gateway.peer_protocol`).
        tls: returns private key and chain, PEM; asked at each handshake.
        root_pem: the root that clients' certificates must lead to.
    """

    def __init__(self, *, app: App, tls: Callable[[], tuple[bytes, bytes]], root_pem: bytes) -> None:
        self._app = app
        self._tls = tls
        self._root_pem = root_pem
        self._log = structlog.get_logger("gateway.log_server")
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Bind and serve.

        Returns:
            The port.

        Raises:
            BadConfiguration: the address cannot be bound.
        """
        sock = bound(host, port, "listen.log_port")
        config = uvicorn.Config(
            self._app,
            http=PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        config.load()

        def connection() -> PeerProtocol:
            return PeerProtocol(config=config, server_state=self._state, app_state={})

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            connection,
            sock=sock,
            ssl=self._listening_context(),
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=GRACE_S,
            backlog=BACKLOG,
        )
        return int(sock.getsockname()[1])

    async def stop(self) -> None:
        """Stop listening, let what is being answered end within 2 s, and close every connection."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=GRACE_S)
        for connection in list(self._state.connections):
            connection.transport.abort()
        await self._server.wait_closed()

    def _listening_context(self) -> ssl.SSLContext:
        """Return the context of the listener, which hands each handshake over to the newest one."""
        in_use = self._tls()
        newest = self._context(in_use)

        def renew(secured: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            nonlocal in_use, newest
            try:
                pair = self._tls()
                if pair != in_use:
                    in_use, newest = pair, self._context(pair)
            except (
                Exception
            ) as error:  # a fault of any kind must reach the alarm; the certificate before stays
                self._log.error("certificate not reloaded", error=type(error).__name__)
            secured.context = newest

        listening = self._context(in_use)
        listening.sni_callback = renew
        return listening

    def _context(self, pair: tuple[bytes, bytes]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self._root_pem.decode("ascii"))
        context.num_tickets = 0
        context.set_alpn_protocols(["http/1.1"])
        load_identity(context, key_pem=pair[0], chain_pem=pair[1])
        return context
