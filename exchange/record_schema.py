"""The JSON Schema (draft 2020-12) of one record, as a catalogue entry may state it: useful without harm.

1. At most 16 KiB, 12 levels and 1,000 values; no name twice; no number that JSON does not have.
2. It refers to its own "$defs" alone, in no circle, and spelled out stays below 2,000 values: nothing is ever
   fetched, and no small text unfolds into a large one.
3. Its patterns cannot take long (`exchange/safe_pattern.py`).
4. It describes an object whose properties are fields of the entry, with types that fit (`TYPES_OF`).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from exchange.errors import Malformed, Oversized
from exchange.resource_body import MAX_SCHEMA_BYTES
from exchange.safe_pattern import check_pattern
from exchange.v1 import directory_pb2

MAX_DEPTH = 12
MAX_VALUES = 1000
MAX_UNFOLDED = 2000
DRAFT = "https://json-schema.org/draft/2020-12/schema"
DEFINITIONS = "#/$defs/"
TYPES_OF: Mapping[str, frozenset[str]] = {
    "text": frozenset({"string"}),
    "date": frozenset({"string"}),
    "timestamp": frozenset({"string"}),
    "bytes": frozenset({"string"}),
    "integer": frozenset({"integer"}),
    "decimal": frozenset({"number", "string"}),
    "boolean": frozenset({"boolean"}),
}
"""What JSON types a field of each type may have; "null" besides, for a value that is missing."""
_FORMATS = {"date": "date", "timestamp": "date-time"}
_ELSEWHERE = frozenset(
    {"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary", "definitions"}
)
TREES = frozenset({"properties", "$defs", "patternProperties", "dependentSchemas"})
"""Keywords whose value maps names, which are no keywords, to schemas."""
PLAIN = frozenset({"const", "enum", "default", "examples"})
"""Keywords whose value is data, in which nothing is a keyword."""

Schema: TypeAlias = Mapping[str, object]


@lru_cache(maxsize=64)
def read_schema(text: str) -> Schema:
    """Return the schema that a catalogue entry states; whether it fits the fields is not looked at.

    Takes some 30 ms for 64 fields, at worst 0.3 s; what was read lately is not read again.

    Raises:
        Malformed, Oversized: it is none, or it could do harm; "schema" and what is wrong.
    """
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        raise Oversized("schema")
    try:
        schema = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed("schema: JSON") from error
    if not isinstance(schema, dict):
        raise Malformed("schema: object")
    _Bounds(schema).check()
    if schema.get("$schema", DRAFT) != DRAFT:
        raise Malformed("schema: $schema")
    _check_draft(schema)
    return schema


def check_schema(body: directory_pb2.ResourceBody) -> Schema | None:
    """Refuse a catalogue entry whose JSON Schema is none, could do harm, or contradicts its fields.

    Args:
        body: of the entry; its fields are well formed.

    Returns:
        The schema; None where the entry states none.

    Raises:
        Malformed, Oversized: "schema" and what is wrong.
    """
    if not body.schema:
        return None
    schema = read_schema(body.schema)
    types = {field.name: field.type for field in body.fields}
    if schema.get("type") != "object":
        raise Malformed("schema: type")
    properties = schema.get("properties", {})
    if not isinstance(properties, dict) or not properties.keys() <= types.keys():
        raise Malformed("schema: properties")
    if not set(cast(Sequence[str], schema.get("required", ()))) <= types.keys():
        raise Malformed("schema: required")
    for name, told in properties.items():
        _check_property(name, types[name], resolve(schema, told))
    return schema


def resolve(schema: Schema, part: object) -> object:
    """Return what a part of a schema that was read refers to; the part itself where it refers to nothing."""
    while isinstance(part, dict) and "$ref" in part:
        definitions = cast(Schema, schema.get("$defs", {}))
        part = definitions[str(part["$ref"]).removeprefix(DEFINITIONS)]
    return part


def types_in(part: object) -> frozenset[str]:
    """Return the JSON types that a part of a schema names; empty where it names none."""
    told = part.get("type", ()) if isinstance(part, dict) else ()
    return frozenset({told} if isinstance(told, str) else told)


def _check_property(name: str, kind: str, told: object) -> None:
    if not isinstance(told, dict):
        raise Malformed(f"schema: {name}")
    if not types_in(told) <= TYPES_OF[kind] | {"null"}:
        raise Malformed(f"schema: type of {name}")
    if kind in _FORMATS and told.get("format", _FORMATS[kind]) != _FORMATS[kind]:
        raise Malformed(f"schema: format of {name}")


def _check_draft(schema: Schema) -> None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        path = "/".join(map(str, error.absolute_path))
        raise Malformed(f"schema: {path[:80]}") from error


class _Bounds:
    """Walks a schema once and refuses what is too deep, too large, or leads elsewhere."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._values = 0
        self._sizes: dict[str, int] = {}
        self._open: set[str] = set()

    def check(self) -> None:
        """Raise Malformed or Oversized where a bound is broken."""
        if self._size(self._schema, 0, keywords=True) > MAX_UNFOLDED:
            raise Oversized("schema: unfolded")

    def _size(self, value: object, depth: int, *, keywords: bool) -> int:
        """Return how many values there are with every reference spelled out."""
        self._values += 1
        if depth > MAX_DEPTH:
            raise Oversized("schema: depth")
        if self._values > MAX_VALUES:
            raise Oversized("schema: values")
        if isinstance(value, list):
            return 1 + sum(self._size(item, depth + 1, keywords=keywords) for item in value)
        if not isinstance(value, dict):
            return 1
        if keywords and "$ref" in value and len(value) > 1:
            # Beside a reference nothing else: two versions are compared by what it refers to.
            raise Malformed("schema: $ref")
        return 1 + sum(self._member(name, item, depth, keywords=keywords) for name, item in value.items())

    def _member(self, name: str, value: object, depth: int, *, keywords: bool) -> int:
        if not keywords:
            return self._size(value, depth + 1, keywords=False)
        if name in _ELSEWHERE:
            raise Malformed(f"schema: {name}")
        if name == "$ref":
            return self._referred(value)
        if name == "pattern":
            check_pattern(str(value))
        if name in PLAIN:
            return self._size(value, depth + 1, keywords=False)
        if name in TREES and isinstance(value, dict):
            if name == "patternProperties":
                for pattern in value:
                    check_pattern(pattern)
            return sum(self._size(item, depth + 2, keywords=True) for item in value.values())
        return self._size(value, depth + 1, keywords=True)

    def _referred(self, target: object) -> int:
        name = str(target).removeprefix(DEFINITIONS)
        definitions = self._schema.get("$defs")
        if not isinstance(definitions, dict) or target != DEFINITIONS + name or name not in definitions:
            raise Malformed("schema: $ref")
        if name in self._open:
            raise Malformed("schema: $ref in a circle")
        if name not in self._sizes:
            self._open.add(name)
            self._sizes[name] = self._size(definitions[name], 1, keywords=True)
            self._open.discard(name)
        if self._sizes[name] > MAX_UNFOLDED:
            raise Oversized("schema: unfolded")
        return self._sizes[name]


def _once(pairs: Collection[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(name)
