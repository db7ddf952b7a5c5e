"""The one thread in which the log's store is written, as the event loop that hands it work sees it.

It also tells how long it has been silent: a disk that does not answer holds the thread, not the event loop.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class CommitThread:
    """Does one thing after the other, and goes on with each on the event loop that it was made on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="audit-commit")
        self._handed_at = self._heard_at = 0.0
        self._job: Future[Any] | None = None

    @property
    def handed_s(self) -> float:
        """Seconds for which it has been at what it was last given.

        0 once that is done, also where the event loop, being busy, has not heard of it yet.
        """
        if self._job is None or self._job.done():
            return 0.0
        return self._loop.time() - self._handed_at

    @property
    def heard_s(self) -> float:
        """Seconds since it was last heard of."""
        return self._loop.time() - self._heard_at

    async def run(self, work: Callable[[], T]) -> T:
        """Return what work results in."""
        return await self._loop.run_in_executor(self._worker, work)

    def hand(self, work: Callable[..., T], then: "Callable[[Future[T]], None]", *arguments: Any) -> None:
        """Give it something to do, and go on with that on the event loop.

        Args:
            work: called in the thread.
            then: called on the event loop once it is done, or has failed.
            arguments: of `work`.
        """
        self._handed_at = self._loop.time()

        def heard(job: "Future[T]") -> None:
            self._heard_at = self._loop.time()
            then(job)

        self._job = job = self._worker.submit(work, *arguments)
        job.add_done_callback(lambda job: self._loop.call_soon_threadsafe(heard, job))

    def close(self) -> None:
        """End it after what it was given."""
        self._worker.shutdown()
