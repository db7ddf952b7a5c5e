"""Reads the audit log.

1. Checkpoints and consistency proofs are for everybody: they show no entry.
2. Officers and auditors read entries; that they do is an entry itself, durable before they see the first.
3. An agent reads the entries of its own organisation's exchanges; all others are not there for it.
4. A tail reads the log at its own pace: nothing queues for a slow reader, and few read at a time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from exchange.errors import EntryErased, ExchangeError, Malformed, StoreDamaged, TooMany, UnknownEntry
from exchange.identity import Identity, Role
from exchange.v1 import audit_pb2, audit_pb2_grpc
from gateway import pages
from gateway.audit.log import Present
from gateway.calls import Calls
from gateway.fold import Head
from gateway.registrar import Registrar

SERVICE = "/exchange.v1.AuditService"
FRAME = 256
MAX_TAILS = 32

Find = Callable[[bytes], Awaitable[int | None]]
"""Returns the index of an exchange's entry by its id of 16 bytes, None where there is none."""


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

    def leaves(self, first: int, count: int) -> Sequence[bytes]:
        """Return at most `count` leaves from an index on; EntryErased where one was erased."""
        ...

    def present(self, first: int, count: int) -> Present:
        """Return at most `count` entries from an index on, leaving out what was erased."""
        ...

    @property
    def sealed_size(self) -> int:
        """Entries below this index are in segments, or were."""
        ...

    def subscribe(self, callback: Callable[[int, Sequence[bytes]], None]) -> object:
        """Call back after each commit."""
        ...


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    """Serves the log.

    Args:
        registrar: enters that the log is read.
        calls: what every call has around it.
        log: the audit log.
        find: looks an exchange up.
        max_tails: how many may follow the log at a time.
    """

    def __init__(
        self, *, registrar: Registrar, calls: Calls, log: Log, find: Find, max_tails: int = MAX_TAILS
    ) -> None:
        self._registrar = registrar
        self._calls = calls
        self._log = log
        self._find = find
        self._max_tails = max_tails
        self._tails: set[asyncio.Event] = set()
        log.subscribe(self._committed)

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

    async def Tail(
        self, request: audit_pb2.TailRequest, context: Any
    ) -> AsyncIterator[audit_pb2.TailResponse]:
        """Yield entries in order, then as they come."""
        method = f"{SERVICE}/Tail"
        try:
            caller = self._calls.enter(method, context)
            with self._tail() as woken:
                await self._registrar.record_read(caller, f"Tail from {request.from_index}")
                async for frame in self._frames(request, woken):
                    yield frame
        except ExchangeError as error:
            await self._calls.refuse(method, context, error)

    async def _checkpoint(
        self, request: audit_pb2.GetCheckpointRequest, caller: Identity
    ) -> audit_pb2.GetCheckpointResponse:
        return audit_pb2.GetCheckpointResponse(checkpoint=self._log.checkpoint)

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

    async def _frames(
        self, request: audit_pb2.TailRequest, woken: asyncio.Event
    ) -> AsyncIterator[audit_pb2.TailResponse]:
        position, left = request.from_index, request.limit or None
        while left is None or left > 0:
            # Cleared before the size is read: what is committed in between wakes again.
            woken.clear()
            size = self._log.head.size
            if position >= size:
                if not request.follow:
                    return
                await woken.wait()
                continue
            count = min(FRAME, size - position, left if left is not None else FRAME)
            found = await self._present(position, count)
            entries = pages.fitting(found.entries, lambda entry: len(entry[1]), most=count)
            whole = len(entries) == len(found.entries)
            following = found.next_index if whole else entries[-1][0] + 1
            if following <= position:
                raise StoreDamaged(f"entry {position}")
            yield audit_pb2.TailResponse(
                indexes=[index for index, _ in entries],
                leaves=[leaf for _, leaf in entries],
                checkpoint=self._log.checkpoint,
                next_index=following,
            )
            position = following
            left = None if left is None else left - len(entries)

    async def _present(self, first: int, count: int) -> Present:
        """Return entries from an index on, and from where to go on: beyond what was erased.

        What is sealed is read in a thread: opening a chunk takes milliseconds.
        """
        try:
            leaves = await self._read(first, count)
        except EntryErased:
            return await asyncio.to_thread(self._log.present, first, count)
        return Present(list(enumerate(leaves, first)), first + len(leaves))

    async def _read(self, first: int, count: int) -> Sequence[bytes]:
        if first < self._log.sealed_size:
            return await asyncio.to_thread(self._log.leaves, first, count)
        return self._log.leaves(first, count)

    @contextmanager
    def _tail(self) -> Iterator[asyncio.Event]:
        if len(self._tails) >= self._max_tails:
            raise TooMany("tails")
        woken = asyncio.Event()
        self._tails.add(woken)
        try:
            yield woken
        finally:
            self._tails.discard(woken)

    def _committed(self, first_index: int, leaves: Sequence[bytes]) -> None:
        for woken in self._tails:
            woken.set()


def _check_own(leaf: bytes, organisation: str) -> None:
    """Refuse an entry that is not of an exchange of that organisation, as if it were not there."""
    entry = audit_pb2.AuditEntry.FromString(leaf)
    parties = entry.exchange.consumer_organisation, entry.exchange.provider_organisation
    if not entry.HasField("exchange") or organisation not in parties:
        raise UnknownEntry("entry")
