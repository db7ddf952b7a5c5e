"""Statements: bodies signed by the private key of a certificate, with the chain that vouches for it.

ECDSA P-256 with SHA-256 over the kind's domain string and the body. They are rare (bundles, catalogue
entries, grants, trust lists); exchanges are signed in batches instead (exchange/signing.py).
"""

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from exchange.errors import BadConfiguration, BadSignature
from exchange.identity import Identity, identity_of
from exchange.v1 import common_pb2

MAX_CHAIN = 4
MAX_CERTIFICATE_BYTES = 8192
MAX_STATEMENT_BYTES = 2 * 1024 * 1024
_SIGNATURE = ec.ECDSA(hashes.SHA256())


class StatementSigner:
    """Signs as the holder of a certificate.

    Args:
        key: the certificate's private key, P-256.
        chain: the certificate and its issuers without the root, DER, leaf first, at most 4.

    Attributes:
        certificate: the signer's own, DER.
        identity: whom it names.
        not_after_ms: its end, Unix milliseconds.

    Raises:
        BadConfiguration: the key is not the certificate's, or the chain has a wrong length.
        NoIdentity: the certificate names no single identity.
    """

    def __init__(self, *, key: ec.EllipticCurvePrivateKey, chain: Sequence[bytes]) -> None:
        if not 1 <= len(chain) <= MAX_CHAIN:
            raise BadConfiguration("certificate chain")
        certificate = x509.load_der_x509_certificate(chain[0])
        if public_bytes(key.public_key()) != public_bytes(certificate.public_key()):
            raise BadConfiguration("private key and certificate do not match")
        self._key = key
        self._chain = tuple(chain)
        self.certificate = self._chain[0]
        self.identity: Identity = identity_of(certificate)
        self.not_after_ms = int(certificate.not_valid_after_utc.timestamp() * 1000)

    def sign(self, domain: bytes, body: bytes) -> common_pb2.Statement:
        """Return the body as a statement.

        Args:
            domain: the kind's string from exchange/canonical.py.
            body: the exact bytes that are to travel.
        """
        signature = self._key.sign(domain + body, _SIGNATURE)
        return common_pb2.Statement(body=body, signature=signature, chain=self._chain)


def check_one_body(statements: Sequence[common_pb2.Statement]) -> None:
    """Refuse statements of several people that are not about the same body.

    Raises:
        BadSignature: two bodies differ.
    """
    if any(statement.body != statements[0].body for statement in statements):
        raise BadSignature("two different bodies")


def public_bytes(key: object) -> bytes:
    """Return a public key's SubjectPublicKeyInfo, DER; empty for what is no elliptic-curve key."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return b""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
