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
from gateway.risk.rules_file import Combination
from gateway.risk.windows import EVIDENCE, MAX_RESOURCES, Cells

KNOWN_SHAPES = 4096
MAX_PARTS = 32
CODE = "code:"
_EVERY = ("*",)
"""Stands for all fields of a resource; no field is named so."""


class _Part(NamedTuple):
    """One field of a combination that was received."""

    time_ms: int
    provider: str
    resource: str
    exchange_id: bytes


class _Held:
    """What one consumer received about one subject: per field and provider the newest."""

    __slots__ = ("pane", "parts")

    def __init__(self) -> None:
        self.pane = 0
        self.parts: dict[tuple[int, str], _Part] = {}


class Completed(NamedTuple):
    """A combination that an answer completes.

    Attributes:
        holds: whether the answer may be held back.
    """

    alarm: Alarm
    holds: bool


class Combinations:
    """All rules of this kind at work.

    Args:
        rules: the rules.
        resource: finds a resource of the catalogue by its id.
    """

    def __init__(self, rules: Sequence[Combination], resource: Callable[[str], Resource | None]) -> None:
        self._rules = [(rule, Scoped(rule)) for rule in rules]
        self._cells: list[Cells[_Held]] = [Cells(_Held, most=rule.max_keys) for rule in rules]
        self._resource = resource
        self._shapes: OrderedDict[tuple[str, bytes, tuple[str, ...]], tuple[int, ...]] = OrderedDict()

    @property
    def evicted(self) -> int:
        """How many cells were dropped for want of room."""
        return sum(cells.evicted for cells in self._cells)

    @property
    def held(self) -> int:
        """How many cells there are."""
        return sum(cells.size for cells in self._cells)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def shape(self, resource: str, fields: tuple[str, ...]) -> tuple[int, ...]:
        """Return, per rule, which of its fields a query for these would bring, as bits; empty for none."""
        known = self._resource(resource)
        if known is not None:
            return self.shape_of(known, fields)
        return self._shape(resource, b"", fields, None)

    def concerns(self, resource: Resource) -> bool:
        """Return whether any field of a resource belongs to a combination."""
        return bool(self.shape_of(resource, _EVERY))

    def shape_of(self, resource: Resource, fields: tuple[str, ...]) -> tuple[int, ...]:
        """Return what `shape` does, for a resource that was found already."""
        found = self._shapes.get((resource.id, resource.digest, fields))
        return self._shape(resource.id, resource.digest, fields, resource) if found is None else found

    def _shape(
        self, name: str, digest: bytes, fields: tuple[str, ...], known: Resource | None
    ) -> tuple[int, ...]:
        codes = _codes(known)
        asked = tuple(known.fields) if fields is _EVERY and known is not None else fields
        masks = tuple(_mask(rule, name, asked, codes) for rule, _ in self._rules)
        found = self._shapes[name, digest, fields] = masks if any(masks) else ()
        if len(self._shapes) > KNOWN_SHAPES:
            self._shapes.popitem(last=False)
        return found

    def weigh(self, seen: Observed, masks: tuple[int, ...]) -> list[Completed]:
        """Return what an answer that is about to be released completes; nothing is taken in."""
        found = []
        for (rule, scope), cells, mask in zip(self._rules, self._cells, masks, strict=True):
            if not mask or not (scope.everything or scope.admits(seen)):
                continue
            whole = (1 << len(rule.fields)) - 1
            for start in range(0, len(seen.tags), TAG_BYTES):
                tag = seen.tags[start : start + TAG_BYTES]
                cell = cells.find(seen.consumer, tag)
                if cell is None and mask != whole:
                    continue
                completed = _weigh_one(rule, cell, seen, mask, tag)
                if completed is not None:
                    found.append(completed)
        return found

    def take(self, seen: Observed, masks: tuple[int, ...]) -> None:
        """Take in an answer that is released."""
        for (rule, scope), cells, mask in zip(self._rules, self._cells, masks, strict=True):
            if not mask or not (scope.everything or scope.admits(seen)):
                continue
            pane = seen.time_ms // max(rule.window * 1000 // 8, 1)
            part = _Part(seen.time_ms, seen.provider, seen.resource, seen.exchange_id)
            for start in range(0, len(seen.tags), TAG_BYTES):
                cell = cells.at(seen.consumer, seen.tags[start : start + TAG_BYTES], pane)
                cell.pane = pane
                for number in range(len(rule.fields)):
                    if mask >> number & 1:
                        cell.parts[number, seen.provider] = part
                if len(cell.parts) > MAX_PARTS:
                    parts = cell.parts
                    del parts[min(parts, key=lambda one: parts[one].time_ms)]

    def absorb(self, others: "Combinations") -> None:
        """Take in what other windows of the same rules have seen meanwhile."""
        for mine, theirs in zip(self._cells, others._cells, strict=True):
            for owner, key, cell in theirs.items():
                own = mine.at(owner, key, cell.pane)
                own.pane = max(own.pane, cell.pane)
                own.parts |= cell.parts


def _weigh_one(
    rule: Combination, cell: _Held | None, seen: Observed, mask: int, tag: bytes
) -> Completed | None:
    whole = (1 << len(rule.fields)) - 1
    since_ms = seen.time_ms - rule.window * 1000
    anybody = believed = 0
    parts: list[_Part] = []
    for (number, provider), part in cell.parts.items() if cell is not None else ():
        if part.time_ms >= since_ms:
            anybody |= 1 << number
            if provider == seen.provider or provider in rule.believes:
                believed |= 1 << number
            parts.append(part)
    holds = believed != whole and believed | mask == whole
    if not holds and (anybody == whole or anybody | mask != whole):
        return None
    ids = list(dict.fromkeys([*(part.exchange_id for part in parts), seen.exchange_id]))
    resources = dict.fromkeys([*(part.resource for part in parts), seen.resource])
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
