"""What a provider demands of a request before it reads anything: steps 1 to 6 of agent/provider/answer.py.

Everything is checked again from the agent's own signed state: a gateway that lets pass what it should refuse,
swaps keys, withholds a revocation it was told of, or repeats a request, is caught here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from agent.provider.allow_list import AllowList
from agent.region import RegionView
from exchange import canonical, grants
from exchange.envelope import direction_key, open_
from exchange.errors import (
    BadParameter,
    BundleStale,
    CertificateExpired,
    ClockSkew,
    DeadlinePassed,
    ExchangeError,
    Malformed,
    NoGrant,
    Oversized,
    Replayed,
    Revoked,
    TrustStale,
    WrongAudience,
    WrongSuite,
)
from exchange.grants import Grant
from exchange.identity import Identity
from exchange.keys import OwnKeys, PeerKeys
from exchange.link import MAX_REQUEST_BYTES
from exchange.region_rules import NO_RULES, RegionRules, check_purpose
from exchange.replay import MAX_SKEW_MS, ReplayWindow
from exchange.resources import CLAIM, DEFAULT_PADDING, Resource
from exchange.session import ProviderSessions
from exchange.signing import BatchVerifiers
from exchange.stop_set import StopSet
from exchange.suites import suite
from exchange.trust import TrustList
from exchange.v1 import common_pb2, exchange_pb2
from exchange.values import decode_value, read_clear_cells


@dataclass(slots=True)
class Job:
    """A request on its way through the provider.

    Attributes:
        digest: of the request, 32 bytes.
        secret: of the sealing session.
        subject: whom a verification is about, as it is counted.
        tagged: period and number of the tags of its answer, once that is made.
        counted: metering and time of the data of its answer, as that tells them.
        error: why it is refused; None while it is well.
    """

    signed: common_pb2.Signed
    body: exchange_pb2.RequestBody
    header: exchange_pb2.RequestHeader
    digest: bytes
    resource: Resource | None = None
    grant: Grant | None = None
    secret: bytes = b""
    parameters: dict[str, str] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    subject: bytes = b""
    tagged: tuple[str, int] = ("", 0)
    counted: tuple[int, int] = (0, 0)
    error: ExchangeError | None = None


def parse(signed: common_pb2.Signed) -> Job:  # 1
    """Parse a request.

    Raises:
        Malformed, Oversized.
    """
    if len(signed.body) > MAX_REQUEST_BYTES:
        raise Oversized("request")
    try:
        body = exchange_pb2.RequestBody.FromString(signed.body)
        header = exchange_pb2.RequestHeader.FromString(body.header)
    except DecodeError:
        raise Malformed("request") from None
    if len(header.exchange_id) != 16 or len(header.nonce) != 16:
        raise Malformed("exchange id or nonce")
    return Job(signed, body, header, canonical.digest(canonical.REQUEST, signed.body))


@dataclass(slots=True, kw_only=True)
class InspectorParts:
    """What an inspector is made of; the gateway changes where its log goes on under another origin."""

    identity: Identity
    division: str
    gateway: str
    keys: OwnKeys
    region: RegionView
    sessions: ProviderSessions
    replay: ReplayWindow
    trust: Callable[[], TrustList | None]
    answered: Callable[[bytes], bool]
    stops: StopSet
    check_case: Callable[[exchange_pb2.RequestHeader, int], None]
    allow: AllowList = field(default_factory=AllowList)
    rules: Callable[[], RegionRules] = lambda: NO_RULES


class Inspector:
    """Checks requests from the provider's own signed state."""

    def __init__(self, parts: InspectorParts) -> None:
        self._ = parts
        self._verifiers = BatchVerifiers()

    def inspect(self, job: Job, consumer: PeerKeys, now_ms: int) -> None:
        """Take a parsed request through steps 2 to 6.

        Args:
            job: what is learned is filled in.
            consumer: the keys of the bundle that the request names, verified end to end.
            now_ms: Unix milliseconds.

        Raises:
            ExchangeError: what is wrong.
        """
        trust = self._.trust()
        self._check_audience(job.header, now_ms)  # 2
        self._check_signature(job, consumer, trust, now_ms)  # 3
        if not self._.stops.quiet:
            self._.stops.check(job.header, job.header.resource, now_ms)
        self._check_grant(job, trust, now_ms)  # 4
        if self._.answered(job.header.exchange_id):  # 5
            raise Replayed(job.header.exchange_id.hex())
        self._.replay.admit(job.header.exchange_id, issued_at_ms=job.header.issued_at_ms, now_ms=now_ms)
        self._open(job)  # 6

    def _check_audience(self, header: exchange_pb2.RequestHeader, now_ms: int) -> None:
        p = self._
        if header.gateway != p.gateway or header.division != p.division:
            raise WrongAudience(header.gateway[:80])
        if (header.provider_organisation, header.provider_agent) != (
            p.identity.organisation,
            p.identity.name,
        ):
            raise WrongAudience(header.provider_agent[:80])
        if abs(header.issued_at_ms - now_ms) > MAX_SKEW_MS:
            raise ClockSkew(f"{header.issued_at_ms - now_ms} ms")
        if header.deadline_ms <= now_ms:
            raise DeadlinePassed("request")

    def _check_signature(self, job: Job, consumer: PeerKeys, trust: TrustList | None, now_ms: int) -> None:
        header = job.header
        named = (header.consumer_organisation, header.consumer_agent)
        if named != (consumer.organisation, consumer.agent) or consumer.expires_at_ms <= now_ms:
            raise BundleStale(header.consumer_agent[:80])
        if trust is None or header.suite != trust.suite:
            raise WrongSuite(str(header.suite))
        kid = header.consumer_kid
        if kid in trust.revoked_kids:
            raise Revoked(kid.hex())
        known = consumer.signing.get(kid)
        if known is None:
            raise BundleStale(header.consumer_agent[:80])
        if not known[1] <= now_ms < known[2]:
            raise CertificateExpired(kid.hex())
        self._verifiers.of(kid, known[0]).verify(job.digest, job.signed.signature)

    def _check_grant(self, job: Job, trust: TrustList | None, now_ms: int) -> None:
        header = job.header
        resource = self._.region.resource(header.resource)
        if resource.provider != self._.identity.organisation:
            raise NoGrant(resource.id)
        if header.resource_digest != resource.digest:
            raise BundleStale(resource.id)
        if resource.sealed and (trust is None or not trust.fresh(now_ms)):
            raise TrustStale(resource.id)
        grant = self._.region.grant(header.grant_id)
        if grant is None:
            raise NoGrant(resource.id)
        grants.check(
            grant,
            resource,
            consumer=header.consumer_organisation,
            government=self._.region.government(header.consumer_organisation),
            kind=header.kind,
            fields=header.fields,
            purpose=header.purpose,
            matter=header.matter,
            step=header.step,
            case_number=header.case_number,
            now_ms=now_ms,
        )
        self._.check_case(header, now_ms)
        check_purpose(self._.rules(), header.purpose, header.matter, resource.id)
        self._.allow.check(header, now_ms)
        job.resource, job.grant = resource, grant

    def _open(self, job: Job) -> None:
        resource, header = job.resource, job.header
        assert resource is not None
        private = self._.keys.sealing_private(header.provider_kid)
        if private is None:
            raise BundleStale(self._.identity.name)
        job.secret = self._.sessions.secret(header, job.body.wrap, private)
        for column in job.body.clear:
            rule = resource.parameters.get(column.name)
            if rule is None or rule.sealed or column.name in job.parameters:
                raise BadParameter(column.name[:64])
            job.parameters[column.name] = _single(
                column.name, rule.type, read_clear_cells(column.name, column.cells)
            )
        self._open_sealed(job, resource)
        if header.kind == common_pb2.KIND_VERIFY and list(job.claims) != list(header.fields):
            raise BadParameter("claims")

    def _open_sealed(self, job: Job, resource: Resource) -> None:
        sealed = job.body.sealed
        if not sealed.columns:
            return
        due = []
        for column in sealed.columns:
            if column.name.startswith(CLAIM):
                rule = resource.fields.get(column.name.removeprefix(CLAIM))
                padding = rule.padding if rule else 0
            else:
                padding = DEFAULT_PADDING if column.name in resource.parameters else 0
            if not padding:
                raise BadParameter(column.name[:64])
            due.append((column.name, padding))
        key = direction_key(suite(job.header.suite), job.secret, job.body.header, "request")
        for (name, _), values in zip(due, open_(key, sealed, due), strict=True):
            if name.startswith(CLAIM):
                field_name = name.removeprefix(CLAIM)
                job.claims[field_name] = _single(name, resource.fields[field_name].type, values)
            elif name in job.parameters:
                raise BadParameter(name[:64])
            else:
                job.parameters[name] = _single(name, resource.parameters[name].type, values)


def _single(name: str, kind: str, values: list[bytes | None]) -> str:
    if len(values) != 1 or values[0] is None:
        raise BadParameter(name[:64])
    return decode_value(kind, values[0])
