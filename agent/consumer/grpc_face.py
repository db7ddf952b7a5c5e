"""The gRPC face: AgentService on a Unix socket or the loopback address, with a bearer token in the metadata.

A call ends with a status only where there is nobody to answer or nothing to read: no token, a message that
breaks the contract. Whatever becomes of a question is its outcome, on streams and on single calls alike.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NoReturn

import grpc

from agent.consumer.credentials import Application, Credentials
from agent.consumer.desk import Desk
from agent.consumer.question_stream import QuestionStream
from exchange.errors import ExchangeError
from exchange.rpc_errors import abort
from exchange.v1 import agent_pb2, agent_pb2_grpc

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[object, object]

OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_concurrent_streams", 256),
)


class GrpcFace(agent_pb2_grpc.AgentServiceServicer):
    """Serves AgentService.

    Args:
        desk: where questions go.
        credentials: who may call.
        window: most unanswered questions per stream.
    """

    def __init__(self, *, desk: Desk, credentials: Credentials, window: int = 1024) -> None:
        self._desk = desk
        self._credentials = credentials
        self._window = window

    async def Ask(self, request: agent_pb2.AskRequest, context: "Context") -> agent_pb2.AskResponse:
        """Ask once."""
        application = await self._application(context)
        return await self._desk.ask(application, request)

    async def AskStream(
        self, request_iterator: AsyncIterator[agent_pb2.AskStreamRequest], context: "Context"
    ) -> AsyncIterator[agent_pb2.AskStreamResponse]:
        """Ask many at a time."""
        application = await self._application(context)
        stream = QuestionStream(desk=self._desk, application=application, window=self._window)
        reader = asyncio.create_task(stream.read(request_iterator))
        try:
            async for batch in stream.batches():
                yield batch
        except ExchangeError as error:
            await self._abort(context, error)
        finally:
            stream.close()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def GetAgentStatus(
        self, request: agent_pb2.GetAgentStatusRequest, context: "Context"
    ) -> agent_pb2.GetAgentStatusResponse:
        """Tell how the agent is."""
        await self._application(context)
        return await self._desk.status()

    async def OpenCase(
        self, request: agent_pb2.OpenCaseRequest, context: "Context"
    ) -> agent_pb2.OpenCaseResponse:
        """Open a case."""
        application = await self._application(context)
        try:
            return await self._desk.open_case(application, request)
        except ExchangeError as error:
            await self._abort(context, error)

    async def CloseCase(
        self, request: agent_pb2.CloseCaseRequest, context: "Context"
    ) -> agent_pb2.CloseCaseResponse:
        """Close a case."""
        application = await self._application(context)
        try:
            return await self._desk.close_case(application, request)
        except ExchangeError as error:
            await self._abort(context, error)

    async def _application(self, context: "Context") -> Application:
        authorization: str | None = None
        for key, value in context.invocation_metadata() or ():
            if key == "authorization" and isinstance(value, str):
                authorization = value
        try:
            return self._credentials.application(authorization)
        except ExchangeError as error:
            await self._abort(context, error)

    async def _abort(self, context: "Context", error: ExchangeError) -> NoReturn:
        error.hop = error.hop or self._desk.hop
        await abort(context, error)


def serve_grpc(*, face: GrpcFace, address: str, unix: bool) -> tuple[grpc.aio.Server, int]:
    """Make a server on a local address; the caller starts it.

    Args:
        face: what it serves.
        address: "unix:/path" or "127.0.0.1:port".
        unix: whether it is a Unix socket.

    Returns:
        The server and its port; 1 for a Unix socket.

    Raises:
        RuntimeError: the address cannot be bound.
    """
    server = grpc.aio.server(options=OPTIONS)
    agent_pb2_grpc.add_AgentServiceServicer_to_server(face, server)
    kind = grpc.LocalConnectionType.UDS if unix else grpc.LocalConnectionType.LOCAL_TCP
    port = server.add_secure_port(address, grpc.local_server_credentials(kind))
    if not port:
        raise RuntimeError(f"cannot bind {address}")
    return server, port
