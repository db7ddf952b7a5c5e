"""Volume against its own past, and pairs of consumer and resource that never were."""

from collections.abc import Sequence

from gateway.risk.detector import Alarm, Alarms, Answer, Detector
from gateway.risk.observed import Observed
from gateway.risk.rules_file import NewPair, Volume
from gateway.risk.windows import MAX_RESOURCES, Cell, Counts

RISE = 2
"""One window raises what counts as the highest of the past to at most twice as much."""


class Past(Cell):
    """A count in the present window, and the highest before it, which fades.

    Attributes:
        since_ms: when the first one came.
    """

    __slots__ = ("count", "peak", "quiet_until_ms", "resources", "since_ms")

    def __init__(self) -> None:
        self.pane = 0
        self.count = 0
        self.peak = 0.0
        self.since_ms = 0
        self.quiet_until_ms = 0
        self.resources: tuple[str, ...] = ()


class AgainstPast(Detector[Past]):
    """Volume against its own past (`rules_file.Volume`), and new pairs (`rules_file.NewPair`)."""

    def __init__(self, rule: Volume | NewPair) -> None:
        super().__init__(rule, rule.by if isinstance(rule, Volume) else "consumer+resource", Past)
        self._new = isinstance(rule, NewPair)
        self.pane_ms = self.window_ms
        self._least = rule.least
        self._factor = 0.0 if isinstance(rule, NewPair) else rule.factor
        self._learn_ms = 0 if isinstance(rule, NewPair) else rule.learn * 1000
        self._remember_ms = rule.remember * 1000
        self._fade = 0.5 ** (self.window_ms / self._remember_ms)

    def look(self, now_ms: int, answers: Sequence[Answer], alarms: Alarms) -> None:
        """See `Detector`."""
        pane, slot, least = now_ms // self.pane_ms, self.slot, self._least
        for number, seen, lane, _ in answers:
            cell = lane[slot]
            if cell is None:
                continue
            if cell.pane != pane:
                cell = lane[slot] = self._at(seen, pane)
            cell.count += 1
            if cell.count < least or now_ms < cell.quiet_until_ms:
                continue
            if self._fits(cell, now_ms):
                cell.quiet_until_ms = now_ms + max(self.window_ms, self.rule.hold_s * 1000)
                alarms.append((number, self._found(seen, cell)))

    def _at(self, seen: Observed, pane: int) -> Past:
        """Return a cell as it is in a window; of the one before it what remains is a peak."""
        cell = self._cells.at(seen.consumer, self._key(seen), pane)
        if not cell.since_ms:
            cell.since_ms = seen.time_ms
        # A lane is of one resource, and what was noted stays: once is enough.
        if seen.resource not in cell.resources and len(cell.resources) < MAX_RESOURCES:
            cell.resources += (seen.resource,)
        if pane != cell.pane:
            passed = pane - cell.pane
            if self._new and passed * self.pane_ms >= self._remember_ms:
                cell.since_ms = seen.time_ms
            highest = min(cell.count, RISE * max(cell.peak, self._least // 4))
            cell.peak = max(cell.peak, highest) * self._fade ** max(passed, 0)
            cell.pane, cell.count = pane, 0
        return cell

    def _fits(self, cell: Past, now_ms: int) -> bool:
        age_ms = now_ms - cell.since_ms
        if self._new:
            return age_ms < self.window_ms
        return age_ms >= self._learn_ms and cell.count >= self._factor * max(cell.peak, 1.0)

    def _found(self, seen: Observed, cell: Past) -> Alarm:
        shown = Counts()
        shown.ids, shown.resources = seen.exchange_id, cell.resources
        return self._alarm(seen, shown, cell.count)
