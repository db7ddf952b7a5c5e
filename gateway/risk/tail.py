"""Reads exchanges from the log as risk rules see them: to rebuild windows, and to try rules."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from google.protobuf.message import DecodeError

from exchange.resources import Resource
from exchange.v1 import audit_pb2
from gateway.audit.log.kept import kept_leaves
from gateway.fold import Head
from gateway.risk.observed import Observed, observe_entry

MAX_ENTRIES = 200_000
CHUNK = 256


class Log(Protocol):
    """What is needed of the audit log; also used from another thread."""

    @property
    def head(self) -> Head:
        """The newest checkpoint, opened."""
        ...

    def leaves(self, first: int, count: int) -> Sequence[bytes]:
        """Return at most `count` leaves from an index on; EntryErased where one of them is gone."""
        ...

    def beside(self, first: int, count: int) -> Mapping[int, bytes]:
        """Return what is kept beside entries, by index."""
        ...


def entries(log: Log, start: int, count: int) -> list[tuple[int, audit_pb2.AuditEntry]]:
    """Return the entries of a range that are there and can be read, with their indexes."""
    found = ((index, _entry(leaf)) for index, leaf in kept_leaves(log, start, count))
    return [(index, entry) for index, entry in found if entry is not None]


def observed(
    log: Log, start: int, count: int, resource: Callable[[str], Resource | None]
) -> Iterator[Observed]:
    """Yield what is seen of the exchanges of a range, the oldest first.

    Args:
        log: the audit log.
        start: index of the first entry.
        count: of entries.
        resource: finds the resource that an id resolves to.

    Raises:
        AuditUnavailable, StoreDamaged: the log cannot be read.
    """
    beside = log.beside(start, count)
    for index, entry in entries(log, start, count):
        if entry.WhichOneof("subject") == "exchange":
            seen = observe_entry(entry, beside.get(index, b""), resource)
            if seen is not None:
                yield seen


def first_since(log: Log, low: int, high: int, since_ms: int) -> int:
    """Return the first index of a range whose entry is not before a time; erased ones count as before."""
    while low < high:
        middle = (low + high) // 2
        found = entries(log, middle, 1)
        if not found or found[0][1].time_ms < since_ms:
            low = middle + 1
        else:
            high = middle
    return low


def _entry(leaf: bytes) -> audit_pb2.AuditEntry | None:
    try:
        return audit_pb2.AuditEntry.FromString(leaf)
    except DecodeError:
        return None
