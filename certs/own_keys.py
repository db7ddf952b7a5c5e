"""The authority's folder and the keys it acts with.

`root.pem` is what everybody pins; `root-key.pem` is its private key under a passphrase of its own (PKCS #8,
encrypted) and may be taken elsewhere, for only `replace_issuing` needs it. `issuing.pem` has its key in the
key store. Two certificates carry the authority's own identity: one signs trust lists, one
serves TLS. Their keys live in the running process alone and are made anew when two thirds of their life are
over.
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs.profiles import Issuer, Lifetimes, make_issuing, make_leaf, make_root, not_after_ms
from exchange.durable import replace_file
from exchange.errors import BadConfiguration, StoreDamaged
from exchange.identity import Identity, Role
from exchange.keystore import KeyStore
from exchange.statement import StatementSigner
from exchange.trust import TrustAnchor

ROOT = "root.pem"
ROOT_KEY = "root-key.pem"
ISSUING = "issuing.pem"
KEYS = "keys"


class OwnKeys:
    """What the authority acts with.

    Args:
        folder: as made by `found`.
        keystore: holds the issuing key.
        division, trust_domain: of the root.
        hosts: DNS names and IP addresses of the authority's server.
        lifetimes: of certificates.

    Raises:
        BadConfiguration, StoreDamaged: the folder is not an authority's.
    """

    def __init__(
        self,
        *,
        folder: Path,
        keystore: KeyStore,
        division: str,
        trust_domain: str,
        hosts: Sequence[str],
        lifetimes: Lifetimes,
    ) -> None:
        self.root_pem = _read(folder / ROOT)
        self.anchor = TrustAnchor(root_pem=self.root_pem, division=division, trust_domain=trust_domain)
        self.identity = Identity(trust_domain, division, Role.AUTHORITY)
        self.lifetimes = lifetimes
        self._hosts = tuple(hosts)
        self.issuer = _issuer(keystore, _read(folder / ISSUING))
        self._lock = Lock()
        self._serving: tuple[Issuer, tuple[bytes, bytes]] | None = None
        self._signing: tuple[Issuer, StatementSigner] | None = None

    def issue(
        self, identity: Identity, key: ec.EllipticCurvePublicKey, *, now_ms: int, hosts: Sequence[str] = ()
    ) -> x509.Certificate:
        """Make a certificate by the profile of its role."""
        return make_leaf(
            self.issuer,
            identity,
            key,
            now_ms=now_ms,
            lifetime_ms=self.lifetimes.of(identity.role),
            hosts=hosts,
        )

    def chain(self, certificate: x509.Certificate) -> list[bytes]:
        """Return a certificate and its issuer, DER."""
        return [_der(certificate), _der(self.issuer.certificate)]

    def signer(self, now_ms: int) -> StatementSigner:
        """Return what signs trust lists; its key lives in memory alone, and is made anew when due."""
        with self._lock:
            if self._signing is None or due(self._signing[0].certificate, now_ms):
                held = self._make(now_ms, ())
                signer = StatementSigner(key=held.key, chain=self.chain(held.certificate))
                self._signing = held, signer
            return self._signing[1]

    def serving(self, now_ms: int) -> tuple[bytes, bytes]:
        """Return private key and chain of the server, PEM; made anew when due. Safe from any thread."""
        with self._lock:
            if self._serving is None or due(self._serving[0].certificate, now_ms):
                held = self._make(now_ms, self._hosts)
                chain = _pem(held.certificate) + _pem(self.issuer.certificate)
                self._serving = held, (plain_key(held.key), chain)
            return self._serving[1]

    def _make(self, now_ms: int, hosts: Sequence[str]) -> Issuer:
        key = ec.generate_private_key(ec.SECP256R1())
        return Issuer(key, self.issue(self.identity, key.public_key(), now_ms=now_ms, hosts=hosts))


def due(certificate: x509.Certificate, now_ms: int) -> bool:
    """Return whether two thirds of a certificate's life are over."""
    begun_ms = int(certificate.not_valid_before_utc.timestamp() * 1000)
    return now_ms >= begun_ms + (not_after_ms(certificate) - begun_ms) * 2 // 3


def found(
    folder: Path,
    *,
    keystore: KeyStore,
    division: str,
    trust_domain: str,
    root_passphrase: bytes,
    lifetimes: Lifetimes,
    now_ms: int,
) -> None:
    """Make a root and its first issuing certificate in an empty folder.

    Raises:
        BadConfiguration: there is a root already, or the passphrase is empty.
    """
    if (folder / ROOT).exists():
        raise BadConfiguration(f"{folder}: there is an authority already")
    if not root_passphrase:
        raise BadConfiguration("root passphrase: empty")
    root = make_root(
        division=division, trust_domain=trust_domain, now_ms=now_ms, lifetime_ms=lifetimes.root_ms
    )
    sealed = root.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(root_passphrase),
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(folder / ROOT_KEY, sealed)
        _install(
            folder,
            keystore,
            make_issuing(
                root,
                division=division,
                trust_domain=trust_domain,
                now_ms=now_ms,
                lifetime_ms=lifetimes.issuing_ms,
            ),
        )
        replace_file(folder / ROOT, _pem(root.certificate), mode=0o644)
    except OSError as error:
        raise BadConfiguration(f"{folder}: {error.strerror}") from error


def replace_issuing(
    folder: Path,
    *,
    root_key_pem: bytes,
    keystore: KeyStore,
    division: str,
    trust_domain: str,
    root_passphrase: bytes,
    lifetimes: Lifetimes,
    now_ms: int,
) -> None:
    """Make a new issuing certificate; certificates of the one before stay valid to their end.

    Args:
        folder: the authority's.
        root_key_pem: content of the root's key file, from wherever it is kept.
        keystore: holds the issuing key.
        division, trust_domain: of the root.
        root_passphrase: opens the root's key.
        lifetimes: of certificates.
        now_ms: Unix milliseconds.

    Raises:
        BadConfiguration: the passphrase is wrong or the key is not the root's.
    """
    try:
        key = serialization.load_pem_private_key(root_key_pem, root_passphrase)
    except (ValueError, TypeError) as error:
        raise BadConfiguration("root key: wrong passphrase, or no key") from error
    certificate = x509.load_pem_x509_certificate(_read(folder / ROOT))
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise BadConfiguration("root key: of another root")
    issuing = make_issuing(
        Issuer(key, certificate),
        division=division,
        trust_domain=trust_domain,
        now_ms=now_ms,
        lifetime_ms=lifetimes.issuing_ms,
    )
    _install(folder, keystore, issuing)


def _install(folder: Path, keystore: KeyStore, issuing: Issuer) -> None:
    """Write an issuing certificate and its key; the key's name is its certificate's serial number.

    A crash between the two lines leaves a key that nothing names and the certificate before in force.
    """
    keystore.put(_key_name(issuing.certificate), plain_key(issuing.key))
    replace_file(folder / ISSUING, _pem(issuing.certificate), mode=0o644)


def _issuer(keystore: KeyStore, pem: bytes) -> Issuer:
    certificate = x509.load_pem_x509_certificate(pem)
    secret = keystore.get(_key_name(certificate))
    if secret is None:
        raise StoreDamaged("issuing key")
    key = serialization.load_pem_private_key(secret, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise StoreDamaged("issuing key")
    return Issuer(key, certificate)


def _key_name(certificate: x509.Certificate) -> str:
    return f"issuing-{certificate.serial_number:x}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadConfiguration(f"{path}: not an authority's folder") from error


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def plain_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key, PKCS #8 PEM, for a key store or for TLS."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
