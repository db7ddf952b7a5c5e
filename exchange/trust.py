"""What is trusted and why: a root pinned at enrolment, and the authority's newest trust list.

Rules:
1. Every certificate leads to the pinned root, carries one identity below the root's division, and is
   neither expired nor revoked at the time that counts (exchange/chains.py).
2. A trust list is signed by the authority of that division; its number never goes back, and one number
   never stands for two bodies.
3. Whoever holds no list yet verifies the first without one; after that, revocation counts for the
   authority's own certificates too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import DecodeError

from exchange.canonical import TRUST_LIST
from exchange.chains import Chain, ChainVerifier
from exchange.checkpoint import MAX_SIZE
from exchange.errors import (
    BadConfiguration,
    BadSignature,
    ClockSkew,
    Malformed,
    Oversized,
    Revoked,
    RoleNotAllowed,
    TrustRollback,
)
from exchange.identity import DIVISION, NAME, TRUST_DOMAIN, Identity, Role
from exchange.lineage import Lineage, Start, split_origin
from exchange.statement import MAX_STATEMENT_BYTES
from exchange.timestamps import milliseconds
from exchange.v1 import common_pb2, trust_pb2

MAX_SKEW_MS = 60_000
MAX_GATEWAYS = 256
MAX_LOG_KEYS = 8
MAX_ADDRESSES = 16
MAX_TEXT = 255
LOG_KEY_BYTES = 32
KID_BYTES = 16
MAX_SERIAL_BYTES = 20
_SIGNATURE = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """An identity whose certificate was verified."""

    identity: Identity
    certificate: x509.Certificate
    serial: int
    not_after_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedGateway:
    """A gateway as the trust list names it.

    Attributes:
        origin: of its log.
        log_keys: Ed25519, 32 bytes each; the first is the newest.
        live_keys: how many of them, from the first on, sign heads now, the others verifying what they signed;
            0 where it is not told: all.
        addresses: "host:port".
        epoch: of the log, from 1.
        closed: whether the log has ended: its keys verify what it signed, nothing new is accepted of it.
        first_entry: index of the first entry of this epoch.
        lost_size: size of the newest head known of the epochs before; what lies between `first_entry` and
            here is lost.
    """

    name: str
    origin: str
    log_keys: tuple[bytes, ...]
    addresses: tuple[str, ...]
    epoch: int = 1
    closed: bool = False
    first_entry: int = 0
    lost_size: int = 0
    live_keys: int = 0

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """The keys that sign heads now."""
        return self.log_keys[: self.live_keys or None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustList:
    """A verified trust list.

    Attributes:
        gateways: by origin.
        least_seq: least acceptable bundle sequence by (organisation, agent).
        statement: as the authority signed it.
    """

    number: int
    division: str
    trust_domain: str
    issued_at_ms: int
    max_age_s: int
    suite: int
    gateways: Mapping[str, TrustedGateway]
    revoked_serials: frozenset[int]
    revoked_kids: frozenset[bytes]
    least_seq: Mapping[tuple[str, str], int]
    statement: common_pb2.Statement = field(repr=False)

    def lineage(self, origin: str) -> Lineage:
        """Return where the epochs of a log begin, as far as they are named here."""
        base, _ = split_origin(origin)
        return Lineage(
            Start(epoch=one.epoch, origin=one.origin, first=one.first_entry)
            for one in self.gateways.values()
            if split_origin(one.origin)[0] == base
        )

    def successor(self, origin: str) -> TrustedGateway | None:
        """Return the log that goes on in place of a log that has ended; None where it has not."""
        ended = self.gateways.get(origin)
        if ended is None or not ended.closed:
            return None
        return next(
            (one for one in self.gateways.values() if one.name == ended.name and not one.closed), None
        )

    def fresh(self, now_ms: int) -> bool:
        """Return whether L3 and L4 may be exchanged on it now."""
        return now_ms <= self.issued_at_ms + self.max_age_s * 1000


class TrustAnchor:
    """A pinned root and what it may vouch for.

    Args:
        root_pem: one certificate, PEM.
        division: the root's division, 6 digits: identities must equal it or lie below.
        trust_domain: that every identity must carry.

    Raises:
        BadConfiguration: one of them is malformed.
    """

    def __init__(self, *, root_pem: bytes, division: str, trust_domain: str) -> None:
        if not DIVISION.fullmatch(division) or not TRUST_DOMAIN.fullmatch(trust_domain):
            raise BadConfiguration("division or trust domain")
        try:
            root = x509.load_pem_x509_certificate(root_pem)
        except ValueError as error:
            raise BadConfiguration("root certificate") from error
        self.root_pem = root_pem
        self.division = division
        self.trust_domain = trust_domain
        self._chains = ChainVerifier(root=root, division=division, trust_domain=trust_domain)

    def verify_chain(self, chain: Sequence[bytes], *, at_ms: int, trust: TrustList | None) -> Verified:
        """Return whose certificate this is.

        Args:
            chain: the certificate and its issuers without the root, DER, leaf first, at most 4.
            at_ms: the time that counts, Unix milliseconds.
            trust: the trust list whose revocations count; None where none is held yet.

        Raises:
            NoIdentity, CertificateExpired, Revoked, BadSignature, Oversized.
        """
        return _verified(self._chain(chain, at_ms, trust))

    def verify_statement(
        self, statement: common_pb2.Statement, domain: bytes, *, at_ms: int, trust: TrustList | None
    ) -> Verified:
        """Return who signed a statement. What the signer may say is the caller's to judge.

        Args:
            statement: body, signature and chain.
            domain: the kind's string from exchange/canonical.py.
            at_ms: the time that counts, Unix milliseconds.
            trust: the trust list whose revocations count; None where none is held yet.

        Raises:
            NoIdentity, CertificateExpired, Revoked, BadSignature, Oversized.
        """
        if len(statement.body) > MAX_STATEMENT_BYTES:
            raise Oversized("statement")
        chain = self._chain(statement.chain, at_ms, trust)
        try:
            chain.key.verify(statement.signature, domain + statement.body, _SIGNATURE)
        except InvalidSignature as error:
            raise BadSignature(str(chain.identity)) from error
        return _verified(chain)

    def verify_trust_list(
        self, statement: common_pb2.Statement, *, now_ms: int, held: TrustList | None
    ) -> TrustList:
        """Return a trust list that may replace the one held.

        Args:
            statement: a signed TrustListBody.
            now_ms: Unix milliseconds; the list must not come from more than 60 s ahead.
            held: the newest list seen so far.

        Returns:
            The list; `held` itself where it is the same.

        Raises:
            TrustRollback: a lower number, or the same number with another body.
            NoIdentity, CertificateExpired, Revoked, BadSignature, RoleNotAllowed: the signer will not do.
            Oversized, Malformed, ClockSkew: the list will not do.
        """
        if held is not None and statement.body == held.statement.body:
            return held
        signer = self.verify_statement(statement, TRUST_LIST, at_ms=now_ms, trust=held)
        if signer.identity.role is not Role.AUTHORITY or signer.identity.division != self.division:
            raise RoleNotAllowed(str(signer.identity))
        trust = read_trust_list(statement)
        if trust.division != self.division or trust.trust_domain != self.trust_domain:
            raise RoleNotAllowed(f"trust list of {trust.division}")
        if trust.issued_at_ms > now_ms + MAX_SKEW_MS:
            raise ClockSkew("trust list")
        if held is not None and (trust.number <= held.number or trust.issued_at_ms < held.issued_at_ms):
            raise TrustRollback(f"trust list {trust.number} after {held.number}")
        return trust

    def _chain(self, chain: Sequence[bytes], at_ms: int, trust: TrustList | None) -> Chain:
        verified = self._chains.verify(chain, at_ms=at_ms)
        if trust is not None and not verified.serials.isdisjoint(trust.revoked_serials):
            raise Revoked(str(verified.identity))
        return verified


def _verified(chain: Chain) -> Verified:
    return Verified(
        identity=chain.identity,
        certificate=chain.certificate,
        serial=chain.certificate.serial_number,
        not_after_ms=chain.valid_to_ms,
    )


def read_trust_list(statement: common_pb2.Statement) -> TrustList:
    """Return what a trust list says. Its signature is not looked at.

    Raises:
        Malformed: it cannot be parsed or a part breaks its bound.
    """
    try:
        body = trust_pb2.TrustListBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("trust list") from error
    if not body.number or not body.max_age_s or not body.suite or not body.HasField("issued_at"):
        raise Malformed("trust list")
    if len(body.gateways) > MAX_GATEWAYS or any(len(kid) != KID_BYTES for kid in body.revoked_kids):
        raise Malformed("trust list")
    if any(not 0 < len(serial) <= MAX_SERIAL_BYTES for serial in body.revoked_serials):
        raise Malformed("trust list: serial")
    gateways = {one.origin: read_gateway(one) for one in body.gateways}
    if len(gateways) != len(body.gateways):
        raise Malformed("trust list: two gateways of one origin")
    live = [one.name for one in gateways.values() if not one.closed]
    if len(set(live)) != len(live):
        raise Malformed("trust list: two logs of one gateway")
    return TrustList(
        number=body.number,
        division=body.division,
        trust_domain=body.trust_domain,
        issued_at_ms=milliseconds(body.issued_at, "trust list"),
        max_age_s=body.max_age_s,
        suite=body.suite,
        gateways=gateways,
        revoked_serials=frozenset(int.from_bytes(serial) for serial in body.revoked_serials),
        revoked_kids=frozenset(body.revoked_kids),
        least_seq={(one.organisation, one.agent): one.seq for one in body.least_bundles},
        statement=statement,
    )


def read_gateway(gateway: trust_pb2.TrustedGateway) -> TrustedGateway:
    """Return a gateway as it was declared.

    Raises:
        Malformed: a part breaks its bound.
    """
    keys, addresses = tuple(gateway.log_keys), tuple(gateway.addresses)
    if not NAME.fullmatch(gateway.name) or not 0 < len(gateway.origin) <= MAX_TEXT:
        raise Malformed("gateway: name or origin")
    if not 0 < len(keys) <= MAX_LOG_KEYS or any(len(key) != LOG_KEY_BYTES for key in keys):
        raise Malformed("gateway: log keys")
    if gateway.live_keys > len(keys):
        raise Malformed("gateway: live keys")
    if len(addresses) > MAX_ADDRESSES or any(not 0 < len(one) <= MAX_TEXT for one in addresses):
        raise Malformed("gateway: addresses")
    _, epoch = split_origin(gateway.origin)
    if gateway.epoch not in (0, epoch) or max(gateway.first_entry, gateway.lost_size) > MAX_SIZE:
        raise Malformed("gateway: epoch")
    return TrustedGateway(
        name=gateway.name,
        origin=gateway.origin,
        log_keys=keys,
        addresses=addresses,
        epoch=epoch,
        closed=gateway.closed,
        first_entry=gateway.first_entry,
        lost_size=gateway.lost_size,
        live_keys=gateway.live_keys,
    )
