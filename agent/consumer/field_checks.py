"""What a resource's JSON Schema says of single values, compiled once: for the quality that consumers report.

An answer's types are verified when it is opened (exchange/values.py). Looked at here is what a schema says
of each property by itself: enum, const, minLength, maxLength, minimum, maximum, exclusiveMinimum,
exclusiveMaximum and pattern; through "$ref" into "$defs". Whatever else it says is not counted. The schema is
the provider's text, so nothing in it may take long: a pattern counts only where it is plain, without groups,
alternatives or back references and with at most two open-ended repetitions, and is tried on values of at most
256 characters.
"""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

MAX_SCHEMA_CHARS = 16 * 1024
MAX_REFS = 8
MAX_ENUM = 4096
MAX_PATTERN = 200
MAX_TRIED = 256
MAX_OPEN_ENDED = 2

Check = Callable[[str], bool]
"""Tells whether a value, as text, fits."""

_DEFS = "#/$defs/"
_CLASS = re.compile(r"\[(?:\\.|[^\]\\])*\]|\\.")


def compile_checks(schema: str, types: Mapping[str, str]) -> dict[str, Check]:
    """Return a check for each field of which a schema says anything.

    Args:
        schema: JSON Schema of one record, as the catalogue has it; empty for none.
        types: name of each field to its type.

    Returns:
        Field to check. Nothing for a schema that cannot be read: it counts for nothing.
    """
    if not schema or len(schema) > MAX_SCHEMA_CHARS:
        return {}
    try:
        document = json.loads(schema, parse_float=Decimal)
    except (ValueError, RecursionError):
        return {}
    properties = document.get("properties") if isinstance(document, dict) else None
    if not isinstance(properties, dict):
        return {}
    checks: dict[str, Check] = {}
    for name, kind in types.items():
        parts = _parts(document, properties.get(name), kind)
        if parts:
            checks[name] = _all(parts)
    return checks


def plain_pattern(pattern: str) -> re.Pattern[str] | None:
    """Return a pattern compiled, None where it could take long or is none."""
    if len(pattern) > MAX_PATTERN:
        return None
    bare = _CLASS.sub("x", pattern)
    open_ended = bare.count("*") + bare.count("+") + len(re.findall(r"\{[0-9]*,\}", bare))
    if set(bare) & set("()|") or open_ended > MAX_OPEN_ENDED or re.search(r"\\[1-9]", pattern):
        return None
    if any(
        int(number) > MAX_TRIED for number in re.findall(r"[0-9]+", "".join(re.findall(r"\{[^}]*\}", bare)))
    ):
        return None
    try:
        return re.compile(pattern)
    except (re.error, OverflowError):
        return None


def _parts(document: Mapping[str, Any], told: object, kind: str) -> list[Check]:
    for _ in range(MAX_REFS):
        if not isinstance(told, dict) or "$ref" not in told:
            break
        definitions = document.get("$defs")
        name = str(told["$ref"]).removeprefix(_DEFS)
        told = definitions.get(name) if isinstance(definitions, dict) else None
    if not isinstance(told, dict):
        return []
    return [*_listed(told, kind), *_lengths(told, kind), *_bounds(told, kind), *_pattern(told, kind)]


def _listed(told: Mapping[str, Any], kind: str) -> list[Check]:
    values = [told["const"]] if "const" in told else told.get("enum", [])
    if not isinstance(values, list) or not 0 < len(values) <= MAX_ENUM:
        return []
    if kind in ("integer", "decimal"):
        numbers = frozenset(number for one in values if (number := _number(one)) is not None)
        return [lambda text: _number(text) in numbers]
    texts = frozenset(_text(one) for one in values)
    return [lambda text: text in texts]


def _lengths(told: Mapping[str, Any], kind: str) -> list[Check]:
    if kind in ("integer", "decimal", "boolean"):
        return []
    least, most = told.get("minLength", 0), told.get("maxLength")
    parts: list[Check] = []
    if isinstance(least, int) and least > 0:
        parts.append(lambda text: len(text) >= least)
    if isinstance(most, int):
        parts.append(lambda text: len(text) <= most)
    return parts


def _bounds(told: Mapping[str, Any], kind: str) -> list[Check]:
    if kind not in ("integer", "decimal"):
        return []
    names = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    least, most, above, below = (_number(told.get(name)) for name in names)
    if (least, most, above, below) == (None, None, None, None):
        return []

    def check(text: str) -> bool:
        value = Decimal(text)
        return (
            (least is None or value >= least)
            and (most is None or value <= most)
            and (above is None or value > above)
            and (below is None or value < below)
        )

    return [check]


def _pattern(told: Mapping[str, Any], kind: str) -> list[Check]:
    pattern = told.get("pattern")
    found = (
        plain_pattern(pattern) if isinstance(pattern, str) and kind in ("text", "date", "timestamp") else None
    )
    if found is None:
        return []
    search = found.search
    return [lambda text: len(text) > MAX_TRIED or search(text) is not None]


def _all(parts: list[Check]) -> Check:
    if len(parts) == 1:
        return parts[0]
    return lambda text: all(part(text) for part in parts)


def _number(value: object) -> Decimal | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
