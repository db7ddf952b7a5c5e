"""Starts and stops the faces through which a department's systems ask: the one place that wires them."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import grpc
import uvicorn
from pydantic import BaseModel, ConfigDict, Field

from agent.consumer.addresses import (
    LocalAddress,
    clear_stale_socket,
    listen,
    parse_address,
    socket_umask,
)
from agent.consumer.asker import Asker, Cases, Catalogue, Corrections, Receipts
from agent.consumer.credentials import ApplicationSettings, Credentials
from agent.consumer.desk import Desk
from agent.consumer.grpc_face import GrpcFace, serve_grpc
from agent.consumer.http_guard import App
from exchange.errors import BadConfiguration


class LocalApiSettings(BaseModel):
    """`[local]` of the agent's configuration. An address left empty starts no such face.

    `hosts` are the exact Host headers served; empty for the address itself and "localhost".
    `beyond_loopback` lets the HTTP face listen on other addresses: tokens then cross the network in
    the clear, so set it only behind a proxy that ends TLS, or inside a container's own network.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    http: str = ""
    grpc: str = ""
    hosts: list[str] = []
    beyond_loopback: bool = False
    max_body_bytes: Annotated[int, Field(ge=1024, le=4 << 20)] = 256 * 1024
    stream_window: Annotated[int, Field(ge=256, le=65_536)] = 1024
    per_application: Annotated[int, Field(ge=1, le=65_536)] = 2048
    application: list[ApplicationSettings] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where the faces listen, ports filled in; empty where there is no such face."""

    http: str
    grpc: str


class _Server(uvicorn.Server):
    """A server that leaves the process's signals alone and says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class LocalApi:
    """The faces of one agent.

    Args:
        settings: what to start, and for whom.
        asker: who asks.
        hop: this agent as errors name it, for example "consumer/health-1".
        catalogue: what `/v1/resources` shows, where the agent can show it.
        receipts: what `/v1/receipts/…` shows, where the agent keeps them.
        cases: opens and closes cases, where the agent does.
        corrections: what `/v1/corrections` shows, where the agent takes them over.

    Raises:
        BadConfiguration: an address or application is wrong.
    """

    def __init__(
        self,
        *,
        settings: LocalApiSettings,
        asker: Asker,
        hop: str,
        catalogue: Catalogue | None = None,
        receipts: Receipts | None = None,
        cases: Cases | None = None,
        corrections: Corrections | None = None,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._receipts = receipts
        self._corrections = corrections
        self._credentials = Credentials(settings=settings.application)
        self._desk = Desk(asker=asker, hop=hop, per_application=settings.per_application, cases=cases)
        self._http_address = parse_address(settings.http) if settings.http else None
        self._grpc_address = parse_address(settings.grpc) if settings.grpc else None
        if self._grpc_address and not self._grpc_address.loopback:
            raise BadConfiguration("local.grpc: not a loopback address")
        if self._http_address and not (self._http_address.loopback or settings.beyond_loopback):
            raise BadConfiguration("local.http: not a loopback address, and beyond_loopback is not set")
        self._http: _Server | None = None
        self._http_task: asyncio.Task[None] | None = None
        self._grpc: grpc.aio.Server | None = None
        self._sockets: list[Path] = []  # those that were bound here, to be removed at the end

    async def start(self) -> Listening:
        """Bind and serve.

        Raises:
            BadConfiguration: an address is in use or cannot be bound; nothing is left running.
        """
        try:
            grpc_at = await self._start_grpc(self._grpc_address) if self._grpc_address else ""
            http_at = await self._start_http(self._http_address) if self._http_address else ""
        except BaseException:
            await self.stop(grace_s=0)
            raise
        return Listening(http=http_at, grpc=grpc_at)

    async def _start_grpc(self, address: LocalAddress) -> str:
        face = GrpcFace(desk=self._desk, credentials=self._credentials, window=self._settings.stream_window)
        unix = address.path is not None
        if address.path is not None:
            clear_stale_socket(address.path)
        try:
            with socket_umask() if unix else contextlib.nullcontext():
                server, port = serve_grpc(face=face, address=address.grpc_target, unix=unix)
        except RuntimeError:
            raise BadConfiguration(f"{address}: cannot be bound") from None
        if address.path is not None:
            self._sockets.append(address.path)
        self._grpc = server
        await server.start()
        return str(address if unix else LocalAddress(host=address.host, port=port))

    async def _start_http(self, address: LocalAddress) -> str:
        # An agent without this face starts without its framework.
        from agent.consumer.http_face import HttpFace

        sock = listen(address)
        if address.path is not None:
            self._sockets.append(address.path)
        bound = (
            address
            if address.path is not None
            else LocalAddress(host=address.host, port=sock.getsockname()[1])
        )
        face = HttpFace(
            desk=self._desk,
            credentials=self._credentials,
            hosts=self._settings.hosts or _hosts_of(bound),
            max_body_bytes=self._settings.max_body_bytes,
            catalogue=self._catalogue,
            receipts=self._receipts,
            corrections=self._corrections,
        )
        self._http = _Server(_uvicorn_config(face.app()))
        self._http_task = asyncio.create_task(self._http.serve(sockets=[sock]))
        up = asyncio.create_task(self._http.up.wait())
        await asyncio.wait((up, self._http_task), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._http_task.done():
            self._http_task.result()
            raise BadConfiguration(f"{bound}: the HTTP face did not start")
        return str(bound)

    async def stop(self, *, grace_s: float = 5.0) -> None:
        """Take no more questions, let those under way end, stop.

        Args:
            grace_s: how long questions under way may take, seconds.
        """
        if self._grpc is not None:
            await self._grpc.stop(grace_s)
            self._grpc = None
        if self._http is not None and self._http_task is not None:
            self._http.config.timeout_graceful_shutdown = max(1, int(grace_s))
            self._http.should_exit = True
            await self._http_task
            self._http = None
        for path in self._sockets:
            path.unlink(missing_ok=True)
        self._sockets.clear()


def _hosts_of(address: LocalAddress) -> Sequence[str]:
    if address.path is not None:
        return ["localhost"]
    return [address.grpc_target, f"localhost:{address.port}"]


def _uvicorn_config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        interface="asgi3",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=60,
    )
