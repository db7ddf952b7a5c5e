"""What a catalogue entry says, as both the gateway and the provider's agent must read it.

A `Resource` is made from a signed ResourceBody once and then only read: its sets are what the hot path
asks (`exchange/grants.py`). Invariant: a `Resource` that exists is well formed; whether its signer was
allowed to publish it is decided by whoever took it over (`check_publisher`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from sys import intern
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError

from exchange.canonical import NONCE_BYTES, RESOURCE, digest
from exchange.errors import BadIdentifier, Malformed, Oversized, RoleNotAllowed
from exchange.identity import Identity, Role
from exchange.v1 import common_pb2, directory_pb2

MAX_FIELDS = 64
MAX_PARAMETERS = 16
MAX_ROWS = 1000
MAX_TEXT = 500
MAX_EQUAL = 8192
"""Of so many fields, parameters and sets equal ones are held once."""
DEFAULT_PADDING = 64
VERIFY_PADDING = 16
"""Of each boolean of a verification."""
CLAIM = "claim:"
"""What the column of a claim is named before its field, apart from every parameter's."""
TYPES = frozenset({"text", "integer", "decimal", "boolean", "date", "timestamp", "bytes"})
FORMATS = frozenset({"", "citizen_id", "credit_code", "division"})
SEALED_LEVELS = frozenset({common_pb2.LEVEL_L3, common_pb2.LEVEL_L4})

_ID = re.compile(r"([0-9]{6})/([a-z0-9-]{1,40})/([a-z0-9-]{1,40})")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LEVELS = frozenset(common_pb2.Level.values()) - {common_pb2.LEVEL_UNSPECIFIED}
_SHARES = frozenset(directory_pb2.ShareType.values()) - {directory_pb2.SHARE_TYPE_UNSPECIFIED}
_KINDS = frozenset(common_pb2.Kind.values()) - {common_pb2.KIND_UNSPECIFIED}


T = TypeVar("T", str, int)


class ResourceId(NamedTuple):
    """The three parts of a resource's id."""

    division: str
    alias: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """How one field is kept: type, level, share type and the padding of its sealed cells in bytes."""

    type: str
    level: int
    share_type: int
    padding: int

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
class Resource:
    """A catalogue entry.

    Attributes:
        digest: of the ResourceBody, 32 bytes.
        shared: names of the fields whose share type is not NOT_SHARED.
        unconditional: names of the fields that are granted automatically.
        sealed: whether any field is of level L3 or L4; then everything in an answer is sealed.
        statement: the signed body, verbatim; None where it is read from the log instead, as at a gateway.
    """

    id: str
    provider: str
    version: int
    digest: bytes
    title_zh: str
    title_en: str
    fields: Mapping[str, FieldRule]
    parameters: Mapping[str, ParameterRule]
    kinds: frozenset[int]
    case_required: bool
    row_cap: int
    issued_at_ms: int
    shared: frozenset[str]
    unconditional: frozenset[str]
    sealed: bool
    suspended: bool = False
    statement: common_pb2.Statement | None = field(default=None, repr=False)

    def with_suspended(self, suspended: bool) -> "Resource":
        """Return the same entry, suspended or not."""
        return replace(self, suspended=suspended)


def split_id(resource: str) -> ResourceId:
    """Return the parts of "<6-digit division>/<organisation alias>/<name>".

    Raises:
        BadIdentifier: the id has another form.
    """
    matched = _ID.fullmatch(resource)
    if matched is None:
        raise BadIdentifier("resource id")
    return ResourceId(*matched.groups())


def division_prefix(division: str) -> str:
    """Return a 6-digit division code without its trailing "00" pairs: "970100" gives "9701"."""
    prefix = division
    while prefix.endswith("00"):
        prefix = prefix[:-2]
    return prefix


def wider_divisions(division: str) -> Iterator[str]:
    """Yield a division and those above it, narrowest first: county, city, province."""
    yield division
    prefix = division_prefix(division)
    while len(prefix) > 2:
        prefix = division_prefix(prefix[:-2].ljust(6, "0"))
        yield prefix.ljust(6, "0")


