"""Audit logs for tests: entries, a store in memory whose writes fail on demand, and what goes with it."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from nacl.signing import SigningKey

from exchange.checkpoint import LogSigner, open_checkpoint
from exchange.errors import AuditUnavailable, ExchangeError
from exchange.merkle import leaf_hash, root_from_path
from exchange.segment import Item
from exchange.v1 import audit_pb2
from gateway.audit.log.logged import Logged
from gateway.audit.writing.folder import sequencer_in
from gateway.audit.writing.sequencer import Sequencer
from gateway.storage.ports import Gap, Group, QuotaKey, Segment, StoredHead, Used
from gateway.storage.segment_table import SegmentBook
from gateway.storage.segments import SegmentFiles

ORIGIN = "970100.yunchuan.example/gateway-1"
SIGNER = LogSigner(origin=ORIGIN, key=SigningKey(bytes(range(32))))
OTHER_SIGNER = LogSigner(origin=ORIGIN, key=SigningKey(bytes(32)))
KEYS = {ORIGIN: (SIGNER.public_key,)}


def entry(
    number: int,
    *,
    decision: audit_pb2.Decision.ValueType = audit_pb2.DECISION_RELEASED,
    size: int = 0,
) -> bytes:
    """Return the leaf of an exchange's entry; `size` pads it."""
    made = audit_pb2.AuditEntry(salt=number.to_bytes(16, "big"), version=1, gateway=ORIGIN, time_ms=number)
    made.exchange.exchange_id = number.to_bytes(16, "big")
    made.exchange.decision = decision
    made.exchange.operator = "x" * size
    return made.SerializeToString()


class MemoryAuditStore:
    """A store in memory.

    Attributes:
        commit_fault: "lost" fails without persisting, "kept" persists and fails; "" works.
        note_fault: the same of `note` and `clear`; reset once it has happened.
        stage_fault, open_fault, probe_fault: whether these fail.
        gate: commits wait until it is set.
        commits: sizes of the groups committed.
    """

    def __init__(self, *, files: SegmentFiles | None = None) -> None:
        self.entries: list[bytes] = []
        self.removed: set[int] = set()
        self.note_fault = ""
        self._book = SegmentBook(files=files)
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.kept_beside: dict[int, bytes] = {}
        self.quotas: Counter[QuotaKey] = Counter()
        self.head: StoredHead | None = None
        self.commit_fault = ""
        self.stage_fault = False
        self.open_fault = False
        self.probe_fault = False
        self.probes = 0
        self.free = 1 << 40
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()
        self.commits: list[int] = []
        self._staged: Group | None = None
        self._usable = False

    def open(self) -> StoredHead | None:
        self._usable, self._staged = False, None
        if self.open_fault:
            raise AuditUnavailable("the disk is away")
        self._usable = True
        return self.head

    def stage(self, group: Group) -> None:
        assert self._usable, "a store is reopened after it failed"
        assert self._staged is None, "one group at a time"
        if self.stage_fault:
            self._usable = False
            raise AuditUnavailable("nothing staged")
        assert group.first == len(self.entries), "groups follow each other"
        self._staged = group

    def commit(self) -> None:
        group, self._staged = self._staged, None
        assert group is not None and self._usable
        self.reached.set()
        assert self.gate.wait(30)
        if self.commit_fault:
            self._usable = False
        if self.commit_fault != "lost":
            self.entries += group.leaves
            self.tiles |= {(tile.level, tile.n): tile.hashes for tile in group.tiles}
            self.kept_beside |= group.beside
            self.quotas.update(group.quotas)
            self.head = group.head
            self.commits.append(len(group.leaves))
        if self.commit_fault:
            raise AuditUnavailable("in doubt")

    def probe(self) -> StoredHead | None:
        assert self._usable and self._staged is None
        self.probes += 1
        assert self.gate.wait(30)
        if self.probe_fault:
            raise AuditUnavailable("nothing can be written")
        return self.head

    def leaves(self, first: int, count: int) -> list[bytes]:
        rows = self.rows(first, first + count, count)
        return self._book.weave(dict(rows), first, count) if self.removed else [leaf for _, leaf in rows]

    def rows(self, first: int, end: int, most: int) -> list[tuple[int, bytes]]:
        found = enumerate(self.entries[first:end], first)
        return [(index, leaf) for index, leaf in found if index not in self.removed][:most]

    def segments(self) -> Sequence[Segment]:
        return self._book.segments

    def gaps(self) -> Sequence[Gap]:
        return self._book.gaps

    def items(self, first: int, count: int) -> list[Item]:
        return [Item(leaf) for leaf in self.leaves(first, count)]

    def note(self, segment: Segment) -> None:
        self._change(lambda: self._book.put(segment))

    def clear(self, segment: Segment, end: int, kept: Collection[int]) -> None:
        def change() -> None:
            self.removed |= set(range(segment.cleared, end)) - set(kept)
            self._book.put(replace(segment, cleared=end))

        self._change(change)

    def _change(self, change: Callable[[], None]) -> None:
        assert self._usable and self._staged is None, "only between groups"
        fault, self.note_fault = self.note_fault, ""
        if fault != "lost":
            change()
        if fault:
            self._usable = False
            raise AuditUnavailable("in doubt")

    def beside(self, first: int, count: int) -> dict[int, bytes]:
        return {index: extra for index, extra in self.kept_beside.items() if first <= index < first + count}

    def used(self, key: QuotaKey) -> Used:
        return Used(self.quotas[key], len(self.entries))

    def tile(self, level: int, n: int) -> bytes | None:
        return self.tiles.get((level, n))

    def free_bytes(self) -> int:
        return self.free

    def close(self) -> None:
        self._usable = False


