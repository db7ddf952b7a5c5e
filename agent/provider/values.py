"""Values of the seven types: read strictly from text, and taken over from whatever a driver gives.

The text form is that of the exchange (`exchange/envelope.py`): integers and decimals in plain digits,
"true" and "false", ISO 8601 dates and timestamps with an offset, bytes in base64.
"""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

Value: TypeAlias = str | int | Decimal | bool | date | datetime | bytes | None
"""What a field holds: str, int, Decimal, bool, date, datetime with an offset, bytes, or nothing."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,64}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,64}(\.[0-9]{1,64})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MIDNIGHT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]00:00:00(\.0+)?")


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError("not an integer")
    return int(text)


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        raise ValueError("not a decimal")
    return Decimal(text)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("not a boolean")
    return text == "true"


def _date(text: str) -> date:
    if not _DATE.fullmatch(text):
        raise ValueError("not a date")
    return date.fromisoformat(text)


def _timestamp(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a timestamp without an offset")
    return moment


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


_PARSERS: dict[str, Callable[[str], Value]] = {
    "text": str,
    "integer": _integer,
    "decimal": _decimal,
    "boolean": _boolean,
    "date": _date,
    "timestamp": _timestamp,
    "bytes": _bytes,
}


def parse(kind: str, text: str) -> Value:
    """Read a value of a type from its text form, and nothing that merely resembles it.

    Args:
        kind: one of the seven types.
        text: the text form.

    Raises:
        ValueError: the text is not of that form; its message holds no value.
    """
    try:
        return _PARSERS[kind](text)
    except (ValueError, OverflowError):
        raise ValueError(f"not of type {kind}") from None


def taker(kind: str, zone: timezone) -> Callable[[object], Value]:
    """Return what turns a driver's value, never None, into one of a type.

    Args:
        kind: one of the seven types.
        zone: the offset of timestamps that carry none.

    Returns:
        A function that raises ValueError, without the value in its message, where it cannot.
    """
    take = _TAKERS[kind]

    def taken(raw: object) -> Value:
        try:
            return take(raw, zone)
        except (ValueError, TypeError, OverflowError, InvalidOperation):
            raise ValueError(f"not of type {kind}") from None

    return taken


def _take_text(raw: object, _: timezone) -> str:
    if isinstance(raw, str):
        raw.encode()  # lone surrogates do not travel
        return raw
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, date):
        return raw.isoformat()
    if isinstance(raw, bytes | bytearray | memoryview):
        return bytes(raw).decode()
    if isinstance(raw, int | float | Decimal) or type(raw).__name__ == "UUID":
        return str(raw)
    raise ValueError


def _take_integer(raw: object, _: timezone) -> int:
    if isinstance(raw, str):
        return _integer(raw.strip())
    if isinstance(raw, int):
        return int(raw)
    if isinstance(raw, float | Decimal) and raw == int(raw):
        return int(raw)
    raise ValueError


def _take_decimal(raw: object, _: timezone) -> Decimal:
    if isinstance(raw, str):
        return _decimal(raw.strip())
    if isinstance(raw, int | float):
        raw = Decimal(str(raw))
    if isinstance(raw, Decimal) and raw.is_finite():
        return raw
    raise ValueError


_TRUE = frozenset({"true", "t", "1", "y", "yes", "是"})
_FALSE = frozenset({"false", "f", "0", "n", "no", "否"})


def _take_boolean(raw: object, _: timezone) -> bool:
    word = str(raw).strip().lower() if isinstance(raw, str | int) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError


def _take_date(raw: object, _: timezone) -> date:
    if isinstance(raw, datetime):
        if raw.time().replace(tzinfo=None) != datetime.min.time():
            raise ValueError
        return raw.date()
    if isinstance(raw, date):
        return raw
    text = str(raw).strip()
    if len(text) == 8 and text.isascii() and text.isdigit():
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    midnight = _MIDNIGHT.fullmatch(text)
    return _date(midnight[1] if midnight else text)


def _take_timestamp(raw: object, zone: timezone) -> datetime:
    moment = raw if isinstance(raw, datetime) else datetime.fromisoformat(str(raw).strip())
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _take_bytes(raw: object, _: timezone) -> bytes:
    if isinstance(raw, bytes | bytearray | memoryview):
        return bytes(raw)
    if isinstance(raw, str):
        return _bytes(raw)
    raise ValueError


_TAKERS: dict[str, Callable[[object, timezone], Value]] = {
    "text": _take_text,
    "integer": _take_integer,
    "decimal": _take_decimal,
    "boolean": _take_boolean,
    "date": _take_date,
    "timestamp": _take_timestamp,
    "bytes": _take_bytes,
}
