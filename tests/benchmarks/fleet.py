"""Light agents: they speak the link with signed requests and answers made beforehand.

Nothing inside the gateway is simulated. Every request has its own id, nonce and place in a real batch
signature, every answer the digest of its request and a signature of its own: the gateway cannot tell them
from agents'. They are made before the clock starts, so that the load costs little beside the gateway.
Receipts and proofs come back and are counted, not verified.
"""

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
import uuid_utils

from exchange import canonical
from exchange.clock import SystemClock
from exchange.identity import Role
from exchange.keys import OwnKeys
from exchange.keystore import MemoryKeyStore
from exchange.link import MAX_FRAME_ITEMS, PROTOCOL
from exchange.signing import BatchSigner
from exchange.suites import DEFAULT_SUITE, suite
from exchange.tls import CHANNEL_OPTIONS
from exchange.v1 import common_pb2, directory_pb2, directory_pb2_grpc, exchange_pb2, link_pb2
from tests.benchmarks.world import (
    FIELDS,
    HEALTH,
    KEY,
    MATTER,
    ORIGIN,
    POLICE,
    PURPOSE,
    Held,
    World,
    resource_of,
)

BATCH = 8
BATCHES_IN_FLIGHT = 2
CELL_BYTES = 128 + 16
LIFE_MS = 200_000
LINK_METHOD = "/exchange.v1.LinkService/Link"
WINDOW = 1024

Stream = grpc.aio.StreamStreamCall[bytes, link_pb2.LinkResponse]


@dataclass(slots=True)
class LightAgent:
    """An agent that speaks only the link.

    Attributes:
        batches: requests waiting to be sent, a frame each.
        answers: made beforehand for what it will be asked, by exchange id.
    """

    held: Held
    keys: OwnKeys
    signer: BatchSigner
    peer: "LightAgent | None" = None
    batches: list[bytes] = field(default_factory=list)
    answers: dict[bytes, bytes] = field(default_factory=dict)
    outstanding: int = 0

    @property
    def organisation(self) -> str:
        return self.held.identity.organisation

    @property
    def name(self) -> str:
        return self.held.identity.name


def enlist(world: World, count: int, name: str) -> list[LightAgent]:
    """Enrol agents and publish their bundles; each asks its peer and is asked by it.

    Args:
        world: the region.
        count: how many; one alone is its own peer.
        name: what their names begin with.
    """
    agents = []
    for number in range(count):
        organisation = (HEALTH, POLICE)[number % 2]
        held = world.issue(Role.AGENT, f"{name}-{number}", organisation)
        keys = OwnKeys(
            keystore=MemoryKeyStore(),
            clock=SystemClock(),
            organisation=organisation,
            agent=held.identity.name,
            signer=held.signer,
            suite=DEFAULT_SUITE,
        )
        with world.channel(held) as channel:
            stub = directory_pb2_grpc.DirectoryServiceStub(channel)
            stub.PublishBundle(directory_pb2.PublishBundleRequest(bundle=keys.bundle), timeout=10)
        signer = BatchSigner(kid=keys.signing_kid, key=keys.signing_key)
        agents.append(LightAgent(held, keys, signer))
    for number, agent in enumerate(agents):
        agent.peer = agents[number ^ 1] if count > 1 else agent
    return agents


def load(world: World, agents: Sequence[LightAgent], batches: int, size: int = BATCH) -> int:
    """Make batches of requests of a size, with their answers, for every agent; return how many exchanges."""
    for agent in agents:
        for _ in range(batches):
            _make_batch(world, agent, size)
    return len(agents) * batches * size


def sizes(world: World, agent: LightAgent) -> tuple[int, int]:
    """Return the bytes of a signed request's and a signed answer's body, as `load` makes them."""
    peer = agent.peer
    assert peer is not None
    asked = _request(_prefix(world, agent, peer).SerializeToString())
    return len(asked[1]), len(_response(world, agent, peer, asked, b"d" * 32))


