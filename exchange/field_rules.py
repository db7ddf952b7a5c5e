"""How a field or parameter of a catalogue entry is kept: type, level, whether it is shared, what is hidden.

Core data and state secrets are refused here, so that no gateway enters them and no agent takes them over
(ADR 0024). Equal rules are one object: a region has a million fields and few rules.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from sys import intern

from exchange.errors import BadIdentifier, DataClassRefused, Malformed
from exchange.resource_body import MAX_CODE, check_text
from exchange.v1 import common_pb2, directory_pb2

MAX_KEPT = 256
"""Characters that a mask leaves at one end."""
DEFAULT_PADDING = 64
MAX_EQUAL = 8192
"""Of so many rules equal ones are held once."""
TYPES = frozenset({"text", "integer", "decimal", "boolean", "date", "timestamp", "bytes"})
FORMATS = frozenset({"", "citizen_id", "credit_code", "division"})
SEALED_LEVELS = frozenset({common_pb2.LEVEL_L3, common_pb2.LEVEL_L4})
REFUSED_CLASSES = frozenset({directory_pb2.DATA_CLASS_CORE, directory_pb2.DATA_CLASS_SECRET})
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

_LEVELS = frozenset(common_pb2.Level.values()) - {common_pb2.LEVEL_UNSPECIFIED}
_SHARES = frozenset(directory_pb2.ShareType.values()) - {directory_pb2.SHARE_TYPE_UNSPECIFIED}
_CLASSES = frozenset(directory_pb2.DataClass.values())
_TEXT = frozenset({"text"})
_DATES = frozenset({"date", "text"})
_NUMBERS = frozenset({"integer", "decimal"})
MASKED_TYPES: dict[int, frozenset[str]] = {
    directory_pb2.MASK_KIND_KEEP: _TEXT,
    directory_pb2.MASK_KIND_YEAR: _DATES,
    directory_pb2.MASK_KIND_MONTH: _DATES,
    directory_pb2.MASK_KIND_REDACT: TYPES,
    directory_pb2.MASK_KIND_PREFIX: _TEXT,
    directory_pb2.MASK_KIND_BAND: _NUMBERS,
    directory_pb2.MASK_KIND_PSEUDONYM: _TEXT,
}
"""What types of field each kind of mask is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """The least that is hidden of a field, whoever asks.

    Attributes:
        kind: a MaskKind, never unspecified.
        first: characters that stay at the start (KEEP, PREFIX).
        last: characters that stay at the end (KEEP).
        band: width of a band, at least 1 (BAND).
    """

    kind: int
    first: int = 0
    last: int = 0
    band: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """How one field is kept.

    Attributes:
        padding: of its sealed cells, bytes.
        code: of the data item; empty where it has none.
        derived: whether bodies other than the government's may get it.
        important: whether the data count as important by the law of data security.
        mask: None where the value leaves as it is.
    """

    type: str
    level: int
    share_type: int
    padding: int
    code: str = ""
    derived: bool = False
    important: bool = False
    mask: MaskRule | None = None

    @property
    def sealed(self) -> bool:
        """Whether the field's level is L3 or L4."""
        return self.level in SEALED_LEVELS


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRule:
    """How one parameter is kept: type, level and the format that is checked before it is used."""

    type: str
    level: int
    format: str

    @property
    def sealed(self) -> bool:
        """Whether the parameter's level is L3 or L4."""
        return self.level in SEALED_LEVELS


def field_rule(item: directory_pb2.Field) -> FieldRule:
    """Return how a field is kept.

    Raises:
        Malformed, Oversized, BadIdentifier: the subject names the field.
        DataClassRefused: its data are core or secret.
    """
    _check_item(item.name, item.type, item.level)
    if item.share_type not in _SHARES:
        raise Malformed(f"share type of {item.name}")
    if item.padding and not 16 <= item.padding <= 4096:
        raise Malformed(f"padding of {item.name}")
    for text in (item.title_zh, item.title_en, item.legal_basis, item.description, item.condition):
        if text:
            check_text(text, f"text of {item.name}")
    if item.code:
        check_text(item.code, f"code of {item.name}", most=MAX_CODE)
    if item.share_type == directory_pb2.SHARE_TYPE_NOT_SHARED and not item.legal_basis:
        raise Malformed(f"legal basis of {item.name}")
    if item.data_class not in _CLASSES:
        raise Malformed(f"data class of {item.name}")
    if item.data_class in REFUSED_CLASSES:
        raise DataClassRefused(item.name)
    mask = _mask_rule(item) if item.HasField("mask") else None
    return _same(
        FieldRule(
            type=intern(item.type),
            level=item.level,
            share_type=item.share_type,
            padding=item.padding or DEFAULT_PADDING,
            code=item.code,
            derived=item.derived,
            important=item.data_class == directory_pb2.DATA_CLASS_IMPORTANT,
            mask=mask,
        )
    )


def parameter_rule(item: directory_pb2.Parameter) -> ParameterRule:
    """Return how a parameter is kept.

    Raises:
        Malformed, BadIdentifier: the subject names the parameter.
    """
    _check_item(item.name, item.type, item.level)
    if item.format not in FORMATS:
        raise Malformed(f"format of {item.name}")
    return ParameterRule(type=intern(item.type), level=item.level, format=item.format)


def _check_item(name: str, kind: str, level: int) -> None:
    if NAME.fullmatch(name) is None:
        raise BadIdentifier("name of a field or parameter")
    if kind not in TYPES:
        raise Malformed(f"type of {name}")
    if level not in _LEVELS:
        raise Malformed(f"level of {name}")


def _mask_rule(item: directory_pb2.Field) -> MaskRule:
    told, subject = item.mask, f"mask of {item.name}"
    if item.type not in MASKED_TYPES.get(told.kind, ()) or told.first > MAX_KEPT or told.last > MAX_KEPT:
        raise Malformed(subject)
    keeps = told.kind == directory_pb2.MASK_KIND_KEEP
    cuts = told.kind == directory_pb2.MASK_KIND_PREFIX
    bands = told.kind == directory_pb2.MASK_KIND_BAND
    if (keeps and not told.first + told.last) or (cuts and not told.first) or bands != bool(told.band):
        raise Malformed(subject)
    if (told.first and not (keeps or cuts)) or (told.last and not keeps):
        raise Malformed(subject)
    return MaskRule(kind=told.kind, first=told.first, last=told.last, band=told.band)


@lru_cache(maxsize=MAX_EQUAL)
def _same(rule: FieldRule) -> FieldRule:
    return rule
