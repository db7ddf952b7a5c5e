"""Grants: who may ask whom for what, until when. The rules that gateway and provider's agent share.

A grant is an immutable body addressed by its digest, and signed events that count up by one.

1. Deny by default: what the grant does not name is refused (`check`).
2. The body is signed by a steward of the consumer (`parse_grant`).
3. Every field exists and is shared, the term is at most five years (`check_application`).
4. An event has the next revision and a legal transition (`transition`).
5. The provider's steward may do everything; its agent may accept where every field is unconditional; the
   consumer's steward may give the grant back (`check_signer`).
"""

from collections.abc import Sequence
from dataclasses import replace

from exchange.errors import (
    CaseRequired,
    ClockSkew,
    FieldNotGranted,
    GrantExpired,
    GrantPaused,
    GrantPending,
    GrantRevoked,
    KindNotGranted,
    Malformed,
    MatterNotGranted,
    NoGrant,
    NotShared,
    PurposeNotGranted,
    Refused,
    RoleNotAllowed,
    Suspended,
    UnknownField,
    UnknownGrant,
    UnknownResource,
    WrongState,
)
from exchange.grant_body import Grant, GrantEvent, read_event, read_grant
from exchange.identity import Identity, Role
from exchange.resources import Resource
from exchange.trust import Verified
from exchange.v1 import common_pb2, grant_pb2

__all__ = [
    "Grant",
    "GrantEvent",
    "apply_event",
    "check",
    "check_application",
    "check_issued",
    "check_signer",
    "parse_grant",
    "read_event",
    "read_grant",
    "transition",
]

MAX_REVISIONS = 200
"""After so many events a grant can only be revoked, so that its record stays small enough to be sent."""
MAX_STATEMENT_SKEW_MS = 5 * 60 * 1000

PENDING = grant_pb2.GRANT_STATE_PENDING
ACTIVE = grant_pb2.GRANT_STATE_ACTIVE
PAUSED = grant_pb2.GRANT_STATE_PAUSED
REJECTED = grant_pb2.GRANT_STATE_REJECTED
REVOKED = grant_pb2.GRANT_STATE_REVOKED
ACCEPT = grant_pb2.GRANT_ACTION_ACCEPT
REVOKE = grant_pb2.GRANT_ACTION_REVOKE

_NEXT: dict[tuple[int, int], "grant_pb2.GrantState.ValueType"] = {
    (PENDING, ACCEPT): ACTIVE,
    (PENDING, grant_pb2.GRANT_ACTION_REJECT): REJECTED,
    (PENDING, REVOKE): REVOKED,
    (ACTIVE, grant_pb2.GRANT_ACTION_PAUSE): PAUSED,
    (ACTIVE, REVOKE): REVOKED,
    (PAUSED, grant_pb2.GRANT_ACTION_RESUME): ACTIVE,
    (PAUSED, REVOKE): REVOKED,
}
_NOT_IN_FORCE: dict[int, type[Refused]] = {
    PENDING: GrantPending,
    PAUSED: GrantPaused,
    REJECTED: GrantRevoked,
    REVOKED: GrantRevoked,
}


def check(
    grant: Grant,
    resource: Resource,
    *,
    consumer: str,
    kind: int,
    fields: Sequence[str],
    purpose: str,
    matter: str,
    case_number: str,
    now_ms: int,
) -> None:
    """Refuse an exchange that a grant does not cover; once per exchange, so sets and integers only.

    Args:
        grant: as it stands now.
        resource: the catalogue entry the request resolves to.
        consumer: credit code from the consumer's certificate.
        kind: a Kind.
        fields: the names asked for, each once.
        purpose, matter, case_number: as the request states them.
        now_ms: Unix milliseconds.

    Raises:
        NoGrant, GrantPending, GrantPaused, GrantRevoked, GrantExpired, Suspended, KindNotGranted, Malformed,
        UnknownField, NotShared, FieldNotGranted, PurposeNotGranted, MatterNotGranted, CaseRequired.
    """
    if grant.consumer != consumer or grant.resource != resource.id or grant.provider != resource.provider:
        raise NoGrant(resource.id)
    if grant.state != ACTIVE:
        raise _NOT_IN_FORCE.get(grant.state, NoGrant)(grant.name)
    if not grant.not_before_ms <= now_ms < grant.not_after_ms:
        raise GrantExpired(grant.name)
    if resource.suspended:
        raise Suspended(resource.id)
    if kind not in grant.kinds or kind not in resource.kinds:
        raise KindNotGranted(resource.id)
    wanted = frozenset(fields)
    if not wanted or len(wanted) != len(fields):
        raise Malformed("fields")
    if not wanted <= grant.fields or not wanted <= resource.shared:
        raise _field_refusal(grant, resource, fields)
    if purpose not in grant.purposes:
        raise PurposeNotGranted(resource.id)
    if grant.matters and matter not in grant.matters:
        raise MatterNotGranted(resource.id)
    if (grant.case_required or resource.case_required) and not case_number.strip():
        raise CaseRequired(resource.id)


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


