"""Keeps the region's state folded from the log: at the start from projection and log, then entry by entry.

Invariant: a state that is ready holds every change of the log below `applied_index`. The projection may
lag, never lead: once it could not be written it is left alone until the next start.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from exchange.errors import EntryErased, StoreDamaged
from exchange.v1 import audit_pb2
from gateway.audience import Audience
from gateway.audit.reading import Present
from gateway.state import DOMAINS, RegionState
from gateway.state_store import StateStore

SCAN = 512
SETTLE_AFTER = 20_000


class Head(Protocol):
    """How far the log goes."""

    @property
    def size(self) -> int:
        """Number of entries."""
        ...


class Place(Protocol):
    """Where an entry is."""

    @property
    def index(self) -> int:
        """Its index in the log."""
        ...


class Log(Protocol):
    """What is needed of the audit log."""

    @property
    def head(self) -> Head:
        """The newest checkpoint."""
        ...

    async def append(self, leaf: bytes) -> Place:
        """Return where a leaf is, once it is durable; raises what keeps it from it."""
        ...

    def leaves(self, first: int, count: int) -> list[bytes]:
        """Return at most `count` leaves from an index on; EntryErased where one was erased."""
        ...

    @property
    def sealed_size(self) -> int:
        """Entries below this index are in segments, or were."""
        ...

    def standing(self, first: int, count: int) -> Present:
        """Return at most `count` entries from an index on; of what is sealed only those that stay."""
        ...

    def subscribe(self, callback: Callable[[int, Sequence[bytes]], None]) -> object:
        """Call back with the first index and the leaves of each commit, also of one that was in doubt."""
        ...


class Fold:
    """Applies entries to the state and keeps the projection.

    Args:
        log: the audit log, open.
        state: empty; filled by `open`.
        store: the projection.
    """

    def __init__(self, *, log: Log, state: RegionState, store: StateStore) -> None:
        self._log = log
        self._state = state
        self._store = store
        self._settled = 0
        self.fault: StoreDamaged | None = None

    def open(self) -> None:
        """Fold the projection, then the log from there on.

        Raises:
            StoreDamaged: the log itself does not fold.
        """
        applied = self._store.open()
        if not self._same_log(applied):
            applied = self._store.reset()
        for index, leaf in self._store.events():
            self._state.apply(index, audit_pb2.AuditEntry.FromString(leaf))
        size = self._log.head.size
        self._settled = applied
        while applied < size:
            found = self._read(applied, min(SCAN, size - applied))
            self._project(list(self._scan(found.entries)), found.next_index)
            applied = found.next_index
            self._let_go()

    def close(self) -> None:
        """Note how far the log was folded and close the projection."""
        if self.fault is None:
            self._project((), self._log.head.size)
        self._store.close()

    def take_over(self, index: int, leaf: bytes, entry: audit_pb2.AuditEntry) -> Audience:
        """Apply an entry that is durable, and project it."""
        audience = self._state.apply(index, entry)
        self._project([(index, leaf)], index + 1)
        self._let_go()
        return audience

    def settle(self) -> None:
        """Note, now and then, that the log holds no change that was not folded.

        To be called only while no change is under way; a start then need not read the exchanges before.
        """
        size = self._log.head.size
        if size - self._settled >= SETTLE_AFTER:
            self._project((), size)

    def _same_log(self, applied: int) -> bool:
        """Compare the projection's last leaf with the log's: a restored or replaced log differs."""
        if applied > self._log.head.size:
            return False
        last = self._store.last()
        try:
            return last is None or list(self._log.leaves(last[0], 1)) == [last[1]]
        except EntryErased:
            # Of an act that goes with its segment: the log cannot say any more, so nothing is gone by.
            return False

    def _read(self, first: int, count: int) -> Present:
        """Read the next entries; of what is sealed or erased, those that stay: no others change the state."""
        if first < self._log.sealed_size:
            return self._log.standing(first, count)
        leaves = self._log.leaves(first, count)
        if len(leaves) != count:
            raise StoreDamaged(f"entries {first} to {first + count - 1}")
        return Present(list(enumerate(leaves, first)), first + count)

    def _scan(self, entries: Iterable[tuple[int, bytes]]) -> Iterable[tuple[int, bytes]]:
        for index, leaf in entries:
            entry = audit_pb2.AuditEntry.FromString(leaf)
            if entry.administrative.act in DOMAINS:
                self._state.apply(index, entry)
                yield index, leaf

    def _project(self, events: Iterable[tuple[int, bytes]], applied_index: int) -> None:
        if self.fault is not None:
            return
        try:
            self._store.add(events, applied_index)
        except StoreDamaged as error:
            # The log has everything; a gap in the projection would be worse than its end.
            self.fault = error
        self._settled = applied_index

    def _let_go(self) -> None:
        """Keep no leaf in the projection that makes nothing of the state any more.

        A crash before this keeps them: the next start folds them, and lets them go again.
        """
        gone = self._state.forgotten()
        if not gone or self.fault is not None:
            return
        try:
            self._store.forget(gone)
        except StoreDamaged as error:
            self.fault = error
