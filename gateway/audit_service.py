"""Reads the audit log.

1. Checkpoints and consistency proofs are for everybody: they show no entry.
2. Officers and auditors read entries; that they do is an entry itself, durable before they see the first.
3. An agent reads the entries of its own organisation's exchanges; all others are not there for it.
4. Tails, searches and traces are served by `gateway.audit.following` and `gateway.audit.projections`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from exchange.errors import ExchangeError, Malformed, UnknownEntry
from exchange.identity import Identity, Role
from exchange.v1 import audit_pb2, audit_pb2_grpc
from gateway.audit.following import tail
from gateway.audit.following.tail import Tails
from gateway.audit.log import proofs
from gateway.audit.projections import search
from gateway.audit.projections.search import Searches
from gateway.calls import Calls
from gateway.fold import Head
from gateway.registrar import Registrar

SERVICE = "/exchange.v1.AuditService"

Find = Callable[[bytes], Awaitable[int | None]]
"""Returns the index of an exchange's entry by its id of 16 bytes, None where there is none."""

Trace = Callable[[audit_pb2.TraceRequest, Identity], Awaitable[audit_pb2.TraceResponse]]
"""Answers a trace once it has entered who traces; see `gateway.audit.projections.trace`."""


class Log(Protocol):
    """What is needed of the audit log."""

    @property
    def head(self) -> Head:
        """The newest checkpoint, opened."""
        ...

    @property
    def checkpoint(self) -> str:
        """The newest checkpoint, a C2SP signed note."""
        ...

    def consistency(self, old_size: int, new_size: int = 0) -> tuple[bytes, str]:
        """Return the proof that a newer log extends an older one, and the checkpoint where new_size is 0."""
        ...

    def entry(self, index: int) -> tuple[audit_pb2.Receipt, str]:
        """Return an entry with its proof, and the checkpoint that it leads to."""
        ...

    def leaves(self, first: int, count: int) -> list[bytes]:
        """Return at most `count` leaves from an index on."""
        ...

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree, 32 bytes."""
        ...


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    """Serves the log.

    Args:
        registrar: enters that the log is read.
        calls: what every call has around it.
        log: the audit log.
        find: looks an exchange up.
        tails: serves those who follow the log.
        searches: serves those who search it.
        trace: answers those who trace a subject or a case.
        witnessed: returns the newest checkpoint that a quorum of witnesses cosigned, "" where there is none.
        log_port: returns the port of the log's HTTPS face, 0 where it is not served.
    """

    def __init__(
        self,
        *,
        registrar: Registrar,
        calls: Calls,
        log: Log,
        find: Find,
        tails: Tails,
        searches: Searches,
        trace: Trace,
        witnessed: Callable[[], str],
        log_port: Callable[[], int],
    ) -> None:
        self._registrar = registrar
        self._calls = calls
        self._log = log
        self._find = find
        self._tails = tails
        self._searches = searches
        self._trace = trace
        self._witnessed = witnessed
        self._log_port = log_port

    async def GetCheckpoint(
        self, request: audit_pb2.GetCheckpointRequest, context: Any
    ) -> audit_pb2.GetCheckpointResponse:
        """Return the newest checkpoint."""
        return await self._calls.run(f"{SERVICE}/GetCheckpoint", request, context, self._checkpoint)

    async def GetConsistency(
        self, request: audit_pb2.GetConsistencyRequest, context: Any
    ) -> audit_pb2.GetConsistencyResponse:
        """Return a consistency proof."""
        return await self._calls.run(f"{SERVICE}/GetConsistency", request, context, self._consistency)

    async def GetEntry(self, request: audit_pb2.GetEntryRequest, context: Any) -> audit_pb2.GetEntryResponse:
        """Return an entry with its proof."""
        return await self._calls.run(f"{SERVICE}/GetEntry", request, context, self._entry)

    async def GetProofs(
        self, request: audit_pb2.GetProofsRequest, context: Any
    ) -> audit_pb2.GetProofsResponse:
        """Return entries with proofs that lead to one head."""
        return await self._calls.run(f"{SERVICE}/GetProofs", request, context, self._proofs)

    async def Tail(
        self, request: audit_pb2.TailRequest, context: Any
    ) -> AsyncIterator[audit_pb2.TailResponse]:
        """Yield entries in order, then as they come."""
        method = f"{SERVICE}/Tail"
        try:
            caller = self._calls.verified(method, context)
            asked = tail.read(request)
            with self._tails.place(caller) as follower:
                await self._registrar.record_read(caller.identity, asked.words())
                async for frame in self._tails.frames(asked, follower):
                    yield frame
        except ExchangeError as error:
            await self._calls.refuse(method, context, error)

    async def Search(self, request: audit_pb2.SearchRequest, context: Any) -> audit_pb2.SearchResponse:
        """Return a page of the entries that fit a filter."""
        return await self._calls.run(f"{SERVICE}/Search", request, context, self._search)

    async def Trace(self, request: audit_pb2.TraceRequest, context: Any) -> audit_pb2.TraceResponse:
        """Return a page of a subject's or a case's trace."""
        return await self._calls.run(f"{SERVICE}/Trace", request, context, self._trace)

    async def _checkpoint(
        self, request: audit_pb2.GetCheckpointRequest, caller: Identity
    ) -> audit_pb2.GetCheckpointResponse:
        return audit_pb2.GetCheckpointResponse(
            checkpoint=self._log.checkpoint, witnessed=self._witnessed(), log_port=self._log_port()
        )

    async def _consistency(
        self, request: audit_pb2.GetConsistencyRequest, caller: Identity
    ) -> audit_pb2.GetConsistencyResponse:
        if request.old_size < 1 or (request.new_size and request.new_size < request.old_size):
            raise Malformed("old_size")
        if max(request.old_size, request.new_size) > self._log.head.size:
            raise UnknownEntry("new_size")
        proof, checkpoint = self._log.consistency(request.old_size, request.new_size)
        return audit_pb2.GetConsistencyResponse(
            proof=proof, checkpoint="" if request.new_size else checkpoint
        )

    async def _entry(
        self, request: audit_pb2.GetEntryRequest, caller: Identity
    ) -> audit_pb2.GetEntryResponse:
        index = await self._index(request)
        if caller.role is Role.AGENT:
            _check_own(self._registrar.leaf(index), caller.organisation)
        else:
            await self._registrar.record_read(caller, f"GetEntry {index}")
        receipt, checkpoint = self._log.entry(index)
        return audit_pb2.GetEntryResponse(receipt=receipt, checkpoint=checkpoint)

    async def _proofs(
        self, request: audit_pb2.GetProofsRequest, caller: Identity
    ) -> audit_pb2.GetProofsResponse:
        await self._registrar.record_read(caller, proofs.check(request, self._log.head.size))
        return await proofs.answer(request, self._log)

    async def _index(self, request: audit_pb2.GetEntryRequest) -> int:
        key = request.WhichOneof("key")
        if key == "index":
            if request.index >= self._log.head.size:
                raise UnknownEntry("index")
            return request.index
        if key is None or len(request.exchange_id) != 16:
            raise Malformed("index or exchange_id")
        index = await self._find(request.exchange_id)
        if index is None:
            raise UnknownEntry(request.exchange_id.hex())
        return index

    async def _search(self, request: audit_pb2.SearchRequest, caller: Identity) -> audit_pb2.SearchResponse:
        asked, size = search.read(request), self._log.head.size
        await self._registrar.record_read(caller, asked.words())
        return await self._searches.answer(asked, size)


def _check_own(leaf: bytes, organisation: str) -> None:
    """Refuse an entry that is not of an exchange of that organisation, as if it were not there."""
    entry = audit_pb2.AuditEntry.FromString(leaf)
    parties = entry.exchange.consumer_organisation, entry.exchange.provider_organisation
    if not entry.HasField("exchange") or organisation not in parties:
        raise UnknownEntry("entry")
