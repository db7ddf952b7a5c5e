"""The file of a bundle: every byte belongs to a record in its one form, and nothing else is read."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import EvidenceBroken, Oversized
from exchange.evidence.records import (
    MAGIC,
    MAX_BYTES,
    Kind,
    frame,
    is_bundle,
    parse,
    read_records,
)
from exchange.v1 import evidence_pb2

HEAD = evidence_pb2.EvidenceHead(checkpoint="a", proof=b"p")
RAW = HEAD.SerializeToString(deterministic=True)


def read(content: bytes) -> list[tuple[Kind, bytes]]:
    return [(record.kind, record.content) for record in read_records(io.BytesIO(content))]


@given(st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=300)), max_size=20))
def test_what_is_written_is_read(records: list[tuple[Kind, bytes]]) -> None:
    content = MAGIC + b"".join(frame(kind, raw) for kind, raw in records)
    assert is_bundle(content)
    assert read(content) == records


@pytest.mark.parametrize("cut", range(1, len(frame(Kind.HEAD, RAW))))
def test_a_file_that_ends_within_a_record_is_broken_there(cut: int) -> None:
    content = MAGIC + frame(Kind.DESCRIPTION, b"d") + frame(Kind.HEAD, RAW)
    with pytest.raises(EvidenceBroken, match="record 1: truncated"):
        read(content[:-cut])


def test_another_magic_line_is_no_bundle() -> None:
    assert not is_bundle(b"shuqiao-evidence/2\n")
    with pytest.raises(EvidenceBroken):
        read(b"shuqiao-evidence/2\n")


@pytest.mark.parametrize("kind", [0, 8, 255])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(EvidenceBroken):
        read(MAGIC + struct.pack(">BI", kind, 0))


@pytest.mark.parametrize("kind", Kind)
def test_a_size_beyond_its_bound_is_refused_before_it_is_read(kind: Kind) -> None:
    with pytest.raises(EvidenceBroken):
        read(MAGIC + struct.pack(">BI", kind, MAX_BYTES[kind] + 1))
    if MAX_BYTES[kind] < 1 << 20:
        with pytest.raises(Oversized):
            frame(kind, bytes(MAX_BYTES[kind] + 1))


@pytest.mark.parametrize(
    "raw",
    [
        RAW + b"\x7a\x01x",
        RAW[3:] + RAW[:3],
        RAW + b"\x18\x00",
        RAW + RAW,
        RAW[:-1],
        b"\x0a\x81\x00a\x12\x01p",
    ],
    ids=["unknown field", "other order", "default written", "twice", "cut", "long varint"],
)
def test_a_message_in_another_form_is_refused(raw: bytes) -> None:
    assert parse(RAW, evidence_pb2.EvidenceHead) == HEAD
    with pytest.raises(EvidenceBroken):
        parse(raw, evidence_pb2.EvidenceHead)
