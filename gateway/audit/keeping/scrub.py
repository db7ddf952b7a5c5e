"""Reads the log again and hashes it again, for as long as the gateway runs: what changed on disk is found
by the gateway itself, not by the auditor a year later.

A block is what one hash tile covers, 256 entries:
1. each entry hashes to what the tile says; the newest block, which has no tile yet, to what the tree says;
2. the tags beside an entry are those whose root it holds: a subject's trace loses nothing in silence;
3. the tile leads to the node above it;
4. after the last block, the tree of all nodes has the root of the signed head.
What does not fit condemns the log: it refuses to sign until people have looked. Entries that were erased at
the end of their term are stood in for by their hashes.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError

from exchange import merkle
from exchange.checkpoint import Checkpoint
from exchange.errors import AuditUnavailable, ExchangeError, StoreDamaged
from exchange.merkle import leaf_hash
from exchange.tlog_tiles import TILE_BITS, TILE_HASHES, pyramid_of
from exchange.v1 import audit_pb2
from gateway.audit.log.reader import Present
from gateway.subject_tags import check_list

PAUSE_S = 1.0

_log = structlog.get_logger("gateway.audit.scrub")


class Log(Protocol):
    """What is needed of the audit log."""

    @property
    def head(self) -> Checkpoint:
        """The newest durable head."""
        ...

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree of what is durable, 32 bytes."""
        ...

    def present(self, first: int, count: int) -> Present:
        """Return at most `count` entries that are there from an index on; may be called from any thread."""
        ...

    def beside(self, first: int, count: int) -> dict[int, bytes]:
        """Return what is kept beside entries from an index on, by index; may be called from any thread."""
        ...

    def refuse_to_sign(self, error: ExchangeError) -> None:
        """Refuse to sign from now on."""
        ...


class Scrub:
    """Goes round the log.

    Args:
        log: open.
        entries_per_s: how many entries are read each second; 0 for none.

    Attributes:
        position: index of the next entry to be read.
        passes: how often the whole log was found to be whole.
        damaged: whether it was found not to be.
    """

    def __init__(self, *, log: Log, entries_per_s: int) -> None:
        self._log = log
        self._entries_per_s = entries_per_s
        self.position = 0
        self.passes = 0
        self.damaged = False

    async def run(self) -> None:
        """Go round until cancelled, or until the log is found to be damaged; then only wait."""
        while self._entries_per_s and not self.damaged:
            try:
                read = await self.step()
            except AuditUnavailable as error:
                # The log says so itself and is tried again; what cannot be read now is read later.
                _log.warning("scrub_waits", subject=error.subject)
                read = 0
            except ExchangeError as error:
                _log.critical("scrub_found_damage", reason=error.name, subject=error.subject)
                self._log.refuse_to_sign(error)
                self.damaged = True
                break
            # A pace, not a wait for anything.
            await asyncio.sleep(read / self._entries_per_s if read else PAUSE_S)
        await asyncio.Event().wait()

    async def step(self) -> int:
        """Check the next block; return how many entries were read, 0 at the end of a pass.

        Raises:
            StoreDamaged: an entry, tile or node is not what the signed head covers.
            AuditUnavailable: it cannot be read now.
        """
        head, first = self._log.head, self.position
        count = min(TILE_HASHES, head.size - first)
        if count <= 0:
            self._end_pass(head)
            return 0
        hashes = await asyncio.to_thread(self._read, first, count)
        self._compare(first, count, hashes)
        self.position = first + count
        return count

    def _read(self, first: int, count: int) -> dict[int, bytes]:
        there = [one for one in self._log.present(first, count).entries if one[0] < first + count]
        self._check_tags(there)
        return {index: leaf_hash(leaf) for index, leaf in there}

    def _check_tags(self, there: Sequence[tuple[int, bytes]]) -> None:
        parsed = []
        for index, leaf in there:
            try:
                parsed.append((index, audit_pb2.AuditEntry.FromString(leaf).exchange))
            except DecodeError:
                continue  # Its hash says what there is to say.
        tagged = [one for one in parsed if one[1].tag_count]
        if not tagged:
            return
        first, last = tagged[0][0], tagged[-1][0]
        beside = self._log.beside(first, last - first + 1)
        for index, entry in tagged:
            try:
                check_list(entry, beside.get(index, b""))
            except StoreDamaged:
                raise StoreDamaged(f"tags beside entry {index}") from None

    def _compare(self, first: int, count: int, hashes: Mapping[int, bytes]) -> None:
        node = self._log.node
        stated = [node(0, index) for index in range(first, first + count)]
        for index, mine in hashes.items():
            if mine != stated[index - first]:
                raise StoreDamaged(f"entry {index} is not what was signed")
        if count == TILE_HASHES:
            left, right = pyramid_of(stated)[TILE_BITS - 1]
            if merkle.node_hash(left, right) != node(TILE_BITS, first >> TILE_BITS):
                raise StoreDamaged(f"tile 0/{first >> TILE_BITS} is not what was signed")

    def _end_pass(self, head: Checkpoint) -> None:
        if merkle.root_at(head.size, self._log.node) != head.root:
            raise StoreDamaged("the tree does not lead to the signed head")
        self.position = 0
        self.passes += 1
