"""What is wrong with a value, sealed: for one agent's key and one ticket, and for nobody and nothing else."""

from typing import Any

import pytest

from exchange.errors import ExchangeError, Oversized, SealBroken, WrongSuite
from exchange.sealed_text import MAX_TEXT_BYTES, open_text, seal_text
from exchange.suites import X25519_SUITE, XWING_SUITE, suite
from exchange.ticket_body import MAX_CIPHERTEXT, MAX_WRAP
from exchange.v1 import ticket_pb2

HEALTH, POLICE, CIVIL = "11970000MB1A0001X5", "11970100MB1A0001XA", "11980000MB1A0001X9"
TEXT = "应为 97010219900101002X，登记为 970102199001010011".encode()
BOUND: dict[str, Any] = {
    "raised_by": HEALTH, "provider": POLICE, "nonce": b"n" * 16, "exchange_id": b"e" * 16,
}  # fmt: skip


def sealed(
    chosen: int = XWING_SUITE, text: bytes = TEXT, **changes: Any
) -> tuple[ticket_pb2.SealedText, bytes]:
    private, public = suite(chosen).generate()
    told: dict[str, Any] = {"suite_id": chosen, "public": public, "kid": b"k" * 16, "agent": "police-1"}
    return seal_text(text, **(told | BOUND | changes)), private


@pytest.mark.parametrize("chosen", [X25519_SUITE, XWING_SUITE])
@pytest.mark.parametrize("text", [b"", b"x", TEXT, b"y" * MAX_TEXT_BYTES])
def test_what_is_sealed_opens_with_the_agent_s_key(chosen: int, text: bytes) -> None:
    found, private = sealed(chosen, text)
    assert open_text(found, private, **BOUND) == text
    assert len(found.ciphertext) <= MAX_CIPHERTEXT and len(found.wrap) <= MAX_WRAP
    assert text not in found.SerializeToString() or len(text) < 2


def test_the_length_shows_in_steps_alone() -> None:
    lengths = {len(sealed(text=b"x" * size)[0].ciphertext) for size in range(0, 255)}
    assert len(lengths) == 1


@pytest.mark.parametrize(
    "changes",
    [{"raised_by": CIVIL}, {"provider": CIVIL}, {"nonce": b"m" * 16}, {"exchange_id": b"f" * 16}],
)
def test_it_opens_in_no_other_ticket(changes: dict[str, Any]) -> None:
    found, private = sealed()
    with pytest.raises(SealBroken):
        open_text(found, private, **(BOUND | changes))


@pytest.mark.parametrize(
    ("name", "value"),
    [("agent", "police-2"), ("kid", b"j" * 16), ("suite", X25519_SUITE), ("suite", 9), ("wrap", b"w" * 40)],
)
def test_what_was_altered_does_not_open(name: str, value: Any) -> None:
    found, private = sealed()
    setattr(found, name, value)
    with pytest.raises((SealBroken, WrongSuite)):
        open_text(found, private, **BOUND)


def test_every_byte_of_the_text_counts() -> None:
    found, private = sealed(X25519_SUITE)
    for place in (0, 1, len(found.ciphertext) // 2, len(found.ciphertext) - 1):
        altered = ticket_pb2.SealedText.FromString(found.SerializeToString())
        body = bytearray(altered.ciphertext)
        body[place] ^= 1
        altered.ciphertext = bytes(body)
        with pytest.raises(SealBroken):
            open_text(altered, private, **BOUND)


def test_another_key_does_not_open_it() -> None:
    found, _ = sealed()
    with pytest.raises(ExchangeError):
        open_text(found, suite(XWING_SUITE).generate()[0], **BOUND)


def test_too_long_a_text_is_not_sealed() -> None:
    with pytest.raises(Oversized):
        sealed(text=b"x" * (MAX_TEXT_BYTES + 1))
