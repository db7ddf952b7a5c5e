"""Lets what is not urgent give way to exchanges: work in small pieces, and rest between them.

While the log grows, whoever works here rests in proportion to the processor time that a piece took; while it
stands still nothing is spared. Exchanges and such work share one interpreter, so it is the pieces' length
that bounds what an exchange waits for, and the share that bounds what all exchanges together lose.
"""

import time
from collections.abc import Callable

GROWING_S = 1.0


class Pace:
    """Tells how long to rest. Used by one thread or task.

    Args:
        size: returns how many entries the log has.
        share: of the time that may be worked while the log grows, above 0 and at most 1.
        clock: seconds, monotonic.
    """

    def __init__(
        self, size: Callable[[], int], *, share: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size = size
        self._share = share
        self._clock = clock
        self._seen = size()
        self._grew_at = -GROWING_S

    def rest_s(self, worked_s: float, *, share: float = 0.0) -> float:
        """Return how many seconds to rest after a piece of work.

        Args:
            worked_s: processor time that the piece took.
            share: in place of the usual one, where not 0.
        """
        size, now = self._size(), self._clock()
        if size != self._seen:
            self._seen, self._grew_at = size, now
        if now - self._grew_at >= GROWING_S:
            return 0.0
        part = share or self._share
        return worked_s * (1.0 - part) / part
