"""One AskStream: questions in, outcomes out, both in batches, with no task per question.

Invariants: at most `window` questions of a stream are unanswered or unwritten; while they are, nothing more
is read, and the transport's own flow control holds the caller back. One write is in flight; the next takes
what queued meanwhile. However the stream ends, its slots are free at once and late outcomes go nowhere.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from agent.consumer.credentials import Application
from agent.consumer.desk import Desk
from exchange.errors import ExchangeError, Oversized, QueueFull
from exchange.v1 import agent_pb2

MAX_BATCH = 256
MAX_WRITE_BYTES = 1 << 20


class QuestionStream:
    """The questions of one open stream.

    Args:
        desk: where questions go.
        application: whose stream it is.
        window: most questions under way, at least 256.
    """

    def __init__(self, *, desk: Desk, application: Application, window: int = 1024) -> None:
        self._desk = desk
        self._application = application
        self._slots = desk.slots(application)
        self._window = max(window, MAX_BATCH)
        self._unwritten = 0  # questions read whose outcomes have not been written
        self._held = 0  # of them, those that hold a slot of the application: not answered yet
        self._outcomes: deque[agent_pb2.AskResponse] = deque()
        self._outcome = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self._closed = False
        self._fault: ExchangeError | None = None

    async def read(self, requests: AsyncIterator[agent_pb2.AskStreamRequest]) -> None:
        """Take in questions until the caller has no more, or until one batch is too large."""
        try:
            async for request in requests:
                questions = request.questions
                if len(questions) > MAX_BATCH:
                    self._fault = Oversized(
                        f"questions: at most {MAX_BATCH} in one message", hop=self._desk.hop
                    )
                    return
                while self._unwritten + len(questions) > self._window:
                    self._room.clear()
                    await self._room.wait()
                self._take(list(questions))
        finally:
            self._ended = True
            self._outcome.set()

    def _take(self, questions: list[agent_pb2.AskRequest]) -> None:
        count = len(questions)
        self._unwritten += count
        if self._slots.take(count):
            self._held += count
            self._desk.submit(self._application, questions, self._deliver)
            return
        refusal = QueueFull(f"application {self._application.name}")
        self._outcomes.extend(self._desk.refused(question.tag, refusal) for question in questions)
        self._outcome.set()

    def _deliver(self, outcome: agent_pb2.AskResponse) -> None:
        if self._closed:
            return
        self._held -= 1
        self._slots.give(1)
        self._outcomes.append(outcome)
        self._outcome.set()

    async def batches(self) -> AsyncIterator[agent_pb2.AskStreamResponse]:
        """Give out what is answered, as it is answered, until all is and no more questions come.

        Raises:
            Oversized: the caller sent too large a batch; what was answered before has been given out.
        """
        while True:
            if not self._outcomes:
                if self._ended and (self._unwritten == 0 or self._fault):
                    break
                self._outcome.clear()
                await self._outcome.wait()
                continue
            batch = self._next_batch()
            yield agent_pb2.AskStreamResponse(outcomes=batch)
            self._unwritten -= len(batch)
            self._room.set()
        if self._fault:
            raise self._fault

    def _next_batch(self) -> list[agent_pb2.AskResponse]:
        """Return what one message can carry; an outcome larger than that travels alone."""
        outcomes = self._outcomes
        batch = [outcomes.popleft()]
        room = MAX_WRITE_BYTES - batch[0].ByteSize()
        while outcomes and len(batch) < MAX_BATCH:
            room -= outcomes[0].ByteSize()
            if room < 0:
                break
            batch.append(outcomes.popleft())
        return batch

    def close(self) -> None:
        """Give back what the stream holds; outcomes that come later are dropped."""
        self._closed = True
        self._slots.give(self._held)
        self._held = 0