def _make_batch(world: World, agent: LightAgent, size: int) -> None:
    peer = agent.peer
    assert peer is not None
    prefix = _prefix(world, agent, peer).SerializeToString()
    asked = [_request(prefix) for _ in range(size)]
    digests = [canonical.digest(canonical.REQUEST, body) for _, body in asked]
    signed = [
        link_pb2.LinkItem(request=common_pb2.Signed(body=body, signature=signature))
        for (_, body), signature in zip(asked, agent.signer.sign(digests), strict=True)
    ]
    agent.batches.append(link_pb2.LinkRequest(items=signed).SerializeToString())
    bodies = [_response(world, agent, peer, *pair) for pair in zip(asked, digests, strict=True)]
    answered = [canonical.digest(canonical.RESPONSE, body) for body in bodies]
    for (exchange_id, _), body, signature in zip(asked, bodies, peer.signer.sign(answered), strict=True):
        item = link_pb2.LinkItem(response=common_pb2.Signed(body=body, signature=signature))
        # Serialised repeated fields can be put one after the other: a frame is a join of its items.
        peer.answers[exchange_id] = link_pb2.LinkRequest(items=[item]).SerializeToString()


def _prefix(world: World, agent: LightAgent, peer: LightAgent) -> exchange_pb2.RequestHeader:
    now_ms = SystemClock().now_ms()
    resource = resource_of(peer.organisation)
    sealing = _sealing_kid(peer.keys)
    return exchange_pb2.RequestHeader(
        division="970100",
        gateway=ORIGIN,
        issued_at_ms=now_ms,
        deadline_ms=now_ms + LIFE_MS,
        kind=common_pb2.KIND_QUERY,
        consumer_organisation=agent.organisation,
        consumer_agent=agent.name,
        consumer_kid=agent.signer.kid,
        provider_organisation=peer.organisation,
        provider_agent=peer.name,
        provider_kid=sealing,
        resource=resource,
        resource_digest=world.resources[resource],
        fields=FIELDS,
        grant_id=world.grants[agent.organisation, resource],
        grant_revision=1,
        purpose=PURPOSE,
        matter=MATTER,
        case_number="CASE-2026-000001",
        operator="op-17",
        suite=DEFAULT_SUITE,
        consumer_bundle=agent.keys.bundle_digest,
        provider_bundle=peer.keys.bundle_digest,
        session_id=b"s" * 16,
        session_expiry_ms=now_ms + 240_000,
    )


def _sealing_kid(keys: OwnKeys) -> bytes:
    body = directory_pb2.KeyBundleBody.FromString(keys.bundle.body)
    return next(key.kid for key in body.keys if key.use == directory_pb2.KEY_USE_SEAL)


def _request(prefix: bytes) -> tuple[bytes, bytes]:
    exchange_id = uuid_utils.uuid7().bytes
    varying = exchange_pb2.RequestHeader(nonce=os.urandom(16), exchange_id=exchange_id)
    body = exchange_pb2.RequestBody(
        header=prefix + varying.SerializeToString(),
        wrap=os.urandom(suite(DEFAULT_SUITE).wrap_bytes),
        last_head=common_pb2.LogHead(origin=ORIGIN, size=1, root=b"r" * 32),
    )
    body.sealed.commit = os.urandom(32)
    body.sealed.columns.add(name=KEY, cells=[os.urandom(80)])
    return exchange_id, body.SerializeToString()


def _response(
    world: World, agent: LightAgent, peer: LightAgent, asked: tuple[bytes, bytes], digest: bytes
) -> bytes:
    now_ms = SystemClock().now_ms()
    resource = resource_of(peer.organisation)
    header = exchange_pb2.ResponseHeader(
        nonce=os.urandom(16),
        exchange_id=asked[0],
        request_digest=digest,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + LIFE_MS,
        consumer_organisation=agent.organisation,
        consumer_agent=agent.name,
        consumer_kid=agent.signer.kid,
        provider_organisation=peer.organisation,
        provider_agent=peer.name,
        provider_kid=b"k" * 16,
        resource=resource,
        resource_digest=world.resources[resource],
        purpose=PURPOSE,
        grant_id=world.grants[agent.organisation, resource],
        suite=DEFAULT_SUITE,
    )
    body = exchange_pb2.ResponseBody(metering=exchange_pb2.METERING_UP_TO_1)
    body.sealed.commit = os.urandom(32)
    for name in FIELDS:
        header.fields.add(name=name, type="text", padding=128)
        body.sealed.columns.add(name=name, cells=[os.urandom(CELL_BYTES)])
    body.header = header.SerializeToString()
    return body.SerializeToString()


