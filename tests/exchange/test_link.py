"""The link's framing."""

import asyncio

import pytest

from exchange.errors import Malformed, Oversized, QueueFull
from exchange.link import (
    MAX_FRAME_BYTES,
    MAX_FRAME_ITEMS,
    MAX_ITEM_BYTES,
    MAX_WAITING_BYTES,
    Outbox,
    check_frame,
)
from exchange.v1 import link_pb2


class Wire:
    """Takes frames one at a time, each when it is let."""

    def __init__(self) -> None:
        self.frames: list[list[int]] = []
        self.let = asyncio.Semaphore(0)
        self.written = asyncio.Event()

    async def write(self, items: list[int]) -> None:
        await self.let.acquire()
        self.frames.append(items)
        self.written.set()


async def frames(wire: Wire, outbox: Outbox[int], count: int) -> list[list[int]]:
    task = asyncio.create_task(outbox.run())
    async with asyncio.timeout(5):
        while len(wire.frames) < count:
            wire.written.clear()
            wire.let.release()
            await wire.written.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return wire.frames


async def test_what_queues_during_a_write_goes_into_the_next_frame() -> None:
    wire = Wire()
    outbox: Outbox[int] = Outbox(write=wire.write, capacity=100)
    for number in range(5):
        outbox.put(number, 10)
    assert await frames(wire, outbox, 1) == [[0, 1, 2, 3, 4]]


async def test_a_frame_has_no_more_items_than_the_protocol_allows() -> None:
    wire = Wire()
    outbox: Outbox[int] = Outbox(write=wire.write, capacity=100)
    for number in range(MAX_FRAME_ITEMS + 3):
        outbox.put(number, 10)
    sizes = [len(frame) for frame in await frames(wire, outbox, 2)]
    assert sizes == [MAX_FRAME_ITEMS, 3]


async def test_a_frame_ends_before_it_grows_too_large_but_one_large_item_still_travels() -> None:
    wire = Wire()
    outbox: Outbox[int] = Outbox(write=wire.write, capacity=100)
    for number, size in enumerate([MAX_FRAME_BYTES - 10, 20, MAX_FRAME_BYTES + 1, 5]):
        outbox.put(number, size)
    assert await frames(wire, outbox, 4) == [[0], [1], [2], [3]]


async def test_beyond_its_capacity_the_outbox_refuses_at_once() -> None:
    outbox: Outbox[int] = Outbox(write=Wire().write, capacity=2)
    outbox.put(1, 1)
    outbox.put(2, 1)
    with pytest.raises(QueueFull):
        outbox.put(3, 1)


async def test_an_item_larger_than_any_frame_is_refused() -> None:
    outbox: Outbox[int] = Outbox(write=Wire().write, capacity=2)
    with pytest.raises(Oversized):
        outbox.put(1, MAX_ITEM_BYTES + 1)


async def test_a_closed_outbox_gives_back_what_it_never_wrote_and_takes_no_more() -> None:
    outbox: Outbox[int] = Outbox(write=Wire().write, capacity=9)
    outbox.put(1, 1)
    assert outbox.close() == [1]
    with pytest.raises(QueueFull):
        outbox.put(2, 1)


async def test_what_may_wait_goes_along_with_the_next_item_that_may_not() -> None:
    wire = Wire()
    outbox: Outbox[int] = Outbox(write=wire.write, capacity=9)
    outbox.put(1, 1, along=True)
    outbox.put(2, 1, along=True)
    outbox.put(3, 1)
    assert await frames(wire, outbox, 1) == [[1, 2, 3]]


async def test_what_may_wait_travels_alone_when_nothing_takes_it_along() -> None:
    wire = Wire()
    outbox: Outbox[int] = Outbox(write=wire.write, capacity=9)
    outbox.put(1, 1, along=True)
    assert await frames(wire, outbox, 1) == [[1]]


async def test_a_full_frame_of_what_may_wait_waits_for_nothing() -> None:
    wire = Wire()
    outbox: Outbox[int] = Outbox(write=wire.write, capacity=99)
    for number in range(MAX_FRAME_ITEMS):
        outbox.put(number, 1, along=True)
    assert await frames(wire, outbox, 1) == [list(range(MAX_FRAME_ITEMS))]


async def test_no_empty_frame_follows_what_queued_during_a_write() -> None:
    wire = Wire()
    outbox: Outbox[int] = Outbox(write=wire.write, capacity=9)
    task = asyncio.create_task(outbox.run())
    outbox.put(1, 1)
    await asyncio.sleep(0)
    outbox.put(2, 1)
    for _ in range(5):
        wire.let.release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert wire.frames == [[1], [2]]


async def test_a_poke_writes_a_frame_without_items() -> None:
    wire = Wire()
    outbox: Outbox[int] = Outbox(write=wire.write, capacity=9)
    outbox.poke()
    assert await frames(wire, outbox, 1) == [[]]


def test_a_frame_with_too_many_items_is_refused() -> None:
    frame = link_pb2.LinkRequest(items=[link_pb2.LinkItem()] * (MAX_FRAME_ITEMS + 1))
    with pytest.raises(Malformed):
        check_frame(frame)


async def test_what_waits_is_bounded_in_bytes_too_and_room_comes_back() -> None:
    wire = Wire()
    most = MAX_WAITING_BYTES // MAX_ITEM_BYTES
    outbox: Outbox[int] = Outbox(write=wire.write, capacity=10 * most)
    for number in range(most):
        outbox.put(number, MAX_ITEM_BYTES)
    with pytest.raises(QueueFull):
        outbox.put(most, 1)
    await frames(wire, outbox, 1)
    outbox.put(most, MAX_ITEM_BYTES)
