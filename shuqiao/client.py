"""The client for programs without an event loop.

All questions of a client share one stream to the agent and travel in batches; a stream that breaks fails what
was under way, retryable, and the next question opens another. A client may be shared by threads.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import cast

import grpc

from exchange.errors import AgentAway, ExchangeError
from exchange.v1 import agent_pb2, agent_pb2_grpc
from shuqiao.channel import OPTIONS, TokenFile, lost, metadata_of, target_of
from shuqiao.questions import (
    DEFAULT_TIMEOUT_S,
    Answer,
    Query,
    Value,
    Verification,
    answer_of,
    verification_of,
)
from shuqiao.sync_stream import StreamCall, SyncStream, Waiting

_NONE: Mapping[str, Value] = {}


def connect(address: str, *, token_file: TokenFile) -> "Client":
    """Make a client of the agent at a local address. Nothing is sent until the first question.

    Args:
        address: "unix:///run/shuqiao/agent.sock" or "127.0.0.1:7481".
        token_file: the file that holds this application's bearer token.

    Raises:
        BadConfiguration: the address or the file is unusable.
    """
    return Client(address=address, token_file=token_file)


class Client:
    """Asks other departments through this department's agent; see `connect`."""

    def __init__(self, *, address: str, token_file: TokenFile) -> None:
        target, kind = target_of(address)
        self._address = address
        self._metadata = metadata_of(token_file)
        self._channel = grpc.secure_channel(target, grpc.local_channel_credentials(kind), options=OPTIONS)
        self._stub = agent_pb2_grpc.AgentServiceStub(self._channel)
        self._stream: SyncStream | None = None
        self._guard = threading.Lock()
        self._closed = False

    def query(
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
        """Ask for records by key.

        Args:
            resource: "<6-digit division>/<organisation alias>/<name>".
            fields: names of the fields wanted; none for all that the grant gives.
            parameters: by which records are found.
            purpose: coded purpose.
            matter: coded matter.
            case: the case's number.
            step: of the matter.
            operator: pseudonym of the person on whose behalf this is asked.
            timeout_s: how long to wait, seconds, at most 600.

        Returns:
            The answer, its receipt verified.

        Raises:
            ExchangeError: the class says why; its `sentence` tells people in both languages.
        """
        return answer_of(
            self._ask(
                Query(
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
            )
        )

    def verify(
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
        """Ask whether claims hold, without getting values.

        Args:
            resource: as for `query`.
            claims: the claimed value by field, at least one.
            parameters: by which the record is found.
            purpose: as for `query`.
            matter: as for `query`.
            case: as for `query`.
            step: as for `query`.
            operator: as for `query`.
            timeout_s: as for `query`.

        Returns:
            Match, mismatch or unknown by field.

        Raises:
            ExchangeError: as for `query`.
        """
        return verification_of(
            self._ask(
                Query(
                    resource=resource,
                    parameters=parameters,
                    purpose=purpose,
                    matter=matter,
                    case=case,
                    step=step,
                    operator=operator,
                    timeout_s=timeout_s,
                ),
                claims,
            )
        )

    def query_many(
        self, queries: Iterable[Query], *, in_flight: int = 256
    ) -> Iterator[Answer | ExchangeError]:
        """Ask many questions, many at a time.

        Args:
            queries: taken as there is room for them, so it may be long or endless.
            in_flight: most questions under way.

        Yields:
            One outcome per question, in the order of the questions: the answer, or why there is none.
        """
        under_way: deque[tuple[SyncStream, Waiting] | ExchangeError] = deque()
        try:
            for query in queries:
                if len(under_way) >= in_flight:
                    yield _settled(under_way.popleft())
                try:
                    stream = self._open()
                    under_way.append((stream, stream.submit(query)))
                except ExchangeError as error:
                    under_way.append(error)
            while under_way:
                yield _settled(under_way.popleft())
        finally:
            for each in under_way:
                if not isinstance(each, ExchangeError):
                    each[0].forget(each[1])

    def open_case(
        self,
        number: str,
        *,
        matter: str,
        participants: Sequence[str] = (),
        days: int = 0,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> int:
        """Open a case that this department leads; questions for it may follow at once.

        Args:
            number: the case's, 1 to 64 characters, no personal data.
            matter: coded matter.
            participants: credit codes of those who take part besides this department.
            days: for how many days it is open at the most; 0 for 30.
            timeout_s: how long to wait, seconds.

        Returns:
            Index of its entry in the gateway's log.

        Raises:
            ExchangeError: as for `query`.
        """
        request = agent_pb2.OpenCaseRequest(
            case_number=number, matter=matter, participants=participants, days=days
        )
        try:
            return self._stub.OpenCase(request, metadata=self._metadata, timeout=timeout_s).index
        except grpc.RpcError as fault:
            raise lost(fault, address=self._address) from None

    def close_case(self, number: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """Close a case that this department leads, for good; return the index of its log entry.

        Raises:
            ExchangeError: as for `query`.
        """
        request = agent_pb2.CloseCaseRequest(case_number=number)
        try:
            return self._stub.CloseCase(request, metadata=self._metadata, timeout=timeout_s).index
        except grpc.RpcError as fault:
            raise lost(fault, address=self._address) from None

    def status(self, *, timeout_s: float = 5.0) -> agent_pb2.GetAgentStatusResponse:
        """Return how the agent is, hop by hop.

        Raises:
            ExchangeError: the agent cannot be reached or refuses.
        """
        try:
            return self._stub.GetAgentStatus(
                agent_pb2.GetAgentStatusRequest(), metadata=self._metadata, timeout=timeout_s
            )
        except grpc.RpcError as fault:
            raise lost(fault, address=self._address) from None

    def close(self) -> None:
        """End the stream and the connection; questions under way fail."""
        with self._guard:
            self._closed = True
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, query: Query, claims: Mapping[str, Value] | None = None) -> agent_pb2.AskResponse:
        stream = self._open()
        waiting = stream.submit(query, claims)
        try:
            return stream.result(waiting)
        finally:
            stream.forget(waiting)

    def _open(self) -> SyncStream:
        stream = self._stream
        if stream is not None and not stream.ended:
            return stream
        with self._guard:
            if self._closed:
                raise AgentAway("client closed")
            if self._stream is None or self._stream.ended:
                self._stream = SyncStream(open_call=self._call, lost=self._lost)
            return self._stream

    def _call(self, requests: Iterator[agent_pb2.AskStreamRequest]) -> StreamCall:
        return cast(StreamCall, self._stub.AskStream(requests, metadata=self._metadata))

    def _lost(self, error: grpc.RpcError) -> ExchangeError:
        return lost(error, address=self._address)


def _settled(under_way: tuple[SyncStream, Waiting] | ExchangeError) -> Answer | ExchangeError:
    if isinstance(under_way, ExchangeError):
        return under_way
    stream, waiting = under_way
    try:
        return answer_of(stream.result(waiting))
    except ExchangeError as error:
        return error
