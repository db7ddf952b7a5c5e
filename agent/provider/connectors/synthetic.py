"""Records that belong to nobody, made from what a resource says of itself: for sandboxes, never for service.

The same seed, resource and key give the same record on every machine; a share of the keys gives none, so that
callers meet both. Each field is drawn by itself: one more field changes no other. Nothing is read or stored.
Persons' ids lie in divisions that exist nowhere (97, 98).
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from agent.provider.connectors.port import Found, Record
from agent.provider.connectors.synthetic_text import text_of
from agent.provider.values import parse
from exchange.errors import BadConfiguration

Schema = Mapping[str, Any]
FIRST_DAY = date(1950, 1, 1)
DAYS = 27_000
NULL_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is known of a column.

    Attributes:
        type: one of the seven types.
        format: "citizen_id", "credit_code", "division" or empty.
        schema: of the property, JSON Schema; empty where there is none.
    """

    column: str
    type: str
    format: str
    schema: Schema


class SyntheticConnector:
    """Makes records.

    Args:
        name: of the resource; other resources have other records.
        shapes: the columns.
        seed: another seed, other records.
        missing: share of the keys that have no record, 0 to 1.

    Raises:
        BadConfiguration: the schema of a column asks for what cannot be made.
    """

    def __init__(self, *, name: str, shapes: Sequence[Shape], seed: str, missing: float) -> None:
        self._name = name
        self._shapes = tuple(shapes)
        self._seed = seed
        self._missing = missing
        for shape in self._shapes:
            self._value(shape, {}, "check")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order of a record's values."""
        return tuple(shape.column for shape in self._shapes)

    @property
    def data_version(self) -> str:
        """Says what the records are."""
        return f"synthetic-{self._seed}"

    async def read(self, keys: Sequence[Mapping[str, str]], *, timeout_s: float) -> list[Found]:
        """See `Connector.read`."""
        return [self.records(key) for key in keys]

    async def check(self) -> None:
        """See `Connector.check`."""

    async def close(self) -> None:
        """See `Connector.close`."""

    def records(self, key: Mapping[str, str]) -> list[Record]:
        """Return the one record of a key, or none."""
        text = repr(sorted(key.items()))
        if self._draw("", text).random() < self._missing:
            return []
        return [tuple(self._value(shape, key, text) for shape in self._shapes)]

    def _draw(self, column: str, key: str) -> random.Random:
        place = "\0".join((self._seed, self._name, column, key)).encode()
        return random.Random(hashlib.sha256(place).digest())  # noqa: S311 - reproducible by intent

    def _value(self, shape: Shape, key: Mapping[str, str], text: str) -> object:
        if shape.column in key:
            # Who is asked for by id gets the record of that id.
            return parse(shape.type, key[shape.column])
        chance, schema = self._draw(shape.column, text), shape.schema
        kinds = schema.get("type", ())
        if "null" in ([kinds] if isinstance(kinds, str) else kinds) and chance.random() < NULL_SHARE:
            return None
        try:
            if "const" in schema:
                return schema["const"]
            if schema.get("enum"):
                return chance.choice([one for one in schema["enum"] if one is not None])
            return _MAKERS[shape.type](shape, chance)
        except (ValueError, TypeError, IndexError, ArithmeticError) as error:
            raise BadConfiguration(f"{self._name}: {shape.column}: {type(error).__name__}") from error


def resolved(whole: Schema, part: object) -> Schema:
    """Return a part of a schema with what it refers to beside it: its own `$defs` alone, a few steps deep.

    Raises:
        BadConfiguration: it refers to something else, or in a circle.
    """
    for _ in range(8):
        if not isinstance(part, dict) or "$ref" not in part:
            return part if isinstance(part, dict) else {}
        found = whole.get("$defs", {}).get(str(part["$ref"]).removeprefix("#/$defs/"))
        if not isinstance(found, dict):
            break
        part = {**found, **{key: value for key, value in part.items() if key != "$ref"}}
    raise BadConfiguration("schema: $ref")


def _text(shape: Shape, chance: random.Random) -> str:
    return text_of(shape.column, shape.format, shape.schema, chance)


def _bounds(schema: Schema, step: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """Return least and most, whole multiples of a step."""
    if "multipleOf" in schema:
        step = Decimal(str(schema["multipleOf"]))
    low = high = None
    if "minimum" in schema:
        low = Decimal(str(schema["minimum"]))
    if "exclusiveMinimum" in schema:
        low = Decimal(str(schema["exclusiveMinimum"])) + step
    if "maximum" in schema:
        high = Decimal(str(schema["maximum"]))
    if "exclusiveMaximum" in schema:
        high = Decimal(str(schema["exclusiveMaximum"])) - step
    if low is None:
        low = Decimal(0) if high is None or high >= 0 else high - 1000 * step
    if high is None:
        high = low + 10_000 * step
    if step <= 0 or low > high:
        raise ValueError("bounds")
    return low, high, step


def _number(schema: Schema, chance: random.Random, step: Decimal) -> Decimal:
    low, high, step = _bounds(schema, step)
    first, last = -int(-low // step) if low % step else int(low // step), int(high // step)
    first = first if first * step >= low else first + 1
    return chance.randint(first, last) * step


def _integer(shape: Shape, chance: random.Random) -> int:
    return int(_number(shape.schema, chance, Decimal(1)))


def _decimal(shape: Shape, chance: random.Random) -> Decimal:
    return _number(shape.schema, chance, Decimal("0.01"))


def _boolean(shape: Shape, chance: random.Random) -> bool:
    return chance.random() < 0.5


def _date(shape: Shape, chance: random.Random) -> date:
    return FIRST_DAY + timedelta(days=chance.randrange(DAYS))


def _timestamp(shape: Shape, chance: random.Random) -> datetime:
    return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(5 * 365 * 86_400))


def _bytes(shape: Shape, chance: random.Random) -> bytes:
    return chance.randbytes(24)


_MAKERS = {
    "text": _text,
    "integer": _integer,
    "decimal": _decimal,
    "boolean": _boolean,
    "date": _date,
    "timestamp": _timestamp,
    "bytes": _bytes,
}
