"""How long the oldest entry without a quorum has waited for one.

Measured on the monotonic clock from its commit, so that no change of the time of day makes it younger or
older. What was in the log before the start counts from the time in the entry. Entries of a quarter of a
second share one mark, and beyond 4,096 marks every second one is dropped: an entry may count as older, never
as younger.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence

GRAIN_S = 0.25
MAX_MARKS = 4096


class UnwitnessedAge:
    """Keeps when the entries that no quorum covers were committed.

    Args:
        monotonic: seconds that never go backward.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # (index, when): the entries from there to the next mark were committed then or later.
        self._marks: deque[tuple[int, float]] = deque()
        self._end = 0

    def begin(self, first: int, end: int, age_s: float) -> None:
        """Start with the entries from `first` to `end`, of which the oldest is that many seconds old."""
        self._marks.clear()
        self._end = end
        if first < end:
            self._marks.append((first, self._monotonic() - max(age_s, 0.0)))

    def committed(self, first: int, leaves: Sequence[bytes]) -> None:
        """Note entries that were just committed."""
        now = self._monotonic()
        self._end = first + len(leaves)
        if self._marks and now - self._marks[-1][1] < GRAIN_S:
            return
        self._marks.append((first, now))
        if len(self._marks) > MAX_MARKS:
            self._marks = deque(mark for place, mark in enumerate(self._marks) if not place % 2)

    def covered(self, size: int) -> None:
        """Note that a quorum covers the first `size` entries."""
        if size >= self._end:
            self._marks.clear()
            return
        while len(self._marks) > 1 and self._marks[1][0] <= size:
            self._marks.popleft()

    @property
    def seconds(self) -> float:
        """Age of the oldest entry without a quorum; 0 where there is none."""
        return self._monotonic() - self._marks[0][1] if self._marks else 0.0
