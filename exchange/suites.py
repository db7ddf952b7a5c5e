"""Cipher suites: how a session's secret is wrapped to a sealing key, how keys are derived, which AEAD seals.

| id     | KEM | KDF | AEAD |
|--------|-----|-----|------|
| 0x0001 | X25519 | HKDF-SHA256 | AES-256-GCM |
| 0x0002 | X-Wing (ML-KEM-768 + X25519), default | HKDF-SHA256 | AES-256-GCM |

Wrapping is HPKE (RFC 9180), base mode, single shot; a wrap is encapsulation ‖ ciphertext. Base mode has no
sender: `info` must name both parties (exchange/session.py). X-Wing is pinned to KEM id 0x647a with the
32-byte seed form of the private key and the public key ML-KEM-768 ‖ X25519 (draft-connolly-cfrg-xwing-kem,
draft-ietf-hpke-pq); the conformance tests hold it there. The region's policy
fixes the suite, never a gateway.
"""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from exchange.clock import Random, system_random
from exchange.errors import SealBroken, WrongSuite

X25519_SUITE = 0x0001
XWING_SUITE = 0x0002
DEFAULT_SUITE = XWING_SUITE

SECRET_BYTES = 32
PRIVATE_BYTES = 32
AEAD_KEY_BYTES = 32
TAG_BYTES = 16
_MLKEM_PUBLIC_BYTES = 1184
_SHA256 = hashes.SHA256()


class Aead(Protocol):
    """An AEAD with a 12-byte nonce and a 16-byte tag; `decrypt` raises InvalidTag."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Return ciphertext ‖ tag."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Return the plaintext."""
        ...


