"""Writes to the log's store that are no entries: done in the commit thread, between two groups.

The store has one writing connection, used by one thread at a time; whatever else has to write waits here
for its turn. An errand is short: appends wait for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from exchange.errors import ExchangeError

Work = Callable[[], None]


class Errand:
    """A write that waits for its turn."""

    def __init__(self, work: Work, future: asyncio.Future[None]) -> None:
        self.work = work
        self._future = future

    def settle(self, error: BaseException | None = None) -> None:
        """Tell whoever waits that it is durable, or what kept it from that."""
        if self._future.done():
            return
        if error is None:
            self._future.set_result(None)
        else:
            self._future.set_exception(error)


class Errands:
    """The writes that wait, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Errand] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, work: Work) -> asyncio.Future[None]:
        """Queue a write; the future is done once it is durable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(Errand(work, future))
        return future

    def take(self) -> Errand | None:
        """Take the next one out; None where there is none."""
        return self._waiting.popleft() if self._waiting else None

    def fail(self, error: ExchangeError) -> None:
        """Tell everybody who waits that nothing was done."""
        while errand := self.take():
            errand.settle(error.again())
