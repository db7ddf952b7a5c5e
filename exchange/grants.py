"""Grants: who may ask whom for what, until when. The rules that gateway and provider's agent share.

A grant is an immutable body addressed by its digest, and signed events that count up by one
(`exchange.grant_events`).

1. Deny by default: what the grant does not name is refused (`check`).
2. The body is signed by a steward of the consumer (`parse_grant`).
3. Every field exists and is shared, the term is at most five years, purposes are those of the region's rules
   where these name any (`check_application`).
4. A body that is no government's verifies, or gets derived fields, and nothing more; the same holds for those
   to whom the consumer would pass it on.
"""

from collections.abc import Callable, Iterable, Sequence

from exchange.errors import (
    BadParameter,
    CaseRequired,
    ClockSkew,
    FieldNotGranted,
    GrantExpired,
    GrantForeign,
    GrantPaused,
    GrantPending,
    GrantRevoked,
    KindNotGranted,
    Malformed,
    MatterNotGranted,
    NoGrant,
    NonGovernment,
    NotShared,
    PurposeNotGranted,
    PurposeUnknown,
    Redisclosure,
    Refused,
    RoleNotAllowed,
    StepNotGranted,
    Suspended,
    UnknownField,
    UnknownResource,
)
from exchange.grant_body import Grant, GrantEvent, read_event, read_grant
from exchange.grant_events import (
    ACCEPT,
    ACTIVE,
    BY_SUPERVISED,
    ENDED,
    MAX_REVISIONS,
    PAUSED,
    PENDING,
    REJECTED,
    REVOKE,
    REVOKED,
    SUPERVISING,
    apply_event,
    automatic,
    check_signer,
    follow,
    supervisor_of,
    transition,
)
from exchange.grant_limits import ON_DEMAND, QuotaRule, RowFilter
from exchange.identity import Role
from exchange.region_rules import RegionRules
from exchange.resources import Resource
from exchange.trust import Verified
from exchange.v1 import common_pb2, grant_pb2
from exchange.values import encode_value

__all__ = [
    "ACCEPT",
    "ACTIVE",
    "BY_SUPERVISED",
    "MAX_REVISIONS",
    "PENDING",
    "REVOKE",
    "Grant",
    "GrantEvent",
    "QuotaRule",
    "RowFilter",
    "apply_event",
    "automatic",
    "check",
    "check_application",
    "check_issued",
    "check_purposes",
    "check_signer",
    "follow",
    "parse_grant",
    "read_event",
    "read_grant",
    "supervisor_of",
    "transition",
]

DAY_MS = 24 * 3600 * 1000
MAX_STATEMENT_SKEW_MS = 5 * 60 * 1000
VERIFY = common_pb2.KIND_VERIFY

_NOT_IN_FORCE: dict[int, type[Refused]] = {
    PENDING: GrantPending,
    SUPERVISING: GrantPending,
    PAUSED: GrantPaused,
    REJECTED: GrantRevoked,
    REVOKED: GrantRevoked,
    ENDED: GrantRevoked,
}
_FILTERED: dict[int, frozenset[str]] = {
    grant_pb2.FILTER_OPERATOR_IN: frozenset({"text", "integer", "boolean", "date"}),
    grant_pb2.FILTER_OPERATOR_PREFIX: frozenset({"text"}),
}
"""Types of the fields by which an operator may filter: those whose values have one form."""


def check(
    grant: Grant,
    resource: Resource,
    *,
    consumer: str,
    government: bool,
    kind: int,
    fields: Sequence[str],
    purpose: str,
    matter: str,
    step: str,
    case_number: str,
    now_ms: int,
    fetch_mode: int = ON_DEMAND,
) -> None:
    """Refuse an exchange that a grant does not cover; once per exchange, so sets and integers only.

    Args:
        grant: as it stands now.
        resource: the catalogue entry the request resolves to.
        consumer: credit code from the consumer's certificate.
        government: whether the consumer is a government body.
        kind: a Kind.
        fields: the names asked for, each once.
        purpose, matter, step, case_number: as the request states them.
        now_ms: Unix milliseconds.
        fetch_mode: a FetchMode; a request of its own is one on demand.

    Raises:
        NoGrant, GrantForeign, GrantPending, GrantPaused, GrantRevoked, GrantExpired, Suspended,
        KindNotGranted, Malformed, UnknownField, NotShared, FieldNotGranted, NonGovernment, PurposeNotGranted,
        MatterNotGranted, StepNotGranted, CaseRequired.
    """
    if grant.consumer != consumer:
        raise GrantForeign(grant.name)
    if grant.resource != resource.id or grant.provider != resource.provider:
        raise NoGrant(resource.id)
    if grant.state != ACTIVE:
        raise _NOT_IN_FORCE.get(grant.state, NoGrant)(grant.name)
    if not grant.not_before_ms <= now_ms < grant.not_after_ms:
        raise GrantExpired(grant.name)
    if resource.suspended:
        raise Suspended(resource.id)
    limits = grant.limits
    if kind not in grant.kinds or kind not in resource.kinds or fetch_mode not in limits.fetch_modes:
        raise KindNotGranted(resource.id)
    wanted = frozenset(fields)
    if not wanted or len(wanted) != len(fields):
        raise Malformed("fields")
    if not wanted <= grant.fields or not wanted <= resource.shared:
        raise _field_refusal(grant, resource, fields)
    if not government and kind != VERIFY and not _derived(resource, wanted):
        raise NonGovernment(resource.id)
    if purpose not in grant.purposes:
        raise PurposeNotGranted(resource.id)
    if grant.matters and matter not in grant.matters:
        raise MatterNotGranted(resource.id)
    if limits.domains and matter.partition(".")[0] not in limits.domains:
        raise MatterNotGranted(resource.id)
    if limits.steps and f"{matter}/{step}" not in limits.steps:
        raise StepNotGranted(resource.id)
    if (grant.case_required or resource.case_required) and not case_number.strip():
        raise CaseRequired(resource.id)


