"""What differs between the JSON Schemas of two versions, for those who read records.

A record of the new version must be one that the schema before allowed: a schema may promise more than before
(another required field, a shorter text, fewer values), never less. A difference that is not known to promise
more counts as breaking: nobody can show that it is not.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from exchange.record_schema import PLAIN, TREES, Schema, read_schema, resolve, types_in

_NOTES = frozenset({"title", "description", "$comment", "examples", "default", "$schema", "deprecated"})
"""Keywords that promise nothing."""
_CEILINGS = frozenset({"maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties"})
_FLOORS = frozenset({"minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties"})
_TOP = frozenset({"type", "properties", "required", "$defs", "additionalProperties"})
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two versions of a catalogue entry.

    Attributes:
        subject: what it is about: "field name", "parameter name", "schema name", or a part of the entry.
        breaking: whether those who use the version before must change.
        zh, en: what has changed, in both languages.
    """

    subject: str
    breaking: bool
    zh: str
    en: str


def schema_changes(old: str, new: str) -> Iterator[Change]:
    """Yield the differences between two schemas as catalogue entries state them; either may be empty."""
    if old == new:
        return
    if not old or not new:
        zh, en = (
            ("不再给出 JSON Schema", "the schema is gone") if old else ("新给出 JSON Schema", "a new schema")
        )
        yield Change("schema", bool(old), zh, en)
        return
    before, after = read_schema(old), read_schema(new)
    yield from _required(before, after)
    yield from _properties(before, after)
    yield from _compared("schema", _rest(before), _rest(after))


def _rest(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name not in _TOP}


def _required(old: Schema, new: Schema) -> Iterator[Change]:
    before, after = _names(old), _names(new)
    for name in sorted(before - after):
        yield Change(f"schema {name}", True, "不再必有", "no longer required")
    for name in sorted(after - before):
        yield Change(f"schema {name}", False, "改为必有", "now required")
    if new.get("additionalProperties", True) != old.get("additionalProperties", True):
        breaks = new.get("additionalProperties", True) is not False
        yield Change("schema", breaks, "其他属性的规定已变", "additionalProperties has changed")


def _names(schema: Schema) -> frozenset[str]:
    return frozenset(cast(list[str], schema.get("required", [])))


def _properties(old: Schema, new: Schema) -> Iterator[Change]:
    before = cast(Schema, old.get("properties", {}))
    after = cast(Schema, new.get("properties", {}))
    for name in before:
        if name not in after:
            yield Change(f"schema {name}", True, "不再描述", "no longer described")
            continue
        first, second = resolve(old, before[name]), resolve(new, after[name])
        if isinstance(first, dict) and isinstance(second, dict):
            yield from _compared(f"schema {name}", _spelled(old, first), _spelled(new, second))
    for name in after:
        if name not in before:
            yield Change(f"schema {name}", False, "新描述", "newly described")


def _spelled(schema: Schema, part: object) -> Schema:
    """Return a part with every reference in it replaced by what it refers to."""

    def spell(value: object) -> object:
        value = resolve(schema, value)
        if isinstance(value, list):
            return [spell(item) for item in value]
        if isinstance(value, dict):
            return {name: member(name, item) for name, item in value.items()}
        return value

    def member(name: str, value: object) -> object:
        if name in PLAIN:
            return value
        if name in TREES and isinstance(value, dict):
            return {key: spell(item) for key, item in value.items()}
        return spell(value)

    return cast(Schema, spell(part))


def _compared(subject: str, old: Schema, new: Schema) -> Iterator[Change]:
    for keyword in sorted((old.keys() | new.keys()) - _NOTES):
        before, after = old.get(keyword, _MISSING), new.get(keyword, _MISSING)
        if before is not _MISSING and after is not _MISSING and _written(before) == _written(after):
            continue
        narrows = _NARROWS.get(keyword, _added)(before, after)
        zh, en = ("收紧", "narrower") if narrows else ("放宽或改变", "wider or other than before")
        yield Change(subject, not narrows, f"{keyword} {zh}", f"{keyword} is {en}")


def _written(value: object) -> str:
    """Return a value so that equal texts are equal values: in Python, true is 1."""
    return json.dumps(value, sort_keys=True)


def _added(before: object, after: object) -> bool:
    return before is _MISSING


def _fewer_types(before: object, after: object) -> bool:
    if before is _MISSING or after is _MISSING:
        return before is _MISSING
    allowed = types_in({"type": before})
    return types_in({"type": after}) <= (allowed | {"integer"} if "number" in allowed else allowed)


def _fewer_values(before: object, after: object) -> bool:
    if not isinstance(before, list) or not isinstance(after, list):
        return before is _MISSING
    return set(map(_written, after)) <= set(map(_written, before))


def _lower(before: object, after: object) -> bool:
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return before is _MISSING
    return after <= before


def _higher(before: object, after: object) -> bool:
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return before is _MISSING
    return after >= before


_NARROWS: Mapping[str, Callable[[object, object], bool]] = {
    "type": _fewer_types,
    "enum": _fewer_values,
    **dict.fromkeys(_CEILINGS, _lower),
    **dict.fromkeys(_FLOORS, _higher),
}
