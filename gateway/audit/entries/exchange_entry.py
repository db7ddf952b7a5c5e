"""Builds the log entry of an exchange. No values, no personal data: ids, names, digests and signatures."""

from exchange.receipt import ENTRY_VERSION
from exchange.v1 import audit_pb2, exchange_pb2
from gateway.record import Exchange

MAX_UINT32 = (1 << 32) - 1


def exchange_leaf(exchange: Exchange, *, salt: bytes, gateway: str, time_ms: int) -> bytes:
    """Return the leaf of a concluded exchange.

    Args:
        exchange: the record.
        salt: 16 random bytes.
        gateway: origin of the log.
        time_ms: Unix milliseconds.

    Returns:
        A serialised AuditEntry.
    """
    header, caller = exchange.header, exchange.caller.identity
    entry = audit_pb2.AuditEntry(salt=salt, version=ENTRY_VERSION, gateway=gateway, time_ms=time_ms)
    body = entry.exchange
    body.exchange_id = exchange.exchange_id[:16]
    body.consumer_organisation = caller.organisation
    body.consumer_agent = caller.name
    body.decision = exchange.decision
    body.rule = exchange.rule
    body.request_digest = exchange.digest
    body.request_bytes = len(exchange.signed.body)
    body.rules_version = exchange.rules_version
    body.case_standing = exchange.case_standing
    if exchange.claimed:
        _copy_claims(body, header)
        body.grant_revision = exchange.grant_revision or header.grant_revision
        body.request_signature.CopyFrom(exchange.signed.signature)
    if exchange.error is not None:
        body.reason = exchange.error.reason
        body.hop = exchange.error.hop
    if exchange.forwarded_ns:
        body.admit_us = (exchange.forwarded_ns - exchange.admitted_ns) // 1000
    if exchange.answer is not None:
        # An answer may come more than an hour late: it has its entry all the same.
        body.provider_us = min((exchange.answered_ns - exchange.forwarded_ns) // 1000, MAX_UINT32)
        body.response_digest = exchange.answer_digest
        body.response_bytes = len(exchange.answer.body)
        body.data_as_of_ms = exchange.data_as_of_ms
        body.metering = exchange.metering
        body.response_signature.CopyFrom(exchange.answer.signature)
        if exchange.tags is not None:
            body.tag_period = exchange.tags.period
            body.tag_count = exchange.tags.count
            body.tag_root = exchange.tags.root
    return entry.SerializeToString()


def _copy_claims(body: audit_pb2.ExchangeEntry, header: exchange_pb2.RequestHeader) -> None:
    """Copy what the signed header says; its sizes were checked when it was parsed."""
    body.provider_organisation = header.provider_organisation
    body.provider_agent = header.provider_agent
    body.operator = header.operator
    body.resource = header.resource
    body.fields.extend(header.fields)
    body.kind = header.kind
    body.purpose = header.purpose
    body.matter = header.matter
    body.case_number = header.case_number
    body.step = header.step
    body.application = header.application
    body.grant_id = header.grant_id
