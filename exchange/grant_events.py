"""What is done to a grant, by whom, and where it stands afterwards.

1. An event has the next revision and is possible in the grant's state (`transition`).
2. The provider's steward accepts, rejects, pauses, resumes, extends and revokes; its agent may accept where
   everything is unconditional; the consumer's steward revokes, gives back and attests (`check_signer`).
3. Where the region's rules name a supervisor of the provider, what is conditional waits for it: an acceptance
   before it counts, an extension while the old term runs on. The supervisor is neither party. Who it is, is
   decided when the provider signs, by the rules and the catalogue as they stand then, and kept with the grant
   (`supervisor_of`).
4. An extension leads from a term that still runs to a later end within five years from now.
5. Attestations of deletion only move forward, never beyond the moment they are signed.
6. Whoever follows a log that another checks takes what ends a grant for good also where it could not follow
   an event before (`follow`).

The fold is deterministic: the same events, rules and catalogue in the order of the log make the same grant.
"""

from dataclasses import replace

from exchange.errors import RoleNotAllowed, SecondPersonRequired, UnknownGrant, WrongState
from exchange.grant_body import MAX_TERM_MS, Grant, GrantEvent, read_event
from exchange.identity import Identity, Role
from exchange.region_rules import RegionRules
from exchange.resources import Resource
from exchange.trust import Verified
from exchange.v1 import common_pb2, grant_pb2

MAX_REVISIONS = 200
"""After so many events a grant can only be ended, so that its record stays small enough to be sent."""

PENDING = grant_pb2.GRANT_STATE_PENDING
SUPERVISING = grant_pb2.GRANT_STATE_SUPERVISING
ACTIVE = grant_pb2.GRANT_STATE_ACTIVE
PAUSED = grant_pb2.GRANT_STATE_PAUSED
REJECTED = grant_pb2.GRANT_STATE_REJECTED
REVOKED = grant_pb2.GRANT_STATE_REVOKED
ENDED = grant_pb2.GRANT_STATE_ENDED
ACCEPT = grant_pb2.GRANT_ACTION_ACCEPT
REJECT = grant_pb2.GRANT_ACTION_REJECT
PAUSE = grant_pb2.GRANT_ACTION_PAUSE
RESUME = grant_pb2.GRANT_ACTION_RESUME
REVOKE = grant_pb2.GRANT_ACTION_REVOKE
EXTEND = grant_pb2.GRANT_ACTION_EXTEND
SUPERVISE = grant_pb2.GRANT_ACTION_SUPERVISE
OVERRULE = grant_pb2.GRANT_ACTION_OVERRULE
EXIT = grant_pb2.GRANT_ACTION_EXIT
ATTEST = grant_pb2.GRANT_ACTION_ATTEST_DELETION

LIVE: frozenset[int] = frozenset({PENDING, SUPERVISING, ACTIVE, PAUSED})
"""States from which a grant can still come into force."""
_IN_TERM = frozenset({ACTIVE, PAUSED})
_ENDING: dict[int, int] = {REVOKE: REVOKED, EXIT: ENDED}
BY_SUPERVISED: frozenset[int] = frozenset({ACCEPT, EXTEND})
"""What waits for the supervisor, where the provider has one."""
_BY_PROVIDER = frozenset({ACCEPT, REJECT, PAUSE, RESUME, REVOKE, EXTEND})
_BY_CONSUMER = frozenset({REVOKE, EXIT, ATTEST})
_BY_SUPERVISOR = frozenset({SUPERVISE, OVERRULE})
_NEXT: dict[tuple[int, int], int] = {
    (PENDING, ACCEPT): ACTIVE,
    (PENDING, REJECT): REJECTED,
    (ACTIVE, PAUSE): PAUSED,
    (PAUSED, RESUME): ACTIVE,
    (SUPERVISING, SUPERVISE): ACTIVE,
    (SUPERVISING, OVERRULE): REJECTED,
    **{(state, action): _ENDING[action] for state in LIVE for action in (REVOKE, EXIT)},
}


def automatic(grant: Grant, resource: Resource | None) -> bool:
    """Whether nobody has to decide: everything is unconditional, and nothing is passed on.

    Args:
        grant: applied for.
        resource: the catalogue entry as it stands; None where it is not known.
    """
    if resource is None or (resource.id, resource.provider) != (grant.resource, grant.provider):
        return False
    return grant.fields <= resource.unconditional and not grant.limits.redisclosure_to


def supervisor_of(grant: Grant, resource: Resource | None, rules: RegionRules) -> str:
    """Return the credit code of who must approve what the provider does to a grant now; empty for nobody."""
    return "" if automatic(grant, resource) else rules.supervisor_of_grants(grant.provider)


def transition(
    grant: Grant, event: GrantEvent, statement: common_pb2.Statement, *, supervisor: str = ""
) -> Grant:
    """Return the grant after an event whose signature and signer were checked before.

    Args:
        supervisor: who must approve it, where it is the provider's (`supervisor_of`); empty for nobody.

    Raises:
        UnknownGrant: the event is about another grant.
        WrongState: not the next revision, or not possible as the grant stands.
    """
    if event.grant_id != grant.grant_id:
        raise UnknownGrant(grant.name)
    if event.revision != grant.revision + 1:
        raise WrongState(grant.name)
    if event.revision > MAX_REVISIONS and event.action not in (REVOKE, EXIT):
        raise WrongState(f"{grant.name} revision {event.revision}")
    return _noted(_moved(grant, event, supervisor), event, statement)


