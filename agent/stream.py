"""One stream to the gateway: signs each frame as one batch, and proves each head from the one before.

One frame is one batch signature: whatever queued while the frame before was being written. Every checkpoint
on the stream is proven to extend the one before it, the first the head held on disk: a fork ends the stream.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc

from agent.epochs import first_head
from agent.heads import Heads, Seen, extend, newer
from exchange.checkpoint import Checkpoint, CheckpointCache
from exchange.clock import Clock
from exchange.errors import ExchangeError, GatewayAway, LinkLost, LogForked, Malformed
from exchange.link import PROTOCOL, TAKEN, Outbox, check_frame
from exchange.rpc_errors import from_rpc_error
from exchange.signing import BatchSigner
from exchange.timestamps import milliseconds
from exchange.trust import TrustedGateway
from exchange.v1 import directory_pb2, directory_pb2_grpc, link_pb2

WELCOME_TIMEOUT_S = 10.0
QUIET_S = 1.0
"""How long an older stream must be quiet before it is closed."""
EVENTS_PER_PAGE = 500

Unsigned = tuple[BatchSigner | None, bytes, link_pb2.LinkItem]
"""Who signs which digest, and the item that the signature goes into; nobody signs a Failure."""
ENDED = (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError)
"""What reading and writing raise on a stream that has ended."""
Call = grpc.aio.StreamStreamCall[link_pb2.LinkRequest, link_pb2.LinkResponse]


class Roles(Protocol):
    """What a stream hands its frames to."""

    def requests(self, items: Sequence[link_pb2.Delivery], stream: "LinkStream") -> None:
        """Take requests to this agent as a provider; the answers go back on the same stream."""
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

    async def linked(self, channel: grpc.aio.Channel) -> None:
        """The backlog is taken; do what must be done before exchanges can be sent."""
        ...

    def busy(self, stream: "LinkStream") -> bool:
        """Whether anything is still under way on a stream."""
        ...

    def lost(self, stream: "LinkStream", why: ExchangeError) -> None:
        """A stream ended: what was under way on it fails."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamParts:
    """What every stream of one link has in common.

    Attributes:
        origin: of the gateway's log.
        instance: 16 random bytes of this process.
        window: requests taken as a provider before they are answered.
        capacity: items that may wait.
        signer: the agent's signing key of this moment.
        log_keys: keys of the gateway's log, from the trust list.
        heads: last heads seen.
        roles: takes the frames.
        trust_number: number of the trust list held.
        epochs: of the gateway's log, from the trust list.
    """

    origin: str
    instance: bytes
    window: int
    capacity: int
    signer: Callable[[], BatchSigner]
    log_keys: Callable[[], Sequence[bytes]]
    heads: Heads
    roles: Roles
    trust_number: Callable[[], int]
    clock: Clock
    epochs: Callable[[], Sequence[TrustedGateway]] = tuple


