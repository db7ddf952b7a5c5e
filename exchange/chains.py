"""Chains of certificates under a pinned root: P-256 throughout, client use, one identity below one division.

Invariants: a chain that was verified is remembered with the time span in which all its certificates are
valid, so that verifying many statements of one signer costs one chain; revocation is never remembered.
Source: RFC 5280 as cryptography.x509.verification implements it. It rejects URI name constraints, so the
division is checked here.
"""

import datetime
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from exchange.errors import BadConfiguration, BadSignature, CertificateExpired, NoIdentity, Oversized
from exchange.identity import EXTENSION_FAULTS, Identity, division_covers, identity_of
from exchange.statement import MAX_CERTIFICATE_BYTES, MAX_CHAIN

MAX_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain whose signatures, uses and names hold.

    Attributes:
        serials: of every certificate but the root.
        valid_from_ms, valid_to_ms: the span in which every certificate, the root too, is valid.
    """

    identity: Identity
    certificate: x509.Certificate
    key: ec.EllipticCurvePublicKey
    serials: frozenset[int]
    valid_from_ms: int
    valid_to_ms: int


class ChainVerifier:
    """Verifies chains against one root.

    Args:
        root: the pinned root.
        division: the root's division, 6 digits.
        trust_domain: that every identity must carry.
    """

    def __init__(self, *, root: x509.Certificate, division: str, trust_domain: str) -> None:
        if not isinstance(root.public_key(), ec.EllipticCurvePublicKey):
            raise BadConfiguration("root certificate: P-256 is needed")
        self._root = root
        self._store = Store([root])
        self._division = division
        self._trust_domain = trust_domain
        self._known: OrderedDict[tuple[bytes, ...], Chain] = OrderedDict()

    def verify(self, ders: Sequence[bytes], *, at_ms: int) -> Chain:
        """Return the chain as verified at a time.

        Args:
            ders: the certificate and its issuers without the root, DER, leaf first, 1 to 4 of at most 8 KiB.
            at_ms: Unix milliseconds.

        Raises:
            Oversized, NoIdentity, BadSignature, CertificateExpired.
        """
        if not 1 <= len(ders) <= MAX_CHAIN:
            raise NoIdentity(f"{len(ders)} certificates in a chain")
        if max(map(len, ders)) > MAX_CERTIFICATE_BYTES:
            raise Oversized("certificate")
        place = tuple(ders)
        chain = self._known.get(place)
        if chain is None:
            chain = self._build(place, at_ms)
            if len(self._known) >= MAX_REMEMBERED:
                self._known.popitem(last=False)
            self._known[place] = chain
        else:
            self._known.move_to_end(place)
        if not chain.valid_from_ms <= at_ms <= chain.valid_to_ms:
            raise CertificateExpired(str(chain.identity))
        return chain

    def _build(self, ders: tuple[bytes, ...], at_ms: int) -> Chain:
        try:
            certificates = [x509.load_der_x509_certificate(der) for der in ders]
        except (ValueError, x509.InvalidVersion) as error:
            raise NoIdentity("unreadable certificate") from error
        leaf = certificates[0]
        identity = identity_of(leaf)
        if identity.trust_domain != self._trust_domain or not division_covers(
            self._division, identity.division
        ):
            raise NoIdentity(f"{identity.division}.{identity.trust_domain} is outside {self._division}")
        span = [*certificates, self._root]
        valid_from_ms = max(_ms(one.not_valid_before_utc) for one in span)
        valid_to_ms = min(_ms(one.not_valid_after_utc) for one in span)
        if not valid_from_ms <= at_ms <= valid_to_ms:
            raise CertificateExpired(str(identity))
        self._check_path(certificates, at_ms, identity)
        key = leaf.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise BadSignature(f"{identity}: P-256 is needed")
        return Chain(
            identity=identity,
            certificate=leaf,
            key=key,
            serials=frozenset(one.serial_number for one in certificates),
            valid_from_ms=valid_from_ms,
            valid_to_ms=valid_to_ms,
        )

    def _check_path(self, certificates: list[x509.Certificate], at_ms: int, identity: Identity) -> None:
        leaf = certificates[0]
        try:
            uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        except EXTENSION_FAULTS as error:
            raise BadSignature(f"{identity}: key usages") from error
        if ExtendedKeyUsageOID.CLIENT_AUTH not in uses or not usage.digital_signature:
            raise BadSignature(f"{identity}: not a certificate that signs")
        moment = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
        verifier = PolicyBuilder().store(self._store).time(moment).max_chain_depth(MAX_CHAIN)
        try:
            path = verifier.build_client_verifier().verify(leaf, certificates[1:]).chain
        except VerificationError as error:
            raise BadSignature(f"{identity}: chain does not lead to the pinned root") from error
        if path[:-1] != certificates or path[-1] != self._root:
            raise BadSignature(f"{identity}: chain has parts that it does not need")


def _ms(moment: datetime.datetime) -> int:
    return int(moment.timestamp() * 1000)
