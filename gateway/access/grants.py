"""The region's grants by id, by consumer and resource, and by party; folded from the log.

A region may have a million of them, so each is held slim: what decisions are made by, and the indexes of the
entries that made it. Its record (body and events verbatim) is read from the log on demand: administrative
entries stay there for good. Of those that were there at the start, one about which nothing can wait stays
packed as the projection has it until it is first asked for. Whether a grant covers an exchange is
`exchange.grants.check`, the same at the gateway and at the provider.
"""

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from struct import Struct
from typing import Protocol

from exchange.canonical import DIGEST_BYTES
from exchange.errors import StoreDamaged, UnknownGrant
from exchange.grants import Grant
from exchange.v1 import audit_pb2, common_pb2, grant_pb2

INDEX_BYTES = 8
STEP_BYTES = INDEX_BYTES + DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class Placed:
    """A grant and the index of the log entry that applied for it."""

    index: int
    grant: Grant


def indexes_in(history: bytes) -> Sequence[int]:
    """Return the indexes in a grant's history: of its application, then of its events."""
    return layout(len(history)).unpack(history)


@lru_cache(maxsize=512)
def layout(length: int) -> Struct:
    """Return what reads the indexes in a history of so many bytes."""
    events = (length - INDEX_BYTES) // STEP_BYTES
    return Struct(">Q" + f"Q{DIGEST_BYTES}x" * events)


class Packed(Protocol):
    """Reads rows of grants (`gateway.grant_rows.Unpacker`)."""

    def heads(
        self, rows: Iterable[tuple[int, bytes]]
    ) -> Iterator[tuple[int, bytes, bytes, str, str, Sequence[int], bool]]:
        """Yield index, row, id, consumer, provider, indexes of the entries, and whether nothing can wait."""
        ...

    def use(self, row: bytes) -> tuple[str, str]:
        """Return consumer and resource."""
        ...

    def __call__(self, row: bytes) -> tuple[Grant, bytes]:
        """Return the grant and its history."""
        ...