class MemoryHighWater:
    """A high-water copy in memory; `fault` makes writes fail."""

    def __init__(self) -> None:
        self.notes: list[str] | None = None
        self.fault = False

    def read(self) -> list[str] | None:
        return self.notes

    def write(self, note: str) -> None:
        if self.fault:
            raise AuditUnavailable("high-water")
        self.notes = [note]

    def close(self) -> None:
        """Nothing is open."""


def memory_sequencer(
    store: MemoryAuditStore,
    high_water: MemoryHighWater,
    *,
    max_queue: int = 16_384,
    min_free_bytes: int = 1 << 20,
) -> Sequencer:
    """Return a sequencer over the fakes that tries again at once."""
    return Sequencer(
        store=store,
        high_water=high_water,
        signer=SIGNER,
        max_queue=max_queue,
        min_free_bytes=min_free_bytes,
        retry_s=0.0,
    )


class Outcome:
    """Takes what `done` is called with, and waits for it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Sequence[Logged] | ExchangeError] = loop.create_future()

    def __call__(self, outcome: Sequence[Logged] | ExchangeError) -> None:
        assert not self._future.done(), "done is called once"
        self._future.set_result(outcome)

    @property
    def settled(self) -> bool:
        return self._future.done()

    async def places(self) -> Sequence[Logged]:
        outcome = await self._future
        assert not isinstance(outcome, ExchangeError), outcome
        return outcome

    async def error(self) -> ExchangeError:
        outcome = await self._future
        assert isinstance(outcome, ExchangeError), outcome
        return outcome


def submit(log: Sequencer, leaves: Sequence[bytes]) -> Outcome:
    """Submit leaves and return what takes the outcome."""
    outcome = Outcome()
    log.submit(leaves, outcome)
    return outcome


def verify_place(leaf: bytes, logged: Logged) -> None:
    """Check a place against its checkpoint."""
    head = open_checkpoint(logged.checkpoint, origin=ORIGIN, log_keys=[SIGNER.public_key])
    assert root_from_path(logged.index, head.size, leaf_hash(leaf), logged.proof) == head.root


async def write_log(folder: Path, count: int, *, first: int = 0, group: int = 100) -> str:
    """Append entries to a folder's log and return the newest checkpoint."""
    log = sequencer_in(folder, signer=SIGNER)
    await log.open()
    for start in range(first, first + count, group):
        numbers = range(start, min(start + group, first + count))
        await submit(log, [entry(number) for number in numbers]).places()
    note = log.checkpoint
    await log.close()
    return note
