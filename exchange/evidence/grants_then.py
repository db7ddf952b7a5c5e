"""Grants and the catalogue as the log holds them: which grant covered an exchange when it was admitted.

The region's rules decide whether a grant waited for a supervisor, and an organisation's kind what it may get.
A bundle that holds neither shows nothing of them: then nobody supervised, and the consumer was of the state.
A version that the rules of its time put in review is in force from its approval on; a resource that was
withdrawn is in force no longer.

An exchange is entered when it ends, and what was in force counts when it was admitted, up to some minutes
before: a change that was entered in between takes nothing from it.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from google.protobuf.message import DecodeError

from exchange import grants
from exchange.canonical import GRANT, GRANT_EVENT, RESOURCE, RESOURCE_STATE
from exchange.catalogue_review import (
    APPROVE,
    SUSPENSION,
    WITHDRAW,
    check_state_signer,
    read_state,
    reviewer_of,
)
from exchange.errors import ExchangeError, GrantRevoked, Malformed, NoGrant, UnknownResource, WrongState
from exchange.grants import ACTIVE, Grant
from exchange.region_rules import NO_RULES, RegionRules
from exchange.resources import (
    GOVERNMENT,
    Resource,
    check_publisher,
    parse_resource,
    split_id,
    wider_divisions,
)
from exchange.trust import Verified
from exchange.v1 import audit_pb2, common_pb2, directory_pb2

DOMAINS = {
    audit_pb2.ACT_RESOURCE: RESOURCE,
    audit_pb2.ACT_RESOURCE_STATE: RESOURCE_STATE,
    audit_pb2.ACT_GRANT: GRANT,
    audit_pb2.ACT_GRANT_EVENT: GRANT_EVENT,
}


class _Step(NamedTuple):
    """A grant's state from a revision on, and when that was entered."""

    state: int
    time_ms: int


@dataclass(slots=True)
class _Held:
    """A grant as it stands, the same as if it were in force, and its steps by revision."""

    grant: Grant
    in_force: Grant
    steps: list[_Step]


@dataclass(slots=True)
class _Shelf:
    """A resource as it is, as it was, and when that changed."""

    provider: str
    now: Resource | None = None
    before: Resource | None = None
    changed_ms: int = 0
    revision: int = 0
    handed_in: int = 0
    waiting: Resource | None = None
    reviewer: str = ""
    handed_in_by: str = ""

    def put(self, resource: Resource | None, time_ms: int) -> None:
        """Have something else in force from a time on."""
        self.now, self.before, self.changed_ms = resource, self.now, time_ms