class GrantIndex:
    """Every grant of the region; built by `add`, `update` and `restore`, read by everybody."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Grant] = {}
        self._packed: dict[bytes, bytes] = {}
        self._unpack: Packed | None = None
        # By consumer, made when first asked for: ids of the grants for a resource, one after the other.
        self._by_use: dict[str, dict[str, bytes]] = {}
        # Index of the application, then index and digest of the body of each event.
        self._history: dict[bytes, bytes] = {}
        self._all: array[int] = array("Q")
        self._ids: list[bytes] = []
        self._by_party: dict[str, array[int]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the ids, 32 bytes, in the order of application."""
        return iter(self._ids)

    def get(self, grant_id: bytes) -> Grant | None:
        """Return the grant of an id of 32 bytes as it stands now, None where there is none."""
        return self._by_id.get(grant_id) or self._opened(grant_id)

    def one(self, grant_id: bytes) -> Grant:
        """Return the grant of an id.

        Raises:
            UnknownGrant.
        """
        found = self.get(grant_id)
        if found is None:
            raise UnknownGrant(grant_id[:8].hex())
        return found

    def opened(self) -> Iterator[Grant]:
        """Yield the grants that are not packed: of those for which anything can wait, every one."""
        return iter(self._by_id.values())

    def _opened(self, grant_id: bytes) -> Grant | None:
        """Unpack a grant for good; None where none is packed."""
        row = self._packed.get(grant_id)
        if row is None:
            return None
        assert self._unpack is not None
        grant, history = self._unpack(row)
        self._by_id[grant_id], self._history[grant_id] = grant, history
        self._packed.pop(grant_id, None)
        return grant

    def find(self, consumer: str, resource: str) -> Sequence[Grant]:
        """Return the grants of a consumer for a resource, oldest first.

        Args:
            consumer: credit code.
            resource: the catalogue's id.
        """
        uses = self._by_use.get(consumer)
        if uses is None:
            if consumer not in self._by_party:
                return []
            uses = self._by_use[consumer] = {}
            for place in self._by_party[consumer]:
                grant_id = self._ids[place]
                user, used = self._use(grant_id)
                if user == consumer:
                    _note_use(uses, used, grant_id)
        ids = uses.get(resource, b"")
        return [self.one(ids[at : at + DIGEST_BYTES]) for at in range(0, len(ids), DIGEST_BYTES)]

    def _use(self, grant_id: bytes) -> tuple[str, str]:
        """Return consumer and resource of a grant, packed or not."""
        row = self._packed.get(grant_id)
        if row is None or self._unpack is None:
            grant = self._by_id[grant_id]
            return grant.consumer, grant.resource
        return self._unpack.use(row)

    def page(self, party: str | None, after: int, limit: int) -> Sequence[Placed]:
        """Return at most `limit` grants applied for after a log index, oldest first.

        Args:
            party: credit code of consumer or provider; None for all grants.
            after: index of the application after which to go on, -1 for the start.
            limit: how many at most.
        """
        if party is None:
            start = bisect_right(self._all, after)
            places: Sequence[int] = range(start, min(start + limit, len(self._all)))
        else:
            own = self._by_party.get(party, array("I"))
            start = bisect_right(own, after, key=self._all.__getitem__)
            places = own[start : start + limit]
        return list(self._placed(places))

    def _placed(self, places: Sequence[int]) -> Iterator[Placed]:
        for place in places:
            yield Placed(self._all[place], self.one(self._ids[place]))

    def record(self, grant_id: bytes, leaf: Callable[[int], bytes]) -> grant_pb2.GrantRecord:
        """Return a grant's body and events verbatim, read from the log.

        Args:
            leaf: returns the exact bytes of the entry at an index; one is read per body and event.

        Raises:
            UnknownGrant; whatever `leaf` raises.
        """
        grant = self.one(grant_id)

        def statement(index: int) -> common_pb2.Statement:
            return audit_pb2.AuditEntry.FromString(leaf(index)).administrative.statement

        applied, *events = self.indexes(grant_id)
        return grant_pb2.GrantRecord(
            grant_id=grant_id,
            grant=statement(applied),
            events=[statement(index) for index in events],
            state=grant_pb2.GrantState.ValueType(grant.state),
            revision=grant.revision,
        )

    def indexes(self, grant_id: bytes) -> list[int]:
        """Return the indexes of the entries that made a grant: its application, then its events.

        Raises:
            UnknownGrant.
        """
        return list(indexes_in(self.history(grant_id)))

    def index_of(self, grant_id: bytes, event: bytes = b"") -> int | None:
        """Return the index of a grant's application, or of an event of it; None where there is none.

        Args:
            event: digest of the event's body, 32 bytes.
        """
        if self.get(grant_id) is None:
            return None
        history = self._history[grant_id]
        if not event:
            return int.from_bytes(history[:INDEX_BYTES])
        for at in range(INDEX_BYTES, len(history), STEP_BYTES):
            if history[at + INDEX_BYTES : at + STEP_BYTES] == event:
                return int.from_bytes(history[at : at + INDEX_BYTES])
        return None

    def history(self, grant_id: bytes) -> bytes:
        """Return the entries that made a grant, packed: index, then index and body's digest of each event.

        Raises:
            UnknownGrant.
        """
        self.one(grant_id)
        return self._history[grant_id]

    def add(self, index: int, grant: Grant) -> None:
        """Take over an application that was checked before it was logged at that index."""
        slim = grant if grant.record is None else replace(grant, record=None)
        key = slim.grant_id
        self._by_id[key], self._history[key] = slim, index.to_bytes(INDEX_BYTES)
        uses = self._by_use.get(slim.consumer)
        if uses is not None:
            _note_use(uses, slim.resource, key)
        self._place(index, key, slim.consumer, slim.provider)

    def update(self, index: int, grant: Grant, event: bytes) -> None:
        """Take over a grant after an event that was checked before it was logged at that index.

        Args:
            event: digest of its body, 32 bytes.

        Raises:
            UnknownGrant.
        """
        history = self.history(grant.grant_id)
        self._by_id[grant.grant_id] = grant
        self._history[grant.grant_id] = history + index.to_bytes(INDEX_BYTES) + event

    def restore(self, rows: Iterable[tuple[int, bytes]], unpack: Packed) -> "dict[str, array[int]]":
        """Take over grants as they stood in the projection; there are none yet.

        Args:
            rows: index of the application and row, in order of index.
            unpack: reads them, now and later.

        Returns:
            By party, the indexes of the entries of its grants, in the order of the grants.

        Raises:
            StoreDamaged: something is no row; there are no grants then.
        """
        told: defaultdict[str, array[int]] = defaultdict(partial(array, "Q"))
        parties: defaultdict[str, array[int]] = defaultdict(partial(array, "I"))
        self._unpack, self._by_party, packed, by_id = unpack, parties, self._packed, self._by_id
        applied, ids = self._all.append, self._ids.append
        try:
            heads = enumerate(unpack.heads(rows))
            for place, (index, row, key, consumer, provider, indexes, rests) in heads:
                if rests:
                    packed[key] = row
                else:
                    by_id[key], self._history[key] = unpack(row)
                applied(index)
                ids(key)
                parties[consumer].append(place)
                told[consumer].extend(indexes)
                if provider != consumer:
                    parties[provider].append(place)
                    told[provider].extend(indexes)
        except StoreDamaged:
            self.clear()
            raise
        self._by_party = dict(parties)
        return dict(told)

    def _place(self, index: int, grant_id: bytes, consumer: str, provider: str) -> None:
        place = len(self._ids)
        self._all.append(index)
        self._ids.append(grant_id)
        self._places(consumer).append(place)
        if provider != consumer:
            self._places(provider).append(place)

    def _places(self, party: str) -> "array[int]":
        places = self._by_party.get(party)
        if places is None:
            places = self._by_party[party] = array("I")
        return places

    def clear(self) -> None:
        """Forget every grant."""
        vars(self).update(vars(GrantIndex()))


def _note_use(uses: dict[str, bytes], resource: str, grant_id: bytes) -> None:
    uses[resource] = uses.get(resource, b"") + grant_id
