"""A department's own system at its agent: it asks, takes the time, and verifies each receipt for itself."""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from uuid import UUID

import grpc

from exchange.errors import Code, ExchangeError
from exchange.receipt import ReceiptVerifier
from exchange.rpc_errors import from_failure
from exchange.v1 import agent_pb2, agent_pb2_grpc, audit_pb2
from shuqiao.channel import OPTIONS, lost, metadata_of, target_of
from shuqiao.client import Client
from shuqiao.demo.cast import MATTER, PURPOSE, RESOURCE
from shuqiao.demo.outcome import FAILED, REFUSED, RELEASED, Exchanged
from shuqiao.demo.world import World
from shuqiao.questions import Answer, Query, Verification, request_of

FAILING = frozenset({Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.DATA_LOSS, Code.INTERNAL})
"""Codes by which an exchange failed; by all others it was refused."""
CALL_S = 20.0


class Counter:
    """Asks for one department; leave it with `close`, or use it as a context.

    Args:
        world: where its agent runs.
        agent: name of that agent.
        receipts: verifies receipts by the keys of the trust list, not by the agent's word.
    """

    def __init__(self, world: World, agent: str, *, receipts: ReceiptVerifier) -> None:
        self.agent = agent
        self._receipts = receipts
        self.client: Client = world.connect(agent)
        address = str(world.processes[agent].told["grpc"])
        target, kind = target_of(address)
        self._address = address
        self._metadata = metadata_of(world.layout.token(agent))
        self._channel = grpc.secure_channel(target, grpc.local_channel_credentials(kind), options=OPTIONS)

    def __enter__(self) -> "Counter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self.client.close()
        self._channel.close()

    def query(self, citizen_id: str, fields: Sequence[str], *, case: str) -> tuple[Answer, Exchanged]:
        """Ask for a household record through the SDK.

        Raises:
            ExchangeError: why there is none.
        """
        begun = time.perf_counter()
        answer = self.client.query(
            RESOURCE,
            fields=fields,
            parameters={"citizen_id": citizen_id},
            purpose=PURPOSE,
            matter=MATTER,
            case=case,
        )
        return answer, self._released(answer, "query", fields, time.perf_counter() - begun)

    def verify(
        self, citizen_id: str, claims: Mapping[str, str], *, case: str
    ) -> tuple[Verification, Exchanged]:
        """Have claims verified through the SDK.

        Raises:
            ExchangeError: why they were not.
        """
        begun = time.perf_counter()
        answer = self.client.verify(
            RESOURCE,
            claims=claims,
            parameters={"citizen_id": citizen_id},
            purpose=PURPOSE,
            matter=MATTER,
            case=case,
        )
        return answer, self._released(answer, "verify", list(claims), time.perf_counter() - begun)

    def try_query(
        self, citizen_id: str, fields: Sequence[str], *, case: str
    ) -> tuple[ExchangeError | None, Exchanged]:
        """Ask over the agent's gRPC face, where a refusal comes with its receipt too.

        Returns:
            Why there is no answer, None where there is one; and the exchange.
        """
        query = Query(
            resource=RESOURCE,
            fields=fields,
            parameters={"citizen_id": citizen_id},
            purpose=PURPOSE,
            matter=MATTER,
            case=case,
        )
        begun = time.perf_counter()
        response = self.ask(request_of(query, 1))
        elapsed_s = time.perf_counter() - begun
        error = from_failure(response.failure) if response.HasField("failure") else None
        proven = response.HasField("receipt") and self._proven(
            response.receipt.receipt, response.receipt.checkpoint, response.exchange_id
        )
        status = RELEASED if error is None else FAILED if error.code in FAILING else REFUSED
        return error, Exchanged(
            consumer=self.agent,
            resource=RESOURCE,
            kind="query",
            status=status,
            fields=fields,
            latency_ms=elapsed_s * 1000,
            receipt_verified=proven,
            reason=error.name if error else "",
        )

    def ask(self, request: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
        """Ask over the agent's gRPC face; a refusal is inside the response.

        Raises:
            ExchangeError: the agent cannot be reached or does not take the credential.
        """
        try:
            stub = agent_pb2_grpc.AgentServiceStub(self._channel)
            return stub.Ask(request, metadata=self._metadata, timeout=CALL_S)
        except grpc.RpcError as fault:
            raise lost(fault, address=self._address) from fault

    def status(self) -> Mapping[str, agent_pb2.HopStatus]:
        """Return the agent's own account of its hops, by name."""
        return {hop.hop: hop for hop in self.client.status().hops}

    def _released(
        self, answer: Answer | Verification, kind: str, fields: Sequence[str], elapsed_s: float
    ) -> Exchanged:
        receipt = answer.receipt
        proven = receipt is not None and self._proven(
            audit_pb2.Receipt.FromString(receipt.serialised()),
            receipt.checkpoint,
            UUID(answer.exchange_id).bytes,
        )
        return Exchanged(
            consumer=self.agent,
            resource=RESOURCE,
            kind=kind,
            status=RELEASED,
            fields=fields,
            latency_ms=elapsed_s * 1000,
            receipt_verified=proven,
        )

    def _proven(self, receipt: audit_pb2.Receipt, note: str, exchange_id: bytes) -> bool:
        try:
            entry = self._receipts.verify(receipt, note)
        except ExchangeError:
            return False
        return entry.exchange.exchange_id == exchange_id
