from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.add_checkpoint import (
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    parse_add_checkpoint,
    parse_size_answer,
    size_answer,
)
from exchange.errors import ReceiptBroken

NOTE = "log.example\n9\nAAAA\n\n— log.example AAAAAAAA\n"
HASH = b64encode(bytes(32)).decode()


@given(st.integers(0, 2**63 - 1), st.integers(0, 63))
def test_a_request_reads_back_as_it_was(old_size: int, hashes: int) -> None:
    request = AddCheckpoint(old_size, bytes(range(32)) * hashes, NOTE)
    assert parse_add_checkpoint(request.body) == request


def test_a_request_looks_as_the_specification_shows_it() -> None:
    assert AddCheckpoint(7, bytes(32), NOTE).body.decode() == f"old 7\n{HASH}\n\n{NOTE}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 7\n",
        b"old 07\n\nx",
        b"old -1\n\nx",
        b"old  7\n\nx",
        b"old 9223372036854775808\n\nx",
        b"OLD 7\n\nx",
        b"old 7\nAAAA\n\nx",
        b"old 7\n!\n\nx",
        b"old 7\n\xff\n\nx",
        f"old 7\r\n{HASH}\n\nx".encode(),
        ("old 7\n" + f"{HASH}\n" * 64 + "\nx").encode(),
        b"old 7\n\n" + b"x" * MAX_REQUEST_BYTES,
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(ReceiptBroken):
        parse_add_checkpoint(body)


def test_a_size_answer_reads_back() -> None:
    assert parse_size_answer(size_answer(20852014)) == 20852014


@pytest.mark.parametrize("body", [b"", b"7", b"07\n", b"-7\n", b"7\n\n", b"\xff\n", b"seven\n"])
def test_what_states_no_size_is_refused(body: bytes) -> None:
    with pytest.raises(ReceiptBroken):
        parse_size_answer(body)


@given(st.binary(max_size=200))
def test_no_body_makes_the_parser_fail_otherwise_than_by_refusal(body: bytes) -> None:
    for tried in (body, b"old 1\n" + body):
        try:
            parse_add_checkpoint(tried)
        except ReceiptBroken:
            continue
