"""What the risk rules see of an exchange: outer tags, ids and names; no value, no inner tag, no parameter.

The same whether it comes from an exchange that was just concluded or, after a restart, from its log entry.
"""

from collections.abc import Callable
from typing import NamedTuple

from exchange.entries import counted_before
from exchange.resources import Resource
from exchange.v1 import audit_pb2, common_pb2, reason_pb2
from gateway.record import Exchange

OWN_HOLDS = frozenset({reason_pb2.REASON_RISK_REFUSED, reason_pb2.REASON_APPROVAL_REQUIRED})
"""What a hold refuses counts for nothing, or a hold would feed itself."""
_PROVIDER = "provider/"


class Observed(NamedTuple):
    """One exchange.

    Attributes:
        time_ms: of its entry, Unix milliseconds.
        consumer: credit code, from the certificate; `agent` too.
        operator: pseudonym, as the consumer signed it; empty where it names none.
        provider: credit code, as the consumer signed it.
        case: number of the case; empty where there is none, or none that is open.
        resource: the one that the request resolves to; as it was asked for where there is none.
        sealed: whether the resource is of level L3 or L4.
        released: whether the provider's answer went to the consumer.
        reason: why it was refused; 0 otherwise.
        by_provider: whether the refusal is the provider's word.
        fields: asked for; where `released` only if it is a query.
        attempt: tells refused requests for different things apart.
        tags: outer tags of its subjects, 32 bytes each, joined.
    """

    time_ms: int
    consumer: str
    agent: str
    operator: str
    provider: str
    resource: str
    case: str
    sealed: bool
    released: bool
    reason: int
    by_provider: bool
    exchange_id: bytes
    fields: tuple[str, ...] = ()
    attempt: int = 0
    tags: bytes = b""


def observe(exchange: Exchange, now_ms: int) -> Observed | None:
    """Return what is seen of a concluded exchange; None where it counts for nothing.

    Failures say nothing about the consumer, and an answer that came too late never reached it.
    """
    if exchange.owed:
        return None
    header, identity, resource = exchange.header, exchange.caller.identity, exchange.resource
    error, tags = exchange.error, exchange.tags
    reason, by_provider, attempt = 0, False, 0
    fields: tuple[str, ...] = ()
    if error is not None:
        reason = error.reason
        if exchange.decision != audit_pb2.DECISION_REFUSED or reason in OWN_HOLDS or not exchange.claimed:
            return None
        by_provider = error.hop.startswith(_PROVIDER)
        fields = tuple(header.fields)
        attempt = _attempt(header.resource, fields, header.purpose, header.grant_id, header.matter)
    # As `Observed(...)` does, in half the time; one is made of every exchange.
    return tuple.__new__(
        Observed,
        (
            now_ms,
            identity.organisation,
            identity.name,
            header.operator,
            header.provider_organisation,
            resource.id if resource is not None else header.resource,
            header.case_number if exchange.case_standing != audit_pb2.CASE_STANDING_NOT_OPEN else "",
            resource is not None and resource.sealed,
            error is None,
            reason,
            by_provider,
            exchange.exchange_id,
            fields,
            attempt,
            tags.tags if tags is not None else b"",
        ),
    )


def observe_entry(
    entry: audit_pb2.AuditEntry, beside: bytes, find: Callable[[str], Resource | None]
) -> Observed | None:
    """Return what is seen of an exchange in the log; None where it counts for nothing.

    Args:
        entry: of an exchange.
        beside: tags that are kept beside it.
        find: finds the resource that an id resolves to.
    """
    told = entry.exchange
    released = told.decision == audit_pb2.DECISION_RELEASED
    if not released and (told.decision != audit_pb2.DECISION_REFUSED or told.reason in OWN_HOLDS):
        return None
    if not released and (counted_before(told) or not told.HasField("request_signature")):
        return None
    fields = tuple(told.fields) if told.kind != common_pb2.KIND_VERIFY or not released else ()
    resource = find(told.resource)
    return Observed(
        entry.time_ms,
        told.consumer_organisation,
        told.consumer_agent,
        told.operator,
        told.provider_organisation,
        resource.id if resource is not None else told.resource,
        told.case_number if told.case_standing != audit_pb2.CASE_STANDING_NOT_OPEN else "",
        resource is not None and resource.sealed,
        released,
        told.reason,
        told.hop.startswith(_PROVIDER),
        told.exchange_id,
        fields,
        0 if released else _attempt(told.resource, fields, told.purpose, told.grant_id, told.matter),
        beside if released else b"",
    )


def _attempt(resource: str, fields: tuple[str, ...], purpose: str, grant: bytes, matter: str) -> int:
    return hash((resource, fields, purpose, grant, matter))
