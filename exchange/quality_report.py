"""Reports of quality: QualityReportBody, well formed. Counts only; who may sign one is asked elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

from exchange.bodies import read_body
from exchange.canonical import NONCE_BYTES
from exchange.codes import credit_code
from exchange.errors import Malformed
from exchange.resources import check_text, split_id
from exchange.ticket_body import MAX_AGENT, field_names
from exchange.timestamps import milliseconds
from exchange.v1 import common_pb2, ticket_pb2

MAX_QUALITY_BYTES = 24 * 1024
MAX_COUNT = 1 << 53
MAX_REPORT_MS = 35 * 86_400_000
"""The longest period of a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldCounts:
    """What a consumer found in one field: values received, those missing, those that break the schema."""

    values: int
    missing: int
    invalid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """A QualityReportBody, well formed."""

    resource: str
    version: int
    consumer: str
    agent: str
    since_ms: int
    until_ms: int
    exchanges: int
    records: int
    fields: dict[str, FieldCounts]
    dated: int
    stale: int
    oldest_s: int
    issued_at_ms: int


def read_quality(statement: common_pb2.Statement) -> QualityReport:
    """Return the report that a statement holds. Signature and signer are not looked at.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule; the subject names the part.
    """
    body = read_body(ticket_pb2.QualityReportBody, statement.body, "quality report", most=MAX_QUALITY_BYTES)
    if len(body.nonce) != NONCE_BYTES or not body.version or not body.HasField("issued_at"):
        raise Malformed("nonce, version or issued_at")
    split_id(body.resource)
    check_text(body.agent, "agent", least=1, most=MAX_AGENT)
    since_ms, until_ms = milliseconds(body.since, "since"), milliseconds(body.until, "until")
    if not 0 < until_ms - since_ms <= MAX_REPORT_MS:
        raise Malformed("period")
    if max(body.exchanges, body.records, body.oldest_s) > MAX_COUNT or body.exchanges < 1:
        raise Malformed("exchanges or records")
    if not body.stale <= body.dated <= body.exchanges:
        raise Malformed("dated or stale")
    return QualityReport(
        resource=body.resource,
        version=body.version,
        consumer=credit_code(body.consumer),
        agent=body.agent,
        since_ms=since_ms,
        until_ms=until_ms,
        exchanges=body.exchanges,
        records=body.records,
        fields=_counts(body.fields),
        dated=body.dated,
        stale=body.stale,
        oldest_s=body.oldest_s,
        issued_at_ms=milliseconds(body.issued_at, "issued_at"),
    )


def _counts(told: Sequence[ticket_pb2.FieldQuality]) -> dict[str, FieldCounts]:
    field_names([one.name for one in told], "fields", least=0)
    for one in told:
        if one.values > MAX_COUNT or one.missing > one.values or one.invalid > one.values - one.missing:
            raise Malformed(f"counts of {one.name}")
    return {
        one.name: FieldCounts(values=one.values, missing=one.missing, invalid=one.invalid) for one in told
    }
