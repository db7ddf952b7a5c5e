"""Values as bytes: how a field or parameter of each type travels, inside an envelope or in the clear.

Every type but "bytes" travels as the UTF-8 of one text form, so both ends and every language agree: text as
it is; integer `-?[0-9]+`; decimal without exponent; boolean `true`/`false`; date `YYYY-MM-DD`; timestamp
`YYYY-MM-DDTHH:MM:SS[.ffffff][offset]`, without offset where the source has none. Bytes travel raw and are
shown in base64. A cell in the clear has the tag of a sealed one before its value (1 null, 2 value).
"""

import base64
import binascii
import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from types import MappingProxyType

from exchange.errors import BadParameter, Malformed, Oversized

MAX_VALUE_BYTES = 64 * 1024 - 2
_NULL, _VALUE = b"\x01", b"\x02"
_INTEGER = re.compile(r"-?[0-9]{1,1000}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,1000}(\.[0-9]{1,1000})?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)
_BOOLEANS = MappingProxyType({"true": "true", "false": "false", "1": "true", "0": "false"})
_MAX_EXPONENT = 1000


def encode_value(type: str, value: object) -> bytes:
    """Return the bytes of a value.

    Args:
        type: "text", "integer", "decimal", "boolean", "date", "timestamp" or "bytes".
        value: a Python value of that kind, or its text form; not None.

    Returns:
        At most 65,534 bytes.

    Raises:
        BadParameter: the value is not of the type, or there is no such type.
        Oversized: it is too long.
    """
    encoder = _ENCODERS.get(type)
    if encoder is None:
        raise BadParameter(f"type {type[:20]}")
    try:
        encoded = encoder(value)
    except (ValueError, OverflowError, InvalidOperation):
        raise BadParameter(type) from None
    if len(encoded) > MAX_VALUE_BYTES:
        raise Oversized(type)
    return encoded


def decode_value(type: str, encoded: bytes) -> str:
    """Return the text form of a value that a peer sent.

    Args:
        type: as for encode_value.
        encoded: the value's bytes.

    Raises:
        Malformed: the bytes are no value of the type.
        Oversized: they are too many.
    """
    if len(encoded) > MAX_VALUE_BYTES:
        raise Oversized(type)
    if type == "bytes":
        return base64.b64encode(encoded).decode()
    encoder = _ENCODERS.get(type)
    if encoder is None:
        raise Malformed(f"type {type[:20]}")
    try:
        text = encoded.decode()
        exact = type == "text" or encoder(text) == encoded
    except (ValueError, OverflowError, InvalidOperation):
        exact = False
    if not exact:
        raise Malformed(type)
    return text


def clear_cells(values: Sequence[bytes | None]) -> list[bytes]:
    """Return the cells of a column in the clear: a tag and the encoded value."""
    return [_NULL if value is None else _VALUE + value for value in values]


def read_clear_cells(name: str, cells: Sequence[bytes]) -> list[bytes | None]:
    """Return the encoded values of a column in the clear.

    Args:
        name: of the column, for the error.
        cells: what a peer sent.

    Raises:
        Malformed: a cell has no tag.
        Oversized: a cell is too long.
    """
    values: list[bytes | None] = []
    for cell in cells:
        if len(cell) > MAX_VALUE_BYTES + 1:
            raise Oversized(name)
        if cell[:1] == _VALUE:
            values.append(cell[1:])
        elif cell == _NULL:
            values.append(None)
        else:
            raise Malformed(name)
    return values


def _text(value: object) -> bytes:
    if isinstance(value, bytes):
        value = value.decode()
    return str(value).encode()


def _integer(value: object) -> bytes:
    if isinstance(value, float | Decimal) and value == int(value):
        value = int(value)
    text = str(int(value) if isinstance(value, bool) else value)
    if not _INTEGER.fullmatch(text):
        raise ValueError
    return str(int(text)).encode()


def _decimal(value: object) -> bytes:
    number = Decimal(str(value))
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError
    text = format(number, "f")
    if not _DECIMAL.fullmatch(text):
        raise ValueError
    return text.encode()


def _boolean(value: object) -> bytes:
    text = str(value).lower()
    if text not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[text].encode()


def _date(value: object) -> bytes:
    if isinstance(value, datetime.datetime):
        value = value.date()
    if isinstance(value, datetime.date):
        return value.isoformat().encode()
    text = str(value)
    if not _DATE.fullmatch(text):
        raise ValueError
    return datetime.date.fromisoformat(text).isoformat().encode()


def _timestamp(value: object) -> bytes:
    if isinstance(value, datetime.datetime):
        return value.isoformat().encode()
    text = str(value).replace(" ", "T", 1)
    if not _TIMESTAMP.fullmatch(text):
        raise ValueError
    return datetime.datetime.fromisoformat(text).isoformat().encode()


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    try:
        return base64.b64decode(str(value), validate=True)
    except binascii.Error:
        raise ValueError from None


_ENCODERS: Mapping[str, Callable[[object], bytes]] = MappingProxyType(
    {
        "text": _text,
        "integer": _integer,
        "decimal": _decimal,
        "boolean": _boolean,
        "date": _date,
        "timestamp": _timestamp,
        "bytes": _bytes,
    }
)
