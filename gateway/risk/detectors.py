"""Detectors: each looks at one exchange after the other for one rule, and raises an alarm where it fits.

Pure but for their cells: time comes with what is observed. Alarms of one key come once per window.
"""

from collections.abc import Sequence

from gateway.risk.detector import NO_TAG, TAG_BYTES, Alarm, Alarms, Answer, Detector, Tally, joined
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
from gateway.risk.windows import EVIDENCE, GONE, MARK, Cell, Cells, Distinct, filled_at, places_for


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

    def look_at(self, exchanges: Sequence[tuple[int, Observed]], alarms: Alarms) -> None:
        """Take in exchanges of one moment, answers among them where it is about what comes in a row."""
        for number, seen in exchanges:
            if seen.released:
                self._answered(seen)
                continue
            alarm = self._refused(seen)
            if alarm is not None:
                alarms.append((number, alarm))

    def _refused(self, seen: Observed) -> Alarm | None:
        """What a provider says of a consumer counts only where the rule wants it."""
        if seen.reason not in self._reasons or seen.by_provider != self._by_providers:
            return None
        if not self.concerns(seen):
            return None
        pane = seen.time_ms // self.pane_ms
        if self._attempts is None:
            return self._count(seen, self._key(seen), pane)
        cell = self._attempts.at(seen.consumer, self._key(seen), pane)
        cell.add(pane, seen.attempt)
        cell.note(seen.resource, seen.exchange_id, keep_id=cell.filled > self._filled - 2 * EVIDENCE)
        if cell.filled < self._filled or seen.time_ms < cell.quiet_until_ms:
            return None
        alarm = self._alarm(seen, cell, self._least)
        cell.clear()
        return alarm

    def _answered(self, seen: Observed) -> None:
        """An answer came between: a row begins anew."""
        cell = self._cells.find(seen.consumer, self._key(seen))
        if cell is not None:
            cell.clear()


class CaseTally(Tally):
    """Exchanges for one case (`rules_file.CaseLoad`)."""

    def __init__(self, rule: CaseLoad) -> None:
        super().__init__(rule, "consumer+resource", rule.least)

    def look(self, now_ms: int, answers: Sequence[Answer], alarms: Alarms) -> None:
        """See `Detector`."""
        pane, slot = now_ms // self.pane_ms, self.slot
        for number, seen, lane, _ in answers:
            case = seen.case
            if not case or lane[slot] is None:
                continue
            key = case, seen.resource
            cell = self._again(seen.consumer, key, pane)
            if cell is None:
                continue
            alarm = self._count_in(cell, seen, key, pane, b"\0" + case.encode())
            if alarm is not None:
                alarms.append((number, alarm))


class SubjectCount(Detector[Distinct]):
    """Different subjects (`rules_file.Subjects`)."""

    def __init__(self, rule: Subjects) -> None:
        places = places_for(rule.least)
        super().__init__(rule, rule.by, lambda: Distinct(places))
        self._least = rule.least
        self._filled = filled_at(rule.least)

    def look(self, now_ms: int, answers: Sequence[Answer], alarms: Alarms) -> None:
        """See `Detector`. Of an answer about several the first tag alone counts: the others may be decoys."""
        pane, slot, filled = now_ms // self.pane_ms, self.slot, self._filled
        nearly = filled - 2 * EVIDENCE
        for number, seen, lane, subject in answers:
            cell = lane[slot]
            if subject == NO_TAG or cell is None:
                continue
            if cell.pane != pane:
                cell = lane[slot] = self._cells.at(seen.consumer, self._key(seen), pane)
            cell.add(pane, subject)
            near = cell.filled > nearly
            if near or seen.resource not in cell.resources:
                cell.note(seen.resource, seen.exchange_id, keep_id=near)
            if not near or cell.filled < filled or now_ms < cell.quiet_until_ms:
                continue
            alarms.append((number, self._alarm(seen, cell, self._least)))
            cell.clear()


