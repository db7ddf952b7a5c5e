"""What each certificate looks like. The authority decides; of a request it takes the public key alone.

| holder | key usage | extended key usage | names |
|---|---|---|---|
| agents and people | digitalSignature | clientAuth | one URI |
| gateways | digitalSignature | serverAuth, clientAuth | one URI, DNS names and IP addresses |
| the authority's signer of trust lists | digitalSignature | clientAuth | one URI |
| the authority's server | digitalSignature | serverAuth | one URI, DNS names and IP addresses |

Keys are ECDSA P-256 throughout. The authority's server key can sign no statement, for that needs clientAuth.
Source: RFC 5280, and what cryptography.x509.verification demands.
"""

import datetime
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from exchange.errors import BadConfiguration, Malformed, Oversized
from exchange.identity import Identity, Role

MAX_CSR_BYTES = 8192
MAX_HOSTS = 16
BACKDATED_MS = 60_000
DAY_MS = 24 * 3600 * 1000
MINUTE_MS = 60_000
_DNS = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_REQUEST_FAULTS = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion)
_Uses = tuple[x509.ObjectIdentifier, ...]
_CLIENT: _Uses = (ExtendedKeyUsageOID.CLIENT_AUTH,)
_SERVER: _Uses = (ExtendedKeyUsageOID.SERVER_AUTH,)
_BOTH: _Uses = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long certificates are valid, milliseconds."""

    agent_ms: int = 30 * DAY_MS
    gateway_ms: int = 30 * DAY_MS
    person_ms: int = 90 * DAY_MS
    authority_ms: int = 30 * DAY_MS
    issuing_ms: int = 5 * 365 * DAY_MS
    root_ms: int = 15 * 365 * DAY_MS

    def of(self, role: Role) -> int:
        """Return the lifetime of a role's certificates."""
        if role is Role.AGENT:
            return self.agent_ms
        if role is Role.GATEWAY:
            return self.gateway_ms
        return self.authority_ms if role is Role.AUTHORITY else self.person_ms


@dataclass(frozen=True, slots=True)
class Issuer:
    """A certificate that issues others, and its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def make_root(*, division: str, trust_domain: str, now_ms: int, lifetime_ms: int) -> Issuer:
    """Make a division's root."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{division}.{trust_domain} root")
    builder = _builder(name, name, key.public_key(), now_ms, now_ms + lifetime_ms)
    builder = _as_issuer(builder, key.public_key(), path_length=1)
    return Issuer(key, builder.sign(key, hashes.SHA256()))


def make_issuing(root: Issuer, *, division: str, trust_domain: str, now_ms: int, lifetime_ms: int) -> Issuer:
    """Make an issuing certificate under a root; the root's key is needed for nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    end_ms = min(now_ms + lifetime_ms, not_after_ms(root.certificate))
    name = _name(f"{division}.{trust_domain} issuing")
    builder = _builder(name, root.certificate.subject, key.public_key(), now_ms, end_ms)
    builder = _as_issuer(builder, key.public_key(), path_length=0)
    builder = builder.add_extension(_authority_key(root.certificate), critical=False)
    return Issuer(key, builder.sign(root.key, hashes.SHA256()))


def make_leaf(
    issuer: Issuer,
    identity: Identity,
    public_key: ec.EllipticCurvePublicKey,
    *,
    now_ms: int,
    lifetime_ms: int,
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    """Make the certificate of an identity.

    Args:
        issuer: the issuing certificate.
        identity: goes into the only URI name.
        public_key: P-256.
        now_ms: Unix milliseconds.
        lifetime_ms: cut at the issuer's end.
        hosts: DNS names and IP addresses; only gateways and the authority's server have any.

    Raises:
        Malformed: the hosts do not fit the role.
    """
    if identity.role is Role.GATEWAY:
        uses = _BOTH
    else:
        uses = _SERVER if identity.role is Role.AUTHORITY and hosts else _CLIENT
    if (identity.role is Role.GATEWAY and not hosts) or (uses is _CLIENT and hosts):
        raise Malformed(f"{identity}: hosts")
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri), *check_hosts(hosts)]
    end_ms = min(now_ms + lifetime_ms, not_after_ms(issuer.certificate))
    subject = _name(identity.name or str(identity.role))
    builder = _builder(subject, issuer.certificate.subject, public_key, now_ms, end_ms)
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_authority_key(issuer.certificate), critical=False)
    )
    return builder.sign(issuer.key, hashes.SHA256())


def key_of_request(csr: bytes) -> ec.EllipticCurvePublicKey:
    """Return the public key of a certificate request; names and extensions in it are ignored.

    Args:
        csr: PKCS #10, DER, at most 8 KiB.

    Raises:
        Oversized, Malformed: it will not do, or its signature does not prove possession of the key.
    """
    if len(csr) > MAX_CSR_BYTES:
        raise Oversized("certificate request")
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        proven = request.is_signature_valid
    except _REQUEST_FAULTS as error:
        raise Malformed("certificate request") from error
    if (
        not proven
        or not isinstance(key, ec.EllipticCurvePublicKey)
        or not isinstance(key.curve, ec.SECP256R1)
    ):
        raise Malformed("certificate request: key")
    return key


def check_hosts(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Return hosts as names in a certificate.

    Raises:
        Malformed: more than 16, or one is neither a DNS name in lower case nor an IP address.
    """
    if len(hosts) > MAX_HOSTS:
        raise Malformed("hosts")
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
            continue
        except ValueError:
            pass  # not an address, so it must be a name
        if not _DNS.fullmatch(host):
            raise Malformed("hosts")
        names.append(x509.DNSName(host))
    return names


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names and IP addresses of a certificate."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    ]


def not_after_ms(certificate: x509.Certificate) -> int:
    """Return until when a certificate is valid, Unix milliseconds."""
    return int(certificate.not_valid_after_utc.timestamp() * 1000)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_ms: int, end_ms: int
) -> x509.CertificateBuilder:
    if end_ms <= now_ms:
        raise BadConfiguration("the issuing certificate has expired")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(now_ms - BACKDATED_MS))
        .not_valid_after(_moment(end_ms))
    )


def _as_issuer(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePublicKey, *, path_length: int
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _moment(ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC)
