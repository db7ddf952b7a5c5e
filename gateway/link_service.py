"""Serves the links: one stream per agent, several exchanges per frame, both roles at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from exchange.clock import Clock
from exchange.errors import DeadlinePassed, Draining, ExchangeError, Malformed, QueueFull, Revoked
from exchange.identity import Identity, Role
from exchange.link import MAX_FRAME_BYTES, PROTOCOL, TAKEN, check_frame
from exchange.rpc_errors import abort
from exchange.trust import TrustList, Verified
from exchange.trust_feed import TrustFeed
from exchange.v1 import audit_pb2, directory_pb2, link_pb2, link_pb2_grpc
from gateway.audit.writing.sequencer import Sequencer
from gateway.path import Path
from gateway.registrar import Registrar
from gateway.routing.links import MAX_LINKS_PER_AGENT, AgentLink, Links, Parcel

HELLO_TIMEOUT_S = 10.0
MAX_NOTE = 4096
MAX_WINDOW = 65_536
Context = grpc.aio.ServicerContext[link_pb2.LinkRequest, link_pb2.LinkResponse]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkParts:
    """What the link service is made of.

    Attributes:
        stop_notices: stops that no event of the log tells of yet.
    """

    origin: str
    path: Path
    links: Links
    registrar: Registrar
    sequencer: Sequencer
    trust_feed: TrustFeed
    peer: Callable[[Any], Verified]
    clock: Clock
    consumer_window: int
    provider_window: int
    max_links: int
    stop_notices: Callable[[], Sequence[link_pb2.StopNotice]] = tuple


class LinkService(link_pb2_grpc.LinkServiceServicer):
    """The gateway's end of every link."""

    def __init__(self, parts: LinkParts) -> None:
        self._ = parts
        self._draining = False
        self._greeting: Counter[Identity] = Counter()
        parts.registrar.subscribe(self._publish)
        parts.trust_feed.subscribe(self._trust_changed)

    async def Link(self, request_iterator: AsyncIterator[Any], context: Context) -> None:  # type: ignore[override]
        """Serve one stream until either side ends it."""
        try:
            link, welcome, write = await self._open(context)
        except ExchangeError as error:
            await abort(context, error)
        try:
            await context.write(welcome)
            ended = await self._serve(link, context, write)
        finally:
            self._.path.lose(self._.links.remove(link))
        if ended is not None:
            await abort(context, ended)

    async def _open(self, context: Context) -> tuple[AgentLink, link_pb2.LinkResponse, "FrameWriter"]:
        p = self._
        verified = p.peer(context)
        if verified.identity.role is not Role.AGENT:
            raise Malformed("role")
        if self._draining:
            raise Draining(p.origin)
        with self._place(verified.identity):
            await context.send_initial_metadata((TAKEN,))
            try:
                first = await asyncio.wait_for(context.read(), HELLO_TIMEOUT_S)
            except TimeoutError:
                raise DeadlinePassed("hello") from None
        if not isinstance(first, link_pb2.LinkRequest) or first.hello.protocol != PROTOCOL:
            raise Malformed("hello")
        if not 0 < first.hello.window <= MAX_WINDOW:
            raise Malformed("hello.window")
        consistency = b""
        if first.hello.last_head.size:
            consistency = p.sequencer.compare_head(
                first.hello.last_head, first.hello.last_checkpoint[:MAX_NOTE]
            )
        write = FrameWriter(context, p.sequencer)
        link = AgentLink(
            identity=verified.identity,
            serial=verified.serial,
            not_after_ms=verified.not_after_ms,
            provider_window=min(first.hello.window, p.provider_window),
            consumer_window=p.consumer_window,
            write=write.frame,
        )
        # No await between here and the welcome's cursor: no event can fall between backlog and notices.
        p.links.add(link)
        return link, self._welcome(consistency, write), write

    @contextmanager
    def _place(self, agent: Identity) -> Iterator[None]:
        """Hold a place for a stream that has not said hello: it counts like a link, and one agent has few."""
        taken = sum(1 for _ in self._.links) + self._greeting.total()
        if taken >= self._.max_links or self._greeting[agent] >= MAX_LINKS_PER_AGENT:
            raise QueueFull("links")
        self._greeting[agent] += 1
        try:
            yield
        finally:
            self._greeting[agent] -= 1
            if not self._greeting[agent]:
                del self._greeting[agent]

    def _welcome(self, consistency: bytes, write: "FrameWriter") -> link_pb2.LinkResponse:
        p = self._
        now = Timestamp()
        now.FromMilliseconds(p.clock.now_ms())
        frame = link_pb2.LinkResponse()
        frame.welcome.gateway = p.origin
        frame.welcome.server_time.CopyFrom(now)
        frame.welcome.cursor = p.registrar.next_index
        frame.welcome.window = p.consumer_window
        frame.welcome.max_frame_bytes = MAX_FRAME_BYTES
        frame.welcome.consistency = consistency
        frame.welcome.checkpoint = write.first_checkpoint
        trust = p.trust_feed.current
        if trust is not None:
            frame.notices.add().trust_list.CopyFrom(trust.statement)
        frame.notices.extend(link_pb2.Notice(stop=stop) for stop in p.stop_notices())
        return frame

    async def _serve(self, link: AgentLink, context: Context, write: "FrameWriter") -> ExchangeError | None:
        reader = asyncio.create_task(self._read(link, context))
        writer = asyncio.create_task(link.outbox.run())
        try:
            waits: set[asyncio.Future[Any]] = {reader, writer, link.closing}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if link.closing.done():
                return link.closing.result()
            return reader.result() if reader.done() else None
        finally:
            for task in (reader, writer):
                task.cancel()
            for task in (reader, writer):
                with suppress(asyncio.CancelledError, grpc.RpcError, grpc.aio.UsageError, ExchangeError):
                    await task

    async def _read(self, link: AgentLink, context: Context) -> ExchangeError | None:
        path = self._.path
        while True:
            frame = await context.read()
            if not isinstance(frame, link_pb2.LinkRequest):
                return None
            try:
                check_frame(frame)
            except ExchangeError as error:
                return error
            requests: list[link_pb2.LinkItem] = []
            answers: list[link_pb2.LinkItem] = []
            for item in frame.items:
                (requests if item.HasField("request") else answers).append(item)
            if answers:
                path.complete(link, answers)
            if requests:
                path.admit(link, [item.request for item in requests])

    def _publish(self, index: int, leaf: bytes, entry: audit_pb2.AuditEntry) -> None:
        event = directory_pb2.Event(index=index, leaf=leaf)
        for link in self._.links:
            if self._.registrar.visible(entry, link.identity.organisation):
                link.notify(link_pb2.Notice(event=event))

    def _trust_changed(self, trust: TrustList) -> None:
        for link in self._.links:
            if link.serial in trust.revoked_serials:
                link.close(Revoked(link.identity.name))
            else:
                link.notify(link_pb2.Notice(trust_list=trust.statement))

    async def drain(self, grace_s: float) -> None:
        """Tell the linked agents, wait until nothing is pending or the grace is over, then end the links."""
        self._draining = True
        for link in self._.links:
            link.notify(link_pb2.Notice(drain=link_pb2.Drain(grace_ms=int(grace_s * 1000))))
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                # Nobody announces that the last of many queues is empty.
                while any(link.pending or len(link.outbox) for link in self._.links):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        for link in self._.links:
            link.close(Draining(self._.origin))