class Suite(Protocol):
    """What the exchange needs of a cipher suite. Keys are raw bytes."""

    @property
    def id(self) -> int:
        """The number in headers and bundles."""
        ...

    @property
    def public_bytes(self) -> int:
        """Length of a public key."""
        ...

    @property
    def wrap_bytes(self) -> int:
        """Length of a wrapped 32-byte secret."""
        ...

    def generate(self, random: Random = system_random) -> tuple[bytes, bytes]:
        """Return a new private and public key."""
        ...

    def wrap(self, public: bytes, info: bytes, secret: bytes) -> bytes:
        """Wrap a secret to a public key."""
        ...

    def unwrap(self, private: bytes, info: bytes, wrapped: bytes) -> bytes:
        """Open a wrap."""
        ...

    def derive(self, secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
        """Derive keys."""
        ...

    def aead(self, key: bytes) -> Aead:
        """Return the AEAD under a key."""
        ...


class HpkeSuite:
    """HPKE single shot with HKDF-SHA256 and AES-256-GCM, on X25519. Immutable.

    Args:
        id: the suite's number.
        kem: the key encapsulation.
        aead: the AEAD of the wrap; anything but AES-256-GCM is for conformance tests.
    """

    public_bytes = 32

    def __init__(
        self, *, id: int, kem: hpke.KEM = hpke.KEM.X25519, aead: hpke.AEAD = hpke.AEAD.AES_256_GCM
    ) -> None:
        self._id = id
        self._hpke = hpke.Suite(kem, hpke.KDF.HKDF_SHA256, aead)
        self._wrap_bytes = kem.enc_length() + SECRET_BYTES + TAG_BYTES

    @property
    def id(self) -> int:
        """The number in headers and bundles."""
        return self._id

    @property
    def wrap_bytes(self) -> int:
        """Length of a wrapped 32-byte secret: encapsulation, secret, tag."""
        return self._wrap_bytes

    def generate(self, random: Random = system_random) -> tuple[bytes, bytes]:
        """Make a key pair.

        Args:
            random: source of the private key.

        Returns:
            Private key, 32 bytes, and public key of `public_bytes`.
        """
        private = random(PRIVATE_BYTES)
        return private, self.public(private)

    def public(self, private: bytes) -> bytes:
        """Return the public key of a 32-byte private key."""
        return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()

    def wrap(self, public: bytes, info: bytes, secret: bytes) -> bytes:
        """Wrap a secret.

        Args:
            public: the recipient's public key.
            info: what binds the wrap to both parties (exchange/session.py).
            secret: 32 bytes.

        Returns:
            Encapsulation ‖ ciphertext; `wrap_bytes` for a secret of 32 bytes.

        Raises:
            SealBroken: the public key is not one.
        """
        try:
            return self._encrypt(secret, public, info)
        except ValueError:
            raise SealBroken("public key") from None

    def unwrap(self, private: bytes, info: bytes, wrapped: bytes) -> bytes:
        """Open a wrap.

        Args:
            private: the recipient's private key, 32 bytes.
            info: what the wrap must be bound to.
            wrapped: encapsulation ‖ ciphertext.

        Returns:
            The secret.

        Raises:
            SealBroken: another key, another info or altered bytes.
        """
        try:
            return self._decrypt(wrapped, private, info)
        except (InvalidTag, ValueError):
            raise SealBroken("wrap") from None

    def derive(self, secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
        """Derive keys with HKDF-SHA256 (RFC 5869).

        Args:
            secret: input key material.
            salt: 32 bytes, a digest of what the keys are bound to.
            info: domain string.
            length: bytes wanted, at most 8,160.
        """
        return HKDF(_SHA256, length, salt, info).derive(secret)

    def aead(self, key: bytes) -> Aead:
        """Return AES-256-GCM under a 32-byte key."""
        if len(key) != AEAD_KEY_BYTES:
            raise ValueError("the key has 32 bytes")
        return AESGCM(key)

    def _encrypt(self, secret: bytes, public: bytes, info: bytes) -> bytes:
        return self._hpke.encrypt(secret, X25519PublicKey.from_public_bytes(public), info=info)

    def _decrypt(self, wrapped: bytes, private: bytes, info: bytes) -> bytes:
        return self._hpke.decrypt(wrapped, X25519PrivateKey.from_private_bytes(private), info=info)


class XWingSuite(HpkeSuite):
    """The same on X-Wing: safe while either ML-KEM-768 or X25519 is."""

    public_bytes = 1216

    def __init__(self, *, id: int, aead: hpke.AEAD = hpke.AEAD.AES_256_GCM) -> None:
        super().__init__(id=id, kem=hpke.KEM.MLKEM768_X25519, aead=aead)

    def public(self, private: bytes) -> bytes:
        """Return the public key, ML-KEM-768 ‖ X25519, of a 32-byte seed."""
        lattice, curve = _expand(private)
        return lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()

    def _encrypt(self, secret: bytes, public: bytes, info: bytes) -> bytes:
        lattice = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_BYTES])
        curve = X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_BYTES:])
        return self._hpke.encrypt(secret, hpke.MLKEM768X25519PublicKey(lattice, curve), info=info)

    def _decrypt(self, wrapped: bytes, private: bytes, info: bytes) -> bytes:
        return self._hpke.decrypt(wrapped, hpke.MLKEM768X25519PrivateKey(*_expand(private)), info=info)


def _expand(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """Expand an X-Wing seed: SHAKE256 to the 64-byte ML-KEM seed and the X25519 key."""
    if len(seed) != PRIVATE_BYTES:
        raise ValueError("an X-Wing seed has 32 bytes")
    expanded = hashlib.shake_256(seed).digest(96)
    return (
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        X25519PrivateKey.from_private_bytes(expanded[64:]),
    )


SUITES: Mapping[int, Suite] = MappingProxyType(
    {X25519_SUITE: HpkeSuite(id=X25519_SUITE), XWING_SUITE: XWingSuite(id=XWING_SUITE)}
)


def suite(id: int) -> Suite:
    """Return the suite of a number.

    Raises:
        WrongSuite: there is none.
    """
    found = SUITES.get(id)
    if found is None:
        raise WrongSuite(f"0x{id:04x}")
    return found
