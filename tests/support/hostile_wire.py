"""Wires without TLS between real agents and a real gateway, each with a hand on it that may change all."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from exchange.link import TAKEN
from exchange.trust import Verified
from exchange.v1 import link_pb2

Change = Callable[[Any], Any]
"""Takes a message and returns what goes on: it, another, a list of them, or None for nothing."""


class Ended(Exception):
    """A call was aborted by the gateway."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: Sequence[Any]) -> None:
        super().__init__(details)
        self.code, self.details, self.trailing = code, details, trailing

    def as_rpc_error(self) -> grpc.aio.AioRpcError:
        nothing = grpc.aio.Metadata()
        return grpc.aio.AioRpcError(
            self.code, nothing, grpc.aio.Metadata(*self.trailing), details=self.details
        )


class Wire:
    """One stream. `up` and `down` change what passes; by default nothing."""

    def __init__(self) -> None:
        self.up: Change = lambda frame: frame
        self.down: Change = lambda frame: frame
        self.sent: list[link_pb2.LinkRequest] = []
        self._to_gateway: asyncio.Queue[link_pb2.LinkRequest | None] = asyncio.Queue()
        self._to_agent: asyncio.Queue[link_pb2.LinkResponse | Ended | None] = asyncio.Queue()

    def honest(self) -> None:
        """Change nothing any more."""
        self.up = self.down = lambda frame: frame

    def from_agent(self, frame: link_pb2.LinkRequest) -> None:
        copy = link_pb2.LinkRequest.FromString(frame.SerializeToString())
        self.sent.append(copy)
        for passed in _several(self.up(copy)):
            self._to_gateway.put_nowait(passed)

    def from_gateway(self, frame: link_pb2.LinkResponse) -> None:
        copy = link_pb2.LinkResponse.FromString(frame.SerializeToString())
        for passed in _several(self.down(copy)):
            self.push(passed)

    def push(self, frame: link_pb2.LinkResponse | Ended | None) -> None:
        """Hand the agent a frame, as if the gateway had sent it."""
        self._to_agent.put_nowait(frame)

    def hang_up(self) -> None:
        self._to_gateway.put_nowait(None)

    async def at_gateway(self) -> link_pb2.LinkRequest | None:
        return await self._to_gateway.get()

    async def at_agent(self) -> link_pb2.LinkResponse | Ended | None:
        return await self._to_agent.get()


def _several(passed: Any) -> list[Any]:
    if passed is None:
        return []
    return list(passed) if isinstance(passed, list) else [passed]


class AgentCall:
    """An agent's end of a stream."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._end: Ended | None = None

    async def write(self, frame: link_pb2.LinkRequest) -> None:
        self._wire.from_agent(frame)

    async def read(self) -> Any:
        frame = await self._wire.at_agent()
        if isinstance(frame, link_pb2.LinkResponse):
            return frame
        self._end = frame
        return grpc.aio.EOF

    async def done_writing(self) -> None:
        self._wire.hang_up()

    def cancel(self) -> None:
        self._wire.hang_up()

    async def code(self) -> grpc.StatusCode:
        return self._end.code if self._end else grpc.StatusCode.OK

    async def details(self) -> str:
        return self._end.details if self._end else ""

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(TAKEN)

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(*(self._end.trailing if self._end else ()))


class GatewayContext:
    """The gateway's end of a stream or call, with who calls as TLS would tell it."""

    def __init__(self, verified: Verified, wire: Wire | None = None) -> None:
        self.verified = verified
        self._wire = wire

    async def read(self) -> Any:
        assert self._wire is not None
        frame = await self._wire.at_gateway()
        return grpc.aio.EOF if frame is None else frame

    async def write(self, frame: link_pb2.LinkResponse) -> None:
        assert self._wire is not None
        self._wire.from_gateway(frame)

    async def send_initial_metadata(self, metadata: Sequence[Any]) -> None:
        return None

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing: Sequence[Any] = ()) -> None:
        raise Ended(code, details, trailing)


class Channel:
    """What an agent's stubs take for a channel.

    Args:
        verified: who the gateway sees.
        services: by name without the package.
        wire: of the link.
        replies: per method a change of the gateway's replies.
    """

    def __init__(
        self, verified: Verified, services: dict[str, Any], wire: Wire, replies: dict[str, Change]
    ) -> None:
        self._verified = verified
        self._services = services
        self._wire = wire
        self._replies = replies
        self.link: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Channel":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._wire.hang_up()
        if self.link is not None:
            await self.link

    def unary_unary(self, path: str, **_: object) -> Callable[..., Any]:
        service, method = path.rpartition("/")[0].rpartition(".")[2], path.rpartition("/")[2]

        async def call(request: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109
            act = getattr(self._services[service], method)
            try:
                response = await act(request, GatewayContext(self._verified))
            except Ended as ended:
                raise ended.as_rpc_error() from None
            change = self._replies.get(method)
            return change(response) if change else response

        return call

    def stream_stream(self, path: str, **_: object) -> Callable[..., Any]:
        async def serve() -> None:
            try:
                await self._services["LinkService"].Link(None, GatewayContext(self._verified, self._wire))
            except Ended as ended:
                self._wire.push(ended)
            else:
                self._wire.push(None)

        def call() -> AgentCall:
            self.link = asyncio.create_task(serve())
            return AgentCall(self._wire)

        return call

    def unary_stream(self, path: str, **_: object) -> Callable[..., Any]:
        raise NotImplementedError(path)

    stream_unary = unary_stream
