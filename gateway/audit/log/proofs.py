"""Entries with proofs that all lead to one head, a bounded number at a time.

The head is chosen once, before the first proof: nodes of complete subtrees never change, so the log may grow
while the proofs are made. Between some of them the event loop gets its turn; entries are read in a thread,
because each may be in another sealed chunk that is opened for it alone.
"""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Protocol

from exchange.errors import Malformed, UnknownEntry
from exchange.merkle import inclusion_proof
from exchange.v1 import audit_pb2
from gateway import pages
from gateway.fold import Head

MAX_INDEXES = 256
TURN = 32


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

    def leaves(self, first: int, count: int) -> Sequence[bytes]:
        """Return at most `count` leaves from an index on; called in another thread."""
        ...

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree, 32 bytes."""
        ...


def check(request: audit_pb2.GetProofsRequest, head_size: int) -> str:
    """Check what is asked for before anything is read.

    Returns:
        What the log says is read.

    Raises:
        Malformed: none or more than 256 indexes, or not ascending.
        UnknownEntry: the log is not so large.
    """
    indexes = request.indexes
    if not 1 <= len(indexes) <= MAX_INDEXES:
        raise Malformed("indexes: 1 to 256")
    if any(later <= earlier for earlier, later in itertools.pairwise(indexes)):
        raise Malformed("indexes: ascending")
    if request.size > head_size:
        raise UnknownEntry("size")
    if indexes[-1] >= (request.size or head_size):
        raise UnknownEntry("indexes")
    return f"GetProofs {indexes[0]} to {indexes[-1]}, {len(indexes)}"


async def answer(request: audit_pb2.GetProofsRequest, log: Log) -> audit_pb2.GetProofsResponse:
    """Return the entries of a request that was checked; the last ones are left out where they are large.

    Args:
        request: see `check`.
        log: the audit log.

    Raises:
        EntryErased, StoreDamaged, AuditUnavailable: an entry or node cannot be read.
    """
    size, checkpoint = request.size, ""
    if not size:
        size, checkpoint = log.head.size, log.checkpoint
    leaves = await asyncio.to_thread(_fitting, list(request.indexes), log)
    receipts = []
    for place, (index, leaf) in enumerate(zip(request.indexes, leaves, strict=False)):
        if place and not place % TURN:
            await asyncio.sleep(0)
        receipts.append(
            audit_pb2.Receipt(leaf=leaf, index=index, proof=inclusion_proof(index, size, log.node))
        )
    return audit_pb2.GetProofsResponse(receipts=receipts, size=size, checkpoint=checkpoint)


def _fitting(indexes: Sequence[int], log: Log) -> list[bytes]:
    return pages.fitting(_read(indexes, log), len, most=MAX_INDEXES)


def _read(indexes: Sequence[int], log: Log) -> Iterator[bytes]:
    """Yield the leaves of ascending indexes, a run of neighbours with one reading."""
    at = 0
    while at < len(indexes):
        end = at + 1
        while end < len(indexes) and indexes[end] == indexes[end - 1] + 1:
            end += 1
        yield from log.leaves(indexes[at], end - at)
        at = end