@dataclass(slots=True)
class GrantsThen:
    """Folds grants, their events and the catalogue."""

    _grants: dict[bytes, _Held] = field(default_factory=dict)
    _shelves: dict[str, _Shelf] = field(default_factory=dict)
    _others: set[str] = field(default_factory=set)
    rules: RegionRules = NO_RULES

    def name(self, statement: common_pb2.Statement) -> None:
        """Take over what kind of body an organisation is; its signature was verified.

        Raises:
            Malformed.
        """
        try:
            body = directory_pb2.OrganisationBody.FromString(statement.body)
        except DecodeError:
            raise Malformed("organisation") from None
        if body.kind in GOVERNMENT:
            self._others.discard(body.credit_code)
        else:
            self._others.add(body.credit_code)

    def enter(self, act: int, statement: common_pb2.Statement, signer: Verified, time_ms: int) -> None:
        """Take over what a statement in the log says; its signature was verified.

        Raises:
            RoleNotAllowed: the signer may not say it.
            NoGrant, UnknownResource: what it is about is not in the bundle.
            WrongState: it does not follow what is.
            Malformed, Oversized, BadIdentifier: its form is wrong.
        """
        if act == audit_pb2.ACT_RESOURCE:
            self._publish(statement, signer, time_ms)
        elif act == audit_pb2.ACT_RESOURCE_STATE:
            self._set_state(statement, signer, time_ms)
        elif act == audit_pb2.ACT_GRANT:
            grant = grants.parse_grant(statement, signer)
            self._grants.setdefault(
                grant.grant_id, _Held(grant, replace(grant, state=ACTIVE), [_Step(grant.state, time_ms)])
            )
        else:
            self._decide(statement, signer, time_ms)

    def check(self, said: audit_pb2.ExchangeEntry, from_ms: int, to_ms: int) -> None:
        """Refuse an exchange that no grant of the time covers.

        Args:
            said: what the entry says.
            from_ms, to_ms: between which times it was admitted, Unix milliseconds.

        Raises:
            NoGrant, GrantRevoked: the grant is not in the bundle, or was not in force.
            UnknownResource: the catalogue entry is not in the bundle.
            Whatever exchange.grants.check raises where the grant does not cover it.
        """
        held = self._grants.get(said.grant_id)
        if held is None:
            raise NoGrant(f"grant {said.grant_id[:8].hex()} is not in the log before it")
        self._check_state(held, said.grant_revision, from_ms)
        grant = held.in_force
        shelf = self._shelves.get(grant.resource)
        if shelf is None:
            raise UnknownResource(grant.resource)
        _check_resolves(said.resource, grant)
        # A moment at which it may have been admitted and the grant's term runs, where there is one.
        at_ms = min(max(from_ms, grant.not_before_ms), to_ms)
        try:
            if shelf.now is None:
                raise UnknownResource(grant.resource)
            self._covers(grant, shelf.now, said, at_ms)
        except ExchangeError:
            if shelf.before is None or shelf.changed_ms < from_ms:
                raise
            self._covers(grant, shelf.before, said, at_ms)

    def _covers(self, grant: Grant, resource: Resource, said: audit_pb2.ExchangeEntry, at_ms: int) -> None:
        if said.provider_organisation != resource.provider:
            raise NoGrant(resource.id)
        grants.check(
            grant,
            resource,
            consumer=said.consumer_organisation,
            government=said.consumer_organisation not in self._others,
            kind=said.kind,
            fields=said.fields,
            purpose=said.purpose,
            matter=said.matter,
            step=said.step,
            case_number=said.case_number,
            now_ms=at_ms,
        )

    def _check_state(self, held: _Held, revision: int, from_ms: int) -> None:
        name = held.grant.name
        if revision >= len(held.steps):
            raise NoGrant(f"{name}: revision {revision} is not in the log before it")
        if held.steps[revision].state != ACTIVE:
            raise GrantRevoked(f"{name}: revision {revision} was not in force")
        if revision + 1 < len(held.steps) and held.steps[revision + 1].time_ms < from_ms:
            raise GrantRevoked(f"{name}: revision {revision} was over")

    def _decide(self, statement: common_pb2.Statement, signer: Verified, time_ms: int) -> None:
        event = grants.read_event(statement)
        held = self._grants.get(event.grant_id)
        if held is None:
            raise NoGrant(f"grant {event.grant_id[:8].hex()} is not in the log before it")
        shelf = self._shelves.get(held.grant.resource)
        resource = shelf.now if shelf else None
        held.grant = grants.apply_event(held.grant, statement, signer, resource, self.rules)
        held.in_force = replace(held.grant, state=ACTIVE)
        held.steps.append(_Step(held.grant.state, time_ms))

    def _publish(self, statement: common_pb2.Statement, signer: Verified, time_ms: int) -> None:
        new = parse_resource(statement)
        check_publisher(new, signer.identity)
        shelf = self._shelves.setdefault(new.id, _Shelf(new.provider))
        if new.provider != shelf.provider or new.version <= shelf.handed_in:
            raise WrongState(f"{new.id} version {new.version}")
        shelf.handed_in = new.version
        reviewer = reviewer_of(self.rules, new.provider)
        if reviewer:
            shelf.waiting, shelf.reviewer, shelf.handed_in_by = new, reviewer, signer.identity.uri
        else:
            shelf.put(_as_before(new, shelf), time_ms)

    def _set_state(self, statement: common_pb2.Statement, signer: Verified, time_ms: int) -> None:
        change = read_state(statement)
        shelf = self._shelves.get(change.id)
        if shelf is None:
            raise UnknownResource("resource state")
        waiting = shelf.waiting
        check_state_signer(
            change,
            signer.identity,
            provider=shelf.provider,
            reviewer=shelf.reviewer if waiting else "",
            handed_in_by=shelf.handed_in_by,
        )
        if change.revision <= shelf.revision:
            raise WrongState(f"{change.id} revision {change.revision}")
        shelf.revision = change.revision
        if change.action == SUSPENSION:
            shelf.put(shelf.now.with_suspended(change.suspended) if shelf.now else None, time_ms)
        elif change.action == WITHDRAW:
            shelf.put(None, time_ms)
        elif change.action == APPROVE and waiting is not None and waiting.version == change.version:
            shelf.put(_as_before(waiting, shelf), time_ms)
        if change.action != SUSPENSION:
            shelf.waiting = None


def _as_before(new: Resource, shelf: _Shelf) -> Resource:
    """Return a version as it comes into force: a suspension holds until it is lifted."""
    return new.with_suspended(shelf.now is not None and shelf.now.suspended)


def _check_resolves(requested: str, grant: Grant) -> None:
    """Refuse a resource that does not lead to the grant's: itself, or the same of a narrower division."""
    if requested == grant.resource:
        return
    division, alias, name = split_id(requested)
    if not any(f"{wider}/{alias}/{name}" == grant.resource for wider in wider_divisions(division)):
        raise NoGrant(grant.resource)
