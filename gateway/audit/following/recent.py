"""The newest entries, kept while somebody follows the log: each is parsed once, for all who follow.

Bounded in number and bytes; who is further behind reads the log instead.
"""

from collections.abc import Sequence

from gateway.audit.entries.filters import Facts, Filter, facts_of
from gateway.audit.following.takings import Takings

MAX_ENTRIES = 4096
MAX_BYTES = 8 * 1024 * 1024


class Recent:
    """Entries that follow each other, up to the newest. Used on the event loop.

    Args:
        max_entries: how many are kept.
        max_bytes: of their leaves together.
    """

    def __init__(self, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._leaves: dict[int, bytes] = {}
        self._facts: dict[int, Facts] = {}
        self._first = self._next = self._bytes = 0

    def add(self, first: int, leaves: Sequence[bytes]) -> None:
        """Keep a group of entries, and forget the oldest beyond the bounds."""
        if first != self._next:
            self.clear()
            self._first = self._next = first
        for leaf in leaves:
            self._leaves[self._next] = leaf
            self._next += 1
            self._bytes += len(leaf)
        while self._leaves and (len(self._leaves) > self._max_entries or self._bytes > self._max_bytes):
            self._bytes -= len(self._leaves.pop(self._first))
            self._facts.pop(self._first, None)
            self._first += 1

    def __contains__(self, index: int) -> bool:
        return index in self._leaves

    def take(self, first: int, end: int, wanted: Filter, most: int) -> Takings:
        """Return what fits of a range that begins in here; see `Takings`."""
        takings = Takings(first, most)
        for index in range(first, min(end, self._next)):
            leaf = self._leaves[index]
            if not takings.look(index, leaf, wanted.everything or wanted.fits(self._known(index, leaf))):
                break
        return takings

    def _known(self, index: int, leaf: bytes) -> Facts:
        known = self._facts.get(index)
        if known is None:
            known = self._facts[index] = facts_of(leaf)
        return known