class FrameWriter:
    """Builds and writes the frames of one stream, and proves each checkpoint from the one sent before.

    Args:
        context: the stream.
        sequencer: for the consistency proofs.
    """

    def __init__(self, context: Context, sequencer: Sequencer) -> None:
        self._context = context
        self._sequencer = sequencer
        self._size = sequencer.head.size
        self.first_checkpoint = sequencer.checkpoint

    async def frame(self, link: AgentLink, parcels: list[Parcel]) -> None:
        """Write one frame: the notices that wait, then the parcels.

        Notices that are too many for one frame go ahead in frames of their own: a request must not overtake
        the case or grant that it is for.
        """
        frame = link_pb2.LinkResponse(notices=link.take_notices())
        while parcels and link.noticing:
            await self._write(frame, {})
            frame = link_pb2.LinkResponse(notices=link.take_notices())
        places: dict[str, int] = {}
        add = frame.items.add
        for parcel in parcels:
            logged = parcel.logged
            parcel.fill(add(), places.setdefault(logged.checkpoint, len(places)) if logged else 0)
        await self._write(frame, places)

    async def _write(self, frame: link_pb2.LinkResponse, places: dict[str, int]) -> None:
        """Write a frame with proofs of the checkpoints that it names, and of those that its events need."""
        if any(notice.HasField("event") for notice in frame.notices):
            # Agents take no event that lies beyond a head they have seen proven.
            places.setdefault(self._sequencer.checkpoint, len(places))
        for checkpoint in places:
            frame.consistency.append(self._proof(int(checkpoint.split("\n", 2)[1])))
            frame.checkpoints.append(checkpoint)
        await self._context.write(frame)

    def _proof(self, size: int) -> bytes:
        """Prove a checkpoint against the newest one sent; parcels may lag behind an event's head."""
        older, newer = sorted((size, self._size))
        self._size = newer
        return self._sequencer.consistency(older, newer)[0] if 0 < older < newer else b""