def parse_resource(
    statement: common_pb2.Statement, *, suspended: bool = False, verbatim: bool = True
) -> Resource:
    """Return the catalogue entry that a statement holds. Signature and signer are not looked at.

    Args:
        statement: a signed ResourceBody.
        suspended: whether it is suspended at this time.
        verbatim: whether the statement is kept with it.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule; the subject names the part.
    """
    try:
        body = directory_pb2.ResourceBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("resource") from error
    _check_body(body)
    fields = dict(_field(item.SerializeToString()) for item in body.fields)
    parameters = dict(_parameter(item.SerializeToString()) for item in body.parameters)
    if len(fields) != len(body.fields) or len(parameters) != len(body.parameters):
        raise Malformed("a name twice")
    unconditional = directory_pb2.SHARE_TYPE_UNCONDITIONAL
    not_shared = directory_pb2.SHARE_TYPE_NOT_SHARED
    return Resource(
        id=intern(body.id),
        provider=intern(body.provider),
        version=body.version,
        digest=digest(RESOURCE, statement.body),
        title_zh=body.title_zh,
        title_en=body.title_en,
        fields=fields,
        parameters=parameters,
        kinds=_same(frozenset(body.kinds)),
        case_required=body.case_required,
        row_cap=body.row_cap,
        issued_at_ms=body.issued_at.ToMilliseconds(),
        shared=_same(frozenset(name for name, rule in fields.items() if rule.share_type != not_shared)),
        unconditional=_same(
            frozenset(name for name, rule in fields.items() if rule.share_type == unconditional)
        ),
        sealed=any(rule.sealed for rule in fields.values()),
        suspended=suspended,
        statement=statement if verbatim else None,
    )


def check_publisher(resource: Resource, signer: Identity) -> None:
    """Refuse a catalogue entry, or a change of its state, that its provider's steward did not sign.

    Raises:
        RoleNotAllowed: the signer is no steward of the provider.
    """
    if signer.role is not Role.STEWARD or signer.organisation != resource.provider:
        raise RoleNotAllowed(resource.id)


def check_text(text: str, subject: str, *, least: int = 0, most: int = MAX_TEXT) -> None:
    """Refuse a text that is too short, too long, padded with blanks or has control characters.

    Raises:
        Malformed, Oversized: with the subject given.
    """
    if len(text) > most:
        raise Oversized(subject)
    if len(text) < least or not text.isprintable() or text != text.strip():
        raise Malformed(subject)


def _check_body(body: directory_pb2.ResourceBody) -> None:
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


def check_kinds(kinds: Sequence[int]) -> None:
    """Refuse a list of kinds that is empty, has one twice or names one this version does not know.

    Raises:
        Malformed.
    """
    if not kinds or len(set(kinds)) != len(kinds) or not _KINDS.issuperset(kinds):
        raise Malformed("kinds")


@lru_cache(maxsize=MAX_EQUAL)
def _field(raw: bytes) -> tuple[str, FieldRule]:
    """Return name and rule of a field; those of equal fields are the same, for a region has many alike."""
    item = directory_pb2.Field.FromString(raw)
    return intern(item.name), _field_rule(item)


@lru_cache(maxsize=MAX_EQUAL)
def _parameter(raw: bytes) -> tuple[str, ParameterRule]:
    item = directory_pb2.Parameter.FromString(raw)
    return intern(item.name), _parameter_rule(item)


@lru_cache(maxsize=MAX_EQUAL)
def _same(values: frozenset[T]) -> frozenset[T]:
    """Return an equal set, the same one as often as possible."""
    return values


def _field_rule(item: directory_pb2.Field) -> FieldRule:
    _check_item(item.name, item.type, item.level)
    if item.share_type not in _SHARES:
        raise Malformed(f"share type of {item.name}")
    if item.padding and not 16 <= item.padding <= 4096:
        raise Malformed(f"padding of {item.name}")
    for text in (item.title_zh, item.title_en, item.legal_basis):
        check_text(text, f"text of {item.name}")
    if item.share_type == directory_pb2.SHARE_TYPE_NOT_SHARED and not item.legal_basis:
        raise Malformed(f"legal basis of {item.name}")
    return FieldRule(
        type=item.type,
        level=item.level,
        share_type=item.share_type,
        padding=item.padding or DEFAULT_PADDING,
    )


def _parameter_rule(item: directory_pb2.Parameter) -> ParameterRule:
    _check_item(item.name, item.type, item.level)
    if item.format not in FORMATS:
        raise Malformed(f"format of {item.name}")
    return ParameterRule(type=item.type, level=item.level, format=item.format)


def _check_item(name: str, kind: str, level: int) -> None:
    if _NAME.fullmatch(name) is None:
        raise BadIdentifier("name of a field or parameter")
    if kind not in TYPES:
        raise Malformed(f"type of {name}")
    if level not in _LEVELS:
        raise Malformed(f"level of {name}")
