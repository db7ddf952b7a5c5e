"""A few threads for drivers that block: a bounded number of them, with a bounded queue before them.

A driver that hangs keeps its thread, and no more than its thread: no new ones are made for it, callers stop
waiting at their time-out, and jobs nobody waits for any more are skipped. The threads are daemons, so that
a hanging driver cannot keep the process from ending.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from exchange.errors import QueueFull, SourceTimeout

T = TypeVar("T")


class _Job:
    """One call, and whether anybody still waits for it."""

    __slots__ = ("abandoned", "call", "future", "lock", "loop", "running")

    def __init__(self, call: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.lock = threading.Lock()
        self.abandoned = False
        self.running = False

    def run(self) -> None:
        with self.lock:
            if self.abandoned:
                return
            self.running = True
        result: Any = None
        error: BaseException | None = None
        try:
            result = self.call()
        except BaseException as caught:
            error = caught
        with self.lock:
            self.running = False
            if self.abandoned:
                return
        try:
            self.loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def abandon(self, interrupt: Callable[[], None] | None) -> None:
        """Stop waiting; under the lock, so that an interrupt cannot hit the thread's next job."""
        with self.lock:
            self.abandoned = True
            if self.running and interrupt is not None:
                interrupt()


class Workers:
    """Threads that run blocking calls, started when first needed.

    Args:
        name: of the source, for thread names and refusals.
        threads: how many at most.
        waiting: how many calls may wait for a thread.
    """

    def __init__(self, *, name: str, threads: int, waiting: int = 64) -> None:
        self._name = name
        self._limit = threads
        self._most = threads + waiting
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._held = 0
        self._held_lock = threading.Lock()

    @property
    def threads(self) -> int:
        """How many threads have been started."""
        return len(self._threads)

    async def run(
        self, call: Callable[[], T], *, timeout_s: float, interrupt: Callable[[], None] | None = None
    ) -> T:
        """Run a blocking call in a thread and wait for it.

        Args:
            call: what to run.
            timeout_s: how long to wait for a thread and the call together, seconds.
            interrupt: makes a running call end early; called at the time-out.

        Raises:
            SourceTimeout: the call did not end in time.
            QueueFull: too many calls wait.
        """
        with self._held_lock:
            if self._held >= self._most:
                raise QueueFull(self._name)
            self._held += 1
            idle = self._held <= len(self._threads)
        if not idle and len(self._threads) < self._limit:
            self._start()
        job = _Job(call, asyncio.get_running_loop())
        self._jobs.put(job)
        try:
            async with asyncio.timeout(timeout_s):
                return cast(T, await job.future)
        except TimeoutError as error:
            if not job.future.cancelled():
                raise  # the call itself raised it
            job.abandon(interrupt)
            raise SourceTimeout(self._name) from error
        except asyncio.CancelledError:
            job.abandon(interrupt)
            raise

    def close(self) -> None:
        """Let every thread end after the job it has."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads.clear()

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._work, name=f"source-{self._name}-{len(self._threads)}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            with self._held_lock:
                self._held -= 1
            del job