def follow(
    grant: Grant, event: GrantEvent, statement: common_pb2.Statement, *, supervisor: str = ""
) -> Grant:
    """Return the grant after an event of a log that another checks; as `transition`, with one exception.

    What ends a grant for good counts also where revisions before it were left out.
    """
    ends = event.action in (REVOKE, EXIT) and event.grant_id == grant.grant_id
    if ends and event.revision > grant.revision and grant.state in LIVE:
        return _noted(_standing(grant, _ENDING[event.action], event), event, statement)
    return transition(grant, event, statement, supervisor=supervisor)


def _moved(grant: Grant, event: GrantEvent, supervisor: str) -> Grant:
    action = event.action
    if action == EXTEND:
        return _extended(grant, event, supervisor)
    if action == ATTEST:
        return _attested(grant, event)
    if action in _BY_SUPERVISOR and grant.extended_to_ms and grant.state in _IN_TERM:
        end_ms = grant.extended_to_ms if action == SUPERVISE else grant.not_after_ms
        return replace(grant, not_after_ms=end_ms, extended_to_ms=0, extended_at_ms=0)
    state = _NEXT.get((grant.state, action))
    if state is None:
        raise WrongState(grant.name)
    if action == ACCEPT:
        state = SUPERVISING if supervisor else ACTIVE
        grant = replace(grant, supervisor=supervisor)
    return _standing(grant, state, event)


def _standing(grant: Grant, state: int, event: GrantEvent) -> Grant:
    """Return a grant in a state, and since when where a clock may run for it."""
    was_used = grant.state in _IN_TERM
    if state in _IN_TERM:
        if was_used:
            return replace(grant, state=state)
        return replace(grant, state=state, since_ms=event.issued_at_ms if grant.limits.data_life_days else 0)
    timed = state == SUPERVISING or (was_used and grant.limits.data_life_days)
    return replace(
        grant,
        state=state,
        used=was_used,
        since_ms=event.issued_at_ms if timed else 0,
        extended_to_ms=0,
        extended_at_ms=0,
    )


def _extended(grant: Grant, event: GrantEvent, supervisor: str) -> Grant:
    if grant.state not in _IN_TERM or grant.extended_to_ms or event.issued_at_ms >= grant.not_after_ms:
        raise WrongState(grant.name)
    if not grant.not_after_ms < event.not_after_ms <= event.issued_at_ms + MAX_TERM_MS:
        raise WrongState(f"{grant.name} term")
    if supervisor:
        return replace(
            grant,
            supervisor=supervisor,
            extended_to_ms=event.not_after_ms,
            extended_at_ms=event.issued_at_ms,
        )
    return replace(grant, supervisor="", not_after_ms=event.not_after_ms)


def _attested(grant: Grant, event: GrantEvent) -> Grant:
    if (
        not (grant.used or grant.state in _IN_TERM)
        or not grant.deleted_before_ms < event.deleted_before_ms <= event.issued_at_ms
    ):
        raise WrongState(f"{grant.name} deleted_before")
    return replace(grant, deleted_before_ms=event.deleted_before_ms)


def _noted(grant: Grant, event: GrantEvent, statement: common_pb2.Statement) -> Grant:
    if grant.record is None:
        return replace(grant, revision=event.revision)
    record = grant_pb2.GrantRecord()
    record.CopyFrom(grant.record)
    record.events.append(statement)
    record.state, record.revision = grant_pb2.GrantState.ValueType(grant.state), event.revision
    return replace(grant, revision=event.revision, record=record)


def check_signer(
    grant: Grant, event: GrantEvent, signer: Identity, resource: Resource | None, *, supervisor: str = ""
) -> None:
    """Refuse an event that its signer may not make.

    Args:
        resource: the catalogue entry as it stands; None where it is not known.
        supervisor: who must approve it, where it is the provider's (`supervisor_of`); empty for nobody.

    Raises:
        RoleNotAllowed.
        SecondPersonRequired: whoever would have to supervise is a party itself.
    """
    action, organisation, steward = event.action, signer.organisation, signer.role is Role.STEWARD
    if organisation == grant.provider and action in _BY_PROVIDER:
        if action in BY_SUPERVISED and supervisor in (grant.provider, grant.consumer):
            raise SecondPersonRequired(f"{supervisor} is a party of {grant.name}")
        if steward or (signer.role is Role.AGENT and action == ACCEPT and automatic(grant, resource)):
            return
    if steward and organisation == grant.consumer and action in _BY_CONSUMER:
        return
    if steward and organisation == grant.supervisor and action in _BY_SUPERVISOR:
        return
    raise RoleNotAllowed(grant.name)


def apply_event(
    grant: Grant,
    statement: common_pb2.Statement,
    verified: Verified,
    resource: Resource | None,
    rules: RegionRules,
) -> Grant:
    """Return the grant after a verified event: signer rule, next revision, possible in its state.

    Args:
        statement: a signed GrantEventBody.
        verified: who signed it, as `TrustAnchor.verify_statement` found.
        resource: the catalogue entry as it stands, None where it is not known: then no agent may accept.
        rules: of the region, as they stand.

    Raises:
        UnknownGrant, RoleNotAllowed, SecondPersonRequired, WrongState, Malformed, Oversized.
    """
    event = read_event(statement)
    if event.grant_id != grant.grant_id:
        raise UnknownGrant(grant.name)
    supervisor = supervisor_of(grant, resource, rules)
    check_signer(grant, event, verified.identity, resource, supervisor=supervisor)
    return transition(grant, event, statement, supervisor=supervisor)
