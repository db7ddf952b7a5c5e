"""Mutual TLS, version 1.3 only: credentials, transport options and who is at the other end.

Importing this module does not import grpc, because grpc reads its environment when it is first imported:
call `prepare_environment` before anything else does. TLS 1.2 then fails in the handshake (the only cipher
suite left to it wants an RSA certificate, and certificates here are ECDSA); `peer` checks the version all
the same. grpc looks at no revocation list: `peer` does.
"""

import os
import secrets
import ssl
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization

from exchange.errors import NoIdentity, StoreDamaged
from exchange.trust import TrustAnchor, TrustList, Verified

if TYPE_CHECKING:
    import grpc

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
ENVIRONMENT = {
    "GRPC_SSL_CIPHER_SUITES": "ECDHE-RSA-AES256-GCM-SHA384",
    "GRPC_ENABLE_FORK_SUPPORT": "false",
}
_QUIET = ("GRPC_VERBOSITY", "ERROR")

# Pings are never counted against a client: besides keepalive, grpc sends some of its own whenever data come,
# and a server that counts them closes healthy links with GOAWAY "too_many_pings".
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 4096),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
)
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


def prepare_environment() -> None:
    """Set what grpc reads when it is first imported; call it at the very start of a process."""
    os.environ.update(ENVIRONMENT)
    os.environ.setdefault(*_QUIET)


def server_credentials(
    *, key_pem: bytes, chain_pem: bytes, root_pem: bytes, mutual: bool
) -> "grpc.ServerCredentials":
    """Return a server's credentials.

    Args:
        key_pem: private key, PKCS #8 PEM.
        chain_pem: certificate and issuers without the root, PEM, leaf first.
        root_pem: the root that clients' certificates must lead to.
        mutual: whether a client's certificate is demanded; otherwise none is asked for.
    """
    import grpc

    return grpc.ssl_server_credentials(
        [(key_pem, chain_pem)],
        root_certificates=root_pem if mutual else None,
        require_client_auth=mutual,
    )


def reloading_server_credentials(
    *,
    newest: Callable[[], tuple[bytes, bytes]],
    root_pem: bytes,
    mutual: bool,
    alarm: Callable[[Exception], None],
) -> "grpc.ServerCredentials":
    """Return a server's credentials that follow a renewed certificate from the next handshake on.

    Args:
        newest: returns private key and chain, PEM; called at each handshake on a thread of grpc's, so it
            must be quick and safe to call from there.
        root_pem: the root that clients' certificates must lead to.
        mutual: whether a client's certificate is demanded.
        alarm: told when `newest` fails; the certificate before stays in use.
    """
    import grpc

    root = root_pem if mutual else None
    in_use = newest()

    def configuration(pair: tuple[bytes, bytes]) -> Any:
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=root)

    def fetch() -> Any:
        nonlocal in_use
        try:
            pair = newest()
        except Exception as error:  # a fault of any kind must reach the alarm, on this foreign thread
            alarm(error)
            return None
        if pair == in_use:
            return None
        in_use = pair
        return configuration(pair)

    return grpc.dynamic_ssl_server_credentials(configuration(in_use), fetch, mutual)


def channel_credentials(
    *, root_pem: bytes, key_pem: bytes | None = None, chain_pem: bytes | None = None
) -> "grpc.ChannelCredentials":
    """Return a client's credentials; without key and chain the server alone is authenticated."""
    import grpc

    return grpc.ssl_channel_credentials(root_pem, key_pem, chain_pem)


def peer(
    context: "grpc.ServicerContext | grpc.aio.ServicerContext[Any, Any]",
    anchor: TrustAnchor,
    trust: TrustList | None,
    now_ms: int,
) -> Verified:
    """Return who is at the other end of a call. Read it once per stream.

    Args:
        context: the call.
        anchor: the pinned root.
        trust: the trust list whose revocations count; None where none is held yet.
        now_ms: Unix milliseconds.

    Raises:
        NoIdentity: no TLS 1.3, no certificate, or no identity in it.
        TwoRoles: a certificate with more than one identity.
        CertificateExpired, Revoked, BadSignature: the certificate will not do.
    """
    found: Any = context.auth_context()
    if found.get("ssl_tls_version", [b""])[0] != b"TLSv1.3":
        raise NoIdentity("TLS 1.3 is needed")
    leaf = found.get("x509_pem_cert", [b""])[0]
    issuers = found.get("x509_pem_cert_chain", [b""])[0]
    if not leaf:
        raise NoIdentity("no certificate")
    chain = ders_of(leaf)
    chain += [der for der in ders_of(issuers) if der not in chain]
    return anchor.verify_chain(chain, at_ms=now_ms, trust=trust)


def ders_of(pem: bytes) -> list[bytes]:
    """Return the certificates in a PEM text, DER, in order.

    Raises:
        NoIdentity: one cannot be read.
    """
    end = "-----END CERTIFICATE-----"
    parts = pem.decode("ascii", "replace").split(end)[:-1]
    try:
        return [ssl.PEM_cert_to_DER_cert(part[part.index("-----BEGIN") :] + end) for part in parts]
    except ValueError as error:
        raise NoIdentity("unreadable certificate") from error


def load_identity(context: ssl.SSLContext, *, key_pem: bytes, chain_pem: bytes) -> None:
    """Give a TLS context of the standard library a certificate and its key.

    The library reads them from a file only. The key is in that file under a passphrase that this process
    alone holds for as long as the file exists.

    Args:
        context: of a server or client; it may have a certificate already.
        key_pem: private key, PKCS #8 PEM.
        chain_pem: certificate and issuers without the root, PEM, leaf first.

    Raises:
        StoreDamaged: the two do not fit or cannot be read.
    """
    passphrase = secrets.token_hex(32)
    try:
        key: Any = serialization.load_pem_private_key(key_pem, None)
        sealed = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase.encode()),
        )
        with tempfile.NamedTemporaryFile(prefix="shuqiao-") as file:
            file.write(chain_pem + sealed)
            file.flush()
            context.load_cert_chain(file.name, password=passphrase)
    except (ValueError, TypeError, OSError) as error:
        raise StoreDamaged("certificate and private key") from error
