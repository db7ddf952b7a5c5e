"""Which grants an organisation supervises; its stewards see them, though it is no party."""

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence

from exchange.grants import Grant


class Supervised:
    """Ids of grants by credit code of their supervisor, in the order of the ids."""

    def __init__(self) -> None:
        self._by: dict[str, list[bytes]] = {}

    def open(self, grants: Iterable[Grant]) -> None:
        """Look through all grants once; from then on `note` is told of each."""
        self._by.clear()
        for grant in grants:
            if grant.supervisor:
                self._by.setdefault(grant.supervisor, []).append(grant.grant_id)
        for ids in self._by.values():
            ids.sort()

    def note(self, grant: Grant) -> None:
        """Take note of a grant that is new or has changed."""
        if grant.supervisor:
            ids = self._by.setdefault(grant.supervisor, [])
            place = bisect_right(ids, grant.grant_id)
            if not place or ids[place - 1] != grant.grant_id:
                insort(ids, grant.grant_id)

    def page(self, organisation: str, after: bytes, limit: int) -> Sequence[bytes]:
        """Return at most `limit` ids that come after an id; from the first where that is empty."""
        ids = self._by.get(organisation, [])
        start = bisect_right(ids, after)
        return ids[start : start + limit]
