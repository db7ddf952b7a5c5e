"""The region's grants by id, by consumer and resource, and by party; folded from the log.

Whether a grant covers an exchange is `exchange.grants.check`, the same at the gateway and at the provider.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from exchange.errors import UnknownGrant
from exchange.grants import Grant


@dataclass(frozen=True, slots=True)
class Placed:
    """A grant and the index of the log entry that applied for it."""

    index: int
    grant: Grant


class GrantIndex:
    """Every grant of the region; built by `add` and `update`, read by everybody."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Grant] = {}
        self._by_use: dict[tuple[str, str], tuple[bytes, ...]] = {}
        self._by_index: dict[int, bytes] = {}
        self._all: array[int] = array("Q")
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
        return [self._by_id[key] for key in self._by_use.get((consumer, resource), ())]

    def page(self, party: str | None, after: int, limit: int) -> Sequence[Placed]:
        """Return at most `limit` grants applied for after a log index, oldest first.

        Args:
            party: credit code of consumer or provider; None for all grants.
            after: index of the application after which to go on, -1 for the start.
            limit: how many at most.
        """
        indexes = self._all if party is None else self._by_party.get(party, array("Q"))
        start = bisect_right(indexes, after)
        return list(self._placed(indexes[start : start + limit]))

    def _placed(self, indexes: Sequence[int]) -> Iterator[Placed]:
        for index in indexes:
            yield Placed(index, self._by_id[self._by_index[index]])

    def add(self, index: int, grant: Grant) -> None:
        """Take over an application that was checked before it was logged at that index."""
        self._by_id[grant.grant_id] = grant
        self._by_index[index] = grant.grant_id
        use = grant.consumer, grant.resource
        self._by_use[use] = (*self._by_use.get(use, ()), grant.grant_id)
        self._all.append(index)
        for party in {grant.consumer, grant.provider}:
            self._by_party.setdefault(party, array("Q")).append(index)

    def update(self, grant: Grant) -> None:
        """Take over a grant after an event that was checked before it was logged."""
        self._by_id[grant.grant_id] = grant
