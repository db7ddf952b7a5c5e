"""Carries entries from the log to a sink, and keeps the place.

1. The place is kept after the sink has settled what comes before it: a crash repeats records, it misses none.
2. A sink that is away while entries are followed is opened again, with growing pauses, from the place kept.
3. Nothing queues: the log is read as fast as the sink takes.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exchange.errors import SinkAway
from shuqiao.cursor import Cursor
from shuqiao.exports.pseudonyms import Pseudonyms
from shuqiao.exports.records import record
from shuqiao.exports.sinks import Sink
from shuqiao.following import Frame

FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0

Read = Callable[[int], Iterator[Frame]]
"""Reads the log from an index on."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far an export is.

    Attributes:
        records: how many were settled.
        next_index: from where it goes on.
    """

    origin: str = ""
    records: int = 0
    next_index: int = 0


def export(
    read: Read,
    sink: Sink,
    *,
    place: Cursor | None,
    first: int = 0,
    pseudonyms: Pseudonyms | None = None,
    go_on: bool = False,
    settled: Callable[[Progress], None] = lambda progress: None,
    away: Callable[[SinkAway, float], None] = lambda error, pause_s: None,
    pause: Callable[[float], None] = time.sleep,
) -> Progress:
    """Export until the log ends, or for ever where entries are followed.

    Args:
        read: reads the log from an index on.
        sink: takes the records; opened and closed here.
        place: where the place is kept; None for an export that cannot be resumed.
        first: index of the first entry where no place is kept yet.
        pseudonyms: for records that leave the region.
        go_on: whether a sink that is away is waited for.
        settled: told after each settling.
        away: told that the sink is away, and for how long it is left alone.
        pause: waits that many seconds.

    Raises:
        SinkAway: the sink is away and is not waited for.
        ExchangeError: whatever else keeps it from going on.
    """
    progress = Progress(next_index=first)
    if place is not None and place.next_index is not None:
        progress.next_index = place.next_index
    failures = 0
    while True:
        before = progress.next_index
        try:
            _attempt(read, sink, place, pseudonyms, progress, settled)
            return progress
        except SinkAway as error:
            if not go_on:
                raise
            failures = 1 if progress.next_index > before else failures + 1
            pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * float(1 << min(failures - 1, 10)))
            away(error, pause_s)
            pause(pause_s)
        finally:
            sink.close()


def _attempt(
    read: Read,
    sink: Sink,
    place: Cursor | None,
    pseudonyms: Pseudonyms | None,
    progress: Progress,
    settled: Callable[[Progress], None],
) -> None:
    """Carry entries until the log ends or the sink fails."""
    sink.open(place.length if place is not None else 0)
    taken, settled_at = 0, time.monotonic()
    reached = before = progress.next_index

    def settle(*, final: bool = False) -> None:
        nonlocal taken, settled_at, before
        length = sink.settle(final=final)
        progress.next_index = before if sink.lags and not final else reached
        # A crash here repeats what was settled since the place was kept last.
        if place is not None:
            place.write(progress.origin, progress.next_index, length)
        progress.records += taken
        before, taken, settled_at = reached, 0, time.monotonic()
        settled(progress)

    for frame in read(progress.next_index):
        if place is not None:
            place.check(frame.origin)
        progress.origin = frame.origin
        records = [record(index, leaf, frame.origin, pseudonyms) for index, leaf in frame.entries]
        if records:
            sink.take(records)
        taken, reached = taken + len(records), frame.next_index
        if taken >= sink.settle_after or time.monotonic() - settled_at >= sink.settle_s:
            settle()
    settle(final=True)
