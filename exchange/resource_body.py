"""Reads the parts of a catalogue entry's body: what is well formed, before anybody is asked who may sign it.

Bounds stand beside the fields in proto/exchange/v1/directory.proto. Core data and state secrets are refused
here, so that no gateway enters them and no agent takes them over (ADR 0024). Whether the JSON Schema is one
is `exchange/record_schema.py`'s to say: a start reads every entry of the log and need not ask that again.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import DecodeError

from exchange.canonical import NONCE_BYTES
from exchange.errors import BadIdentifier, DataClassRefused, Malformed, Oversized
from exchange.v1 import common_pb2, directory_pb2

MAX_FIELDS = 64
MAX_PARAMETERS = 16
MAX_ROWS = 1000
MAX_TEXT = 500
MAX_SUMMARY = 2000
MAX_CODE = 64
MAX_KEYWORDS = 16
MAX_KEYWORD = 40
MAX_CATEGORY = 200
MAX_SOURCES = 16
MAX_SCHEMA_BYTES = 16 * 1024
MAX_UNIT = 100
MAX_FRESH_S = 10 * 366 * 24 * 3600
MAX_ANSWER_MS = 600_000
MAX_DECIDE_DAYS = 250
MAX_KEPT = 256
"""Characters that a mask leaves at one end."""
DEFAULT_PADDING = 64
TYPES = frozenset({"text", "integer", "decimal", "boolean", "date", "timestamp", "bytes"})
FORMATS = frozenset({"", "citizen_id", "credit_code", "division"})
UPDATE_CYCLES = frozenset({"", "realtime", "daily", "weekly", "monthly", "quarterly", "yearly", "irregular"})
SEALED_LEVELS = frozenset({common_pb2.LEVEL_L3, common_pb2.LEVEL_L4})
REFUSED_CLASSES = frozenset({directory_pb2.DATA_CLASS_CORE, directory_pb2.DATA_CLASS_SECRET})

_ID = re.compile(r"([0-9]{6})/([a-z0-9-]{1,40})/([a-z0-9-]{1,40})")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_CATEGORY = re.compile(r"(base|theme|department)(/[^/\s]{1,40}){0,5}")
_LEVELS = frozenset(common_pb2.Level.values()) - {common_pb2.LEVEL_UNSPECIFIED}
_SHARES = frozenset(directory_pb2.ShareType.values()) - {directory_pb2.SHARE_TYPE_UNSPECIFIED}
_KINDS = frozenset(common_pb2.Kind.values()) - {common_pb2.KIND_UNSPECIFIED}
_CLASSES = frozenset(directory_pb2.DataClass.values())
_MODES = frozenset(directory_pb2.FetchMode.values()) - {directory_pb2.FETCH_MODE_UNSPECIFIED}
_COMPATIBILITIES = frozenset(directory_pb2.Compatibility.values())
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


class ResourceId(NamedTuple):
    """The three parts of a resource's id."""

    division: str
    alias: str
    name: str


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
    """How one field is kept. Equal rules are one object: a region has a million fields and few rules.

    Attributes:
        padding: of its sealed cells, bytes.
        code: of the data item; empty where it has none.
        important: whether it counts as important data by the law of data security.
        derived: whether bodies other than the government's may get it.
        mask: None where the value leaves as it is.
    """

    type: str
    level: int
    share_type: int
    padding: int
    code: str = ""
    important: bool = False
    derived: bool = False
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Responsibility:
    """What the provider answers for; 0 where nothing is promised.

    Attributes:
        unit: the office that answers.
        fresh_within_s: the data are at most this old, seconds.
        available_permille: share of questions that are answered.
        answer_within_ms: 95 of 100 answers come within so many milliseconds.
        decide_within_days: applications are decided within so many working days.
    """

    unit: str
    fresh_within_s: int
    available_permille: int
    answer_within_ms: int
    decide_within_days: int


def read_body(statement: common_pb2.Statement) -> directory_pb2.ResourceBody:
    """Return the body of a catalogue entry, well formed but for its fields, parameters and schema.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule; the subject names the part.
    """
    try:
        body = directory_pb2.ResourceBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("resource") from error
    _check_essentials(body)
    _check_metadata(body)
    return body


def split_id(resource: str) -> ResourceId:
    """Return the parts of "<6-digit division>/<organisation alias>/<name>".

    Raises:
        BadIdentifier: the id has another form.
    """
    matched = _ID.fullmatch(resource)
    if matched is None:
        raise BadIdentifier("resource id")
    return ResourceId(*matched.groups())


def check_text(text: str, subject: str, *, least: int = 0, most: int = MAX_TEXT) -> None:
    """Refuse a text that is too short, too long, padded with blanks or has control characters.

    Raises:
        Malformed, Oversized: with the subject given.
    """
    if len(text) > most:
        raise Oversized(subject)
    if len(text) < least or not text.isprintable() or text != text.strip():
        raise Malformed(subject)


