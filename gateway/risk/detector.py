"""What every detector is made of: whom a rule is about, what it tells apart, and the alarm that it raises.

Detectors look at exchanges of one moment together, one detector after the other: panes are told once for all
of them. Who asks what comes again and again, so that answers bring their lane along, which remembers for
each detector the cell that it used last for the same consumer, agent, operator and resource.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Generic, NamedTuple

from gateway.risk.observed import Observed
from gateway.risk.rules_file import Rule
from gateway.risk.windows import EVIDENCE, GONE, HASH, PANES, C, Cell, Cells, Counts, Shown, Sightings

TAG_BYTES = 32
KNOWN_RESOURCES = 4096


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


Alarms = list[tuple[int, Alarm]]
"""With the place of the exchange among those of its moment."""
Lane = list[Any]
"""Per detector of answers (`Detector.slot`) the cell that it used last, None where its rule is not concerned.

A cell may be used for as long as it has the present pane; otherwise it is looked up, see `Cells`. Detectors
whose cells are of cases or subjects have something else there.
"""
Answer = tuple[int, Observed, Lane, int]
"""Its place among the exchanges of its moment, what was seen of it, its lane, and the beginning of its first
tag as a number, `NO_TAG` where there is none."""
NO_TAG = -1
UNUSED = Cell()
"""What is in a lane before a cell was looked up."""
UNUSED.pane = GONE


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


class Detector(Generic[C]):
    """One rule at work.

    Args:
        rule: the rule.
        scope: what it tells apart.
        make: makes an empty cell.

    Attributes:
        slot: its place in lanes.
    """

    refused = False
    """Whether it looks at refusals; otherwise at answers."""

    def __init__(self, rule: Rule, scope: str, make: Callable[[], C]) -> None:
        self.rule = rule
        self.slot = 0
        self._cells = Cells(make, most=rule.max_keys)
        self.window_ms = rule.window * 1000
        self.pane_ms = max(self.window_ms // PANES, 1)
        self._scope = Scoped(rule)
        self._named = Key.of(scope)
        self._key = self._named.getter()

    @property
    def evicted(self) -> int:
        """How many cells were dropped for want of room."""
        return self._cells.evicted

    @property
    def held(self) -> int:
        """How many cells there are."""
        return self._cells.size

    def concerns(self, seen: Observed) -> bool:
        """Return whether the rule is about all exchanges of the same consumer, agent, operator, resource."""
        return self._scope.everything or self._scope.admits(seen)

    def opening(self, seen: Observed) -> object:
        """Return what a lane begins with; None where the rule is not concerned."""
        return UNUSED if self.concerns(seen) else None

    def look(self, now_ms: int, answers: Sequence[Answer], alarms: Alarms) -> None:
        """Take in answers of one moment; add an alarm wherever the rule fits now."""
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
            joined(
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


class Tally(Detector[Counts]):
    """Counts: what is under one key within the window."""

    def __init__(self, rule: Rule, scope: str, least: int) -> None:
        super().__init__(rule, scope, Counts)
        self._least = least
        self._first = Sightings()
        # Where a key names its resource there is no other, and an alarm has it from the exchange.
        self._many_resources = not self._named.resource

    def _again(self, consumer: str, key: Hashable, pane: int, mark: int = 0) -> Counts | None:
        """Return the cell of a key that was seen before within the window; None where it was not.

        A cell is made the second time: it says that there was a first, with its mark.
        """
        cell = self._cells.find(consumer, key)
        if cell is None:
            first = self._first.note(hash((consumer, key)) & HASH, pane, mark)
            if first is None:
                return None
            cell = self._cells.add(consumer, key, pane)
            cell.total = 1
            cell.first = first
        return cell

    def _count(self, seen: Observed, key: Hashable, pane: int) -> Alarm | None:
        """Count an exchange under a key."""
        return self._count_in(self._cells.at(seen.consumer, key, pane), seen, key, pane)

    def _count_in(
        self, cell: Counts, seen: Observed, key: Hashable, pane: int, more: bytes = b""
    ) -> Alarm | None:
        """Count an exchange in the cell of its key."""
        if cell.pane != pane:
            self._cells.touch(seen.consumer, key)
            cell.turn(pane)
        cell.total += 1
        near = cell.total > self._least - EVIDENCE
        if near or (self._many_resources and seen.resource not in cell.resources):
            cell.note(seen.resource, seen.exchange_id, keep_id=near)
        if cell.total < self._least or seen.time_ms < cell.quiet_until_ms:
            return None
        alarm = self._alarm(seen, cell, cell.total, more)
        cell.clear()
        return alarm


def joined(*parts: str) -> bytes:
    """Return a key that tells these parts apart from all others."""
    return "\0".join(parts).encode()
