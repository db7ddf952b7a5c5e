"""Combinations: fields that together say more than each, received by one consumer about one subject.

What is held back rests on few words only, because a provider can tag what it likes:
1. An answer is held back only where it completes the combination together with what its own provider, or one
   that the rule believes, said of that subject before. Every other completion is an alert, no more.
2. Nothing but that answer is held: not the consumer's next ones, and no other provider's.
3. Only queries count: a verification tells no field.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from exchange.resources import Resource
from gateway.risk.detector import TAG_BYTES, Alarm, Scoped
from gateway.risk.observed import Observed
from gateway.risk.rules_file import MAX_COMPONENTS, Combination
from gateway.risk.windows import EVIDENCE, MAX_RESOURCES, PANES, Cell, Cells

KNOWN_SHAPES = 4096
MAX_PARTS = 32
CODE = "code:"


_Part = tuple[int, str, bytes]
"""One field that was received: when, Unix milliseconds, of which resource, by which exchange."""


class _Held(Cell):
    """What one consumer received about one subject: per field and provider the newest.

    About most subjects there is one answer, which stands in the cell itself: these come by the hundred
    thousand, and should not have the garbage collector look at more than one object each.

    Attributes:
        numbers: of the fields that the one answer brought; empty while there is none.
    """

    __slots__ = ("_exchange_id", "_parts", "_provider", "_resource", "_time_ms", "numbers")
    _exchange_id: bytes
    _provider: str
    _resource: str
    _time_ms: int

    def __init__(self) -> None:
        self.numbers: tuple[int, ...] = ()
        self._parts: dict[tuple[int, str], _Part] | None = None

    def add(self, seen: Observed, numbers: tuple[int, ...]) -> None:
        """Take in what an answer brought."""
        if self._parts is None and (
            not self.numbers or (self.numbers == numbers and self._provider == seen.provider)
        ):
            self.numbers = numbers
            self._time_ms, _, _, _, self._provider, self._resource = seen[:6]
            self._exchange_id = seen.exchange_id
            return
        part, parts = (seen.time_ms, seen.resource, seen.exchange_id), self.parts()
        for number in numbers:
            parts[number, seen.provider] = part
        if len(parts) > MAX_PARTS:
            del parts[min(parts, key=lambda one: parts[one][0])]

    def parts(self) -> dict[tuple[int, str], _Part]:
        """Return all, by number of the field and provider; from then on they are kept so."""
        if self._parts is None:
            part = (self._time_ms, self._resource, self._exchange_id) if self.numbers else None
            self._parts = {(number, self._provider): part for number in self.numbers} if part else {}
        return self._parts


class Completed(NamedTuple):
    """A combination that an answer completes.

    Attributes:
        holds: whether the answer may be held back.
    """

    alarm: Alarm
    holds: bool


class _Work:
    """One rule at work."""

    __slots__ = ("cells", "everything", "pane_ms", "rule", "scope", "whole", "window_ms")

    def __init__(self, rule: Combination) -> None:
        self.rule = rule
        self.scope = Scoped(rule)
        self.everything = self.scope.everything
        self.cells: Cells[_Held] = Cells(_Held, most=rule.max_keys)
        self.window_ms = rule.window * 1000
        self.pane_ms = max(self.window_ms // PANES, 1)
        self.whole = (1 << len(rule.fields)) - 1


class Brought(NamedTuple):
    """What a query for some fields brings of one combination.

    Attributes:
        mask: which of the combination's fields, as bits.
        numbers: the same, their numbers.
    """

    work: _Work
    mask: int
    numbers: tuple[int, ...]


Shape = tuple[Brought, ...]
"""Of those combinations alone that a query brings any field of."""


class Combinations:
    """All rules of this kind at work.

    Args:
        rules: the rules.
        resource: finds a resource of the catalogue by its id.
    """

    def __init__(self, rules: Sequence[Combination], resource: Callable[[str], Resource | None]) -> None:
        self._work = [_Work(rule) for rule in rules]
        self._resource = resource
        self._shapes: OrderedDict[tuple[str, bytes, tuple[str, ...]], Shape] = OrderedDict()
        self._concerned: dict[str, tuple[bytes, bool]] = {}

    @property
    def evicted(self) -> int:
        """How many cells were dropped for want of room."""
        return sum(work.cells.evicted for work in self._work)

    @property
    def held(self) -> int:
        """How many cells there are."""
        return sum(work.cells.size for work in self._work)

    def shape(self, resource: str, fields: tuple[str, ...]) -> Shape:
        """Return what a query for these fields would bring."""
        if not self._work:
            return ()
        known = self._resource(resource)
        if known is not None:
            return self.shape_of(known, fields)
        return self._shape(resource, b"", fields, None)

    def concerns(self, resource: Resource) -> bool:
        """Return whether any field of a resource belongs to a combination."""
        known = self._concerned.get(resource.id)
        if known is None or known[0] != resource.digest:
            if len(self._concerned) >= KNOWN_SHAPES:
                self._concerned.clear()
            found = bool(self._work and self._brought(resource.id, tuple(resource.fields), resource))
            known = self._concerned[resource.id] = resource.digest, found
        return known[1]

    def shape_of(self, resource: Resource, fields: tuple[str, ...]) -> Shape:
        """Return what `shape` does, for a resource that was found already."""
        found = self._shapes.get((resource.id, resource.digest, fields))
        return self._shape(resource.id, resource.digest, fields, resource) if found is None else found

    def _shape(self, name: str, digest: bytes, fields: tuple[str, ...], known: Resource | None) -> Shape:
        found = self._shapes[name, digest, fields] = self._brought(name, fields, known)
        if len(self._shapes) > KNOWN_SHAPES:
            self._shapes.popitem(last=False)
        return found

    def _brought(self, name: str, fields: tuple[str, ...], known: Resource | None) -> Shape:
        codes = _codes(known)
        masks = [(work, _mask(work.rule, name, fields, codes)) for work in self._work]
        return tuple(
            Brought(work, mask, tuple(number for number in range(MAX_COMPONENTS) if mask >> number & 1))
            for work, mask in masks
            if mask
        )

    def weigh(self, seen: Observed, shape: Shape) -> list[Completed]:
        """Return what an answer that is about to be released completes; nothing is taken in."""
        found: list[Completed] = []
        tags = seen.tags
        for work, mask, _ in shape:
            if not work.everything and not work.scope.admits(seen):
                continue
            for start in range(0, len(tags), TAG_BYTES):
                tag = tags[start : start + TAG_BYTES]
                cell = work.cells.find(seen.consumer, tag)
                if cell is None and mask != work.whole:
                    continue
                completed = _weigh_one(work, cell, seen, mask, tag)
                if completed is not None:
                    found.append(completed)
        return found

    def take(self, seen: Observed, shape: Shape) -> None:
        """Take in an answer that is released."""
        tags, consumer, now_ms = seen.tags, seen.consumer, seen.time_ms
        for work, _, numbers in shape:
            if not work.everything and not work.scope.admits(seen):
                continue
            pane = now_ms // work.pane_ms
            for start in range(0, len(tags), TAG_BYTES):
                cell = work.cells.at(consumer, tags[start : start + TAG_BYTES], pane)
                cell.pane = pane
                cell.add(seen, numbers)

    def absorb(self, others: "Combinations") -> None:
        """Take in what other windows of the same rules have seen meanwhile."""
        for mine, theirs in zip(self._work, others._work, strict=True):
            for owner, key, cell in theirs.cells.items():
                own = mine.cells.at(owner, key, cell.pane)
                own.pane = max(own.pane, cell.pane)
                own.parts().update(cell.parts())


def _weigh_one(work: _Work, cell: _Held | None, seen: Observed, mask: int, tag: bytes) -> Completed | None:
    rule, whole, since_ms = work.rule, work.whole, seen.time_ms - work.window_ms
    anybody = believed = 0
    held = cell.parts().items() if cell is not None else ()
    for (number, provider), (time_ms, _, _) in held:
        if time_ms >= since_ms:
            anybody |= 1 << number
            if provider == seen.provider or provider in rule.believes:
                believed |= 1 << number
    holds = believed != whole and believed | mask == whole
    if not holds and (anybody == whole or anybody | mask != whole):
        return None
    parts = [part for _, part in held if part[0] >= since_ms]
    ids = list(dict.fromkeys([*(exchange_id for _, _, exchange_id in parts), seen.exchange_id]))
    resources = dict.fromkeys([*(resource for _, resource, _ in parts), seen.resource])
    holds = holds and rule.action == "approval"
    # A completion that is held back and one that is only told of are two findings.
    key = f"{seen.consumer}\0".encode() + tag + (b"\0held" if holds else b"")
    alarm = Alarm(
        rule,
        seen.consumer,
        None,
        None,
        None,
        key,
        len(ids),
        b"".join(ids[-EVIDENCE:]),
        tuple(resources)[-MAX_RESOURCES:],
        seen.time_ms,
    )
    return Completed(alarm, holds)


def _codes(resource: Resource | None) -> dict[str, str]:
    """Return the catalogue's code of each field that has one."""
    if resource is None:
        return {}
    return {name: rule.code for name, rule in resource.fields.items() if rule.code}


def _mask(rule: Combination, resource: str, fields: Sequence[str], codes: dict[str, str]) -> int:
    mask = 0
    for number, wanted in enumerate(rule.fields):
        code = wanted.removeprefix(CODE) if wanted.startswith(CODE) else None
        pattern, _, name = wanted.partition("#")
        for field in fields:
            if (
                codes.get(field) == code
                if code is not None
                else fnmatchcase(resource, pattern) and fnmatchcase(field, name)
            ):
                mask |= 1 << number
    return mask
