"""Reads the parts of a catalogue entry's body: what is well formed, before anybody is asked who may sign it.

Bounds stand beside the fields in proto/exchange/v1/directory.proto. Fields and parameters are read in
`exchange/field_rules.py`. Whether the JSON Schema is one is `exchange/record_schema.py`'s to say: a start
reads every entry of the log and need not ask that again.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.message import DecodeError

from exchange.canonical import NONCE_BYTES
from exchange.errors import BadIdentifier, Malformed, Oversized
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
UPDATE_CYCLES = frozenset({"", "realtime", "daily", "weekly", "monthly", "quarterly", "yearly", "irregular"})

_ID = re.compile(r"([0-9]{6})/([a-z0-9-]{1,40})/([a-z0-9-]{1,40})")

_CATEGORY = re.compile(r"(base|theme|department)(/[^/\s]{1,40}){0,5}")
_KINDS = frozenset(common_pb2.Kind.values()) - {common_pb2.KIND_UNSPECIFIED}
_MODES = frozenset(directory_pb2.FetchMode.values()) - {directory_pb2.FETCH_MODE_UNSPECIFIED}
_COMPATIBILITIES = frozenset(directory_pb2.Compatibility.values())
_TEXTS = (
    ("code", MAX_CODE),
    ("item", MAX_CODE),
    ("category", MAX_CATEGORY),
    ("summary_zh", MAX_SUMMARY),
    ("summary_en", MAX_SUMMARY),
    ("legal_basis", MAX_TEXT),
    ("openness", MAX_TEXT),
)


class ResourceId(NamedTuple):
    """The three parts of a resource's id."""

    division: str
    alias: str
    name: str


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
    for name, most in _TEXTS:
        text: str = getattr(body, name)
        if text:
            check_text(text, name, most=most)
    if body.category and _CATEGORY.fullmatch(body.category) is None:
        raise Malformed("category")
    if body.update_cycle not in UPDATE_CYCLES:
        raise Malformed("update_cycle")
    if body.compatibility not in _COMPATIBILITIES:
        raise Malformed("compatibility")
    schema = body.schema
    if schema and len(schema.encode()) > MAX_SCHEMA_BYTES:
        raise Oversized("schema")
    if body.keywords:
        _check_list(body.keywords, "keywords", most=MAX_KEYWORDS)
        for word in body.keywords:
            check_text(word, "keywords", least=1, most=MAX_KEYWORD)
    if body.fetch_modes:
        _check_list(body.fetch_modes, "fetch_modes", most=len(_MODES))
        if not _MODES.issuperset(body.fetch_modes):
            raise Malformed("fetch_modes")
    if body.derived_from:
        _check_list(body.derived_from, "derived_from", most=MAX_SOURCES)
        for source in body.derived_from:
            split_id(source)
        if body.id in body.derived_from:
            raise Malformed("derived_from")


def _check_list(items: Collection[object], subject: str, *, most: int) -> None:
    if len(items) > most:
        raise Oversized(subject)
    if len(set(items)) != len(items):
        raise Malformed(subject)
