"""What a consumer demands of an outcome before a person or program sees it.

    6  the receipt: the entry is in the log, and says what was asked and what was answered
    7  the signature is the provider's
    8  the header's every item is the request's own: hashing does not show intent
    9  open

The receipt is verified before the envelope is opened: an answer that was not logged is never read.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from agent.consumer.asker import Deliver
from agent.consumer.plan import Plan
from agent.stream import LinkStream
from exchange.entries import check_entry, check_repeated, check_standing, told_by
from exchange.envelope import direction_key, open_
from exchange.errors import (
    BadInput,
    BadSignature,
    ReceiptBroken,
    ResponseMismatch,
    ResponseSignature,
    by_reason,
)
from exchange.keys import PeerKeys
from exchange.merkle import InclusionMemo, leaf_hash
from exchange.region_rules import RegionRules
from exchange.replay import MAX_SKEW_MS
from exchange.resources import VERIFY_PADDING
from exchange.signing import BatchVerifier
from exchange.suites import suite
from exchange.v1 import agent_pb2, audit_pb2, common_pb2, exchange_pb2
from exchange.values import decode_value, read_clear_cells

RELEASED = audit_pb2.DECISION_RELEASED


@dataclass(slots=True)
class Pending:
    """A question under way.

    Attributes:
        header: of the request, serialised.
        digest: of the request, 32 bytes.
        secret: of the sealing session, 32 bytes.
        retried: whether it has been asked again after stale keys.
    """

    question: agent_pb2.AskRequest
    deliver: Deliver
    plan: Plan
    exchange_id: bytes
    header: bytes
    digest: bytes
    secret: bytes
    kid: bytes
    fields: list[str]
    deadline_ms: int
    retried: bool
    stream: LinkStream

    def formats(self) -> list[tuple[str, str, int]]:
        """Return name, type and padding of the columns that an answer must have."""
        if self.question.kind == common_pb2.KIND_VERIFY:
            return [(name, "boolean", VERIFY_PADDING) for name in self.fields]
        rules = self.plan.resolved.resource.fields
        if not rules.keys() >= set(self.fields):
            raise ResponseMismatch("fields that the resource does not have")
        return [(name, rules[name].type, rules[name].padding) for name in self.fields]


def check_receipt(
    pending: Pending, receipt: audit_pb2.Receipt, memo: InclusionMemo, response_digest: bytes
) -> audit_pb2.ExchangeEntry:  # 6
    """Verify that the log holds this exchange as it was asked and answered.

    Args:
        pending: the question.
        receipt: entry and proof.
        memo: of the checkpoint the proof leads to.
        response_digest: digest of what came, 32 bytes; empty for a refusal.

    Raises:
        ReceiptBroken.
    """
    memo.verify(receipt.index, leaf_hash(receipt.leaf), receipt.proof)
    try:
        leaf = audit_pb2.AuditEntry.FromString(receipt.leaf)
    except DecodeError:
        raise ReceiptBroken("entry") from None
    entry = leaf.exchange
    if entry.exchange_id != pending.exchange_id or entry.request_digest != pending.digest:
        raise ReceiptBroken("entry is of another exchange")
    if entry.response_digest != response_digest:
        raise ReceiptBroken("entry is of another answer")
    # A refusal of what could not be read repeats no claims.
    if response_digest or entry.resource:
        check_entry(leaf, exchange_pb2.RequestHeader.FromString(pending.header))
    return entry


def check_decision(
    entry: audit_pb2.ExchangeEntry, body: exchange_pb2.ResponseBody, rules: RegionRules
) -> None:
    """Refuse an answer whose entry does not say that it was released, or what it says of it is not so.

    Raises:
        ReceiptBroken.
    """
    released = entry.decision == RELEASED and not entry.reason
    if released == bool(body.failure) or (body.failure and entry.reason != by_reason(body.failure).reason):
        raise ReceiptBroken("entry's decision")
    check_repeated(entry, told_by(body))
    check_standing(entry, rules)


def check_signature(
    pending: Pending, signed: common_pb2.Signed, digest: bytes, verifier: BatchVerifier | None
) -> None:  # 7
    """Verify that the provider asked signed the answer.

    Raises:
        ResponseSignature.
    """
    try:
        if verifier is None:
            raise BadSignature(pending.plan.resolved.keys.agent)
        verifier.verify(digest, signed.signature)
    except BadSignature:
        raise ResponseSignature(pending.plan.resolved.keys.agent) from None


def check_header(
    pending: Pending, header: exchange_pb2.ResponseHeader, consumer: tuple[str, str], now_ms: int
) -> None:  # 8
    """Compare every item of an answer's header with the request.

    Args:
        pending: the question.
        header: what came.
        consumer: credit code and agent of this consumer.
        now_ms: Unix milliseconds.

    Raises:
        ResponseMismatch: naming the item.
    """
    plan = pending.plan
    resource, keys = plan.resolved.resource, plan.resolved.keys
    grant_id = plan.grant.grant_id if plan.grant else b""
    for item, got, due in (
        ("exchange id", header.exchange_id, pending.exchange_id),
        ("request digest", header.request_digest, pending.digest),
        ("consumer", (header.consumer_organisation, header.consumer_agent), consumer),
        ("consumer key", header.consumer_kid, pending.kid),
        ("provider", header.provider_organisation, keys.organisation),
        ("provider agent", header.provider_agent, keys.agent),
        ("provider key", header.provider_kid, plan.provider_kid),
        ("resource", header.resource, resource.id),
        ("resource digest", header.resource_digest, resource.digest),
        ("purpose", header.purpose, pending.question.purpose),
        ("grant", header.grant_id, grant_id),
        ("suite", header.suite, plan.suite),
    ):
        if got != due:
            raise ResponseMismatch(item)
    if abs(header.issued_at_ms - now_ms) > MAX_SKEW_MS or header.expires_at_ms <= now_ms:
        raise ResponseMismatch("time")


def open_answer(
    pending: Pending, body: exchange_pb2.ResponseBody, header: exchange_pb2.ResponseHeader
) -> agent_pb2.Answer:  # 9
    """Open an answer.

    Raises:
        SealBroken, ResponseMismatch.
    """
    try:
        return _open_answer(pending, body, header)
    except BadInput as error:
        # It is the provider's answer that is malformed, not the question.
        raise ResponseMismatch(error.subject) from None


def _open_answer(
    pending: Pending, body: exchange_pb2.ResponseBody, header: exchange_pb2.ResponseHeader
) -> agent_pb2.Answer:
    due = pending.formats()
    if [(f.name, f.type, f.padding) for f in header.fields] != due:
        raise ResponseMismatch("fields")
    resource = pending.plan.resolved.resource
    if resource.sealed:
        if body.clear:
            raise ResponseMismatch("clear columns of a sealed resource")
        key = direction_key(suite(pending.plan.suite), pending.secret, body.header, "response")
        columns = open_(key, body.sealed, [(name, padding) for name, _, padding in due])
    else:
        if [column.name for column in body.clear] != [name for name, _, _ in due]:
            raise ResponseMismatch("columns")
        columns = [read_clear_cells(column.name, column.cells) for column in body.clear]
    records = len(columns[0]) if columns else 0
    if records > resource.row_cap or any(len(values) != records for values in columns):
        raise ResponseMismatch("records")
    answer = agent_pb2.Answer(records=records, data_version=body.data_version)
    add = answer.columns.add
    for (name, kind, _), values in zip(due, columns, strict=True):
        column = add()
        column.name, column.type = name, kind
        column.values.extend("" if value is None else decode_value(kind, value) for value in values)
        if None in values:
            column.nulls.extend(place for place, value in enumerate(values) if value is None)
    return answer


def provider_failure(body: exchange_pb2.ResponseBody, hop: str) -> None:
    """Raise the failure that a provider signed, if it signed one."""
    if body.failure:
        raise by_reason(body.failure)("", hop=hop)


def signing_key(keys: PeerKeys, kid: bytes) -> bytes | None:
    """Return an agent's public signing key by its id."""
    known = keys.signing.get(kid)
    return known[0] if known else None