def _derived(resource: Resource, names: Iterable[str]) -> bool:
    return all(resource.fields[name].derived for name in names)


def _field_refusal(
    grant: Grant, resource: Resource, fields: Sequence[str]
) -> UnknownField | NotShared | FieldNotGranted:
    """Name the first field in the way; only a name that the catalogue knows is repeated."""
    for name in fields:
        if name not in resource.fields:
            return UnknownField(resource.id)
        if name not in resource.shared:
            return NotShared(name)
        if name not in grant.fields:
            return FieldNotGranted(name)
    return FieldNotGranted(resource.id)


def parse_grant(statement: common_pb2.Statement, verified: Verified) -> Grant:
    """Return the grant that a verified statement applies for, pending.

    Args:
        statement: a signed GrantBody.
        verified: who signed it, as `TrustAnchor.verify_statement` found.

    Raises:
        RoleNotAllowed: the signer is no steward of the consumer.
        Malformed, Oversized, BadIdentifier: as `read_grant`.
    """
    grant, signer = read_grant(statement), verified.identity
    if signer.role is not Role.STEWARD or signer.organisation != grant.consumer:
        raise RoleNotAllowed(grant.name)
    return grant


def check_application(
    grant: Grant,
    resource: Resource,
    *,
    rules: RegionRules,
    government: Callable[[str], bool],
    now_ms: int,
) -> None:
    """Refuse an application that the catalogue entry or the region's rules do not allow.

    Args:
        rules: of the region, as they stand.
        government: tells of a credit code whether it is a government body's.
        now_ms: Unix milliseconds.

    Raises:
        UnknownResource, UnknownField, NotShared, KindNotGranted, GrantExpired, Malformed, PurposeUnknown,
        NonGovernment, Redisclosure; whatever `government` raises.
    """
    if grant.resource != resource.id or grant.provider != resource.provider:
        raise UnknownResource(grant.resource)
    for name in sorted(grant.fields):
        if name not in resource.fields:
            raise UnknownField(resource.id)
        if name not in resource.shared:
            raise NotShared(name)
    if not grant.kinds <= resource.kinds:
        raise KindNotGranted(resource.id)
    if grant.not_after_ms <= now_ms:
        raise GrantExpired(grant.name)
    _check_filters(grant, resource)
    check_purposes(grant, rules, not_after_ms=grant.not_after_ms)
    derived = _derived(resource, grant.fields)
    if not (derived or grant.kinds <= {VERIFY} or government(grant.consumer)):
        raise NonGovernment(resource.id)
    for recipient in sorted(grant.limits.redisclosure_to):
        if not government(recipient) and not derived:
            raise Redisclosure(recipient)


def check_purposes(grant: Grant, rules: RegionRules, *, not_after_ms: int) -> None:
    """Refuse a grant whose purposes the region's rules do not have, or not for its matters or term.

    Args:
        not_after_ms: the end it would have, Unix milliseconds: that applied for, or of an extension.

    Raises:
        PurposeUnknown.
    """
    if not rules.purposes:
        return
    for code in sorted(grant.purposes):
        purpose = rules.purposes.get(code)
        if purpose is None:
            raise PurposeUnknown(code)
        # A grant that names no matters is for any, which is more than the purpose goes with.
        if purpose.matters and not (grant.matters and grant.matters <= purpose.matters):
            raise PurposeUnknown(f"{code}: matters")
        days = purpose.max_term_days
        if days and not_after_ms - grant.not_before_ms > days * DAY_MS:
            raise PurposeUnknown(f"{code}: {days} days")


def _check_filters(grant: Grant, resource: Resource) -> None:
    """Refuse a row filter by a field that is not there, or with values that are none of its type."""
    for item in grant.row_filters:
        rule = resource.fields.get(item.field)
        if rule is None:
            raise UnknownField(resource.id)
        if rule.type not in _FILTERED[item.operator]:
            raise Malformed(f"row filter by {item.field}")
        try:
            for value in item.values:
                encode_value(rule.type, value)
        except BadParameter:
            raise Malformed(f"row filter by {item.field}") from None


def check_issued(issued_at_ms: int, now_ms: int, *, within_ms: int = MAX_STATEMENT_SKEW_MS) -> None:
    """Refuse a statement that was not signed within five minutes of now, or whatever is allowed before now.

    Raises:
        ClockSkew.
    """
    if not -MAX_STATEMENT_SKEW_MS <= now_ms - issued_at_ms <= within_ms:
        raise ClockSkew("issued_at")
