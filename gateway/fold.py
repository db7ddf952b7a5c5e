"""Keeps the region's state folded from the log: at the start from projection and log, then entry by entry.

A state that is ready holds every change of the log below `applied_index`. The projection (`state.db`) has
each grant as it stands, and the leaves of every other change that still counts; what it has seen is not read
again. It may lag, never lead: once it could not be written it is left alone until the next start.
"""

import gc
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from exchange.canonical import GRANT, digest
from exchange.errors import EntryErased, ExchangeError, StoreDamaged
from exchange.v1 import audit_pb2
from gateway.access.grants import INDEX_BYTES
from gateway.audience import Audience
from gateway.audit.log.reader import Present
from gateway.grant_rows import terms_of
from gateway.grant_table import Granted
from gateway.state import DOMAINS, RegionState, grant_named
from gateway.state_store import StateStore

SCAN = 512
MANY = 100_000
"""Grants from which on the garbage collector is told that they stay."""
SETTLE_AFTER = 20_000
"""Entries after which it is noted that the log was folded so far."""
_OF_GRANTS = (audit_pb2.ACT_GRANT, audit_pb2.ACT_GRANT_EVENT)

Applied = tuple[int, bytes, audit_pb2.AdministrativeEntry]
"""Index, leaf and act of an entry that changed the state."""


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

    @property
    def fault(self) -> ExchangeError | None:
        """Why nothing can be appended; not None until what is in doubt was read back."""
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
        with _quiet():
            applied = self._restore()
            size = self._log.head.size
            self._settled = applied
            while applied < size:
                found = self._read(applied, min(SCAN, size - applied))
                self._project(self._scan(found.entries), found.next_index)
                applied = found.next_index
            if len(self._state.grants) >= MANY:
                gc.freeze()

    def _restore(self) -> int:
        """Put back what the projection holds; return up to where the log was read for it."""
        applied = self._store.open()
        if not self._same_log(applied):
            applied = self._store.reset()
        try:
            self._state.restore(*self._store.grants())
        except StoreDamaged:
            applied = self._store.reset()
        for index, leaf in self._store.events():
            self._state.apply(index, audit_pb2.AuditEntry.FromString(leaf), again=True)
        self._state.put_in_order()
        last = self._store.last()
        if last is not None:
            self._state.applied_index = last[0] + 1
        return applied

    def close(self) -> None:
        """Note how far the log was folded and close the projection."""
        if self.fault is None:
            self._project((), self._log.head.size)
        self._store.close()

    def take_over(self, index: int, leaf: bytes, entry: audit_pb2.AuditEntry) -> Audience:
        """Apply an entry that is durable, and project it."""
        audience = self._state.apply(index, entry)
        self._project([(index, leaf, entry.administrative)], index + 1)
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
            return last is None or [_digest(leaf) for leaf in self._log.leaves(last[0], 1)] == [last[1]]
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

    def _scan(self, entries: Iterable[tuple[int, bytes]]) -> Sequence[Applied]:
        found: list[Applied] = []
        for index, leaf in entries:
            entry = audit_pb2.AuditEntry.FromString(leaf)
            if entry.administrative.act in DOMAINS:
                self._state.apply(index, entry)
                found.append((index, leaf, entry.administrative))
        return found

    def _project(self, applied: Sequence[Applied], applied_index: int) -> None:
        """Keep what was applied; of grants how they stand now, however many entries there were of one."""
        if self.fault is not None:
            return
        events = [(index, leaf) for index, leaf, act in applied if act.act not in _OF_GRANTS]
        granted = dict[bytes, bytes | None]()
        for _, _, act in applied:
            if act.act == audit_pb2.ACT_GRANT:
                granted[digest(GRANT, act.statement.body)] = terms_of(act.statement.body)
            elif act.act == audit_pb2.ACT_GRANT_EVENT:
                granted.setdefault(grant_named(act.statement.body), None)
        last = applied[-1][:2] if applied else None
        try:
            self._store.add(events, applied_index, grants=self._granted(granted), last=last)
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

    def _granted(self, granted: Mapping[bytes, bytes | None]) -> Iterator[Granted]:
        grants = self._state.grants
        for grant_id, terms in granted.items():
            history = grants.history(grant_id)
            index = int.from_bytes(history[:INDEX_BYTES])
            yield Granted(index, grants.one(grant_id), history, terms)


def _digest(leaf: bytes) -> bytes:
    return hashlib.sha256(leaf).digest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the garbage collector out while a million objects are made that stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
