"""HTTP/1.1 over TLS that tells the application which certificates the peer sent, and waits for nobody.

uvicorn tells its applications nothing of the peer's certificate, so the protocol puts the chain into the
scope of every request. Connections beyond a bound are closed at once, some of them being kept for peers with
a certificate; so is one whose next request does not come whole in time, however slowly its bytes trickle, and
one that does not take its answer in time. Nothing that a stranger does writes a line of log.
"""

import asyncio
import logging
import ssl
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

PEER_CHAIN = "shuqiao.peer_chain"
"""Key of the scope: the certificates that the peer sent, DER, leaf first; None where it sent none."""
MAX_CONNECTIONS = 256
MAX_STRANGERS = 192
REQUEST_WAIT_S = 20.0
_DER = 2


class PeerProtocol(H11Protocol):
    """One connection."""

    _chain: tuple[bytes, ...] | None = None
    _waiting: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = logging.Logger("gateway.log_connections", logging.CRITICAL)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note who is at the other end; the handshake is over by then."""
        super().connection_made(transport)
        self._chain = chain_of(transport.get_extra_info("ssl_object"))
        if not self._admitted():
            transport.abort()
            return
        self._app, self.app = self.app, self._tell
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._wait()

    def _admitted(self) -> bool:
        if self._chain is not None:
            return len(self.connections) <= MAX_CONNECTIONS
        strangers = sum(getattr(one, "_chain", None) is None for one in self.connections)
        return strangers <= MAX_STRANGERS

    async def _tell(self, scope: Any, receive: Any, send: Any) -> None:
        scope[PEER_CHAIN] = self._chain
        try:
            await self._app(scope, receive, send)
        except TimeoutError:
            self.transport.abort()

    def _wait(self) -> None:
        self._stop_waiting()
        self._waiting = self.loop.call_later(REQUEST_WAIT_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        # A request that is being answered has the application's own time limit.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


def chain_of(secured: ssl.SSLObject | None) -> tuple[bytes, ...] | None:
    """Return the certificates that the peer sent, DER, leaf first; None where it sent none.

    Args:
        secured: the connection's TLS object; its context has verified them against its root.
    """
    if secured is None or not secured.getpeercert(binary_form=True):
        return None
    public: Any = getattr(secured, "get_unverified_chain", None)
    if public is not None:
        return tuple(public())
    # Before Python 3.13 the same function is there without a public name. Where it is not, nobody is known.
    inner: Any = getattr(secured, "_sslobj", None)
    if not hasattr(inner, "get_unverified_chain"):
        return None
    return tuple(certificate.public_bytes(_DER) for certificate in inner.get_unverified_chain())
