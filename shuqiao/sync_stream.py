"""One AskStream with its unanswered questions, for programs without an event loop.

Two threads serve a stream however many questions it carries: gRPC's own takes what queued while the
last write was under way; the reader hands each outcome to whoever waits. A waiter costs a lock only where it
has to wait.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import grpc

from exchange.errors import AgentAway, DeadlinePassed, ExchangeError
from exchange.v1 import agent_pb2
from shuqiao.channel import GRACE_S, MAX_BATCH
from shuqiao.questions import Query, Value, request_of

Result = agent_pb2.AskResponse | ExchangeError


class StreamCall(Protocol):
    """An open AskStream as gRPC gives it."""

    def __iter__(self) -> Iterator[agent_pb2.AskStreamResponse]: ...

    def cancel(self) -> object:
        """End it."""
        ...


class Waiting:
    """One question under way.

    Args:
        tag: of the question.
        deadline: until when to wait, `time.monotonic` seconds.
    """

    __slots__ = ("deadline", "lock", "result", "tag")

    def __init__(self, tag: int, deadline: float) -> None:
        self.tag = tag
        self.deadline = deadline
        self.result: Result | None = None
        self.lock: threading.Lock | None = None

    def settle(self, result: Result) -> None:
        """Set the result and wake whoever waits."""
        self.result = result
        lock = self.lock
        if lock is not None:
            lock.release()

    def wait(self) -> Result | None:
        """Return the result, or None when the time is over.

        The lock is put in place before the result is looked at, and `settle` does it the other way round, so
        one of the two always sees the other.
        """
        if self.result is None:
            lock = threading.Lock()
            lock.acquire()
            self.lock = lock
            if self.result is None:
                lock.acquire(timeout=max(0.0, self.deadline - time.monotonic()))
        return self.result


class SyncStream:
    """An open stream.

    Args:
        open_call: opens it, given an iterator of requests.
        lost: says what a call's end means.
    """

    def __init__(
        self,
        *,
        open_call: Callable[[Iterator[agent_pb2.AskStreamRequest]], StreamCall],
        lost: Callable[[grpc.RpcError], ExchangeError],
    ) -> None:
        self._lost = lost
        self._tags = itertools.count(1)
        self._waiting: dict[int, Waiting] = {}
        self._queue: deque[agent_pb2.AskRequest] = deque()
        self._wake = threading.Semaphore(0)
        self._idle = False
        self._ended: ExchangeError | None = None
        self._guard = threading.Lock()
        self._call = open_call(self._requests())
        self._reader = threading.Thread(target=self._read, name="shuqiao-answers", daemon=True)
        self._reader.start()

    @property
    def ended(self) -> bool:
        """Whether it can carry no more."""
        return self._ended is not None

    def submit(self, query: Query, claims: Mapping[str, Value] | None = None) -> Waiting:
        """Queue a question.

        Raises:
            BadParameter: it cannot be sent.
            ExchangeError: the stream has ended.
        """
        tag = next(self._tags)
        request = request_of(query, tag, claims)
        waiting = Waiting(tag, time.monotonic() + query.timeout_s + GRACE_S)
        self._waiting[tag] = waiting
        self._queue.append(request)
        if self._idle:
            self._idle = False
            self._wake.release()
        if self._ended is not None and self._waiting.pop(tag, None) is not None:
            raise self._ended.again()
        return waiting

    def result(self, waiting: Waiting) -> agent_pb2.AskResponse:
        """Wait for an outcome.

        Raises:
            DeadlinePassed: the agent did not answer in time.
            ExchangeError: the stream broke.
        """
        result = waiting.wait()
        if result is None:
            self._waiting.pop(waiting.tag, None)
            raise DeadlinePassed("agent did not answer")
        if isinstance(result, ExchangeError):
            raise result
        return result

    def forget(self, waiting: Waiting) -> None:
        """Wait for a question no longer; its outcome is dropped."""
        self._waiting.pop(waiting.tag, None)

    def _requests(self) -> Iterator[agent_pb2.AskStreamRequest]:
        """Yield what queued since the last write; called by gRPC, one write at a time."""
        queue = self._queue
        while self._ended is None:
            if not queue:
                self._idle = True
                if not queue:  # looked at again after saying so: whoever queued before that did not wake us
                    self._wake.acquire()
                continue
            count = min(len(queue), MAX_BATCH)
            yield agent_pb2.AskStreamRequest(questions=[queue.popleft() for _ in range(count)])

    def _read(self) -> None:
        waiting = self._waiting
        error: ExchangeError = AgentAway("stream ended")
        try:
            for response in self._call:
                for outcome in response.outcomes:
                    found = waiting.pop(outcome.tag, None)
                    if found is not None:
                        found.settle(outcome)
        except grpc.RpcError as fault:
            error = self._lost(fault)
        finally:
            self._end(error)

    def _end(self, error: ExchangeError) -> None:
        """Fail whatever is under way. Who submits meanwhile sees `_ended` and takes itself out."""
        with self._guard:
            if self._ended is None:
                self._ended = error
        self._wake.release()
        while self._waiting:
            try:
                _, found = self._waiting.popitem()
            except KeyError:
                break
            found.settle(self._ended.again())

    def close(self) -> None:
        """End the stream; what is under way fails."""
        with self._guard:
            if self._ended is None:
                self._ended = AgentAway("client closed")
        self._wake.release()
        self._call.cancel()
        self._reader.join()
