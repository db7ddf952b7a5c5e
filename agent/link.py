"""Keeps the link: dials out, dials again after a loss, and overlaps two streams when the certificate changes.

A renewed certificate needs a new channel. The new stream takes all new work; the older one drains, so that
no exchange is dropped.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import grpc
import structlog

from agent.stream import LinkStream, StreamParts
from exchange.errors import Broken, ExchangeError, GatewayAway, LinkLost
from exchange.rpc_errors import from_rpc_error
from exchange.v1 import link_pb2, link_pb2_grpc

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


class GatewayLink:
    """Keeps one link to one gateway.

    Args:
        parts: of every stream.
        addresses: "host:port", tried in turn; nothing else is ever dialled.
        credentials: makes channel credentials anew for each dial, so a renewed certificate is used.
        options: of the channel.
    """

    def __init__(
        self,
        *,
        parts: StreamParts,
        addresses: Callable[[], Sequence[str]],
        credentials: Callable[[], grpc.ChannelCredentials],
        options: Sequence[tuple[str, int]],
    ) -> None:
        self._parts = parts
        self._addresses = addresses
        self._credentials = credentials
        self._options = options
        self._log = structlog.get_logger("agent.link")
        self._current: LinkStream | None = None
        self._redial = asyncio.Event()
        self._older: set[asyncio.Task[None]] = set()
        self.hop = f"gateway/{parts.origin}"
        self.skew_ms = 0
        self.fault: ExchangeError | None = GatewayAway("not dialled yet", hop=self.hop)

    @property
    def current(self) -> LinkStream:
        """The stream that new work goes on.

        Raises:
            GatewayAway: there is none; or why the gateway refuses this agent.
        """
        if self._current is None or self._current.ended:
            fault = self.fault or GatewayAway()
            raise type(fault)(fault.subject, hop=self.hop)
        return self._current

    def send(self, digest: bytes, item: link_pb2.LinkItem, size: int) -> LinkStream:
        """Queue an item on the current stream; see LinkStream.send.

        Returns:
            The stream it went on.
        """
        stream = self.current
        stream.send(digest, item, size)
        return stream

    def redial(self) -> None:
        """Have a new stream made beside the present one, which then drains."""
        self._redial.set()

    def follow(self, origin: str) -> None:
        """Link to the log of another origin from now on; a stream to the one before drains."""
        self._parts = replace(self._parts, origin=origin)
        self.hop = f"gateway/{origin}"
        self.redial()

    async def run(self) -> None:
        """Keep the link until cancelled."""
        pause_s, turn = SHORTEST_PAUSE_S, 0
        try:
            while True:
                addresses = self._addresses()
                address = addresses[turn % len(addresses)] if addresses else ""
                turn += 1
                if await self._dial(address):
                    pause_s = SHORTEST_PAUSE_S
                    continue
                # Jitter, so that a restarted gateway is not dialled by every agent in one instant.
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        finally:
            for task in self._older:
                task.cancel()
            await asyncio.gather(*self._older, return_exceptions=True)

    async def _dial(self, address: str) -> bool:
        """Bring one stream up and stay until it ends or is to be replaced; return whether it came up."""
        up: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._carry(address, up))
        self._older.add(task)
        task.add_done_callback(self._older.discard)
        if not await up:
            return False
        self._redial.clear()
        redial = asyncio.create_task(self._redial.wait())
        try:
            await asyncio.wait({task, redial}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            redial.cancel()
            with suppress(asyncio.CancelledError):
                await redial
        return True

    async def _carry(self, address: str, up: "asyncio.Future[bool]") -> None:
        """Carry one stream from dialling to its end."""
        async with grpc.aio.secure_channel(address, self._credentials(), options=self._options) as channel:
            call = link_pb2_grpc.LinkServiceStub(channel).Link()
            stream = LinkStream(self._parts, call)
            try:
                await stream.greet(channel)
                older, self._current, self.fault = self._current, stream, None
                self.skew_ms = stream.skew_ms
                if older is not None:
                    older.draining.set()
                self._log.info("link up", gateway=self._parts.origin)
                up.set_result(True)
                await stream.serve()
            except ExchangeError as error:
                self._failed(stream, error)
                if isinstance(error, Broken):
                    # What the gateway said was wrong: whoever waits on this stream is told so.
                    stream.end(error)
            except grpc.RpcError as error:
                self._failed(stream, from_rpc_error(error, hop=self.hop, away=GatewayAway))
            finally:
                stream.end(LinkLost(self._parts.origin, hop=self.hop))
                if self._current is stream:
                    self._current = None
                    self.fault = self.fault or GatewayAway("link lost", hop=self.hop)
                if not up.done():
                    up.set_result(False)
                call.cancel()

    def _failed(self, stream: LinkStream, error: ExchangeError) -> None:
        error.hop = error.hop or self.hop
        if self._current not in (None, stream):
            return
        if self.fault is not None and error.retryable and not self.fault.retryable:
            return  # a dial that merely fails says less than why the gateway refused
        if self.fault is None or self.fault.reason != error.reason:
            self._log.warning("link down", reason=error.name, subject=error.subject, hop=error.hop)
        self.fault = error
