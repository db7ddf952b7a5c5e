"""Reads old entries for those who follow the log, in one thread that gives way to exchanges."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from gateway.audit.entries.filters import Filter, facts_of
from gateway.audit.following.takings import Takings
from gateway.audit.log.kept import kept_leaves
from gateway.fold import Head
from gateway.pace import Pace

READ_SHARE = 0.25
"""Of one core while exchanges run, for all readers together."""


class Log(Protocol):
    """What is needed of the audit log; used from another thread than the event loop's."""

    @property
    def head(self) -> Head:
        """The newest checkpoint, opened."""
        ...

    def leaves(self, first: int, count: int) -> Sequence[bytes]:
        """Return at most `count` leaves from an index on; EntryErased where one of them is gone."""
        ...


class Past:
    """Reads for all who are behind.

    Args:
        log: the audit log.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tail-read")
        self._pace = Pace(lambda: log.head.size, share=READ_SHARE)
        self._closing = threading.Event()
        self._rest_s = 0.0

    def close(self) -> None:
        """Read no more; what is under way is brought to its end."""
        self._closing.set()
        self._thread.shutdown(wait=False)

    async def take(self, first: int, end: int, wanted: Filter, most: int) -> Takings:
        """Return what fits of a range; erased entries fit nothing."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._read, first, end, wanted, most)

    def _read(self, first: int, end: int, wanted: Filter, most: int) -> Takings:
        # The rest that the piece before earned is taken here, so that no answer waits for it.
        self._closing.wait(self._rest_s)
        begun = time.thread_time()
        takings, going_on = Takings(first, most), True
        for index, leaf in kept_leaves(self._log, first, end - first):
            going_on = takings.look(index, leaf, wanted.everything or wanted.fits(facts_of(leaf)))
            if not going_on:
                break
        if going_on:
            takings.position = end
        self._rest_s = self._pace.rest_s(time.thread_time() - begun)
        return takings
