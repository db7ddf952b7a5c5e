"""The client for programs with an event loop; in all else like shuqiao/client.py.

One task writes and one reads, however many questions there are: a question costs a future and a timer.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import grpc

from exchange.errors import AgentAway, DeadlinePassed, ExchangeError
from exchange.v1 import agent_pb2, agent_pb2_grpc
from shuqiao.channel import GRACE_S, MAX_BATCH, OPTIONS, TokenFile, lost, metadata_of, target_of
from shuqiao.questions import (
    DEFAULT_TIMEOUT_S,
    Answer,
    Query,
    Value,
    Verification,
    answer_of,
    request_of,
    verification_of,
)

if TYPE_CHECKING:
    Call = grpc.aio.StreamStreamCall[agent_pb2.AskStreamRequest, agent_pb2.AskStreamResponse]

_NONE: Mapping[str, Value] = {}
_Future = asyncio.Future[agent_pb2.AskResponse]


def connect_async(address: str, *, token_file: TokenFile) -> "AsyncClient":
    """Make a client of the agent at a local address, inside a running loop. Nothing is sent until it is used.

    Args:
        address: "unix:///run/shuqiao/agent.sock" or "127.0.0.1:7481".
        token_file: the file that holds this application's bearer token.

    Raises:
        BadConfiguration: the address or the file is unusable.
    """
    return AsyncClient(address=address, token_file=token_file)


class _Stream:
    """An open stream and its unanswered questions."""

    def __init__(self, *, call: "Call", address: str) -> None:
        self._call = call
        self._address = address
        self._tags = itertools.count(1)
        self._waiting: dict[int, _Future] = {}
        self._queue: deque[agent_pb2.AskRequest] = deque()
        self._queued = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.ended: ExchangeError | None = None
        self._tasks = (asyncio.create_task(self._write()), asyncio.create_task(self._read()))

    def submit(self, query: Query, claims: Mapping[str, Value] | None = None) -> _Future:
        """Queue a question and return its outcome to come; cancelling that forgets the question."""
        if self.ended is not None:
            raise self.ended.again()
        tag = next(self._tags)
        self._queue.append(request_of(query, tag, claims))
        self._queued.set()
        future = self._waiting[tag] = self._loop.create_future()
        timer = self._loop.call_later(query.timeout_s + GRACE_S, self._late, tag)

        def settled(_: _Future) -> None:
            timer.cancel()
            self._waiting.pop(tag, None)

        future.add_done_callback(settled)
        return future

    def _late(self, tag: int) -> None:
        future = self._waiting.pop(tag, None)
        if future is not None and not future.done():
            future.set_exception(DeadlinePassed("agent did not answer"))

    async def _write(self) -> None:
        queue = self._queue
        while True:
            if not queue:
                self._queued.clear()
                await self._queued.wait()
            batch = [queue.popleft() for _ in range(min(len(queue), MAX_BATCH))]
            try:
                await self._call.write(agent_pb2.AskStreamRequest(questions=batch))
            except (grpc.RpcError, asyncio.InvalidStateError):
                return  # the reader learns why

    async def _read(self) -> None:
        error: ExchangeError = AgentAway("stream ended")
        waiting = self._waiting
        try:
            async for response in self._call:
                for outcome in response.outcomes:
                    future = waiting.pop(outcome.tag, None)
                    if future is not None and not future.done():
                        future.set_result(outcome)
        except grpc.RpcError as fault:
            error = lost(fault, address=self._address)
        finally:
            self._end(error)

    def _end(self, error: ExchangeError) -> None:
        self.ended = self.ended or error
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(self.ended.again())
        self._waiting.clear()

    async def close(self) -> None:
        """End the stream; what is under way fails."""
        self._end(AgentAway("client closed"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._call.cancel()


class AsyncClient:
    """Asks other departments through this department's agent; see `connect_async`."""

    def __init__(self, *, address: str, token_file: TokenFile) -> None:
        target, kind = target_of(address)
        self._address = address
        self._metadata = metadata_of(token_file)
        self._channel = grpc.aio.secure_channel(target, grpc.local_channel_credentials(kind), options=OPTIONS)
        self._stub = agent_pb2_grpc.AgentServiceStub(self._channel)
        self._stream: _Stream | None = None
        self._closed = False

    async def query(
        self,
        resource: str,
        *,
        fields: Sequence[str] = (),
        parameters: Mapping[str, Value] = _NONE,
        purpose: str = "",
        matter: str = "",
        case: str = "",
        step: str = "",
        operator: str = "",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Answer:
        """Ask for records by key; arguments, result and errors are those of `Client.query`."""
        query = Query(
            resource=resource,
            fields=fields,
            parameters=parameters,
            purpose=purpose,
            matter=matter,
            case=case,
            step=step,
            operator=operator,
            timeout_s=timeout_s,
        )
        return answer_of(await self._open().submit(query))

    async def verify(
        self,
        resource: str,
        *,
        claims: Mapping[str, Value],
        parameters: Mapping[str, Value] = _NONE,
        purpose: str = "",
        matter: str = "",
        case: str = "",
        step: str = "",
        operator: str = "",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Verification:
        """Ask whether claims hold; arguments, result and errors are those of `Client.verify`."""
        query = Query(
            resource=resource,
            parameters=parameters,
            purpose=purpose,
            matter=matter,
            case=case,
            step=step,
            operator=operator,
            timeout_s=timeout_s,
        )
        return verification_of(await self._open().submit(query, claims))

    async def query_many(
        self, queries: Iterable[Query] | AsyncIterable[Query], *, in_flight: int = 256
    ) -> AsyncIterator[Answer | ExchangeError]:
        """Ask many questions, many at a time; as `Client.query_many`, from asynchronous sources too."""
        under_way: deque[_Future | ExchangeError] = deque()
        try:
            async for query in _each(queries):
                if len(under_way) >= in_flight:
                    yield await _settled(under_way.popleft())
                try:
                    under_way.append(self._open().submit(query))
                except ExchangeError as error:
                    under_way.append(error)
            while under_way:
                yield await _settled(under_way.popleft())
        finally:
            for each in under_way:
                if not isinstance(each, ExchangeError):
                    each.cancel()

    async def open_case(
        self,
        number: str,
        *,
        matter: str,
        participants: Sequence[str] = (),
        days: int = 0,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> int:
        """Open a case that this department leads; arguments, result and errors are `Client.open_case`'s."""
        request = agent_pb2.OpenCaseRequest(
            case_number=number, matter=matter, participants=participants, days=days
        )
        try:
            answer = await self._stub.OpenCase(request, metadata=self._metadata, timeout=timeout_s)
        except grpc.RpcError as fault:
            raise lost(fault, address=self._address) from None
        return answer.index

    async def close_case(self, number: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """Close a case that this department leads, for good; return the index of its log entry."""
        request = agent_pb2.CloseCaseRequest(case_number=number)
        try:
            answer = await self._stub.CloseCase(request, metadata=self._metadata, timeout=timeout_s)
        except grpc.RpcError as fault:
            raise lost(fault, address=self._address) from None
        return answer.index

    async def status(self, *, timeout_s: float = 5.0) -> agent_pb2.GetAgentStatusResponse:
        """Return how the agent is, hop by hop."""
        try:
            return await self._stub.GetAgentStatus(
                agent_pb2.GetAgentStatusRequest(), metadata=self._metadata, timeout=timeout_s
            )
        except grpc.RpcError as fault:
            raise lost(fault, address=self._address) from None

    async def close(self) -> None:
        """End the stream and the connection; questions under way fail."""
        self._closed = True
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _open(self) -> _Stream:
        if self._closed:
            raise AgentAway("client closed")
        if self._stream is None or self._stream.ended is not None:
            self._stream = _Stream(call=self._stub.AskStream(metadata=self._metadata), address=self._address)
        return self._stream


async def _each(queries: Iterable[Query] | AsyncIterable[Query]) -> AsyncIterator[Query]:
    if isinstance(queries, AsyncIterable):
        async for query in queries:
            yield query
    else:
        for query in queries:
            yield query


async def _settled(under_way: _Future | ExchangeError) -> Answer | ExchangeError:
    if isinstance(under_way, ExchangeError):
        return under_way
    try:
        return answer_of(await under_way)
    except ExchangeError as error:
        return error
