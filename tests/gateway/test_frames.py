"""A gateway's frames: every checkpoint in them can be proven from the ones before."""

import asyncio
from typing import Any, cast

from agent.heads import newer
from exchange.checkpoint import Checkpoint, parse_checkpoint
from exchange.identity import Identity, Role
from exchange.merkle import consistency_proof, leaf_hash, node_hash, root_of
from exchange.v1 import common_pb2, directory_pb2, link_pb2
from gateway.audit.log.logged import Logged
from gateway.link_service import FrameWriter
from gateway.routing.links import MAX_LINKS_PER_AGENT, MAX_NOTICES, AgentLink, Links, Parcel

ORIGIN = "970100.yunchuan.example/gateway-1"
LEAVES = [leaf_hash(bytes([n])) for n in range(60)]


class Log:
    """A log that grows when a test says so; its notes have no signature."""

    def __init__(self) -> None:
        self.size = 1

    def at(self, size: int) -> Checkpoint:
        return Checkpoint(ORIGIN, size, root_of(LEAVES[:size]))

    @property
    def head(self) -> Checkpoint:
        return self.at(self.size)

    @property
    def checkpoint(self) -> str:
        return self.head.text

    def _node(self, level: int, index: int) -> bytes:
        if level == 0:
            return LEAVES[index]
        return node_hash(self._node(level - 1, 2 * index), self._node(level - 1, 2 * index + 1))

    def consistency(self, old: int, new: int = 0) -> tuple[bytes, str]:
        return consistency_proof(old, new or self.size, self._node), ""


class Context:
    def __init__(self) -> None:
        self.frames: list[link_pb2.LinkResponse] = []

    async def write(self, frame: link_pb2.LinkResponse) -> None:
        self.frames.append(frame)


def a_link(write: FrameWriter) -> AgentLink:
    return AgentLink(
        identity=Identity("yunchuan.example", "970100", Role.AGENT, "11970100MB1A00028A", "health"),
        serial=1,
        not_after_ms=1 << 50,
        provider_window=64,
        consumer_window=64,
        write=write.frame,
    )


def parcel(checkpoint: str) -> Parcel:
    return Parcel(leaf=b"x", logged=Logged(0, b"", checkpoint))


def event(index: int, size: int = 10) -> link_pb2.Notice:
    return link_pb2.Notice(event=directory_pb2.Event(index=index, leaf=b"e" * size))


async def test_receipts_that_lag_behind_an_events_head_are_proven_to_lie_in_the_same_log() -> None:
    log, context = Log(), Context()
    write = FrameWriter(cast(Any, context), cast(Any, log))
    link = a_link(write)
    log.size = 7
    older = log.checkpoint
    log.size = 20
    link.notify(event(19))
    await write.frame(link, [])
    await write.frame(link, [parcel(older)])
    log.size = 33
    await write.frame(link, [parcel(older), parcel(log.checkpoint)])
    held = log.at(1)
    for frame in context.frames:
        for note, proof in zip(frame.checkpoints, frame.consistency, strict=True):
            held = newer(held, parse_checkpoint(note), proof)
    assert held == log.at(33)
    assert [n.event.index for n in context.frames[0].notices] == [19]


async def test_many_notices_go_in_frames_of_bounded_size() -> None:
    log, context = Log(), Context()
    write = FrameWriter(cast(Any, context), cast(Any, log))
    link = a_link(write)
    for _ in range(20):
        link.notify(event(0, size=60_000))
    writing = asyncio.create_task(link.outbox.run())
    while sum(len(frame.notices) for frame in context.frames) < 20:  # noqa: ASYNC110
        await asyncio.sleep(0)
    writing.cancel()
    assert max(frame.ByteSize() for frame in context.frames) < 512 * 1024


async def test_no_request_overtakes_the_notices_that_came_before_it() -> None:
    log, context = Log(), Context()
    write = FrameWriter(cast(Any, context), cast(Any, log))
    link = a_link(write)
    for _ in range(20):
        link.notify(event(0, size=60_000))
    await write.frame(link, [Parcel(request=common_pb2.Signed(body=b"for a case"))])
    carrying = [frame for frame in context.frames if frame.items]
    assert carrying == context.frames[-1:] and len(context.frames) > 2
    assert sum(len(frame.notices) for frame in context.frames) == 20


async def test_an_agent_that_reads_no_notices_loses_its_link() -> None:
    log, context = Log(), Context()
    link = a_link(FrameWriter(cast(Any, context), cast(Any, log)))
    for _ in range(MAX_NOTICES + 1):
        link.notify(event(0))
    assert link.closing.done()


async def test_an_agent_with_too_many_links_loses_its_oldest() -> None:
    write = FrameWriter(cast(Any, Context()), cast(Any, Log()))
    links, many = Links(), [a_link(write) for _ in range(MAX_LINKS_PER_AGENT + 1)]
    for link in many:
        links.add(link)
    assert [link.closing.done() for link in many] == [True] + [False] * MAX_LINKS_PER_AGENT
    assert links.newest(many[0].identity.organisation, many[0].identity.name) is many[-1]
