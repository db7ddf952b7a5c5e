"""The region's grants by id, by consumer and resource, and by party; folded from the log.

A region may have a million of them, so each is held slim: what decisions are made by, and the indexes of the
entries that made it. Its record (body and events verbatim) is read from the log on demand: administrative
entries stay there for good. Whether a grant covers an exchange is `exchange.grants.check`, the same at the
gateway and at the provider.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from struct import Struct

from exchange.canonical import DIGEST_BYTES
from exchange.errors import UnknownGrant
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
    return _layout(len(history)).unpack(history)


@lru_cache(maxsize=512)
def _layout(length: int) -> Struct:
    events = (length - INDEX_BYTES) // STEP_BYTES
    return Struct(">Q" + f"Q{DIGEST_BYTES}x" * events)


class GrantIndex:
    """Every grant of the region; built by `add`, `update` and `restore`, read by everybody."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Grant] = {}
        # By consumer, made when first asked for: ids of the grants for a resource, one after the other.
        self._by_use: dict[str, dict[str, bytes]] = {}
        # Index of the application, then index and digest of the body of each event.
        self._history: dict[bytes, bytes] = {}
        self._all: array[int] = array("Q")
        self._ids: list[bytes] = []
        self._by_party: dict[str, array[int]] = {}

    @property
    def by_id(self) -> Mapping[bytes, Grant]:
        """The grants by id, 32 bytes."""
        return self._by_id

    def get(self, grant_id: bytes) -> Grant | None:
        """Return the grant of an id of 32 bytes as it stands now, None where there is none."""
        return self._by_id.get(grant_id)

    def one(self, grant_id: bytes) -> Grant:
        """Return the grant of an id.

        Raises:
            UnknownGrant.
        """
        found = self._by_id.get(grant_id)
        if found is None:
            raise UnknownGrant(grant_id[:8].hex())
        return found

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
                grant = self._by_id[self._ids[place]]
                if grant.consumer == consumer:
                    self._use(uses, grant)
        ids = uses.get(resource, b"")
        return [self._by_id[ids[at : at + DIGEST_BYTES]] for at in range(0, len(ids), DIGEST_BYTES)]

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
            yield Placed(self._all[place], self._by_id[self._ids[place]])

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
        history = self._history.get(grant_id)
        if history is None:
            return None
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
        found = self._history.get(grant_id)
        if found is None:
            raise UnknownGrant(grant_id[:8].hex())
        return found

    def add(self, index: int, grant: Grant) -> None:
        """Take over an application that was checked before it was logged at that index."""
        slim = grant if grant.record is None else replace(grant, record=None)
        self.restore(index, slim, index.to_bytes(INDEX_BYTES))

    def _places(self, party: str) -> "array[int]":
        places = self._by_party.get(party)
        if places is None:
            places = self._by_party[party] = array("I")
        return places

    @staticmethod
    def _use(uses: dict[str, bytes], grant: Grant) -> None:
        before = uses.get(grant.resource)
        uses[grant.resource] = grant.grant_id if before is None else before + grant.grant_id

    def update(self, index: int, grant: Grant, event: bytes) -> None:
        """Take over a grant after an event that was checked before it was logged at that index.

        Args:
            event: digest of its body, 32 bytes.
        """
        self._by_id[grant.grant_id] = grant
        self._history[grant.grant_id] += index.to_bytes(INDEX_BYTES) + event

    def restore(self, index: int, grant: Grant, history: bytes) -> None:
        """Take over a grant as it stands, with everything that was done to it (see `history`)."""
        key = grant.grant_id
        self._by_id[key], self._history[key] = grant, history
        uses = self._by_use.get(grant.consumer)
        if uses is not None:
            self._use(uses, grant)
        place = len(self._ids)
        self._all.append(index)
        self._ids.append(key)
        self._places(grant.consumer).append(place)
        if grant.provider != grant.consumer:
            self._places(grant.provider).append(place)

    def clear(self) -> None:
        """Forget every grant."""
        vars(self).update(vars(GrantIndex()))
