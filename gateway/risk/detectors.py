"""Detectors: each looks at one exchange after the other for one rule, and raises an alarm where it fits.

Pure but for their cells: time comes with what is observed. Alarms of one key come once per window.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from gateway.risk.observed import Observed
from gateway.risk.rules_file import (
    CaseLoad,
    NewPair,
    NoCase,
    Refusals,
    Rule,
    SharedOperator,
    SilentOperator,
    SubjectAgain,
    Subjects,
    Volume,
)
from gateway.risk.windows import (
    EVIDENCE,
    HASH,
    MARK,
    MAX_RESOURCES,
    PANES,
    Cells,
    Counts,
    Distinct,
    Shown,
    Sightings,
    filled_at,
    places_for,
)

TAG_BYTES = 32
KNOWN_RESOURCES = 4096
RISE = 2
"""One window raises what counts as the highest of the past to at most twice as much."""


class Alarm(NamedTuple):
    """A rule that fits.

    Attributes:
        agent, operator, resource: what the key names besides the consumer; None where it is about all.
        key: tells findings of this rule apart; never shown.
        counted: how many.
        ids: exchange ids, 16 bytes each, joined.
        resources: that were seen.
    """

    rule: Rule
    consumer: str
    agent: str | None
    operator: str | None
    resource: str | None
    key: bytes
    counted: int
    ids: bytes
    resources: tuple[str, ...]
    time_ms: int


class Scoped:
    """Which exchanges a rule is about, by resource and consumer.

    Args:
        rule: the rule.
    """

    def __init__(self, rule: Rule) -> None:
        self.everything = not (rule.resources or rule.except_resources or rule.except_consumers)
        self._rule = rule
        self._known: dict[str, bool] = {}

    def admits(self, seen: Observed) -> bool:
        """Return whether the rule is about an exchange."""
        if seen.consumer in self._rule.except_consumers:
            return False
        resource = seen.resource
        found = self._known.get(resource)
        if found is None:
            if len(self._known) >= KNOWN_RESOURCES:
                self._known.clear()
            wanted, but = self._rule.resources, self._rule.except_resources
            found = self._known[resource] = (
                not wanted or any(fnmatchcase(resource, pattern) for pattern in wanted)
            ) and not any(fnmatchcase(resource, pattern) for pattern in but)
        return found


@dataclass(frozen=True, slots=True)
class Key:
    """What a scope tells apart."""

    agent: bool
    operator: bool
    resource: bool

    @classmethod
    def of(cls, scope: str) -> "Key":
        """Return the key of a scope such as "operator+resource"."""
        who, _, what = scope.partition("+")
        return cls(who == "agent", who == "operator", what == "resource")

    def getter(self) -> Callable[[Observed], Hashable]:
        """Return what gives an exchange's key below its consumer."""
        if self.agent:
            return (lambda o: (o.agent, o.resource)) if self.resource else (lambda o: o.agent)
        if self.operator:
            return (lambda o: (o.operator, o.resource)) if self.resource else (lambda o: o.operator)
        return (lambda o: o.resource) if self.resource else (lambda o: "")