def check_kinds(kinds: Sequence[int]) -> None:
    """Refuse a list of kinds that is empty, has one twice or names one this version does not know.

    Raises:
        Malformed.
    """
    if not kinds or len(set(kinds)) != len(kinds) or not _KINDS.issuperset(kinds):
        raise Malformed("kinds")


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
    return _shared_rule(
        item.type,
        item.level,
        item.share_type,
        item.padding or DEFAULT_PADDING,
        item.code,
        item.data_class == directory_pb2.DATA_CLASS_IMPORTANT,
        item.derived,
        mask,
    )


def parameter_rule(item: directory_pb2.Parameter) -> ParameterRule:
    """Return how a parameter is kept.

    Raises:
        Malformed, BadIdentifier: the subject names the parameter.
    """
    _check_item(item.name, item.type, item.level)
    if item.format not in FORMATS:
        raise Malformed(f"format of {item.name}")
    return _shared_parameter(item.type, item.level, item.format)


def responsibility(told: directory_pb2.Responsibility) -> Responsibility:
    """Return what a provider answers for.

    Raises:
        Malformed, Oversized.
    """
    check_text(told.unit, "responsibility: unit", most=MAX_UNIT)
    bounds = {
        "fresh_within_s": MAX_FRESH_S,
        "available_permille": 1000,
        "answer_within_ms": MAX_ANSWER_MS,
        "decide_within_days": MAX_DECIDE_DAYS,
    }
    promised: dict[str, int] = {name: getattr(told, name) for name in bounds}
    for name, value in promised.items():
        if value > bounds[name]:
            raise Malformed(f"responsibility: {name}")
    return Responsibility(unit=told.unit, **promised)


def _check_essentials(body: directory_pb2.ResourceBody) -> None:
    split_id(body.id)
    if len(body.nonce) != NONCE_BYTES:
        raise Malformed("nonce")
    if len(body.fields) > MAX_FIELDS or len(body.parameters) > MAX_PARAMETERS:
        raise Oversized("fields or parameters")
    if not body.fields or not body.parameters:
        raise Malformed("fields or parameters")
    if not 1 <= body.row_cap <= MAX_ROWS:
        raise Malformed("row_cap")
    if body.version < 1 or not body.provider or not body.HasField("issued_at"):
        raise Malformed("version, provider or issued_at")
    check_kinds(body.kinds)
    check_text(body.title_zh, "title_zh", least=1)
    check_text(body.title_en, "title_en")


def _check_metadata(body: directory_pb2.ResourceBody) -> None:
    check_text(body.code, "code", most=MAX_CODE)
    check_text(body.item, "item", most=MAX_CODE)
    check_text(body.summary_zh, "summary_zh", most=MAX_SUMMARY)
    check_text(body.summary_en, "summary_en", most=MAX_SUMMARY)
    check_text(body.legal_basis, "legal_basis")
    check_text(body.openness, "openness")
    if body.category:
        check_text(body.category, "category", most=MAX_CATEGORY)
        if _CATEGORY.fullmatch(body.category) is None:
            raise Malformed("category")
    _check_list(body.keywords, "keywords", most=MAX_KEYWORDS)
    for word in body.keywords:
        check_text(word, "keywords", least=1, most=MAX_KEYWORD)
    if body.update_cycle not in UPDATE_CYCLES:
        raise Malformed("update_cycle")
    _check_list(body.fetch_modes, "fetch_modes", most=len(_MODES))
    if not _MODES.issuperset(body.fetch_modes):
        raise Malformed("fetch_modes")
    _check_list(body.derived_from, "derived_from", most=MAX_SOURCES)
    for source in body.derived_from:
        split_id(source)
    if body.id in body.derived_from:
        raise Malformed("derived_from")
    if len(body.schema.encode()) > MAX_SCHEMA_BYTES:
        raise Oversized("schema")
    if body.compatibility not in _COMPATIBILITIES:
        raise Malformed("compatibility")


def _check_list(items: Collection[object], subject: str, *, most: int) -> None:
    if len(items) > most:
        raise Oversized(subject)
    if len(set(items)) != len(items):
        raise Malformed(subject)


def _check_item(name: str, kind: str, level: int) -> None:
    if _NAME.fullmatch(name) is None:
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


@lru_cache(maxsize=8192)
def _shared_rule(
    kind: str,
    level: int,
    share_type: int,
    padding: int,
    code: str,
    important: bool,
    derived: bool,
    mask: MaskRule | None,
) -> FieldRule:
    return FieldRule(
        type=kind,
        level=level,
        share_type=share_type,
        padding=padding,
        code=code,
        important=important,
        derived=derived,
        mask=mask,
    )


@lru_cache(maxsize=1024)
def _shared_parameter(kind: str, level: int, form: str) -> ParameterRule:
    return ParameterRule(type=kind, level=level, format=form)
