"""An authority as small as tests of statements need: a root that issues agents' certificates itself."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from exchange.identity import Identity, Role
from exchange.statement import StatementSigner
from exchange.trust import TrustAnchor, TrustList
from exchange.v1 import common_pb2
from tests.support.sealing import NOW_MS

DOMAIN, DIVISION = "yunchuan.example", "970100"
DAY_MS = 24 * 3_600_000


def _moment(ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not signs,
        crl_sign=not signs,
        encipher_only=False,
        decipher_only=False,
    )


class SmallAuthority:
    """A root with a life of ten years around the tests' time."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
        self.root = (
            self._begin(self._name, self._key.public_key(), NOW_MS + 3650 * DAY_MS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def anchor(self) -> TrustAnchor:
        """Return the trust of whoever pinned the root."""
        pem = self.root.public_bytes(serialization.Encoding.PEM)
        return TrustAnchor(root_pem=pem, division=DIVISION, trust_domain=DOMAIN)

    def signer(
        self,
        organisation: str,
        name: str,
        *,
        role: Role = Role.AGENT,
        not_after_ms: int = NOW_MS + 90 * DAY_MS,
    ) -> StatementSigner:
        """Return a key with a new certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        uri = Identity(DOMAIN, DIVISION, role, organisation, name).uri
        certificate = (
            self._begin(x509.Name([]), key.public_key(), not_after_ms)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return StatementSigner(key=key, chain=[certificate.public_bytes(serialization.Encoding.DER)])

    def _begin(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, not_after_ms: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(NOW_MS - DAY_MS))
            .not_valid_after(_moment(not_after_ms))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )


def trust_list(
    *,
    revoked_kids: frozenset[bytes] = frozenset(),
    revoked_serials: frozenset[int] = frozenset(),
    least_seq: dict[tuple[str, str], int] | None = None,
) -> TrustList:
    """Return a trust list as if it had been verified."""
    return TrustList(
        number=1,
        division=DIVISION,
        trust_domain=DOMAIN,
        issued_at_ms=NOW_MS,
        max_age_s=300,
        suite=2,
        gateways={},
        revoked_serials=revoked_serials,
        revoked_kids=revoked_kids,
        least_seq=least_seq or {},
        statement=common_pb2.Statement(),
    )
