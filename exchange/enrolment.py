"""The client's side of enrolment and renewal, and the folder in which an identity lives.

The folder holds `root.pem` (pinned), `certificate.pem` (certificate and issuers, leaf first), `identity.json`
(exchange/enrolment_file.py, without the token) and `trust-list.pb`. The private key is in the key store under
"tls". A renewed key waits under "tls-next" until its certificate is on disk, so that a crash at any line
leaves a key that fits the certificate.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exchange.clock import Clock, SystemClock
from exchange.durable import replace_file
from exchange.enrolment_file import EnrolmentFile, read_enrolment
from exchange.errors import AuthorityAway, BadConfiguration, BadSignature, Malformed, StoreDamaged, WrongState
from exchange.identity import Identity
from exchange.keystore import KeyStore
from exchange.statement import StatementSigner, public_bytes
from exchange.tls import CHANNEL_OPTIONS, channel_credentials, ders_of
from exchange.trust import TrustAnchor, Verified
from exchange.trust_feed import TrustFeed
from exchange.v1 import trust_pb2

if TYPE_CHECKING:
    import grpc

TLS_KEY = "tls"
NEXT_KEY = "tls-next"
ROOT = "root.pem"
CERTIFICATE = "certificate.pem"
IDENTITY_FILE = "identity.json"
TRUST_LIST_FILE = "trust-list.pb"
CALL_S = 20.0
HOP = "authority"
T = TypeVar("T")


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
            if pem and public_bytes(_key(pem).public_key()) == wanted:
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
        return StatementSigner(key=_key(self.key_pem()), chain=self.chain_der())

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


def make_key_and_csr(identity: Identity) -> tuple[bytes, bytes]:
    """Make a private key and a request for its certificate.

    Returns:
        PKCS #8 PEM, and PKCS #10 DER. The authority takes only the public key from the request.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name or str(identity.role))])
    name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(name, critical=False)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, csr.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


async def enrol(
    file: EnrolmentFile, keystore: KeyStore, folder: Path, *, clock: Clock | None = None
) -> Verified:
    """Turn a one-time token into an identity in a folder.

    Args:
        file: the enrolment file; its token is used up.
        keystore: where the private key goes.
        folder: where the rest goes.
        clock: tells the time.

    Returns:
        Who was enrolled.

    Raises:
        WrongState: the folder holds an identity already, or the file has no token.
        BadToken, SecondPersonRequired, AuthorityAway: the authority says so or is away.
        NoIdentity, BadSignature, TrustRollback: what it answered does not verify; nothing was written.
    """
    clock = clock or SystemClock()
    if (folder / IDENTITY_FILE).exists():
        raise WrongState(f"{folder.name}: enrolled already")
    if not file.token:
        raise WrongState("enrolment file without a token")
    anchor = file.anchor()
    key_pem, csr = make_key_and_csr(file.identity)

    async def ask(channel: "grpc.aio.Channel") -> trust_pb2.EnrolResponse:
        from exchange.v1 import trust_pb2_grpc

        request = trust_pb2.EnrolRequest(token=file.token, csr=csr)
        answer: trust_pb2.EnrolResponse = await trust_pb2_grpc.EnrolmentServiceStub(channel).Enrol(
            request, timeout=CALL_S
        )
        return answer

    answer = await call(file.enrolment_address, ask, root_pem=file.root_pem)
    verified = _check(anchor, file.identity, key_pem, list(answer.chain), clock.now_ms())
    held = IdentityFolder(folder, keystore)
    held.begin()
    TrustFeed(anchor=anchor, path=held.trust_list_path, clock=clock).offer(answer.trust_list)
    keystore.put(TLS_KEY, key_pem)
    held.write(file, list(answer.chain))
    return verified