class LinkStream:
    """One stream, from its hello to its end.

    Args:
        parts: of the link.
        call: the open call.
    """

    def __init__(self, parts: StreamParts, call: Call) -> None:
        self._ = parts
        self._call = call
        self._outbox: Outbox[Unsigned] = Outbox(write=self._write, capacity=parts.capacity)
        self._head: Checkpoint | None = None
        self.ended = False
        self.skew_ms = 0
        self.draining = asyncio.Event()

    @property
    def hop(self) -> str:
        """Name of the gateway in errors."""
        return f"gateway/{self._.origin}"

    def send(self, digest: bytes, item: link_pb2.LinkItem, size: int) -> None:
        """Queue a request, response or failure; it is signed with its frame.

        Args:
            digest: what to sign, 32 bytes; empty for a Failure.
            item: without its signature.
            size: about how many bytes it takes.

        Raises:
            LinkLost: the stream has ended.
            QueueFull: too much waits already.
        """
        if self.ended:
            raise LinkLost(self._.origin, hop=self.hop)
        # Whoever signs now also stands in the item's header: a key that changes later signs what comes later.
        self._outbox.put((self._.signer() if digest else None, digest, item), size)

    async def greet(self, channel: grpc.aio.Channel) -> None:
        """Say hello, check the welcome, take the backlog.

        Raises:
            GatewayAway, LogForked, ReceiptBroken, Malformed, or what the gateway says.
        """
        p = self._
        # Of a log that goes on after a loss: what was held of the epoch before.
        stated = p.heads.get(p.origin)
        prior = p.heads.before(p.origin) if stated is None else None
        known = prior.checkpoint.origin if prior is not None else p.origin
        hello = link_pb2.Hello(
            protocol=PROTOCOL,
            instance=p.instance,
            cursor=p.roles.cursor(),
            window=p.window,
            last_head=p.heads.message(known),
            trust_list=p.trust_number(),
            last_checkpoint=p.heads.note(known),
        )
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                # A write that meets a refusal hides it behind a status of grpc's own.
                if TAKEN in tuple(await self._call.initial_metadata()):
                    await self._call.write(link_pb2.LinkRequest(hello=hello))
                first = await self._call.read()
        except ENDED:
            await self._raise_status()
        except TimeoutError:
            raise GatewayAway("no welcome", hop=self.hop) from None
        if not isinstance(first, link_pb2.LinkResponse):
            await self._raise_status()
        self._head = self._check_welcome(first, stated)
        self._until = first.welcome.cursor
        await self._backlog(channel)
        await p.roles.linked(channel)

    async def serve(self) -> None:
        """Carry frames until the stream ends, a frame is wrong, or it has drained.

        Raises:
            ExchangeError: why it ended, unless it drained.
        """
        async with _running(self._read(), self._outbox.run(), self._drained()) as tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    task.result()
                except ENDED:
                    await self._raise_status(away=LinkLost)

    def end(self, why: ExchangeError) -> None:
        """Take nothing more, and fail what is under way."""
        if not self.ended:
            self.ended = True
            self._outbox.close()
            self._.roles.lost(self, why)

    def _check_welcome(self, frame: link_pb2.LinkResponse, stated: Checkpoint | None) -> Checkpoint:
        """Return the welcome's head, proven to extend the one that the hello stated.

        That one, not what is held by now: an older stream goes on meanwhile and may have seen more. Each of
        two streams is proven from the same head; a fork between them shows at the next dial.
        """
        p, welcome = self._, frame.welcome
        if welcome.gateway != p.origin or not welcome.checkpoint:
            raise Malformed("welcome", hop=self.hop)
        self._check_events([notice.event for notice in frame.notices if notice.HasField("event")])
        self.skew_ms = milliseconds(welcome.server_time, "server_time") - p.clock.now_ms()
        p.roles.notices(frame.notices)
        offered = CheckpointCache(origin=p.origin, log_keys=p.log_keys()).open(welcome.checkpoint)
        if stated is None:
            head = first_head(p.heads.before(p.origin), offered, welcome.consistency, p.epochs())
        else:
            head = extend(stated, offered, welcome.consistency)
        held = p.heads.get(p.origin)
        if held is not None and held.size == head.size and held.root != head.root:
            raise LogForked(p.origin, hop=self.hop)
        p.heads.remember(Seen(head, welcome.checkpoint))
        if welcome.cursor > head.size:
            raise Malformed("welcome", hop=self.hop)
        return head

    def _check_events(self, events: Sequence[directory_pb2.Event]) -> None:
        """Refuse events beyond the log's proven head: they would move the cursor past what is to come."""
        size = self._head.size if self._head is not None else 0
        if any(event.index >= size for event in events):
            raise Malformed("event", hop=self.hop)

    async def _backlog(self, channel: grpc.aio.Channel) -> None:
        """Take the events that happened before this stream's first notice."""
        stub = directory_pb2_grpc.DirectoryServiceStub(channel)
        since = self._.roles.cursor()
        while since < self._until:
            request = directory_pb2.ListEventsRequest(since=since, page_size=EVENTS_PER_PAGE)
            page = await stub.ListEvents(request, timeout=WELCOME_TIMEOUT_S)
            self._check_events(page.events)
            for event in page.events:
                self._.roles.event(event)
            if page.next <= since:
                break
            since = page.next

    async def _write(self, items: list[Unsigned]) -> None:
        frame = link_pb2.LinkRequest(applied=self._.roles.cursor())
        for signer in {signer for signer, _, _ in items if signer is not None}:
            mine = [(digest, item) for chosen, digest, item in items if chosen is signer]
            signatures = signer.sign([digest for digest, _ in mine])
            for (_, item), signature in zip(mine, signatures, strict=True):
                signed = item.request if item.HasField("request") else item.response
                signed.signature.CopyFrom(signature)
        frame.items.extend(item for _, _, item in items)
        await self._call.write(frame)

    async def _read(self) -> None:
        p = self._
        keys = p.log_keys()
        cache = CheckpointCache(origin=p.origin, log_keys=keys)
        while True:
            frame = await self._call.read()
            if not isinstance(frame, link_pb2.LinkResponse):
                await self._raise_status()
            check_frame(frame)
            if p.log_keys() != keys:
                keys = p.log_keys()
                cache = CheckpointCache(origin=p.origin, log_keys=keys)
            self._hand_over(frame, self._check_heads(frame, cache))

    def _check_heads(self, frame: link_pb2.LinkResponse, cache: CheckpointCache) -> list[Seen]:
        assert self._head is not None
        if len(frame.checkpoints) != len(frame.consistency):
            raise LogForked(self._.origin, hop=self.hop)
        checkpoints = []
        for note, proof in zip(frame.checkpoints, frame.consistency, strict=True):
            seen = Seen(cache.open(note), note)
            self._head = newer(self._head, seen.checkpoint, proof)
            self._.heads.remember(seen)
            checkpoints.append(seen)
        return checkpoints

    def _hand_over(self, frame: link_pb2.LinkResponse, checkpoints: list[Seen]) -> None:
        roles = self._.roles
        if frame.notices:
            self._check_events([notice.event for notice in frame.notices if notice.HasField("event")])
            roles.notices(frame.notices)
        requests: list[link_pb2.Delivery] = []
        outcomes: list[link_pb2.Delivery] = []
        receipts: list[link_pb2.Delivery] = []
        for item in frame.items:
            kind = item.WhichOneof("item")
            (requests if kind == "request" else receipts if kind == "receipt" else outcomes).append(item)
        if outcomes:
            roles.outcomes(outcomes, checkpoints)
        if requests:
            roles.requests(requests, self)
        if receipts:
            roles.receipts(receipts, checkpoints)

    async def _drained(self) -> None:
        await self.draining.wait()
        # Nobody announces that the last exchange of two roles is settled; and what the gateway sent before it
        # knew of the newer stream may still be on its way.
        loop = asyncio.get_running_loop()
        busy_at = loop.time()
        while loop.time() - busy_at < QUIET_S:
            if self._.roles.busy(self) or len(self._outbox):
                busy_at = loop.time()
            await asyncio.sleep(0.05)
        await self._call.done_writing()

    async def _raise_status(self, away: type[ExchangeError] = GatewayAway) -> NoReturn:
        """Raise what the gateway ended the stream with; `away` where it was not the gateway that ended it."""
        code, trailing = await self._call.code(), await self._call.trailing_metadata()
        if code is grpc.StatusCode.OK:
            raise LinkLost(self._.origin, hop=self.hop)
        if code is grpc.StatusCode.INTERNAL and not trailing:
            raise away(self._.origin, hop=self.hop)
        details, initial = await self._call.details(), await self._call.initial_metadata()
        error = grpc.aio.AioRpcError(code, initial, trailing, details=details)
        raise from_rpc_error(error, hop=self.hop, away=away)


@asynccontextmanager
async def _running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """Run coroutines for as long as the block lasts; each is cancelled and awaited at its end."""
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, ExchangeError, *ENDED):
                await task
