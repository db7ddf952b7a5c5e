"""Decides whether a verified statement may change the region's state. Pure: reads the state, changes nothing.

1. An organisation is entered by an administrator; names may change, alias and division never.
2. A resource is published, suspended, resumed and withdrawn by a steward of its provider; a version that the
   rules put in review is approved or rejected as `exchange.catalogue_review` says.
3. A bundle is published by the agent whose keys it holds, one after the other.
4. A grant is applied for by a steward of the consumer, within what the catalogue shares; what is made from
   others' data is published and granted only as far as their grants let it (`gateway.access.redisclosure`).
5. Its events follow `exchange.grants`; of what was withdrawn from the catalogue no grant comes into force.
6. A review is drawn and taken step by step as `gateway.review` says.
7. A change of the log's key is entered by the gateway itself.
8. What a register of the state takes is checked by it (`gateway.register`).
9. Words hold no citizen id. That is asked here and not where logs are read back: older entries stay readable.
10. What is dated was signed within five minutes of now: an old statement cannot be kept back and used later.
"""

from collections.abc import Callable, Sequence

from exchange.catalogue_review import check_state_signer, read_state
from exchange.codes import holds_citizen_id
from exchange.errors import BundleRollback, Malformed, Oversized, RoleNotAllowed
from exchange.grants import (
    apply_event,
    check_application,
    check_issued,
    check_purposes,
    parse_grant,
    read_event,
)
from exchange.identity import Role
from exchange.keys import open_bundle
from exchange.log_keys import read_key_change
from exchange.record_schema import check_schema
from exchange.resources import check_publisher, parse_resource
from exchange.review import read_draw
from exchange.review import read_event as read_review_event
from exchange.schema_change import check_compatible
from exchange.trust import TrustAnchor, TrustList, Verified
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2
from gateway.access.redisclosure import check_passing_on, check_sources
from gateway.directory.key_bundles import read_bundle
from gateway.directory.organisations import read_organisation
from gateway.register import Submitted
from gateway.state import RegionState

_INTO_FORCE = frozenset(
    {
        grant_pb2.GRANT_ACTION_ACCEPT,
        grant_pb2.GRANT_ACTION_RESUME,
        grant_pb2.GRANT_ACTION_EXTEND,
        grant_pb2.GRANT_ACTION_SUPERVISE,
    }
)
MAX_BODY_BYTES = 48 * 1024
MAX_STATEMENT_BYTES = 60 * 1024

_Rule = Callable[[common_pb2.Statement, Verified, int, TrustList], str]


