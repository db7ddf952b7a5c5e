"""The agent's end of the link: dials out, signs each frame as one batch, checks each head, dials again.

One frame is one batch signature: whatever queued while the frame before was being written. Every checkpoint on the
stream is proven to extend the one before it, the first the head held on disk: a forked log ends the link.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import grpc
import structlog

from agent.heads import Heads, Seen, extend
from exchange.checkpoint import Checkpoint, CheckpointCache
from exchange.errors import ExchangeError, GatewayAway, LinkLost, LogForked, Malformed
from exchange.link import PROTOCOL, Outbox, check_frame
from exchange.rpc_errors import from_rpc_error
from exchange.signing import BatchSigner
from exchange.v1 import directory_pb2, directory_pb2_grpc, link_pb2, link_pb2_grpc

WELCOME_TIMEOUT_S = 10.0
SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
EVENTS_PER_PAGE = 500

Unsigned = tuple[bytes, link_pb2.LinkItem]
"""A digest to sign and the item that the signature goes into; the digest is empty for a Failure."""


class Roles(Protocol):
    """What the link hands its frames to."""

    def requests(self, items: Sequence[link_pb2.Delivery]) -> None:
        """Take requests to this agent as a provider."""
        ...

    def outcomes(self, items: Sequence[link_pb2.Delivery], checkpoints: Sequence[Seen]) -> None:
        """Take outcomes for this agent as a consumer, with the frame's verified checkpoints."""
        ...

    def receipts(self, items: Sequence[link_pb2.Delivery], checkpoints: Sequence[Seen]) -> None:
        """Take the log entries of what this agent answered."""
        ...

    def notices(self, notices: Sequence[link_pb2.Notice]) -> None:
        """Take what the gateway tells of the region."""
        ...

    def event(self, event: directory_pb2.Event) -> None:
        """Take one event of the backlog."""
        ...

    def cursor(self) -> int:
        """Return the first event index not seen."""
        ...

    def linked(self, stub: directory_pb2_grpc.DirectoryServiceAsyncStub) -> None:
        """The link is up and the backlog taken."""
        ...

    def lost(self, why: ExchangeError) -> None:
        """The link broke: what was under way on it fails."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Where the gateway is and what is asked of it.

    Attributes:
        addresses: "host:port", tried in turn; nothing else is ever dialled.
        origin: of the gateway's log.
        instance: 16 random bytes of this process.
        window: requests taken as a provider before they are answered.
        capacity: items that may wait.
    """

    addresses: Sequence[str]
    origin: str
    instance: bytes
    window: int
    capacity: int


