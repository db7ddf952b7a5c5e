"""Reads from a gateway's log what goes into a bundle of evidence."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import grpc

from exchange.errors import UnknownEntry
from exchange.v1 import audit_pb2, audit_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, calling
from shuqiao.following import frames

MAX_INDEXES = 256
READ_TIMEOUT_S = 3600.0


class Entry(NamedTuple):
    """An entry as it lies in the log, and its index."""

    at: int
    leaf: bytes


class Source(Protocol):
    """Where entries and proofs come from; GatewaySource is one."""

    def checkpoints(self) -> tuple[str, str]:
        """Return the newest checkpoint, and the newest witnessed one or ""."""
        ...

    def entries(self, wanted: audit_pb2.EntryFilter, *, first: int, end: int) -> Iterator[Entry]:
        """Yield the entries of a range that fit a filter."""
        ...

    def entry(self, exchange_id: bytes) -> Entry:
        """Return the entry of an exchange."""
        ...

    def paths(self, indexes: Sequence[int], size: int) -> dict[int, bytes]:
        """Return inclusion proofs by index."""
        ...

    def consistency(self, old_size: int, new_size: int) -> bytes:
        """Return a consistency proof."""
        ...


class GatewaySource:
    """A gateway's log over an open channel, as an auditor or officer.

    Args:
        channel: to the gateway.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._stub = audit_pb2_grpc.AuditServiceStub(channel)

    def checkpoints(self) -> tuple[str, str]:
        """Return the newest checkpoint, and the newest that a quorum of witnesses cosigned ("" for none)."""
        with calling():
            told = self._stub.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=CALL_TIMEOUT_S)
        return told.checkpoint, told.witnessed

    def entries(self, wanted: audit_pb2.EntryFilter, *, first: int, end: int) -> Iterator[Entry]:
        """Yield the entries of a range that fit a filter, in order."""
        request = audit_pb2.TailRequest(from_index=first, filter=wanted)
        for frame in frames(self._channel, request, timeout_s=READ_TIMEOUT_S):
            for index, leaf in frame.entries:
                if index >= end:
                    return
                yield Entry(index, leaf)
            if frame.next_index >= end:
                return

    def entry(self, exchange_id: bytes) -> Entry:
        """Return the entry of an exchange by its id of 16 bytes.

        Raises:
            UnknownEntry: there is none.
        """
        with calling():
            request = audit_pb2.GetEntryRequest(exchange_id=exchange_id)
            found = self._stub.GetEntry(request, timeout=CALL_TIMEOUT_S).receipt
        return Entry(found.index, found.leaf)

    def paths(self, indexes: Sequence[int], size: int) -> dict[int, bytes]:
        """Return inclusion proofs of entries, ascending, in the head of a size, by index."""
        found: dict[int, bytes] = {}
        left = list(indexes)
        while left:
            request = audit_pb2.GetProofsRequest(indexes=left[:MAX_INDEXES], size=size)
            with calling():
                answer = self._stub.GetProofs(request, timeout=CALL_TIMEOUT_S)
            got = {receipt.index: receipt.proof for receipt in answer.receipts}
            if not got or not got.keys() <= set(left):
                raise UnknownEntry(str(left[0]))
            found |= got
            left = [index for index in left if index not in got]
        return found

    def consistency(self, old_size: int, new_size: int) -> bytes:
        """Return the proof that the head of a size extends that of another."""
        with calling():
            request = audit_pb2.GetConsistencyRequest(old_size=old_size, new_size=new_size)
            return self._stub.GetConsistency(request, timeout=CALL_TIMEOUT_S).proof
