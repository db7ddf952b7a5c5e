"""Plans a question: which grant it goes under, which fields, what is sealed, and the header's constant part.

A consumer refuses nothing here that the gateway must refuse: a refusal is a log entry. What no header can be
made of (an unknown parameter, a malformed identifier) fails here.
"""

from dataclasses import dataclass

from agent.peers import Resolved
from agent.region import RegionView
from exchange import grants
from exchange.codes import check_format
from exchange.errors import BadParameter, ExchangeError
from exchange.grants import Grant
from exchange.identity import Identity
from exchange.resources import CLAIM, DEFAULT_PADDING, Resource
from exchange.trust import TrustList
from exchange.v1 import agent_pb2, common_pb2, exchange_pb2
from exchange.values import clear_cells, encode_value

NO_GRANT = b"\0" * 32
SealedColumns = list[tuple[str, bytes, int]]


@dataclass(slots=True, kw_only=True)
class Speaker:
    """Who asks, and of which gateway; that changes where its log goes on under another origin."""

    identity: Identity
    division: str
    gateway: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What questions of one shape have in common.

    Attributes:
        prefix: the constant part of the serialised header; the varying part is appended to it.
        provider_kid: id of the provider's sealing key.
        provider_public: that key.
        provider_until_ms: when it ends.
    """

    resolved: Resolved
    grant: Grant | None
    suite: int
    provider_kid: bytes
    provider_public: bytes
    provider_until_ms: int
    prefix: bytes


class Planner:
    """Makes plans.

    Args:
        speaker: who asks.
        region: for the grants.
    """

    def __init__(self, *, speaker: Speaker, region: RegionView) -> None:
        self._speaker = speaker
        self._region = region

    def grant_for(self, question: agent_pb2.AskRequest, resource: Resource, now_ms: int) -> Grant | None:
        """Return a question's grant: the one it names, one that covers it, or the nearest."""
        if question.grant_id:
            return self._region.grant(question.grant_id)
        mine = self._speaker.identity.organisation
        found = [g for g in self._region.grants() if g.resource == resource.id and g.consumer == mine]
        found.sort(key=lambda g: (g.state == grants.ACTIVE, g.not_after_ms), reverse=True)
        for grant in found:
            if self._covers(grant, resource, question, now_ms):
                return grant
        return found[0] if found else None

    def _covers(self, grant: Grant, resource: Resource, question: agent_pb2.AskRequest, now_ms: int) -> bool:
        try:
            grants.check(
                grant,
                resource,
                consumer=self._speaker.identity.organisation,
                government=self._region.government(self._speaker.identity.organisation),
                kind=question.kind,
                fields=question.fields or [name for name in resource.fields if name in grant.fields],
                purpose=question.purpose,
                matter=question.matter,
                step=question.step,
                case_number=question.case_number,
                now_ms=now_ms,
            )
        except ExchangeError:
            return False
        return True

    def plan(
        self,
        question: agent_pb2.AskRequest,
        resolved: Resolved,
        *,
        consumer_kid: bytes,
        consumer_bundle: bytes,
        trust: TrustList,
        now_ms: int,
    ) -> Plan:
        """Plan questions of one shape.

        Args:
            question: the first of them.
            resolved: the resource and its provider's keys.
            consumer_kid: id of the own signing key.
            consumer_bundle: digest of the own bundle.
            trust: the newest trust list: the region's suite, and which keys are revoked.
            now_ms: Unix milliseconds.

        Raises:
            BundleStale: the provider has no sealing key in force.
        """
        resource, keys = resolved.resource, resolved.keys
        grant = self.grant_for(question, resource, now_ms)
        kid, sealing = keys.sealing_key(trust.suite, now_ms=now_ms, trust=trust)
        prefix = exchange_pb2.RequestHeader(
            division=self._speaker.division,
            gateway=self._speaker.gateway,
            kind=question.kind,
            consumer_organisation=self._speaker.identity.organisation,
            consumer_agent=self._speaker.identity.name,
            consumer_kid=consumer_kid,
            provider_organisation=keys.organisation,
            provider_agent=keys.agent,
            provider_kid=kid,
            resource=resource.id,
            resource_digest=resource.digest,
            grant_id=grant.grant_id if grant else NO_GRANT,
            grant_revision=grant.revision if grant else 0,
            purpose=question.purpose,
            matter=question.matter,
            step=question.step,
            application=question.application,
            suite=trust.suite,
            consumer_bundle=consumer_bundle,
            provider_bundle=keys.digest,
        ).SerializeToString()
        return Plan(
            resolved=resolved,
            grant=grant,
            suite=trust.suite,
            provider_kid=kid,
            provider_public=sealing.public,
            provider_until_ms=sealing.not_after_ms,
            prefix=prefix,
        )


def wanted_fields(question: agent_pb2.AskRequest, plan: Plan) -> list[str]:
    """Return the fields a question is about: those it names, its claims, or all that the grant gives."""
    if question.kind == common_pb2.KIND_VERIFY:
        return [claim.name for claim in question.claims]
    if question.fields:
        return list(question.fields)
    known = plan.resolved.resource.fields
    return [name for name in known if plan.grant is None or name in plan.grant.fields]


def split_parameters(
    question: agent_pb2.AskRequest, resource: Resource
) -> tuple[list[exchange_pb2.Column], SealedColumns]:
    """Return a question's parameters, in the clear and to seal; claims are always sealed.

    Returns:
        Columns of L1 and L2, and (name, value, padding) of L3, L4 and claims.

    Raises:
        BadParameter: none, twice the same, an unknown one, or a value not of its type.
        BadIdentifier: a value with a wrong checksum.
    """
    if not question.parameters or len({p.name for p in question.parameters}) != len(question.parameters):
        raise BadParameter("parameters")
    clear: list[exchange_pb2.Column] = []
    sealed: SealedColumns = []
    for item in question.parameters:
        rule = resource.parameters.get(item.name)
        if rule is None:
            raise BadParameter(item.name[:64])
        value = check_format(rule.format, item.value) if rule.format else item.value
        encoded = encode_value(rule.type, value)
        if rule.sealed:
            sealed.append((item.name, encoded, DEFAULT_PADDING))
        else:
            clear.append(exchange_pb2.Column(name=item.name, cells=clear_cells([encoded])))
    return clear, sealed + _claims(question, resource)


def _claims(question: agent_pb2.AskRequest, resource: Resource) -> SealedColumns:
    if question.kind != common_pb2.KIND_VERIFY:
        return []
    claims: SealedColumns = []
    for item in question.claims:
        rule = resource.fields.get(item.name)
        if rule is None:
            raise BadParameter(item.name[:64])
        claims.append((CLAIM + item.name, encode_value(rule.type, item.value), rule.padding))
    if not claims:
        raise BadParameter("claims")
    return claims
