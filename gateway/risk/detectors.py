"""Detectors: each looks at one exchange after the other for one rule, and raises an alarm where it fits.

Pure but for their cells: time comes with what is observed. Alarms of one key come once per window.
"""

from gateway.risk.detector import TAG_BYTES, Alarm, Detector, Tally, joined
from gateway.risk.observed import Observed
from gateway.risk.rules_file import (
    CaseLoad,
    NoCase,
    Refusals,
    SharedOperator,
    SilentOperator,
    SubjectAgain,
    Subjects,
)
from gateway.risk.windows import EVIDENCE, MARK, Cells, Distinct, filled_at, places_for


class RefusalTally(Tally):
    """Refusals (`rules_file.Refusals`)."""

    refused = True

    def __init__(self, rule: Refusals) -> None:
        super().__init__(rule, rule.by, rule.least)
        self._reasons = frozenset(rule.reasons)
        self._by_providers = rule.by_providers
        self.in_a_row = rule.in_a_row
        places = places_for(rule.least)
        self._filled = filled_at(rule.least)
        self._attempts: Cells[Distinct] | None = (
            Cells(lambda: Distinct(places), most=rule.max_keys) if rule.distinct else None
        )

    @property
    def evicted(self) -> int:
        """See `Detector`."""
        return super().evicted + (self._attempts.evicted if self._attempts else 0)

    @property
    def held(self) -> int:
        """See `Detector`."""
        return super().held + (self._attempts.size if self._attempts else 0)

    def look(self, seen: Observed) -> Alarm | None:
        """See `Detector`; what a provider says of a consumer counts only where the rule wants it."""
        if seen.reason not in self._reasons or seen.by_provider != self._by_providers:
            return None
        if not self._scope.everything and not self._scope.admits(seen):
            return None
        if self._attempts is None:
            return self._count(seen, self._key(seen))
        pane = seen.time_ms // self.pane_ms
        cell = self._attempts.at(seen.consumer, self._key(seen), pane)
        cell.add(pane, seen.attempt)
        cell.note(seen.resource, seen.exchange_id, keep_id=cell.filled > self._filled - 2 * EVIDENCE)
        if cell.filled < self._filled or seen.time_ms < cell.quiet_until_ms:
            return None
        alarm = self._alarm(seen, cell, self._least)
        cell.clear()
        return alarm

    def answered(self, seen: Observed) -> None:
        """An answer came between: a row begins anew."""
        cell = self._cells.find(seen.consumer, self._key(seen))
        if cell is not None:
            cell.clear()


class CaseTally(Tally):
    """Exchanges for one case (`rules_file.CaseLoad`)."""

    def __init__(self, rule: CaseLoad) -> None:
        super().__init__(rule, "consumer+resource", rule.least)

    def look(self, seen: Observed) -> Alarm | None:
        """See `Detector`."""
        if not seen.case or (not self._scope.everything and not self._scope.admits(seen)):
            return None
        key = seen.case, seen.resource
        if self._again(seen, key) is None:
            return None
        return self._count(seen, key, b"\0" + seen.case.encode())


class SubjectCount(Detector[Distinct]):
    """Different subjects (`rules_file.Subjects`)."""

    def __init__(self, rule: Subjects) -> None:
        places = places_for(rule.least)
        super().__init__(rule, rule.by, lambda: Distinct(places))
        self._least = rule.least
        self._filled = filled_at(rule.least)

    def look(self, seen: Observed) -> Alarm | None:
        """See `Detector`. Of an answer about several the first tag alone counts: the others may be decoys."""
        tags = seen.tags
        if not tags or (not self._scope.everything and not self._scope.admits(seen)):
            return None
        pane = seen.time_ms // self.pane_ms
        cell = self._cells.at(seen.consumer, self._key(seen), pane)
        cell.add(pane, int.from_bytes(tags[:8]))
        near = cell.filled > self._filled - 2 * EVIDENCE
        cell.note(seen.resource, seen.exchange_id, keep_id=near)
        if not near or cell.filled < self._filled or seen.time_ms < cell.quiet_until_ms:
            return None
        alarm = self._alarm(seen, cell, self._least)
        cell.clear()
        return alarm


class SubjectTally(Tally):
    """The same subject again (`rules_file.SubjectAgain`)."""

    def __init__(self, rule: SubjectAgain) -> None:
        super().__init__(rule, rule.by, rule.least)

    def look(self, seen: Observed) -> Alarm | None:
        """See `Detector`. Only answers about one subject: a list may be filled with decoys."""
        tags = seen.tags
        if len(tags) != TAG_BYTES or (not self._scope.everything and not self._scope.admits(seen)):
            return None
        key = self._key(seen), tags
        # One case counts once, however often it asks.
        mark = hash(seen.case) & MARK if seen.case else 0
        cell = self._again(seen, key, mark)
        if cell is None or (mark and mark in cell.marks):
            return None
        if mark:
            cell.marks = (*cell.marks, mark)[-EVIDENCE:]
        return self._count(seen, key, tags)


class ShareOf(Tally):
    """A share of the exchanges under one key (`rules_file.NoCase`, `SilentOperator`)."""

    def __init__(self, rule: NoCase | SilentOperator) -> None:
        super().__init__(rule, rule.by, rule.least)
        self._permille = rule.permille
        self._cases = isinstance(rule, NoCase)

    def look(self, seen: Observed) -> Alarm | None:
        """See `Detector`."""
        if not self._scope.everything and not self._scope.admits(seen):
            return None
        pane = seen.time_ms // self.pane_ms
        cell = self._cells.at(seen.consumer, self._key(seen), pane)
        odd = not (seen.case if self._cases else seen.operator)
        cell.add(pane, 1 if odd else 0)
        if not odd:
            return None
        cell.note(seen.resource, seen.exchange_id, keep_id=cell.second > self._least - EVIDENCE)
        if cell.second < self._least or seen.time_ms < cell.quiet_until_ms:
            return None
        if cell.second * 1000 < self._permille * cell.total:
            return None
        alarm = self._alarm(seen, cell, cell.second)
        cell.clear()
        return alarm


class Sharers:
    """Who uses a pseudonym: consumers and when each did last."""

    __slots__ = ("last", "pane", "quiet_until_ms")

    def __init__(self) -> None:
        self.pane = 0
        self.last: dict[str, int] = {}
        self.quiet_until_ms = 0


class SharedPseudonym(Detector[Sharers]):
    """One pseudonym, several organisations (`rules_file.SharedOperator`)."""

    def __init__(self, rule: SharedOperator) -> None:
        super().__init__(rule, "operator", Sharers)
        self._least = rule.least

    def look(self, seen: Observed) -> Alarm | None:
        """See `Detector`."""
        if not seen.operator or (not self._scope.everything and not self._scope.admits(seen)):
            return None
        pane, now_ms = seen.time_ms // self.pane_ms, seen.time_ms
        # Owner is the pseudonym here: it belongs to nobody in particular.
        cell = self._cells.at(seen.operator, "", pane)
        if cell.pane == pane and seen.consumer in cell.last:
            return None
        cell.pane = pane
        cell.last[seen.consumer] = now_ms
        cell.last = {one: at for one, at in cell.last.items() if now_ms - at < self.window_ms}
        if len(cell.last) < self._least or now_ms < cell.quiet_until_ms:
            return None
        cell.quiet_until_ms = now_ms + self.window_ms
        return Alarm(
            self.rule,
            seen.consumer,
            None,
            seen.operator,
            None,
            joined(seen.operator),
            len(cell.last),
            seen.exchange_id,
            (seen.resource,),
            now_ms,
        )