class GatewayLink:
    """Keeps one link to one gateway.

    Args:
        settings: where and how.
        credentials: makes channel credentials anew for each dial, so a renewed certificate is used.
        options: of the channel.
        signer: the agent's signing key of this moment.
        log_keys: keys of the gateway's log, from the trust list.
        heads: last heads seen.
        roles: takes the frames.
        trust_number: number of the trust list held.
    """

    def __init__(
        self,
        *,
        settings: LinkSettings,
        credentials: Callable[[], grpc.ChannelCredentials],
        options: Sequence[tuple[str, int]],
        signer: Callable[[], BatchSigner],
        log_keys: Callable[[], Sequence[bytes]],
        heads: Heads,
        roles: Roles,
        trust_number: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._options = options
        self._signer = signer
        self._log_keys = log_keys
        self._heads = heads
        self._roles = roles
        self._trust_number = trust_number
        self._log = structlog.get_logger("agent.link")
        self._outbox: Outbox[Unsigned] | None = None
        self._redial = asyncio.Event()
        self.fault: ExchangeError | None = GatewayAway("not dialled yet", hop=f"gateway/{settings.origin}")
        self.skew_ms = 0

    @property
    def up(self) -> bool:
        """Whether exchanges can be sent."""
        return self._outbox is not None

    @property
    def hop(self) -> str:
        """Name of the gateway in errors."""
        return f"gateway/{self._settings.origin}"

    def send(self, digest: bytes, item: link_pb2.LinkItem, size: int) -> None:
        """Queue a request, response or failure; it is signed with its frame.

        Args:
            digest: what to sign, 32 bytes; empty for a Failure.
            item: without its signature.
            size: about how many bytes it takes.

        Raises:
            GatewayAway: there is no link.
            QueueFull: too much waits already.
        """
        if self._outbox is None:
            fault = self.fault
            raise (type(fault) if fault else GatewayAway)(self._settings.origin, hop=self.hop)
        self._outbox.put((digest, item), size)

    def redial(self) -> None:
        """Have the link made anew, after the certificate was renewed."""
        self._redial.set()

    async def run(self) -> None:
        """Keep the link until cancelled: dial, serve, fail what was under way, pause, dial again."""
        pause, turn = SHORTEST_PAUSE_S, 0
        while True:
            address = self._settings.addresses[turn % len(self._settings.addresses)]
            turn += 1
            try:
                served = await self._dial(address)
            except ExchangeError as error:
                self._fail(error)
                served = False
            pause = SHORTEST_PAUSE_S if served else min(pause * 2, LONGEST_PAUSE_S)
            # Jitter, so that a restarted gateway is not dialled by every agent in one instant.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311

    def _fail(self, error: ExchangeError) -> None:
        if not error.hop:
            error.hop = self.hop
        if self.fault is None or self.fault.reason != error.reason:
            self._log.warning("link down", reason=error.name, subject=error.subject, hop=error.hop)
        self.fault = error
        self._outbox = None
        self._roles.lost(LinkLost(self._settings.origin, hop=self.hop))

    async def _dial(self, address: str) -> bool:
        """Serve one stream; return whether it came up and ended without a fault of its own."""
        async with grpc.aio.secure_channel(address, self._credentials(), options=self._options) as channel:
            stream = link_pb2_grpc.LinkServiceStub(channel).Link()
            try:
                return await self._serve(stream, directory_pb2_grpc.DirectoryServiceStub(channel))
            except grpc.RpcError as error:
                raise from_rpc_error(error, hop=self.hop, away=GatewayAway) from None
            finally:
                stream.cancel()

    async def _serve(
        self,
        stream: "grpc.aio.StreamStreamCall[link_pb2.LinkRequest, link_pb2.LinkResponse]",
        stub: directory_pb2_grpc.DirectoryServiceAsyncStub,
    ) -> bool:
        hello = link_pb2.Hello(
            protocol=PROTOCOL,
            instance=self._settings.instance,
            cursor=self._roles.cursor(),
            window=self._settings.window,
            last_head=self._heads.message(self._settings.origin),
            trust_list=self._trust_number(),
        )
        await stream.write(link_pb2.LinkRequest(hello=hello))
        try:
            first = await asyncio.wait_for(stream.read(), WELCOME_TIMEOUT_S)
        except TimeoutError:
            raise GatewayAway("no welcome") from None
        if first is grpc.aio.EOF:
            await self._raise_status(stream)
        head = self._welcome(first)
        outbox: Outbox[Unsigned] = Outbox(
            write=lambda items: stream.write(self._frame(items)), capacity=self._settings.capacity
        )
        self._redial.clear()
        async with _running(self._read(stream, head), outbox.run(), self._redial.wait()) as tasks:
            await self._backlog(stub, first.welcome.cursor)
            self._outbox, self.fault = outbox, None
            self._roles.linked(stub)
            self._log.info("link up", gateway=self._settings.origin)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._fail(LinkLost(self._settings.origin))
            for task in tasks:
                if task.done():
                    task.result()
        return True

    async def _raise_status(
        self, stream: "grpc.aio.StreamStreamCall[link_pb2.LinkRequest, link_pb2.LinkResponse]"
    ) -> None:
        code, details = await stream.code(), await stream.details()
        error = grpc.aio.AioRpcError(
            code, await stream.initial_metadata(), await stream.trailing_metadata(), details=details
        )
        raise from_rpc_error(error, hop=self.hop, away=GatewayAway)

    def _welcome(self, frame: link_pb2.LinkResponse) -> Checkpoint:
        welcome = frame.welcome
        if welcome.gateway != self._settings.origin or not welcome.checkpoint:
            raise Malformed("welcome")
        self._roles.notices(frame.notices)
        cache = CheckpointCache(origin=self._settings.origin, log_keys=self._log_keys())
        offered = cache.open(welcome.checkpoint)
        held = self._heads.get(self._settings.origin)
        head = offered if held is None else extend(held, offered, welcome.consistency)
        self._heads.remember(head)
        return head

    async def _backlog(self, stub: directory_pb2_grpc.DirectoryServiceAsyncStub, until: int) -> None:
        """Take the events that happened before this stream's first notice."""
        since = self._roles.cursor()
        while since < until:
            request = directory_pb2.ListEventsRequest(since=since, page_size=EVENTS_PER_PAGE)
            page = await stub.ListEvents(request, timeout=WELCOME_TIMEOUT_S)
            for event in page.events:
                self._roles.event(event)
            if page.next <= since:
                break
            since = page.next

    def _frame(self, items: list[Unsigned]) -> link_pb2.LinkRequest:
        frame = link_pb2.LinkRequest(applied=self._roles.cursor())
        digests = [digest for digest, _ in items if digest]
        signatures = iter(self._signer().sign(digests)) if digests else iter(())
        for digest, item in items:
            if digest:
                signed = item.request if item.HasField("request") else item.response
                signed.signature.CopyFrom(next(signatures))
        frame.items.extend(item for _, item in items)
        return frame

    async def _read(
        self,
        stream: "grpc.aio.StreamStreamCall[link_pb2.LinkRequest, link_pb2.LinkResponse]",
        head: Checkpoint,
    ) -> None:
        keys = self._log_keys()
        cache = CheckpointCache(origin=self._settings.origin, log_keys=keys)
        while True:
            frame = await stream.read()
            if frame is grpc.aio.EOF:
                await self._raise_status(stream)
            check_frame(frame)
            if self._log_keys() != keys:
                keys = self._log_keys()
                cache = CheckpointCache(origin=self._settings.origin, log_keys=keys)
            if len(frame.checkpoints) != len(frame.consistency):
                raise LogForked(self._settings.origin)
            checkpoints = []
            for note, proof in zip(frame.checkpoints, frame.consistency, strict=True):
                head = extend(head, cache.open(note), proof)
                checkpoints.append(Seen(head, note))
            self._heads.remember(head)
            self._hand_over(frame, checkpoints)

    def _hand_over(self, frame: link_pb2.LinkResponse, checkpoints: list[Seen]) -> None:
        if frame.notices:
            self._roles.notices(frame.notices)
        requests, outcomes, receipts = [], [], []
        for item in frame.items:
            kind = item.WhichOneof("item")
            (requests if kind == "request" else receipts if kind == "receipt" else outcomes).append(item)
        if outcomes:
            self._roles.outcomes(outcomes, checkpoints)
        if requests:
            self._roles.requests(requests)
        if receipts:
            self._roles.receipts(receipts, checkpoints)


@asynccontextmanager
async def _running(*coroutines: object) -> AsyncIterator[list["asyncio.Task[object]"]]:
    """Run coroutines for as long as the block lasts; each is cancelled and awaited at its end."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, ExchangeError, grpc.RpcError, grpc.aio.UsageError):
                await task
