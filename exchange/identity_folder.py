"""The folder in which an enrolled identity lives.

It holds `root.pem` (pinned), `certificate.pem` (certificate and issuers, leaf first), `identity.json`
(exchange/enrolment_file.py, without the token) and `trust-list.pb`. The private key is in the key store under
"tls". A renewed key waits under "tls-next" until its certificate is on disk, so that a crash at any line
leaves a key that fits the certificate.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from exchange.durable import replace_file
from exchange.enrolment_file import EnrolmentFile, read_enrolment
from exchange.errors import BadConfiguration, StoreDamaged
from exchange.identity import Identity
from exchange.keystore import KeyStore
from exchange.statement import StatementSigner, public_bytes
from exchange.tls import ders_of
from exchange.trust import TrustAnchor

TLS_KEY = "tls"
NEXT_KEY = "tls-next"
ROOT = "root.pem"
CERTIFICATE = "certificate.pem"
IDENTITY_FILE = "identity.json"
TRUST_LIST_FILE = "trust-list.pb"


class IdentityFolder:
    """An enrolled identity. Everything is read when it is asked for, so a renewal is seen at once.

    Args:
        folder: as written by `enrol`.
        keystore: holds the private key.
    """

    def __init__(self, folder: Path, keystore: KeyStore) -> None:
        self.folder = folder
        self.keystore = keystore

    @property
    def trust_list_path(self) -> Path:
        """Where the newest trust list is kept."""
        return self.folder / TRUST_LIST_FILE

    def key_pem(self) -> bytes:
        """Return the private key that fits the certificate, PKCS #8 PEM.

        Raises:
            StoreDamaged: there is none.
        """
        wanted = public_bytes(self.certificate().public_key())
        for name in (TLS_KEY, NEXT_KEY):
            pem = self.keystore.get(name)
            if pem and public_bytes(load_key(pem).public_key()) == wanted:
                return pem
        raise StoreDamaged(f"{self.folder.name}: no private key for the certificate")

    def chain_pem(self) -> bytes:
        """Return the certificate and its issuers without the root, PEM, leaf first."""
        return self._read(CERTIFICATE)

    def chain_der(self) -> list[bytes]:
        """Return the certificate and its issuers without the root, DER, leaf first."""
        return ders_of(self.chain_pem())

    def root_pem(self) -> bytes:
        """Return the pinned root, PEM."""
        return self._read(ROOT)

    def certificate(self) -> x509.Certificate:
        """Return the certificate."""
        try:
            return x509.load_pem_x509_certificate(self.chain_pem())
        except ValueError as error:
            raise StoreDamaged(f"{self.folder.name}: {CERTIFICATE}") from error

    def enrolment(self) -> EnrolmentFile:
        """Return where the authority and the gateways were at enrolment, and who was enrolled."""
        return read_enrolment(self._read(IDENTITY_FILE))

    def identity(self) -> Identity:
        """Return who was enrolled."""
        return self.enrolment().identity

    def anchor(self) -> TrustAnchor:
        """Return the pinned root as it verifies."""
        who = self.identity()
        return TrustAnchor(root_pem=self.root_pem(), division=who.division, trust_domain=who.trust_domain)

    def statement_signer(self) -> StatementSigner:
        """Return what signs statements with the certificate's key."""
        return StatementSigner(key=load_key(self.key_pem()), chain=self.chain_der())

    def renewal_due(self, now_ms: int) -> bool:
        """Return whether two thirds of the certificate's life are over."""
        certificate = self.certificate()
        begun = certificate.not_valid_before_utc.timestamp()
        return now_ms / 1000 >= begun + (certificate.not_valid_after_utc.timestamp() - begun) * 2 / 3

    def begin(self) -> None:
        """Make the folder, mode 0700, where it is missing."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreDamaged(f"{self.folder.name}: cannot be made") from error

    def write(self, file: EnrolmentFile, chain: Sequence[bytes]) -> None:
        """Write down an identity whose key is in the key store under "tls" already.

        `identity.json` comes last: a crash before it leaves a folder that is not enrolled.
        """
        self.begin()
        try:
            replace_file(self.folder / ROOT, file.root_pem, mode=0o644)
            replace_file(self.folder / CERTIFICATE, pem_of(chain), mode=0o644)
            replace_file(self.folder / IDENTITY_FILE, file.without_token().to_json())
        except OSError as error:
            raise StoreDamaged(f"{self.folder.name}: cannot be written") from error

    def replace_certificate(self, key_pem: bytes, chain: Sequence[bytes]) -> None:
        """Put a renewed key and certificate in place of the ones before."""
        self.keystore.put(NEXT_KEY, key_pem)
        try:
            replace_file(self.folder / CERTIFICATE, pem_of(chain), mode=0o644)
        except OSError as error:
            raise StoreDamaged(f"{self.folder.name}: {CERTIFICATE}") from error
        self.keystore.put(TLS_KEY, key_pem)
        self.keystore.delete(NEXT_KEY)

    def _read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError as error:
            raise BadConfiguration(f"{self.folder}: not enrolled, {name} is missing") from error
        except OSError as error:
            raise StoreDamaged(f"{self.folder.name}: {name}") from error


def pem_of(chain: Sequence[bytes]) -> bytes:
    """Return certificates as one PEM text."""
    return b"".join(
        x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM) for der in chain
    )


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Return a private key from PKCS #8 PEM.

    Raises:
        StoreDamaged: it is no elliptic-curve key.
    """
    try:
        key: Any = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise StoreDamaged("private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StoreDamaged("private key")
    return key
