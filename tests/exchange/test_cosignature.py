from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from exchange.checkpoint import Checkpoint, LogSigner, open_checkpoint
from exchange.cosignature import (
    MAX_TIME_S,
    Cosigner,
    WitnessKey,
    add_lines,
    cosignatures_of,
    parse_cosignature,
    parse_witness_key,
    verified_lines,
    verify_cosignature,
)
from exchange.errors import BadConfiguration, ReceiptBroken

LOG = LogSigner(origin="970100.yunchuan.example/gateway-1", key=SigningKey(b"\1" * 32))
HEAD = Checkpoint(LOG.origin, 5, b"\2" * 32)
NOTE = LOG.sign(HEAD)
WITNESSES = [
    Cosigner(name=f"w{number}.example/w", key=SigningKey(bytes([number]) * 32)) for number in range(3, 8)
]
KEYS = [witness.key for witness in WITNESSES]
NOW_S = 1_780_000_000


def line(witness: Cosigner, text: str = HEAD.text, *, time_s: int = NOW_S) -> str:
    return witness.cosign(text, time_s=time_s).line.rstrip("\n")


def broken(cosigned: str) -> str:
    blob = parse_cosignature(cosigned)
    flipped = bytes([blob.signature[0] ^ 1]) + blob.signature[1:]
    raw = blob.key_id + blob.time_s.to_bytes(8, "big") + flipped
    return f"— {blob.name} {b64encode(raw).decode()}"


def test_a_cosigned_checkpoint_tells_who_cosigned_it_and_when() -> None:
    note = add_lines(NOTE, [line(WITNESSES[1], time_s=NOW_S + 1), line(WITNESSES[0])])
    assert cosignatures_of(note, KEYS) == [(KEYS[0], NOW_S), (KEYS[1], NOW_S + 1)]


def test_a_cosigned_checkpoint_is_still_the_logs() -> None:
    note = add_lines(NOTE, [line(witness) for witness in WITNESSES])
    assert open_checkpoint(note, origin=LOG.origin, log_keys=[LOG.public_key]) == HEAD


def test_a_key_id_is_made_of_name_type_and_key() -> None:
    # From a separate implementation of the specification's formula.
    import hashlib

    key = KEYS[0]
    expected = hashlib.sha256(b"w3.example/w\n\x04" + key.public_key).digest()[:4]
    assert key.key_id == expected
    assert key.text.startswith(f"w3.example/w+{expected.hex()}+")