class _Pen:
    """One write in flight; what waits meanwhile goes into the next frames, up to 32 items, as agents do."""

    def __init__(self, call: Stream) -> None:
        self._call = call
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._task: asyncio.Task[None] | None = None

    def write(self, count: int, items: bytes) -> None:
        """Queue that many serialised items."""
        self._waiting.append((count, items))
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            count, parts = 0, []
            while self._waiting and count + self._waiting[0][0] <= MAX_FRAME_ITEMS:
                more, items = self._waiting.popleft()
                count += more
                parts.append(items)
            await self._call.write(b"".join(parts))
        self._task = None


class Fleet:
    """The open links of light agents.

    Args:
        world: the region.
        agents: as `enlist` made them.
        size: of the batches that are loaded; two of them are in flight on each link, one of a full frame's.
    """

    def __init__(self, world: World, agents: Sequence[LightAgent], size: int = BATCH) -> None:
        self._world = world
        self._size = size
        self._most = max(BATCHES_IN_FLIGHT * BATCH, size)
        self._agents = agents
        self._channels: list[grpc.aio.Channel] = []
        self._links: list[tuple[LightAgent, Stream, _Pen]] = []
        self._readers: list[asyncio.Task[None]] = []
        self._left = 0
        self._done = asyncio.Event()
        self._failure: link_pb2.Delivery | None = None

    async def __aenter__(self) -> "Fleet":
        for agent in self._agents:
            channel = grpc.aio.secure_channel(
                self._world.address, self._world.credentials(agent.held), options=CHANNEL_OPTIONS
            )
            self._channels.append(channel)
            call: Stream = channel.stream_stream(
                LINK_METHOD, request_serializer=None, response_deserializer=link_pb2.LinkResponse.FromString
            )()
            hello = link_pb2.Hello(protocol=PROTOCOL, instance=os.urandom(16), window=WINDOW)
            await call.write(link_pb2.LinkRequest(hello=hello).SerializeToString())
            welcome = await call.read()
            assert isinstance(welcome, link_pb2.LinkResponse) and welcome.welcome.gateway == ORIGIN, welcome
            link = agent, call, _Pen(call)
            self._links.append(link)
            self._readers.append(asyncio.create_task(self._read(*link)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._readers:
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for _, call, _ in self._links:
            call.cancel()
        for channel in self._channels:
            await channel.close()

    async def run(self, timeout_s: float = 60.0) -> None:
        """Send everything that is loaded and wait until all of it is released.

        Raises:
            TimeoutError, RuntimeError: it was not.
        """
        self._left = sum(len(agent.batches) for agent in self._agents) * self._size
        self._done.clear()
        for agent, _, pen in self._links:
            self._send(agent, pen)
        done = asyncio.ensure_future(self._done.wait())
        await asyncio.wait([done, *self._readers], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for reader in self._readers:
            if reader.done():
                reader.result()
        if not done.done() or self._failure is not None:
            raise RuntimeError(f"{self._left} left, {self._failure}")

    def _send(self, agent: LightAgent, pen: _Pen) -> None:
        while agent.batches and agent.outstanding <= self._most - self._size:
            agent.outstanding += self._size
            pen.write(self._size, agent.batches.pop())

    async def _read(self, agent: LightAgent, call: Stream, pen: _Pen) -> None:
        while True:
            frame = await call.read()
            if not isinstance(frame, link_pb2.LinkResponse):
                raise EOFError(f"{await call.code()} {await call.details()}")
            asked, concluded = [], 0
            for item in frame.items:
                kind = item.WhichOneof("item")
                if kind == "request":
                    header = exchange_pb2.RequestBody.FromString(item.request.body).header
                    exchange_id = exchange_pb2.RequestHeader.FromString(header).exchange_id
                    asked.append(agent.answers.pop(exchange_id))
                elif kind != "receipt":
                    concluded += 1
                    if kind == "failure":
                        self._failure = item
            if asked:
                pen.write(len(asked), b"".join(asked))
            if concluded:
                agent.outstanding -= concluded
                self._left -= concluded
                self._send(agent, pen)
                if not self._left:
                    self._done.set()
