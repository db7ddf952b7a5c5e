"""Whatever bytes are given, verification ends with a report: no traceback, nothing proven, faults placed."""

import io
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange.evidence.records import MAGIC, Kind, frame
from exchange.evidence.verify import verify_bundle
from exchange.v1 import audit_pb2, common_pb2, evidence_pb2
from tests.support.evidence import POLICY, SmallLog, make_log, records_of, signed_file
from tests.support.region import ORIGIN

U64 = st.integers(0, 2**64 - 1)
RAW = st.binary(max_size=100)
TEXT = st.text(max_size=40)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> SmallLog:
    return make_log(tmp_path_factory.mktemp("log"), 5)


def signatures() -> st.SearchStrategy[Any]:
    size = st.integers(0, 2**32 - 1)
    return st.builds(common_pb2.Signature, kid=RAW, signature=RAW, size=size, index=size, path=RAW)


def statements() -> st.SearchStrategy[Any]:
    return st.builds(common_pb2.Statement, body=RAW, signature=RAW, chain=st.lists(RAW, max_size=5))


def entries() -> st.SearchStrategy[bytes]:
    exchange = st.builds(
        audit_pb2.ExchangeEntry,
        consumer_organisation=TEXT,
        resource=TEXT,
        decision=st.integers(0, 4),
        rule=TEXT,
        grant_id=RAW,
        grant_revision=U64,
        request_digest=RAW,
        response_digest=RAW,
        request_signature=signatures(),
        response_signature=signatures(),
    )
    act = st.builds(audit_pb2.AdministrativeEntry, act=st.integers(0, 20), actor=TEXT, statement=statements())
    times = st.integers(-(2**63), 2**63 - 1)
    version = st.just(1)
    made = st.one_of(
        st.builds(
            audit_pb2.AuditEntry, version=version, gateway=st.just(ORIGIN), time_ms=times, exchange=exchange
        ),
        st.builds(
            audit_pb2.AuditEntry, version=version, gateway=st.just(ORIGIN), time_ms=times, administrative=act
        ),
    )
    return made.map(lambda one: one.SerializeToString())


def messages() -> st.SearchStrategy[tuple[Kind, bytes]]:
    block = st.builds(
        evidence_pb2.EvidenceBlock,
        first=U64,
        leaves=st.lists(st.one_of(RAW, entries()), max_size=5),
        hashes=RAW,
        left=RAW,
        right=RAW,
        supporting=st.booleans(),
        ordinal=U64,
        peers=U64,
    )
    head = st.builds(evidence_pb2.EvidenceHead, checkpoint=TEXT, proof=RAW, ordinal=st.integers(0, 9))
    signed = st.builds(common_pb2.Signed, body=RAW, signature=signatures())
    attachment = st.one_of(
        st.builds(evidence_pb2.EvidenceAttachment, index=U64, request=signed),
        st.builds(evidence_pb2.EvidenceAttachment, index=U64, response=signed),
        st.builds(evidence_pb2.EvidenceAttachment, index=U64, receipt=TEXT),
    )
    described = st.builds(
        evidence_pb2.EvidenceDescription,
        nonce=st.binary(min_size=16, max_size=16),
        origin=st.just(ORIGIN),
        range=st.builds(evidence_pb2.EvidenceRange, first=U64, end=U64),
        selected=U64,
        exported_at_ms=st.integers(-(2**63), 2**63 - 1),
    )

    def of(kind: Kind, made: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Kind, bytes]]:
        return made.map(lambda one: (kind, one.SerializeToString(deterministic=True)))

    return st.one_of(
        of(Kind.ENTRIES, block),
        of(Kind.HEAD, head),
        of(Kind.ATTACHMENT, attachment),
        of(Kind.DESCRIPTION, described),
        of(Kind.TRUST_LIST, statements()),
        of(Kind.MANIFEST, statements()),
        st.tuples(st.sampled_from(Kind), RAW),
    )


FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refused(log: SmallLog, content: bytes) -> None:
    report = verify_bundle(io.BytesIO(content), log.trusted(policy=POLICY, heads=[log.known(log.size)]))
    assert not report.ok
    assert report.proven == ()
    assert report.faults
    assert all(str(fault) and fault.record >= 0 for fault in report.faults)


@FUZZ
@given(content=st.binary(max_size=2000), magic=st.booleans())
def test_random_bytes_are_refused(log: SmallLog, content: bytes, magic: bool) -> None:
    refused(log, MAGIC * magic + content)


@FUZZ
@given(records=st.lists(messages(), max_size=8))
def test_random_records_are_refused(log: SmallLog, records: list[tuple[Kind, bytes]]) -> None:
    refused(log, MAGIC + b"".join(frame(kind, raw) for kind, raw in records))


@FUZZ
@given(place=st.integers(0, 30), made=messages(), replace=st.booleans())
def test_a_strange_record_among_good_ones_is_refused(
    log: SmallLog, place: int, made: tuple[Kind, bytes], replace: bool
) -> None:
    items = records_of(log, attached=list(log.kept)[:1], block=8)
    at = place % len(items)
    items[at : at + replace] = [made]
    refused(log, signed_file(log, items))


@FUZZ
@given(leaf=entries())
def test_a_log_may_hold_any_entry(tmp_path_factory: Any, log: SmallLog, leaf: bytes) -> None:
    """What the log holds is proven to be in it; what an entry says is read with suspicion all the same."""
    odd = copy(log)
    odd.leaves, odd.notes = [*log.leaves, leaf], {}
    odd.sign_head()
    report = verify_bundle(io.BytesIO(signed_file(odd, records_of(odd))), odd.trusted(policy=POLICY))
    assert all(fault.entry == odd.size - 1 for fault in report.faults), [str(one) for one in report.faults]


def test_an_empty_file_is_refused(log: SmallLog, tmp_path: Path) -> None:
    refused(log, b"")
