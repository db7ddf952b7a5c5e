"""Enters in the log that a person reads entry bundles, before the first byte is shown.

A reading is entered with the range of entries that it covers. Until a minute has passed without a new entry,
that person may read the range again, and read on: what follows near its end is entered at the length of the
whole run so far, up to 65,536 entries, so that an export of the whole log adds some entries to it and not one
per bundle. What is entered covers what was shown; it may cover more, never less.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic

from exchange.identity import Identity

TERM_S = 60.0
MAX_AHEAD = 65_536
MAX_PEOPLE = 256

Record = Callable[[Identity, str], Awaitable[object]]
"""Enters that somebody reads something; raises where that could not be made durable."""


@dataclass(slots=True)
class _Run:
    """The range of entries that a person may be shown until its time is over."""

    first: int = 0
    end: int = 0
    until_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class TileReads:
    """Enters readings.

    Args:
        record: makes the entry.
        now_s: seconds of a clock that never goes back.
    """

    def __init__(self, *, record: Record, now_s: Callable[[], float] = monotonic) -> None:
        self._record = record
        self._now_s = now_s
        self._runs: OrderedDict[str, _Run] = OrderedDict()

    async def enter(self, person: Identity, *, first: int, end: int, size: int) -> None:
        """Return once it is durable that a person reads some entries.

        Args:
            person: who reads.
            first: index of the first entry.
            end: index after the last.
            size: how many entries there are.

        Raises:
            AuditUnavailable, QueueFull: it could not be made durable; nothing may be shown.
        """
        run = self._run(person.uri)
        async with run.lock:
            fresh = self._now_s() < run.until_s
            if fresh and run.first <= first and end <= run.end:
                return
            length = min(run.end - run.first, MAX_AHEAD)
            onward = fresh and run.first <= first <= run.end + length
            begin, reach = first, end
            if onward:
                begin, reach = run.end, max(end, min(size, run.end + length))
            # A failure here leaves the run as it was: what was not entered is not shown.
            await self._record(person, f"tiles, entries {begin} to {reach - 1}")
            run.first, run.end = run.first if onward else first, reach
            run.until_s = self._now_s() + TERM_S

    def _run(self, person: str) -> _Run:
        run = self._runs.setdefault(person, _Run())
        self._runs.move_to_end(person)
        if len(self._runs) > MAX_PEOPLE:
            self._runs.popitem(last=False)
        return run
