"""The log as the region's state follows it: what is durable is folded, told, and read again later.

1. Nothing is folded that is not durable; what is durable is folded, also where its append failed in doubt.
2. Subscribers hear of a change after it was folded, in the order of the log.
3. Of what was told an organisation reads again only what it is told of (`gateway.audience`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exchange.errors import AuditUnavailable, EntryErased, ExchangeError, StoreDamaged
from exchange.v1 import audit_pb2, common_pb2, directory_pb2
from gateway.audience import Audience
from gateway.fold import Fold, Log
from gateway.state import RegionState
from gateway.state_store import StateStore

MAX_EVENT_BYTES = 2 * 1024 * 1024

Subscriber = Callable[[int, bytes, audit_pb2.AuditEntry], None]
"""Called with index, leaf and entry of a change."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events of one organisation: where to go on, and whether there is more now."""

    events: Sequence[directory_pb2.Event]
    next: int
    more: bool


class FoldedLog:
    """The log and the state that is folded from it.

    Args:
        log: the audit log, open.
        state: empty; filled when the fold is opened.
        store: the projection.
    """

    def __init__(self, *, log: Log, state: RegionState, store: StateStore) -> None:
        self._log = log
        self._state = state
        self._fold = Fold(log=log, state=state, store=store)
        self._subscribers: list[Subscriber] = []
        # Appends that are under way, or failed in doubt: an entry may be durable although nobody was told.
        self._doubtful: dict[bytes, audit_pb2.AuditEntry] = {}
        log.subscribe(self._committed)
        self._told: tuple[audit_pb2.AuditEntry, Audience] | None = None

    @property
    def fault(self) -> StoreDamaged | None:
        """Why the projection is no longer written; the gateway works on, its next start takes longer."""
        return self._fold.fault

    @property
    def next_index(self) -> int:
        """The index from which on a change is still to come: every event below it was folded and told."""
        return self._state.applied_index

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call back with index, leaf and entry of every change, in order, after it was folded.

        Returns:
            A function that ends the subscription.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def visible(self, entry: audit_pb2.AuditEntry, organisation: str) -> bool:
        """Return whether an organisation is told of an entry that was folded.

        Asked for one entry by every link in turn, so the answer for the last entry is kept.
        """
        if self._told is None or self._told[0] is not entry:
            self._told = entry, self._state.audience(entry)
        return self._told[1].admits(organisation)

    def leaf(self, index: int) -> bytes:
        """Return the exact bytes of one entry.

        Raises:
            StoreDamaged: the log has a gap there.
        """
        leaves = self._log.leaves(index, 1)
        if not leaves:
            raise StoreDamaged(f"entry {index}")
        return leaves[0]

    def statement(self, index: int) -> common_pb2.Statement:
        """Return what was signed, of the administrative entry at an index. Raises as `leaf`."""
        return audit_pb2.AuditEntry.FromString(self.leaf(index)).administrative.statement

    def events(self, since: int, limit: int, organisation: str) -> EventPage:
        """Return the events that an organisation may see, from an index on.

        Args:
            since: the first index wanted.
            limit: at most this many; fewer where they are large (2 MiB).
            organisation: credit code.
        """
        indexes = self._state.event_indexes(organisation, since, limit + 1)
        events: list[directory_pb2.Event] = []
        size, following = 0, since
        for index in indexes[:limit]:
            try:
                leaf = self.leaf(index)
            except EntryErased:
                # Of a case that outlives the term of entries: who was not told of it in time refuses it.
                leaf = b""
            size += len(leaf)
            if events and size > MAX_EVENT_BYTES:
                break
            following = index + 1
            if leaf:
                events.append(directory_pb2.Event(index=index, leaf=leaf))
        if indexes and following <= indexes[-1]:
            return EventPage(events, following, True)
        return EventPage(events, max(since, self._state.applied_index), False)

    def _check_settled(self) -> None:
        """Refuse while an entry before is in doubt; to be called while no append is under way.

        Raises:
            AuditUnavailable: it may still turn out durable, and be folded while somebody waits.
        """
        if self._doubtful and self._log.fault is not None:
            raise AuditUnavailable("audit log")
        # The log was read back: what was durable is folded.
        self._doubtful.clear()

    async def _append(self, entry: audit_pb2.AuditEntry) -> int:
        """Return the index of a change once it is durable and folded; to be called for one at a time."""
        leaf = entry.SerializeToString()
        self._doubtful[leaf] = entry
        try:
            index = (await self._log.append(leaf)).index
        except AuditUnavailable:
            # Whether it is durable shows when the log is read back: `_committed` folds it then.
            raise
        except ExchangeError:
            del self._doubtful[leaf]
            raise
        # A crash here: the entry is durable, the next start folds it.
        self._take_over(index, leaf)
        # The log was read back before it took this entry: what is in doubt still is not in it.
        self._doubtful.clear()
        return index

    def _committed(self, first: int, leaves: Sequence[bytes]) -> None:
        """Fold an entry whose append failed in doubt and that turned out durable after all."""
        if not self._doubtful:
            return
        for index, leaf in enumerate(leaves, first):
            if leaf in self._doubtful:
                self._take_over(index, leaf)

    def _take_over(self, index: int, leaf: bytes) -> None:
        entry = self._doubtful.pop(leaf, None)
        if entry is None:
            return
        self._fold.take_over(index, leaf, entry)
        for callback in tuple(self._subscribers):
            callback(index, leaf, entry)