def test_the_specifications_example_parses_to_its_time() -> None:
    example = (
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1n"
        "PZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    )
    assert parse_cosignature(example).time_s == 1_679_315_147
    assert parse_cosignature(example).line == example + "\n"


def test_a_witness_key_survives_its_text() -> None:
    assert parse_witness_key(KEYS[0].text) == KEYS[0]


@pytest.mark.parametrize(
    "text",
    [
        LOG.verifier_key,
        KEYS[0].text[:-4],
        KEYS[0].text.replace("+", "", 1),
        "other" + KEYS[0].text,
        "",
        "a b+00000000+BA==",
    ],
)
def test_what_is_no_witness_key_is_refused(text: str) -> None:
    with pytest.raises(BadConfiguration):
        parse_witness_key(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_a_witness_needs_a_name_that_can_be_a_keys(name: str) -> None:
    with pytest.raises(BadConfiguration):
        Cosigner(name=name, key=SigningKey(b"\1" * 32))


def test_lines_of_unknown_witnesses_are_passed_over() -> None:
    note = add_lines(NOTE, [line(WITNESSES[0]), broken(line(WITNESSES[1]))])
    assert cosignatures_of(note, [KEYS[0]]) == [(KEYS[0], NOW_S)]


def test_a_known_witness_with_a_wrong_signature_condemns_the_note() -> None:
    note = add_lines(NOTE, [line(WITNESSES[0]), broken(line(WITNESSES[1]))])
    with pytest.raises(ReceiptBroken):
        cosignatures_of(note, KEYS)


def test_a_cosignature_of_another_head_does_not_verify() -> None:
    other = Checkpoint(LOG.origin, 6, b"\2" * 32)
    with pytest.raises(ReceiptBroken):
        cosignatures_of(add_lines(NOTE, [line(WITNESSES[0], other.text)]), KEYS)


def test_a_cosignature_under_a_stolen_name_does_not_count() -> None:
    thief = Cosigner(name=KEYS[0].name, key=SigningKey(b"\x55" * 32))
    assert cosignatures_of(add_lines(NOTE, [line(thief)]), KEYS) == []


def test_a_changed_time_does_not_verify() -> None:
    cosignature = WITNESSES[0].cosign(HEAD.text, time_s=NOW_S)
    moved = type(cosignature)(cosignature.name, cosignature.key_id, NOW_S + 1, cosignature.signature)
    with pytest.raises(ReceiptBroken):
        verify_cosignature(HEAD.text, moved, KEYS[0])


def test_a_small_order_key_verifies_nothing() -> None:
    small = WitnessKey("small.example", b"\1" + bytes(31))
    raw = small.key_id + NOW_S.to_bytes(8, "big") + b"\1" + bytes(63)
    with pytest.raises(ReceiptBroken):
        cosignatures_of(add_lines(NOTE, [f"— small.example {b64encode(raw).decode()}"]), [small])


def test_a_witness_that_cosigns_again_has_one_line_with_the_newer_time() -> None:
    note = add_lines(NOTE, [line(WITNESSES[0])])
    again = add_lines(note, [line(WITNESSES[0], time_s=NOW_S + 60)])
    assert again.count(KEYS[0].name) == 1
    assert cosignatures_of(again, KEYS) == [(KEYS[0], NOW_S + 60)]


def test_two_lines_of_one_witness_count_once_with_the_newer_time() -> None:
    note = f"{NOTE}{line(WITNESSES[0], time_s=NOW_S + 9)}\n{line(WITNESSES[0])}\n"
    assert cosignatures_of(note, KEYS) == [(KEYS[0], NOW_S + 9)]


def test_a_note_bears_32_signatures_and_no_more() -> None:
    crowd = [Cosigner(name=f"c{n}.example", key=SigningKey(bytes([n]) * 32)) for n in range(32)]
    full = add_lines(NOTE, [line(witness) for witness in crowd[:31]])
    assert len(cosignatures_of(full, [witness.key for witness in crowd])) == 31
    with pytest.raises(ReceiptBroken):
        add_lines(full, [line(crowd[31])])


def test_the_answer_of_a_witness_is_reduced_to_its_own_lines() -> None:
    answer = line(WITNESSES[1]) + "\n" + line(WITNESSES[0]) + "\n"
    assert verified_lines(HEAD.text, answer, KEYS[0]) == [line(WITNESSES[0])]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\n",
        line(WITNESSES[0]),
        line(WITNESSES[1]) + "\n",
        broken(line(WITNESSES[0])) + "\n",
        line(WITNESSES[0]) + "\n" + broken(line(WITNESSES[0])) + "\n",
        "nonsense\n",
        (line(WITNESSES[0]) + "\n") * 33,
        line(WITNESSES[0], "another\n1\nAAAA\n") + "\n",
    ],
)
def test_an_answer_without_a_good_cosignature_is_refused(answer: str) -> None:
    with pytest.raises(ReceiptBroken):
        verified_lines(HEAD.text, answer, KEYS[0])


@pytest.mark.parametrize("length", [0, 4, 12, 75, 77])
def test_a_line_of_another_length_is_no_cosignature(length: int) -> None:
    with pytest.raises(ReceiptBroken):
        parse_cosignature(f"— w {b64encode(bytes(length)).decode()}")


def test_a_time_beyond_63_bits_is_refused() -> None:
    raw = bytes(4) + (MAX_TIME_S + 1).to_bytes(8, "big") + bytes(64)
    with pytest.raises(ReceiptBroken):
        parse_cosignature(f"— w {b64encode(raw).decode()}")


@given(st.text(max_size=400))
def test_no_text_makes_the_parser_fail_otherwise_than_by_refusal(text: str) -> None:
    for parse in (parse_cosignature, lambda t: cosignatures_of(NOTE + t, KEYS), parse_witness_key):
        try:
            parse(text)
        except (ReceiptBroken, BadConfiguration):
            continue
