"""Certificates made by hand, right and wrong, for tests of what verifies them."""

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs.profiles import DAY_MS, Issuer, make_issuing, make_leaf, make_root
from exchange.identity import Identity
from exchange.statement import StatementSigner
from exchange.trust import TrustAnchor

NOW_MS = 1_800_000_000_000


class Paper:
    """A root with an issuing certificate.

    Args:
        division: of the root.
        trust_domain: of the root.
    """

    def __init__(self, division: str = "970100", trust_domain: str = "yunchuan.example") -> None:
        self.division, self.trust_domain = division, trust_domain
        self.root = make_root(
            division=division, trust_domain=trust_domain, now_ms=NOW_MS, lifetime_ms=900 * DAY_MS
        )
        self.issuing = make_issuing(
            self.root, division=division, trust_domain=trust_domain, now_ms=NOW_MS, lifetime_ms=900 * DAY_MS
        )

    @property
    def root_pem(self) -> bytes:
        return self.root.certificate.public_bytes(serialization.Encoding.PEM)

    def anchor(self) -> TrustAnchor:
        return TrustAnchor(root_pem=self.root_pem, division=self.division, trust_domain=self.trust_domain)

    def leaf(self, who: Identity, hosts: Sequence[str] = (), lifetime_ms: int = 30 * DAY_MS) -> Issuer:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = make_leaf(
            self.issuing, who, key.public_key(), now_ms=NOW_MS, lifetime_ms=lifetime_ms, hosts=hosts
        )
        return Issuer(key, certificate)

    def chain(self, certificate: x509.Certificate) -> list[bytes]:
        return [der(certificate), der(self.issuing.certificate)]

    def signer(self, who: Identity, hosts: Sequence[str] = ()) -> StatementSigner:
        held = self.leaf(who, hosts)
        return StatementSigner(key=held.key, chain=self.chain(held.certificate))


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
