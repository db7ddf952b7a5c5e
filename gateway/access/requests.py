"""Step 2 of the path: what a request must be before anyone asks what it is for."""

from google.protobuf.message import DecodeError

from exchange import canonical
from exchange.errors import (
    BadSignature,
    BundleStale,
    ClockSkew,
    DeadlinePassed,
    Malformed,
    NoIdentity,
    Oversized,
    ResponseSignature,
    Revoked,
    WrongAudience,
    WrongSuite,
)
from exchange.keys import PeerKeys
from exchange.link import MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES
from exchange.replay import MAX_SKEW_MS, ReplayWindow
from exchange.signing import KID_BYTES, MAX_PATH_BYTES, SIGNATURE_BYTES, BatchVerifier, BatchVerifiers
from exchange.trust import TrustList
from exchange.v1 import common_pb2, exchange_pb2
from gateway.record import Exchange
from gateway.state import RegionState

MAX_HEADER_BYTES = 16 * 1024
MAX_FIELDS = 64
MAX_TEXT = 200
MAX_LIFE_MS = 300_000
KINDS = frozenset({common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY})


class RequestCheck:
    """Parses and verifies requests, and the signatures of answers.

    Args:
        origin: of this gateway's log; the audience.
        division: of this gateway; the audience.
        state: for the key bundles.
        replay: ids used before.
    """

    def __init__(self, *, origin: str, division: str, state: RegionState, replay: ReplayWindow) -> None:
        self._origin = origin
        self._division = division
        self._state = state
        self._replay = replay
        self._verifiers = BatchVerifiers()

    def check(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        """Parse a request and verify everything about it but what it is for.

        Args:
            exchange: its header, id, digest and deadline are filled in.
            trust: the newest trust list.
            now_ms: Unix milliseconds.

        Raises:
            Malformed, Oversized, WrongAudience, ClockSkew, DeadlinePassed, NoIdentity, BundleStale,
            Revoked, BadSignature, Replayed: what is wrong.
        """
        exchange.rule = "request"
        header = self.read(exchange)
        identity = exchange.caller.identity
        if header.consumer_organisation != identity.organisation or header.consumer_agent != identity.name:
            raise NoIdentity("header names another consumer")
        if header.gateway != self._origin or header.division != self._division:
            raise WrongAudience(header.gateway)
        self._check_times(header, now_ms)
        if trust is None or header.suite != trust.suite:
            raise WrongSuite(str(header.suite))
        consumer = self._bundle(header.consumer_bundle, identity.organisation, identity.name, now_ms)
        verifier = self._verifier(consumer, header.consumer_kid, trust, now_ms)
        verifier.verify(exchange.digest, exchange.signed.signature)
        provider = self._bundle(
            header.provider_bundle, header.provider_organisation, header.provider_agent, now_ms
        )
        if header.provider_kid not in provider.sealing or header.provider_kid in trust.revoked_kids:
            raise BundleStale(header.provider_agent)
        self._replay.admit(exchange.exchange_id, issued_at_ms=header.issued_at_ms, now_ms=now_ms)

    def check_answer(self, exchange: Exchange, answer: common_pb2.Signed) -> bytes:
        """Verify that the provider named in a request signed an answer.

        Returns:
            The answer's digest, 32 bytes.

        Raises:
            ResponseSignature: another key, or the signature does not verify.
            Oversized: the answer is larger than allowed.
        """
        if len(answer.body) > MAX_RESPONSE_BYTES:
            raise Oversized(f"response of {len(answer.body)} bytes")
        header = exchange.header
        digest = canonical.digest(canonical.RESPONSE, answer.body)
        bundles, signature = self._state.bundles, answer.signature
        kid = signature.kid
        keys = bundles.newest(header.provider_organisation, header.provider_agent)
        if keys is None or kid not in keys.signing:
            # Signed before the provider changed its key, and still in force.
            keys = bundles.by_digest(header.provider_bundle)
        if keys is None or kid not in keys.signing:
            raise ResponseSignature(header.provider_agent)
        try:
            self._verifiers.of(kid, keys.signing[kid].public).verify(digest, signature)
        except BadSignature:
            raise ResponseSignature(header.provider_agent) from None
        return digest

    def read(self, exchange: Exchange) -> exchange_pb2.RequestHeader:
        """Parse a request; id and digest are filled in as far as they can be read, also where it is refused.

        Raises:
            Malformed, Oversized, BadSignature: its form is wrong.
        """
        raw, signature = exchange.signed.body, exchange.signed.signature
        exchange.digest = canonical.digest(canonical.REQUEST, raw)
        if len(raw) > MAX_REQUEST_BYTES:
            raise Oversized(f"request of {len(raw)} bytes")
        try:
            body = exchange_pb2.RequestBody.FromString(raw)
            if len(body.header) > MAX_HEADER_BYTES:
                raise Oversized("header")
            header = exchange_pb2.RequestHeader.FromString(body.header)
        except DecodeError:
            raise Malformed("request") from None
        exchange.header = header
        exchange.exchange_id = header.exchange_id
        exchange.deadline_ms = header.deadline_ms
        if len(header.exchange_id) != 16 or len(header.nonce) != 16 or len(header.grant_id) != 32:
            raise Malformed("exchange id, nonce or grant id")
        if header.kind not in KINDS or not 0 < len(header.fields) <= MAX_FIELDS:
            raise Malformed("kind or fields")
        texts = (
            header.resource,
            header.purpose,
            header.matter,
            header.step,
            header.application,
            header.case_number,
            header.operator,
            header.provider_organisation,
            header.provider_agent,
            *header.fields,
        )
        if max(map(len, texts)) > MAX_TEXT:
            raise Oversized("header text")
        if (
            len(signature.kid) > KID_BYTES
            or len(signature.signature) > SIGNATURE_BYTES
            or len(signature.path) > MAX_PATH_BYTES
        ):
            raise BadSignature(header.consumer_agent[:80])
        # Set last: the log entry repeats claims and signature only where they are bounded.
        exchange.claimed = True
        return header

    @staticmethod
    def _check_times(header: exchange_pb2.RequestHeader, now_ms: int) -> None:
        if abs(header.issued_at_ms - now_ms) > MAX_SKEW_MS:
            raise ClockSkew(f"{header.issued_at_ms - now_ms} ms")
        if header.deadline_ms <= now_ms:
            raise DeadlinePassed("request")
        if header.deadline_ms > now_ms + MAX_LIFE_MS:
            raise Malformed("deadline")

    def _bundle(self, digest: bytes, organisation: str, agent: str, now_ms: int) -> PeerKeys:
        keys = self._state.bundles.by_digest(digest)
        if keys is None or keys.organisation != organisation or keys.agent != agent:
            raise BundleStale(agent)
        if keys.expires_at_ms <= now_ms:
            raise BundleStale(agent)
        return keys

    def _verifier(self, keys: PeerKeys, kid: bytes, trust: TrustList, now_ms: int) -> BatchVerifier:
        if kid in trust.revoked_kids:
            raise Revoked(kid.hex())
        known = keys.signing.get(kid)
        if known is None or not known[1] <= now_ms < known[2]:
            raise BundleStale(keys.agent)
        return self._verifiers.of(kid, known[0])