class SubjectTally(Tally):
    """The same subject again (`rules_file.SubjectAgain`)."""

    def __init__(self, rule: SubjectAgain) -> None:
        super().__init__(rule, rule.by, rule.least)

    def opening(self, seen: Observed) -> object:
        """See `Detector`; its own key, all that a lane can tell beforehand."""
        return self._key(seen) if self.concerns(seen) else None

    def look(self, now_ms: int, answers: Sequence[Answer], alarms: Alarms) -> None:
        """See `Detector`. Only answers about one subject: a list may be filled with decoys."""
        pane, slot = now_ms // self.pane_ms, self.slot
        for number, seen, lane, _ in answers:
            tags, who = seen.tags, lane[slot]
            if who is None or len(tags) != TAG_BYTES:
                continue
            key = who, tags
            # One case counts once, however often it asks.
            mark = hash(seen.case) & MARK if seen.case else 0
            cell = self._again(seen.consumer, key, pane, mark)
            if cell is None:
                continue
            if mark:
                if mark == cell.first if not cell.marks else mark in cell.marks:
                    continue
                cell.marks = (*(cell.marks or (cell.first,)), mark)[-EVIDENCE:]
            alarm = self._count_in(cell, seen, key, pane, tags)
            if alarm is not None:
                alarms.append((number, alarm))


class ShareOf(Tally):
    """A share of the exchanges under one key (`rules_file.NoCase`, `SilentOperator`)."""

    def __init__(self, rule: NoCase | SilentOperator) -> None:
        super().__init__(rule, rule.by, rule.least)
        self._permille = rule.permille
        self._cases = isinstance(rule, NoCase)

    def look(self, now_ms: int, answers: Sequence[Answer], alarms: Alarms) -> None:
        """See `Detector`."""
        pane, slot, cases = now_ms // self.pane_ms, self.slot, self._cases
        for number, seen, lane, _ in answers:
            cell = lane[slot]
            if cell is None:
                continue
            if cell.pane != pane:
                cell = lane[slot] = self._cells.at(seen.consumer, self._key(seen), pane)
                cell.turn(pane)
            cell.total += 1
            if seen.case if cases else seen.operator:
                continue
            cell.second += 1
            cell.note(seen.resource, seen.exchange_id, keep_id=cell.second > self._least - EVIDENCE)
            if cell.second < self._least or now_ms < cell.quiet_until_ms:
                continue
            if cell.second * 1000 < self._permille * cell.total:
                continue
            alarms.append((number, self._alarm(seen, cell, cell.second)))
            cell.clear()


class Sharers(Cell):
    """Who uses a pseudonym: consumers and when each did last."""

    __slots__ = ("last", "quiet_until_ms")

    def __init__(self) -> None:
        self.pane = 0
        self.last: dict[str, int] = {}
        self.quiet_until_ms = 0

    def drop(self) -> None:
        """See `Cell`."""
        self.pane, self.last = GONE, {}


class SharedPseudonym(Detector[Sharers]):
    """One pseudonym, several organisations (`rules_file.SharedOperator`)."""

    def __init__(self, rule: SharedOperator) -> None:
        super().__init__(rule, "operator", Sharers)
        self._least = rule.least

    def concerns(self, seen: Observed) -> bool:
        """See `Detector`; nobody shares what is not named."""
        return bool(seen.operator) and super().concerns(seen)

    def look(self, now_ms: int, answers: Sequence[Answer], alarms: Alarms) -> None:
        """See `Detector`."""
        pane, slot = now_ms // self.pane_ms, self.slot
        for number, seen, lane, _ in answers:
            cell = lane[slot]
            if cell is None or (cell.pane == pane and seen.consumer in cell.last):
                continue
            # Owner is the pseudonym here: it belongs to nobody in particular.
            cell = lane[slot] = self._cells.at(seen.operator, "", pane)
            if cell.pane != pane or seen.consumer not in cell.last:
                alarm = self._used(cell, seen, pane)
                if alarm is not None:
                    alarms.append((number, alarm))

    def _used(self, cell: Sharers, seen: Observed, pane: int) -> Alarm | None:
        now_ms = seen.time_ms
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