async def renew(held: IdentityFolder, *, address: str = "", clock: Clock | None = None) -> Verified:
    """Replace an identity's key and certificate, same identity; open a new channel afterwards.

    Args:
        held: the identity.
        address: the authority's port for mutual TLS; the one from enrolment where empty.
        clock: tells the time.

    Raises:
        Revoked, AuthorityAway, NoIdentity, BadSignature: nothing was replaced.
    """
    now_ms = (clock or SystemClock()).now_ms()
    identity, anchor = held.identity(), held.anchor()
    key_pem, csr = make_key_and_csr(identity)

    async def ask(channel: "grpc.aio.Channel") -> trust_pb2.RenewResponse:
        from exchange.v1 import trust_pb2_grpc

        answer: trust_pb2.RenewResponse = await trust_pb2_grpc.AuthorityServiceStub(channel).Renew(
            trust_pb2.RenewRequest(csr=csr), timeout=CALL_S
        )
        return answer

    place = address or held.enrolment().service_address
    answer = await call(
        place, ask, root_pem=held.root_pem(), key_pem=held.key_pem(), chain_pem=held.chain_pem()
    )
    verified = _check(anchor, identity, key_pem, list(answer.chain), now_ms)
    held.replace_certificate(key_pem, list(answer.chain))
    return verified


async def register_gateway(
    held: IdentityFolder,
    *,
    origin: str,
    log_keys: Sequence[bytes],
    addresses: Sequence[str],
    address: str = "",
) -> int:
    """Enter a gateway's log and addresses in the trust list; idempotent.

    Args:
        held: the gateway's identity.
        origin: of its log, "<division>.<trust domain>/<name>".
        log_keys: Ed25519, 32 bytes each, newest first.
        addresses: "host:port".
        address: the authority's port for mutual TLS; the one from enrolment where empty.

    Returns:
        Number of the trust list that says so.

    Raises:
        Malformed, RoleNotAllowed, Revoked, AuthorityAway.
    """
    gateway = trust_pb2.TrustedGateway(origin=origin, log_keys=log_keys, addresses=addresses)
    request = trust_pb2.RegisterGatewayRequest(gateway=gateway)

    async def ask(channel: "grpc.aio.Channel") -> trust_pb2.RegisterGatewayResponse:
        from exchange.v1 import trust_pb2_grpc

        answer: trust_pb2.RegisterGatewayResponse = await trust_pb2_grpc.AuthorityServiceStub(
            channel
        ).RegisterGateway(request, timeout=CALL_S)
        return answer

    place = address or held.enrolment().service_address
    answer = await call(
        place, ask, root_pem=held.root_pem(), key_pem=held.key_pem(), chain_pem=held.chain_pem()
    )
    return answer.trust_list


async def call(
    address: str,
    ask: Callable[["grpc.aio.Channel"], Awaitable[T]],
    *,
    root_pem: bytes,
    key_pem: bytes | None = None,
    chain_pem: bytes | None = None,
) -> T:
    """Open a channel to the authority, ask once, close it.

    Raises:
        ExchangeError: what the authority said; AuthorityAway where it did not answer.
    """
    import grpc

    from exchange.rpc_errors import from_rpc_error

    credentials = channel_credentials(root_pem=root_pem, key_pem=key_pem, chain_pem=chain_pem)
    async with grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as channel:
        try:
            return await ask(channel)
        except grpc.RpcError as error:
            raise from_rpc_error(error, hop=HOP, away=AuthorityAway) from error


def pem_of(chain: Sequence[bytes]) -> bytes:
    """Return certificates as one PEM text."""
    return b"".join(
        x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM) for der in chain
    )


def _check(
    anchor: TrustAnchor, identity: Identity, key_pem: bytes, chain: Sequence[bytes], now_ms: int
) -> Verified:
    verified = anchor.verify_chain(chain, at_ms=now_ms, trust=None)
    key = public_bytes(_key(key_pem).public_key())
    if verified.identity != identity or public_bytes(verified.certificate.public_key()) != key:
        raise BadSignature(f"{verified.identity}: not what was asked for")
    return verified


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key: Any = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Malformed("private key")
    return key
