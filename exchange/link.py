"""The link's framing, the same at both ends: bounded queues, one write in flight, several items per frame.

Each frame takes what queued while the one before was being written, up to 32 items or 256 KiB: no timer, and
no cap so large that everything marches as one convoy. Beyond the queue's bound an item is refused at once.
What nobody waits for lets the next frame take it along, for 5 ms at most (ADR 0012).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from exchange.errors import Malformed, Oversized, QueueFull
from exchange.v1 import link_pb2

PROTOCOL = 1
MAX_FRAME_ITEMS = 32
MAX_FRAME_BYTES = 256 * 1024
MAX_REQUEST_BYTES = 64 * 1024
MAX_RESPONSE_BYTES = 1024 * 1024
MAX_ITEM_BYTES = 2 * 1024 * 1024
MAX_WAITING_BYTES = 256 * 1024 * 1024
DEFAULT_WINDOW = 1024
ALONG_S = 0.005
TAKEN = ("shuqiao-link", "taken")
"""The gateway's initial metadata: it takes the stream, and the agent may say hello."""

T = TypeVar("T")


class Outbox(Generic[T]):
    """What waits to be written on one stream.

    Args:
        write: builds and writes one frame from the items it is given (possibly none, after `poke`).
        capacity: how many items may wait.
    """

    def __init__(self, *, write: Callable[[list[T]], Awaitable[None]], capacity: int) -> None:
        self._write = write
        self._capacity = capacity
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._wanted = asyncio.Event()
        self._poked = False
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, size: int, *, along: bool = False) -> None:
        """Queue an item.

        Args:
            item: what to write.
            size: about how many bytes it will take.
            along: whether it may wait a little for a frame that is written anyway.

        Raises:
            QueueFull: the stream cannot keep up, or has ended.
            Oversized: the item alone is larger than any frame may be.
        """
        if size > MAX_ITEM_BYTES:
            raise Oversized(f"{size} bytes")
        full = len(self._items) >= self._capacity or self._bytes + size > MAX_WAITING_BYTES
        if self._closed or full:
            raise QueueFull("link")
        self._items.append((item, size))
        self._bytes += size
        if not along or len(self._items) >= MAX_FRAME_ITEMS:
            self._wanted.set()
        elif self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(ALONG_S, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._items:
            self._wanted.set()

    def poke(self) -> None:
        """Have a frame written even if no item waits, for what travels beside the items."""
        self._poked = True
        self._wanted.set()

    def revise(self, change: Callable[[T], T]) -> None:
        """Put other items in the place of those that wait; each counts as many bytes as before."""
        self._items = deque((change(item), size) for item, size in self._items)

    def close(self) -> list[T]:
        """Refuse further items and return those that were never written."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        left = [item for item, _ in self._items]
        self._items.clear()
        self._bytes = 0
        return left

    async def run(self) -> None:
        """Write frames until cancelled or until the stream fails."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._items or self._poked:
                self._poked = False
                await self._write(self._take())

    def _take(self) -> list[T]:
        frame: list[T] = []
        total, items = 0, self._items
        while items and len(frame) < MAX_FRAME_ITEMS:
            total += items[0][1]
            if frame and total > MAX_FRAME_BYTES:
                break
            item, size = items.popleft()
            frame.append(item)
            self._bytes -= size
        return frame


def check_frame(frame: link_pb2.LinkRequest | link_pb2.LinkResponse) -> None:
    """Refuse a frame with more items than the protocol allows.

    Raises:
        Malformed: too many items.
    """
    if len(frame.items) > MAX_FRAME_ITEMS:
        raise Malformed("frame")
