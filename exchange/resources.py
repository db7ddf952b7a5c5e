"""What a catalogue entry says, as both the gateway and the provider's agent must read it.

A `Resource` is made from a signed ResourceBody once and then only read: its sets are what the hot path
asks (`exchange/grants.py`). Invariant: a `Resource` that exists is well formed; whether its signer was
allowed to publish it is decided by whoever took it over (`check_publisher`), and whether it is in force
by its review (`exchange/catalogue_review.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from sys import intern
from typing import TypeVar

from exchange.canonical import RESOURCE, digest
from exchange.errors import Malformed, RoleNotAllowed
from exchange.field_rules import (
    DEFAULT_PADDING,
    FORMATS,
    MAX_EQUAL,
    SEALED_LEVELS,
    TYPES,
    FieldRule,
    MaskRule,
    ParameterRule,
    field_rule,
    parameter_rule,
)
from exchange.identity import Identity, Role
from exchange.resource_body import (
    MAX_FIELDS,
    MAX_PARAMETERS,
    MAX_ROWS,
    MAX_TEXT,
    ResourceId,
    Responsibility,
    check_kinds,
    check_text,
    read_body,
    responsibility,
    split_id,
)
from exchange.timestamps import milliseconds
from exchange.v1 import common_pb2, directory_pb2

__all__ = [
    "CLAIM",
    "DEFAULT_PADDING",
    "FORMATS",
    "GOVERNMENT",
    "MAX_FIELDS",
    "MAX_PARAMETERS",
    "MAX_ROWS",
    "MAX_TEXT",
    "SEALED_LEVELS",
    "TYPES",
    "VERIFY_PADDING",
    "FieldRule",
    "MaskRule",
    "ParameterRule",
    "Resource",
    "ResourceId",
    "Responsibility",
    "check_kinds",
    "check_publisher",
    "check_text",
    "division_prefix",
    "own_item",
    "parse_resource",
    "split_id",
    "wider_divisions",
]

GOVERNMENT = frozenset(
    {
        directory_pb2.ORGANISATION_KIND_UNSPECIFIED,
        directory_pb2.ORGANISATION_KIND_GOVERNMENT,
        directory_pb2.ORGANISATION_KIND_PUBLIC,
    }
)
"""The kinds of organisations that may get more than verdicts and derived fields."""
VERIFY_PADDING = 16
"""Of each boolean of a verification."""
CLAIM = "claim:"
"""What the column of a claim is named before its field, apart from every parameter's."""

_NOT_SHARED = directory_pb2.SHARE_TYPE_NOT_SHARED
_UNCONDITIONAL = directory_pb2.SHARE_TYPE_UNCONDITIONAL

T = TypeVar("T", str, int)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A catalogue entry.

    Attributes:
        digest: of the ResourceBody, 32 bytes.
        shared: names of the fields whose share type is not NOT_SHARED.
        unconditional: names of the fields that are granted automatically.
        sealed: whether any field is of level L3 or L4; then everything in an answer is sealed.
        item: code of the data item it is the authoritative source of; its name where it states none.
        derived_from: ids of the resources of others that it is made from.
        responsibility: what the provider answers for; None where nothing is said.
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
    item: str = ""
    derived_from: tuple[str, ...] = ()
    responsibility: Responsibility | None = None
    statement: common_pb2.Statement | None = field(default=None, repr=False)

    def with_suspended(self, suspended: bool) -> "Resource":
        """Return the same entry, suspended or not."""
        return replace(self, suspended=suspended)


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
    statement: common_pb2.Statement, *, suspended: bool = False, keep: bool = True
) -> Resource:
    """Return the catalogue entry that a statement holds. Signature and signer are not looked at.

    Its JSON Schema is only bounded here; whoever takes an entry over asks `record_schema.check_schema`.

    Args:
        statement: a signed ResourceBody.
        suspended: whether it is suspended at this time.
        keep: whether the statement stays with it.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule; the subject names the part.
        DataClassRefused: a field is core data or a state secret.
    """
    body = read_body(statement)
    # Read once more, with the parts' own bytes: to write them anew takes longer than all the rest.
    parts = directory_pb2.ResourceParts.FromString(statement.body)
    fields, parameters = dict(map(_field, parts.fields)), dict(map(_parameter, parts.parameters))
    if len(fields) != len(body.fields) or len(parameters) != len(body.parameters):
        raise Malformed("a name twice")
    shared, unconditional, sealed = _said_of(fields)
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
        issued_at_ms=milliseconds(body.issued_at, "issued_at"),
        shared=shared,
        unconditional=unconditional,
        sealed=sealed,
        suspended=suspended,
        item=body.item or own_item(body.id),
        derived_from=tuple(body.derived_from),
        responsibility=responsibility(body.responsibility) if body.HasField("responsibility") else None,
        statement=statement if keep else None,
    )


def own_item(resource: str) -> str:
    """Return the code of the data item of an entry that states none: its name, from an id that has a form."""
    return resource.rpartition("/")[2]


def check_publisher(resource: Resource, signer: Identity) -> None:
    """Refuse a catalogue entry, or a change of its state, that its provider's steward did not sign.

    Raises:
        RoleNotAllowed: the signer is no steward of the provider.
    """
    if signer.role is not Role.STEWARD or signer.organisation != resource.provider:
        raise RoleNotAllowed(resource.id)


def _said_of(fields: Mapping[str, FieldRule]) -> tuple[frozenset[str], frozenset[str], bool]:
    """Return which fields are shared, which without condition, and whether any is sealed."""
    shared, unconditional, sealed = [], [], False
    for name, rule in fields.items():
        if rule.share_type != _NOT_SHARED:
            shared.append(name)
            if rule.share_type == _UNCONDITIONAL:
                unconditional.append(name)
        sealed = sealed or rule.level in SEALED_LEVELS
    return _same(frozenset(shared)), _same(frozenset(unconditional)), sealed


@lru_cache(maxsize=MAX_EQUAL)
def _field(raw: bytes) -> tuple[str, FieldRule]:
    """Return name and rule of a field; those of equal fields are the same, for a region has many alike."""
    item = directory_pb2.Field.FromString(raw)
    return intern(item.name), field_rule(item)


@lru_cache(maxsize=MAX_EQUAL)
def _parameter(raw: bytes) -> tuple[str, ParameterRule]:
    item = directory_pb2.Parameter.FromString(raw)
    return intern(item.name), parameter_rule(item)


@lru_cache(maxsize=MAX_EQUAL)
def _same(values: frozenset[T]) -> frozenset[T]:
    """Return an equal set, the same one as often as possible."""
    return values
