"""HPKE against RFC 9180's vectors and those of the post-quantum draft, through the suites of the exchange.

The suites seal one message without an AAD; the vectors' messages have one. So each vector's key and nonce
make a ciphertext without AAD, beside the vector's own, and the suite must open it from the vector's
encapsulation: key encapsulation, key schedule and AEAD are then all the vector's.
"""

import json
from importlib import resources
from typing import Any

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from exchange.errors import SealBroken
from exchange.suites import HpkeSuite, XWingSuite

pytest.importorskip("cryptography_vectors", reason="HPKE vectors are in the package cryptography_vectors")

X25519, X_WING, HKDF_SHA256 = 0x0020, 0x647A, 0x0001
AEADS = {
    1: (hpke.AEAD.AES_128_GCM, AESGCM),
    2: (hpke.AEAD.AES_256_GCM, AESGCM),
    3: (hpke.AEAD.CHACHA20_POLY1305, ChaCha20Poly1305),
}
Vector = dict[str, Any]


def vectors(name: str, kem: int) -> list[Vector]:
    text = (resources.files("cryptography_vectors") / "HPKE" / name).read_text()
    return [
        vector
        for vector in json.loads(text)
        if vector["mode"] == 0
        and (vector["kem_id"], vector["kdf_id"]) == (kem, HKDF_SHA256)
        and vector["aead_id"] in AEADS
    ]


CASES = [
    *((HpkeSuite, vector) for vector in vectors("test-vectors.json", X25519)),
    *((XWingSuite, vector) for vector in vectors("hpke-pq-test-vectors.json", X_WING)),
]


def test_the_vectors_cover_both_key_encapsulations() -> None:
    assert sorted((v["kem_id"], v["aead_id"]) for _, v in CASES) == [
        (X25519, 1),
        (X25519, 2),
        (X25519, 3),
        (X_WING, 3),
    ]


@pytest.mark.parametrize(
    ("kind", "vector"), CASES, ids=[f"kem-{v['kem_id']:04x}-aead-{v['aead_id']}" for _, v in CASES]
)
def test_a_suite_opens_what_the_vectors_key_sealed(kind: type[HpkeSuite], vector: Vector) -> None:
    parameter, aead = AEADS[vector["aead_id"]]
    chosen = kind(id=0, aead=parameter)
    key, nonce, info, enc, private = (
        bytes.fromhex(vector[name]) for name in ("key", "base_nonce", "info", "enc", "skRm")
    )
    first = vector["encryptions"][0]
    message, aad, sealed = (bytes.fromhex(first[name]) for name in ("pt", "aad", "ct"))
    assert aead(key).decrypt(nonce, sealed, aad) == message
    wrapped = enc + aead(key).encrypt(nonce, message, b"")
    assert chosen.public(private) == bytes.fromhex(vector["pkRm"])
    assert chosen.unwrap(private, info, wrapped) == message
    with pytest.raises(SealBroken):
        chosen.unwrap(private, info + b"\0", wrapped)
