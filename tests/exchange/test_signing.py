"""Batch signatures."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from exchange.errors import BadSignature
from exchange.signing import BatchSigner, BatchVerifier, BatchVerifiers
from exchange.v1 import common_pb2

KEY = SigningKey(bytes(range(32)))
KID = b"k" * 16
DIGESTS = [bytes([number]) * 32 for number in range(5)]


def verifier() -> BatchVerifier:
    return BatchVerifier(kid=KID, public_key=bytes(KEY.verify_key))


def signed(count: int = 5) -> list[common_pb2.Signature]:
    return BatchSigner(kid=KID, key=KEY).sign(DIGESTS[:count])


@given(st.integers(1, 70))
def test_every_body_of_a_batch_verifies_with_its_own_signature_only(count: int) -> None:
    digests = [os.urandom(32) for _ in range(count)]
    signatures = BatchSigner(kid=KID, key=KEY).sign(digests)
    check = verifier()
    for digest, signature in zip(digests, signatures, strict=True):
        check.verify(digest, signature)
    if count > 1:
        with pytest.raises(BadSignature):
            check.verify(digests[0], signatures[1])


def test_a_batch_has_one_signature_for_all_its_bodies() -> None:
    assert len({signature.signature for signature in signed()}) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda s: setattr(s, "size", s.size + 1),
        lambda s: setattr(s, "size", 0),
        lambda s: setattr(s, "size", 5000),
        lambda s: setattr(s, "index", s.index + 1),
        lambda s: setattr(s, "path", s.path[:-32]),
        lambda s: setattr(s, "path", s.path + bytes(32)),
        lambda s: setattr(s, "path", s.path[:-1]),
        lambda s: setattr(s, "path", bytes(4096)),
        lambda s: setattr(s, "signature", bytes(64)),
        lambda s: setattr(s, "signature", s.signature[:-1]),
        lambda s: setattr(s, "kid", b"x" * 16),
    ],
)
def test_any_altered_part_of_a_signature_is_refused_also_after_the_root_was_verified(change: object) -> None:
    check, signature = verifier(), signed()[1]
    check.verify(DIGESTS[1], signature)
    change(signature)  # type: ignore[operator]
    with pytest.raises(BadSignature):
        check.verify(DIGESTS[1], signature)


def test_a_small_order_key_verifies_nothing() -> None:
    check = BatchVerifier(kid=KID, public_key=bytes([1]) + bytes(31))
    forged = common_pb2.Signature(kid=KID, signature=bytes([1]) + bytes(63), size=1)
    with pytest.raises(BadSignature):
        check.verify(DIGESTS[0], forged)


def test_a_verified_root_is_remembered_within_bounds_only() -> None:
    check = BatchVerifier(kid=KID, public_key=bytes(KEY.verify_key), remembered=3)
    signer = BatchSigner(kid=KID, key=KEY)
    for _ in range(10):
        digest = os.urandom(32)
        check.verify(digest, signer.sign([digest])[0])
    assert len(check._roots) == 3


def test_verifiers_of_keys_are_remembered_within_bounds_only() -> None:
    held = BatchVerifiers(limit=2)
    public = bytes(KEY.verify_key)
    first = held.of(b"1" * 16, public)
    assert held.of(b"1" * 16, public) is first
    for number in (b"2", b"3"):
        held.of(number * 16, public)
    assert held.of(b"1" * 16, public) is not first
    assert len(held._by_kid) == 2


@pytest.mark.parametrize("count", [0, 4097])
def test_a_batch_of_no_or_too_many_bodies_is_not_signed(count: int) -> None:
    with pytest.raises(ValueError, match="4096"):
        BatchSigner(kid=KID, key=KEY).sign([bytes(32)] * count)
