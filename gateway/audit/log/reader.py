"""Reads entries wherever they are: as rows, in sealed segments, or not at all any more.

May be used from any thread. What is found damaged is kept in mind until the same place reads right.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from exchange.errors import EntryErased, StoreDamaged
from gateway.storage.ports import Gap, SegmentStore


class Present(NamedTuple):
    """Entries that are there, by index, and from where to go on."""

    entries: Sequence[tuple[int, bytes]]
    next_index: int


class LogReader:
    """The entries of a log.

    Args:
        store: keeps them.
    """

    def __init__(self, store: SegmentStore) -> None:
        self._store = store
        self._damage: tuple[range, StoreDamaged] | None = None

    @property
    def size(self) -> int:
        """Number of durable entries."""
        raise NotImplementedError

    @property
    def store(self) -> SegmentStore:
        """What keeps the log."""
        return self._store

    @property
    def damage(self) -> StoreDamaged | None:
        """What was found damaged when entries were last read there; None where nothing was."""
        return self._damage[1] if self._damage else None

    def leaves(self, first: int, count: int) -> list[bytes]:
        """Return at most `count` leaves from an index on.

        Raises:
            EntryErased: one was erased at the end of its term; `present` goes on beyond.
            StoreDamaged: one is missing, or its segment does not open.
            AuditUnavailable: they cannot be read now.
        """
        wanted = min(count, self.size - first)
        if first < 0 or wanted <= 0:
            return []
        try:
            leaves = self._store.leaves(first, wanted)
            if len(leaves) != wanted:
                missing = first + len(leaves)
                if self.gap_at(missing) is not None:
                    raise EntryErased(str(missing))
                raise StoreDamaged(f"entry {missing} is missing")
        except StoreDamaged as error:
            self._damage = self._damage or (range(first, first + wanted), error)
            raise
        if self._damage and first <= self._damage[0].start and self._damage[0].stop <= first + wanted:
            self._damage = None
        return leaves

    def gaps(self) -> Sequence[Gap]:
        """Return the ranges that were erased, ascending; administrative entries inside are kept."""
        return self._store.gaps()

    @property
    def sealed_size(self) -> int:
        """Entries below this index are in segments, or were: reading one may take milliseconds."""
        segments = self._store.segments()
        return segments[-1].end if segments else 0

    def gap_at(self, index: int) -> Gap | None:
        """Return the erased range that an index lies in, None where it lies in none."""
        gaps = self._store.gaps()
        at = bisect_right(gaps, index, key=lambda gap: gap.first) - 1
        return gaps[at] if at >= 0 and index < gaps[at].end else None

    def present(self, first: int, count: int) -> Present:
        """Return at most `count` entries from an index on, leaving out what was erased.

        Raises:
            StoreDamaged, AuditUnavailable: as `leaves`.
        """
        entries: list[tuple[int, bytes]] = []
        at, size = max(first, 0), self.size
        while at < size and len(entries) < count:
            left, gap = count - len(entries), self.gap_at(at)
            if gap is None:
                later = (gap.first for gap in self._store.gaps() if gap.first > at)
                stop = min(size, at + left, next(later, size))
                entries += enumerate(self.leaves(at, stop - at), at)
                at = stop
            else:
                kept = self._store.rows(at, gap.end, left)
                entries += kept
                at = kept[-1][0] + 1 if len(kept) == left else gap.end
        return Present(entries, at)

    def standing(self, first: int, count: int) -> Present:
        """Return at most `count` entries from an index on; of what is sealed only those that stay for good.

        No segment is opened, so a start that folds the state from here needs none.

        Raises:
            StoreDamaged, AuditUnavailable: as `leaves`.
        """
        segments = self._store.segments()
        # Rows are removed in order: before this index only those that stay are left.
        cleared = segments[-1].cleared if segments else 0
        if first >= cleared:
            return self.present(first, count)
        rows = self._store.rows(first, cleared, count)
        return Present(rows, rows[-1][0] + 1 if len(rows) == count else cleared)
