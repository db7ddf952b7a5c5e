"""Traces as calls: the authority derives a subject's tags, the gateway finds the entries that bear them.

The identifier goes to the authority alone and the tags to the gateway alone; neither learns the other half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc

from exchange.errors import AuthorityAway
from exchange.v1 import audit_pb2, audit_pb2_grpc, common_pb2, trust_pb2, trust_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, calling

AUTHORITY = "authority"
PAGE = 500


@dataclass(slots=True)
class Traced:
    """What a trace found.

    Attributes:
        entries: index and exact bytes, in the order of the log.
        searched_size: how many entries of the log were looked at, from 0 on.
        delayed_purpose_days: purposes whose entries show only after so many days.
        erased_periods: quarters that can no longer be traced.
    """

    entries: list[tuple[int, bytes]] = field(default_factory=list)
    searched_size: int = 0
    delayed_purpose_days: Mapping[str, int] = field(default_factory=dict)
    erased_periods: Sequence[str] = ()


def derive_tags(
    channel: grpc.Channel, *, format: str, identifier: str, why: str
) -> list[audit_pb2.SubjectTag]:
    """Return a subject's tags, one per quarter whose key the authority keeps.

    Args:
        channel: to the authority, as an officer or auditor.
        format: "citizen_id" or "credit_code".
        identifier: of the subject; the authority keeps it nowhere.
        why: recorded; no personal data.
    """
    request = trust_pb2.DeriveTagsRequest(format=format, identifier=identifier, justification=why)
    with calling(AUTHORITY, AuthorityAway):
        answer = trust_pb2_grpc.AuthorityServiceStub(channel).DeriveTags(request, timeout=CALL_TIMEOUT_S)
    return [audit_pb2.SubjectTag(period=one.period, tag=one.tag) for one in answer.tags]


def derive_correction_tags(
    channel: grpc.Channel, *, format: str, identifier: str, ticket_id: bytes
) -> common_pb2.Statement:
    """Return whom a corrected value is about, as tags that the authority signed for that dispute alone.

    Args:
        channel: to the authority, as the provider's steward.
        format, identifier: as `derive_tags`.
        ticket_id: of the dispute, 32 bytes; recorded.
    """
    request = trust_pb2.DeriveCorrectionTagsRequest(format=format, identifier=identifier, ticket_id=ticket_id)
    with calling(AUTHORITY, AuthorityAway):
        stub = trust_pb2_grpc.AuthorityServiceStub(channel)
        return stub.DeriveCorrectionTags(request, timeout=CALL_TIMEOUT_S).tags


def erase_tag_key(channel: grpc.Channel, period: str) -> str:
    """Erase the providers' key of a quarter; return "erased", or "second-person" where another must agree."""
    request = trust_pb2.EraseTagKeyRequest(period=period)
    with calling(AUTHORITY, AuthorityAway):
        stub = trust_pb2_grpc.AuthorityServiceStub(channel)
        return stub.EraseTagKey(request, timeout=CALL_TIMEOUT_S).needs


def trace_subject(channel: grpc.Channel, tags: Sequence[audit_pb2.SubjectTag], *, why: str) -> Traced:
    """Return every entry about a subject that the caller may see.

    Args:
        channel: to the gateway, as an officer or auditor.
        tags: of the subject; without any there is nothing that could be traced.
        why: goes into the log; no personal data.
    """
    if not tags:
        return Traced()
    subject = audit_pb2.SubjectTags(tags=tags)
    return _trace(channel, audit_pb2.TraceRequest(subject=subject, justification=why, page_size=PAGE))


def trace_case(channel: grpc.Channel, case_number: str, *, why: str) -> Traced:
    """Return the whole course of a case: every exchange and refusal that claims its number."""
    return _trace(channel, audit_pb2.TraceRequest(case_number=case_number, justification=why, page_size=PAGE))


def _trace(channel: grpc.Channel, request: audit_pb2.TraceRequest) -> Traced:
    stub = audit_pb2_grpc.AuditServiceStub(channel)
    found = Traced()
    while True:
        with calling():
            answer = stub.Trace(request, timeout=CALL_TIMEOUT_S)
        found.entries += [(one.index, one.leaf) for one in answer.entries]
        found.searched_size = answer.searched_size
        found.delayed_purpose_days = dict(answer.delayed_purpose_days)
        found.erased_periods = list(answer.erased_periods)
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found
