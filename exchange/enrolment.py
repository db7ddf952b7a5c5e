"""The client's side of enrolment and renewal, as agents, gateways and people do it."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exchange.clock import Clock, SystemClock
from exchange.enrolment_file import EnrolmentFile
from exchange.errors import AuthorityAway, BadSignature, WrongState
from exchange.identity import Identity
from exchange.identity_folder import (
    CERTIFICATE,
    IDENTITY_FILE,
    ROOT,
    TLS_KEY,
    TRUST_LIST_FILE,
    IdentityFolder,
    load_key,
    pem_of,
)
from exchange.keystore import KeyStore
from exchange.statement import public_bytes
from exchange.tls import CHANNEL_OPTIONS, channel_credentials
from exchange.trust import TrustAnchor, Verified
from exchange.trust_feed import TrustFeed
from exchange.v1 import common_pb2, trust_pb2

if TYPE_CHECKING:
    import grpc

__all__ = [
    "CERTIFICATE",
    "IDENTITY_FILE",
    "ROOT",
    "TLS_KEY",
    "TRUST_LIST_FILE",
    "EnrolmentFile",
    "IdentityFolder",
    "call",
    "enrol",
    "make_key_and_csr",
    "pem_of",
    "register_gateway",
    "renew",
]
CALL_S = 20.0
HOP = "authority"
T = TypeVar("T")


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
    epoch: Sequence[common_pb2.Statement] = (),
    key_change: str = "",
) -> int:
    """Enter a gateway's log and addresses in the trust list; idempotent.

    Args:
        held: the gateway's identity.
        origin: of its log, "<division>.<trust domain>/<name>"; in a later epoch with "/epoch-2" and so on.
        log_keys: Ed25519, 32 bytes each, newest first.
        addresses: "host:port".
        address: the authority's port for mutual TLS; the one from enrolment where empty.
        epoch: where the origin is another than before: LogEpochBody, signed by two administrators.
        key_change: where the newest key is another than before: the note by which that one vouches for it.

    Returns:
        Number of the trust list that says so.

    Raises:
        SecondPersonRequired, BadSignature, WrongState, Malformed, RoleNotAllowed, Revoked, AuthorityAway.
    """
    gateway = trust_pb2.TrustedGateway(origin=origin, log_keys=log_keys, addresses=addresses)
    request = trust_pb2.RegisterGatewayRequest(gateway=gateway, epoch=epoch, key_change=key_change)

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


def _check(
    anchor: TrustAnchor, identity: Identity, key_pem: bytes, chain: Sequence[bytes], now_ms: int
) -> Verified:
    verified = anchor.verify_chain(chain, at_ms=now_ms, trust=None)
    key = public_bytes(load_key(key_pem).public_key())
    if verified.identity != identity or public_bytes(verified.certificate.public_key()) != key:
        raise BadSignature(f"{verified.identity}: not what was asked for")
    return verified