class Detector:
    """One rule at work.

    Args:
        rule: the rule.
        scope: what it tells apart.
    """

    refused = False
    """Whether it looks at refusals; otherwise at answers."""

    def __init__(self, rule: Rule, scope: str) -> None:
        self.rule = rule
        self.window_ms = rule.window * 1000
        self.pane_ms = max(self.window_ms // PANES, 1)
        self._scope = Scoped(rule)
        self._named = Key.of(scope)
        self._key = self._named.getter()

    @property
    def evicted(self) -> int:
        """How many cells were dropped for want of room."""
        return 0

    @property
    def held(self) -> int:
        """How many cells there are."""
        return 0

    def look(self, seen: Observed) -> Alarm | None:
        """Take in one exchange; return an alarm where the rule fits now."""
        raise NotImplementedError

    def _alarm(self, seen: Observed, cell: "Shown", count: int, more: bytes = b"") -> Alarm:
        named = self._named
        cell.quiet_until_ms = seen.time_ms + max(self.window_ms, self.rule.hold_s * 1000)
        alarm = Alarm(
            self.rule,
            seen.consumer,
            seen.agent if named.agent else None,
            seen.operator if named.operator else None,
            seen.resource if named.resource else None,
            _joined(
                seen.consumer,
                seen.agent if named.agent else "",
                seen.operator if named.operator else "",
                seen.resource if named.resource else "",
            )
            + more,
            count,
            cell.ids or seen.exchange_id,
            cell.resources or (seen.resource,),
            seen.time_ms,
        )
        return alarm


class Tally(Detector):
    """Counts: what is under one key within the window."""

    def __init__(self, rule: Rule, scope: str, least: int) -> None:
        super().__init__(rule, scope)
        self._least = least
        self._cells: Cells[Counts] = Cells(Counts, most=rule.max_keys)
        self._first = Sightings()

    @property
    def evicted(self) -> int:
        """See `Detector`."""
        return self._cells.evicted

    @property
    def held(self) -> int:
        """See `Detector`."""
        return self._cells.size

    def _again(self, seen: Observed, key: Hashable, mark: int = 0) -> Counts | None:
        """Return the cell of a key that was seen before within the window; None where it was not.

        A cell is made the second time: it says that there was a first, with its mark.
        """
        cell = self._cells.find(seen.consumer, key)
        if cell is None:
            pane = seen.time_ms // self.pane_ms
            first = self._first.note(hash((seen.consumer, key)) & HASH, pane, mark)
            if first is None:
                return None
            cell = self._cells.at(seen.consumer, key, pane)
            cell.add(pane)
            cell.marks = (first,)
        return cell

    def _count(self, seen: Observed, key: Hashable, more: bytes = b"") -> Alarm | None:
        pane = seen.time_ms // self.pane_ms
        cell = self._cells.at(seen.consumer, key, pane)
        cell.add(pane)
        cell.note(seen.resource, seen.exchange_id, keep_id=cell.total > self._least - EVIDENCE)
        if cell.total < self._least or seen.time_ms < cell.quiet_until_ms:
            return None
        alarm = self._alarm(seen, cell, cell.total, more)
        cell.clear()
        return alarm


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
        return self._cells.evicted + (self._attempts.evicted if self._attempts else 0)

    @property
    def held(self) -> int:
        """See `Detector`."""
        return self._cells.size + (self._attempts.size if self._attempts else 0)

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


class SubjectCount(Detector):
    """Different subjects (`rules_file.Subjects`)."""

    def __init__(self, rule: Subjects) -> None:
        super().__init__(rule, rule.by)
        places = places_for(rule.least)
        self._cells: Cells[Distinct] = Cells(lambda: Distinct(places), most=rule.max_keys)
        self._least = rule.least
        self._filled = filled_at(rule.least)

    @property
    def evicted(self) -> int:
        """See `Detector`."""
        return self._cells.evicted

    @property
    def held(self) -> int:
        """See `Detector`."""
        return self._cells.size

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


class SharedPseudonym(Detector):
    """One pseudonym, several organisations (`rules_file.SharedOperator`)."""

    def __init__(self, rule: SharedOperator) -> None:
        super().__init__(rule, "operator")
        self._least = rule.least
        self._cells: Cells[Sharers] = Cells(Sharers, most=rule.max_keys)

    @property
    def evicted(self) -> int:
        """See `Detector`."""
        return self._cells.evicted

    @property
    def held(self) -> int:
        """See `Detector`."""
        return self._cells.size

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
            _joined(seen.operator),
            len(cell.last),
            seen.exchange_id,
            (seen.resource,),
            now_ms,
        )


class Past:
    """A count in the present window, and the highest before it, which fades.

    Attributes:
        since_ms: when the first one came.
    """

    __slots__ = ("count", "pane", "peak", "quiet_until_ms", "resources", "since_ms")

    def __init__(self) -> None:
        self.pane = 0
        self.count = 0
        self.peak = 0.0
        self.since_ms = 0
        self.quiet_until_ms = 0
        self.resources: tuple[str, ...] = ()


class AgainstPast(Detector):
    """Volume against its own past (`rules_file.Volume`), and new pairs (`rules_file.NewPair`)."""

    def __init__(self, rule: Volume | NewPair) -> None:
        super().__init__(rule, rule.by if isinstance(rule, Volume) else "consumer+resource")
        self._new = isinstance(rule, NewPair)
        self.pane_ms = self.window_ms
        self._least = rule.least
        self._factor = 0.0 if isinstance(rule, NewPair) else rule.factor
        self._learn_ms = 0 if isinstance(rule, NewPair) else rule.learn * 1000
        self._remember_ms = rule.remember * 1000
        self._fade = 0.5 ** (self.window_ms / self._remember_ms)
        self._cells: Cells[Past] = Cells(Past, most=rule.max_keys)

    @property
    def evicted(self) -> int:
        """See `Detector`."""
        return self._cells.evicted

    @property
    def held(self) -> int:
        """See `Detector`."""
        return self._cells.size

    def look(self, seen: Observed) -> Alarm | None:
        """See `Detector`."""
        if not self._scope.everything and not self._scope.admits(seen):
            return None
        now_ms = seen.time_ms
        pane = now_ms // self.pane_ms
        cell = self._cells.at(seen.consumer, self._key(seen), pane)
        if not cell.since_ms:
            cell.since_ms = now_ms
        if pane != cell.pane:
            passed = pane - cell.pane
            if self._new and passed * self.pane_ms >= self._remember_ms:
                cell.since_ms = now_ms
            highest = min(cell.count, RISE * max(cell.peak, self._least // 4))
            cell.peak = max(cell.peak, highest) * self._fade ** max(passed, 0)
            cell.pane, cell.count = pane, 0
        cell.count += 1
        if seen.resource not in cell.resources and len(cell.resources) < MAX_RESOURCES:
            cell.resources += (seen.resource,)
        if cell.count < self._least or now_ms < cell.quiet_until_ms:
            return None
        age_ms = now_ms - cell.since_ms
        if self._new:
            fits = age_ms < self.window_ms
        else:
            fits = age_ms >= self._learn_ms and cell.count >= self._factor * max(cell.peak, 1.0)
        if not fits:
            return None
        cell.quiet_until_ms = now_ms + max(self.window_ms, self.rule.hold_s * 1000)
        return self._found(seen, cell)

    def _found(self, seen: Observed, cell: Past) -> Alarm:
        shown = Counts()
        shown.ids, shown.resources = seen.exchange_id, cell.resources
        return self._alarm(seen, shown, cell.count)


def _joined(*parts: str) -> bytes:
    return "\0".join(parts).encode()