def check_application(grant: Grant, resource: Resource, *, now_ms: int) -> None:
    """Refuse an application that the catalogue entry does not allow.

    Raises:
        UnknownResource, UnknownField, NotShared, KindNotGranted, GrantExpired.
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


def transition(grant: Grant, event: GrantEvent, statement: common_pb2.Statement) -> Grant:
    """Return the grant after an event whose signature and signer were checked before.

    Raises:
        UnknownGrant: the event is about another grant.
        WrongState: not the next revision, or not possible in the grant's state.
    """
    if event.grant_id != grant.grant_id:
        raise UnknownGrant(grant.name)
    state = _NEXT.get((grant.state, event.action))
    if event.revision != grant.revision + 1 or state is None:
        raise WrongState(grant.name)
    if event.revision > MAX_REVISIONS and event.action != REVOKE:
        raise WrongState(f"{grant.name} revision {event.revision}")
    moved = replace(grant, state=state, revision=event.revision)
    return moved if grant.record is None else replace(moved, record=_noted(moved, grant.record, statement))


def _noted(
    moved: Grant, record: grant_pb2.GrantRecord, statement: common_pb2.Statement
) -> grant_pb2.GrantRecord:
    """Return the record of a grant that has moved by an event; the one before stays as it is."""
    noted = grant_pb2.GrantRecord()
    noted.CopyFrom(record)
    noted.events.append(statement)
    noted.state, noted.revision = grant_pb2.GrantState.ValueType(moved.state), moved.revision
    return noted


def check_signer(grant: Grant, event: GrantEvent, signer: Identity, resource: Resource | None) -> None:
    """Refuse an event that its signer may not make.

    Args:
        resource: the catalogue entry as it stands; None where it is not known.

    Raises:
        RoleNotAllowed.
    """
    if signer.role is Role.STEWARD and signer.organisation == grant.provider:
        return
    if signer.role is Role.STEWARD and signer.organisation == grant.consumer and event.action == REVOKE:
        return
    if signer.role is Role.AGENT and signer.organisation == grant.provider and event.action == ACCEPT:
        same = resource is not None and resource.id == grant.resource and resource.provider == grant.provider
        if resource is not None and same and grant.fields <= resource.unconditional:
            return
    raise RoleNotAllowed(grant.name)


def apply_event(
    grant: Grant, statement: common_pb2.Statement, verified: Verified, resource: Resource | None
) -> Grant:
    """Return the grant after a verified event: signer rule, next revision, legal transition.

    Args:
        statement: a signed GrantEventBody.
        verified: who signed it, as `TrustAnchor.verify_statement` found.
        resource: the catalogue entry as it stands, None where it is not known: then no agent may accept.

    Raises:
        UnknownGrant, RoleNotAllowed, WrongState, Malformed, Oversized.
    """
    event = read_event(statement)
    if event.grant_id != grant.grant_id:
        raise UnknownGrant(grant.name)
    check_signer(grant, event, verified.identity, resource)
    return transition(grant, event, statement)


def check_issued(issued_at_ms: int, now_ms: int, *, within_ms: int = MAX_STATEMENT_SKEW_MS) -> None:
    """Refuse a statement that was not signed within five minutes of now, or whatever is allowed before now.

    Raises:
        ClockSkew.
    """
    if not -MAX_STATEMENT_SKEW_MS <= now_ms - issued_at_ms <= within_ms:
        raise ClockSkew("issued_at")
