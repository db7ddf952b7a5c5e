"""Batch signatures in frames of 32, beside one Ed25519 signature per body."""

import os

from nacl.bindings import crypto_sign, crypto_sign_open
from nacl.signing import SigningKey

from exchange.signing import BatchSigner, BatchVerifier
from exchange.v1 import common_pb2
from tests.benchmarks.measure import Scale, per_second
from tests.benchmarks.rows import Group, Row

BATCH = 32


async def run(scale: Scale) -> list[Row]:
    """Measure signing and verifying by body."""
    key, kid = SigningKey.generate(), os.urandom(16)
    secret, public = bytes(key) + bytes(key.verify_key), bytes(key.verify_key)
    rounds = scale.of(600, least=4)
    batches = [[os.urandom(32) for _ in range(BATCH)] for _ in range(rounds)]
    signer = BatchSigner(kid=kid, key=key)
    made = [
        (digest, common_pb2.Signature.FromString(signature.SerializeToString()))
        for batch in batches
        for digest, signature in zip(batch, signer.sign(batch), strict=True)
    ]
    singles = [crypto_sign(digest, secret) for batch in batches[: rounds // 4 or 1] for digest in batch]

    def sign() -> int:
        for batch in batches:
            signer.sign(batch)
        return rounds * BATCH

    def verify() -> int:
        verifier = BatchVerifier(kid=kid, public_key=public)
        for digest, signature in made:
            verifier.verify(digest, signature)
        return rounds * BATCH

    def sign_single() -> int:
        for single in singles:
            crypto_sign(single[64:], secret)
        return len(singles)

    def verify_single() -> int:
        for single in singles:
            crypto_sign_open(single, public)
        return len(singles)

    return [
        Row(
            id="sign_us_per_body",
            value=1e6 / per_second(sign, scale),
            unit="us",
            beside=1e6 / per_second(sign_single, scale),
            beside_what="one Ed25519 signature per body, PyNaCl",
            note=f"CPU, batches of {BATCH}",
        ),
        Row(
            id="verify_us_per_body",
            value=1e6 / per_second(verify, scale),
            unit="us",
            beside=1e6 / per_second(verify_single, scale),
            beside_what="one Ed25519 verification per body, PyNaCl",
            note=f"CPU, batches of {BATCH}, each root verified once",
        ),
    ]


GROUP = Group(ids=("sign_us_per_body", "verify_us_per_body"), run=run)
