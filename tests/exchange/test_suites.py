import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import SealBroken, WrongSuite
from exchange.suites import DEFAULT_SUITE, SUITES, XWING_SUITE, Suite, suite
from tests.support.sealing import numbered_random

SECRET = b"s" * 32
every_suite = pytest.mark.parametrize("chosen", SUITES.values(), ids=[f"{id:04x}" for id in SUITES])


@every_suite
def test_a_wrapped_secret_opens_with_the_private_key_and_the_same_info(chosen: Suite) -> None:
    private, public = chosen.generate()
    wrapped = chosen.wrap(public, b"info", SECRET)
    assert len(public) == chosen.public_bytes and len(wrapped) == chosen.wrap_bytes
    assert chosen.unwrap(private, b"info", wrapped) == SECRET


@every_suite
def test_another_info_another_key_and_another_length_do_not_open_a_wrap(chosen: Suite) -> None:
    private, public = chosen.generate()
    wrapped = chosen.wrap(public, b"info", SECRET)
    for key, info, wrap in [
        (private, b"other", wrapped),
        (chosen.generate()[0], b"info", wrapped),
        (private, b"info", wrapped[:-1]),
        (private, b"info", b""),
        (private, b"info", bytes(len(wrapped))),
        (private[:-1], b"info", wrapped),
    ]:
        with pytest.raises(SealBroken):
            chosen.unwrap(key, info, wrap)


@every_suite
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_flipped_bit_of_a_wrap_opens(chosen: Suite, data: st.DataObject) -> None:
    private, public = chosen.generate()
    wrapped = bytearray(chosen.wrap(public, b"info", SECRET))
    bit = data.draw(st.integers(0, len(wrapped) * 8 - 1))
    wrapped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        chosen.unwrap(private, b"info", bytes(wrapped))


@every_suite
def test_what_is_no_public_key_is_refused(chosen: Suite) -> None:
    for public in (b"", bytes(31), bytes(32), bytes(chosen.public_bytes), bytes(chosen.public_bytes + 1)):
        with pytest.raises(SealBroken):
            chosen.wrap(public, b"", SECRET)


@every_suite
def test_the_same_randomness_makes_the_same_keys_and_other_randomness_others(chosen: Suite) -> None:
    assert chosen.generate(numbered_random()) == chosen.generate(numbered_random())
    assert chosen.generate(numbered_random()) != chosen.generate(numbered_random(b"other"))


@every_suite
@given(
    secret=st.binary(min_size=32, max_size=32),
    salt=st.binary(min_size=32, max_size=32),
    info=st.binary(max_size=20),
)
def test_keys_are_derived_by_hkdf_sha256(chosen: Suite, secret: bytes, salt: bytes, info: bytes) -> None:
    expected = HKDF(algorithm=hashes.SHA256(), length=76, salt=salt, info=info).derive(secret)
    assert chosen.derive(secret, salt, info, 76) == expected


@every_suite
def test_a_key_that_is_not_32_bytes_long_seals_nothing(chosen: Suite) -> None:
    for length in (0, 16, 24, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            chosen.aead(bytes(length))


def test_xwing_is_the_default_and_an_unknown_suite_is_refused() -> None:
    assert DEFAULT_SUITE == XWING_SUITE == suite(2).id
    for number in (0, 3, 0x0101, -1):
        with pytest.raises(WrongSuite):
            suite(number)