class Admission:
    """Checks statements against the state.

    Args:
        state: of the region.
        anchor: the division's root, for bundles.
        region: the region's division, 6 digits.
        read: returns the statement of the log entry at an index.
    """

    def __init__(
        self,
        *,
        state: RegionState,
        anchor: TrustAnchor,
        region: str,
        read: Callable[[int], common_pb2.Statement],
    ) -> None:
        self._state = state
        self._anchor = anchor
        self._region = region
        self._read = read
        self._rules: dict[int, _Rule] = {
            audit_pb2.ACT_ORGANISATION: self._organisation,
            audit_pb2.ACT_RESOURCE: self._resource,
            audit_pb2.ACT_RESOURCE_STATE: self._resource_state,
            audit_pb2.ACT_BUNDLE: self._bundle,
            audit_pb2.ACT_GRANT: self._grant,
            audit_pb2.ACT_GRANT_EVENT: self._grant_event,
            audit_pb2.ACT_REVIEW_DRAW: self._review_draw,
            audit_pb2.ACT_REVIEW_EVENT: self._review_event,
            audit_pb2.ACT_LOG_KEY: self._log_key,
        }

    def check(
        self,
        act: "audit_pb2.Act.ValueType",
        statement: common_pb2.Statement,
        verified: Verified,
        *,
        now_ms: int,
        trust: TrustList,
        others: Sequence[Verified] = (),
    ) -> str:
        """Refuse a statement that breaks a rule.

        Args:
            act: what the statement is to do.
            statement: its signature was verified.
            verified: who signed it.
            now_ms: Unix milliseconds.
            trust: the newest trust list.
            others: who signed the same body besides.

        Returns:
            What it is about, for the log entry: an id or name.

        Raises:
            ExchangeError: the rule that it breaks.
        """
        register = self._state.register(act)
        if register is not None:
            return register.check(
                Submitted(
                    act=act, statement=statement, signer=verified, others=others, now_ms=now_ms, trust=trust
                )
            )
        rule = self._rules.get(act)
        if rule is None or others:
            raise Malformed("act")
        return rule(statement, verified, now_ms, trust)

    def _organisation(
        self, statement: common_pb2.Statement, verified: Verified, now_ms: int, trust: TrustList
    ) -> str:
        if verified.identity.role is not Role.ADMIN:
            raise RoleNotAllowed(verified.identity.role)
        new = read_organisation(statement)
        check_issued(new.issued_at_ms, now_ms)
        self._state.organisations.check(new, region=self._region)
        return new.credit_code

    def _resource(
        self, statement: common_pb2.Statement, verified: Verified, now_ms: int, trust: TrustList
    ) -> str:
        new = parse_resource(statement)
        check_publisher(new, verified.identity)
        check_issued(new.issued_at_ms, now_ms)
        catalogue = self._state.catalogue
        catalogue.check(new, self._state.organisations.get(new.provider))
        body = directory_pb2.ResourceBody.FromString(statement.body)
        check_schema(body)
        if new.id in catalogue.by_id:
            before = self._read(catalogue.index(new.id))
            check_compatible(directory_pb2.ResourceBody.FromString(before.body), body)
        check_sources(new, catalogue, self._state.grants, now_ms=now_ms)
        return new.id

    def _resource_state(
        self, statement: common_pb2.Statement, verified: Verified, now_ms: int, trust: TrustList
    ) -> str:
        change = read_state(statement)
        _check_words(directory_pb2.ResourceStateBody.FromString(statement.body).note)
        entry = self._state.catalogue.entry(change.id)
        waiting = entry.waiting
        check_state_signer(
            change,
            verified.identity,
            provider=entry.provider,
            reviewer=waiting.reviewer if waiting else "",
            handed_in_by=waiting.handed_in_by if waiting else "",
        )
        check_issued(change.issued_at_ms, now_ms)
        self._state.catalogue.check_state(change)
        return change.id

    def _bundle(
        self, statement: common_pb2.Statement, verified: Verified, now_ms: int, trust: TrustList
    ) -> str:
        new = read_bundle(statement)
        identity = verified.identity
        if identity.role is not Role.AGENT or (identity.organisation, identity.name) != (
            new.organisation,
            new.agent,
        ):
            raise RoleNotAllowed(f"{new.organisation}/{new.agent}")
        self._state.organisations.get(new.organisation)
        self._state.bundles.check(new)
        if new.seq < trust.least_seq.get((new.organisation, new.agent), 0):
            raise BundleRollback(f"{new.organisation}/{new.agent} seq {new.seq}")
        open_bundle(statement, self._anchor, at_ms=now_ms, trust=trust)
        return f"{new.organisation}/{new.agent}"

    def _grant(
        self, statement: common_pb2.Statement, verified: Verified, now_ms: int, trust: TrustList
    ) -> str:
        grant = parse_grant(statement, verified)
        _check_words(grant_pb2.GrantBody.FromString(statement.body).justification)
        self._state.organisations.get(grant.consumer)
        self._state.organisations.get(grant.provider)
        resource = self._state.catalogue.exactly(grant.resource)
        check_passing_on(resource, grant.consumer, self._state.catalogue, self._state.grants, now_ms=now_ms)
        check_application(
            grant,
            resource,
            rules=self._state.rules.current,
            government=lambda code: self._state.organisations.get(code).government,
            now_ms=now_ms,
        )
        return grant.name

    def _grant_event(
        self, statement: common_pb2.Statement, verified: Verified, now_ms: int, trust: TrustList
    ) -> str:
        event = read_event(statement)
        _check_words(grant_pb2.GrantEventBody.FromString(statement.body).note)
        grant = self._state.grants.one(event.grant_id)
        resource, rules = self._state.catalogue.by_id.get(grant.resource), self._state.rules.current
        apply_event(grant, statement, verified, resource, rules)
        if event.not_after_ms:
            check_purposes(grant, rules, not_after_ms=event.not_after_ms)
        check_issued(event.issued_at_ms, now_ms)
        self._check_into_force(grant.resource, grant.consumer, event.action, now_ms)
        return grant.name

    def _check_into_force(self, resource_id: str, consumer: str, action: int, now_ms: int) -> None:
        """Refuse that a grant comes into force whose resource was withdrawn or may not be passed on."""
        if action not in _INTO_FORCE:
            return
        catalogue = self._state.catalogue
        resource = catalogue.exactly(resource_id)
        check_passing_on(resource, consumer, catalogue, self._state.grants, now_ms=now_ms)

    def _review_draw(
        self, statement: common_pb2.Statement, verified: Verified, now_ms: int, trust: TrustList
    ) -> str:
        draw = read_draw(statement)
        check_issued(draw.issued_at_ms, now_ms)
        self._state.reviews.check_draw(verified.identity)
        return draw.review_id.hex()

    def _review_event(
        self, statement: common_pb2.Statement, verified: Verified, now_ms: int, trust: TrustList
    ) -> str:
        event = read_review_event(statement)
        check_issued(event.issued_at_ms, now_ms)
        self._state.reviews.check_event(event, verified.identity)
        return f"{event.review_id.hex()}/{event.item}"

    def _log_key(
        self, statement: common_pb2.Statement, verified: Verified, now_ms: int, trust: TrustList
    ) -> str:
        change = read_key_change(statement.body)
        named = trust.gateways.get(change.origin)
        if verified.identity.role is not Role.GATEWAY or named is None:
            raise RoleNotAllowed(str(verified.identity))
        if named.name != verified.identity.name or change.next_key not in named.log_keys:
            raise RoleNotAllowed(str(verified.identity))
        return change.next_key.hex()


def _check_words(text: str) -> None:
    """Refuse words that hold a citizen id: what is in the log stays there."""
    if holds_citizen_id(text):
        raise Malformed("words: a citizen id")


def check_size(statement: common_pb2.Statement) -> None:
    """Refuse a statement that is empty or would not fit into a log entry.

    Raises:
        Malformed, Oversized.
    """
    if not statement.body or not statement.signature or not statement.chain:
        raise Malformed("statement")
    if len(statement.body) > MAX_BODY_BYTES or statement.ByteSize() > MAX_STATEMENT_BYTES:
        raise Oversized(f"statement of {statement.ByteSize()} bytes")
