"""Reads the bodies of grants and of their events: what is well formed, before who may sign it is asked.

Bounds: 64 fields, 16 purposes, 64 matters, a term of at most five years. What is read here is only read
from then on; a grant's history is kept beside it verbatim.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from exchange.canonical import DIGEST_BYTES, GRANT, NONCE_BYTES, digest
from exchange.errors import BadIdentifier, Malformed, Oversized
from exchange.resources import MAX_FIELDS, check_kinds, check_text, split_id
from exchange.v1 import common_pb2, grant_pb2

MAX_PURPOSES = 16
MAX_MATTERS = 64
MAX_CODE = 64
MAX_GRANT_BYTES = 16 * 1024
MAX_EVENT_BYTES = 4 * 1024
MAX_QUOTAS = 4
MAX_TERM_MS = (5 * 366) * 24 * 3600 * 1000
_PERIODS = frozenset(grant_pb2.QuotaPeriod.values()) - {grant_pb2.QUOTA_PERIOD_UNSPECIFIED}


class QuotaRule(NamedTuple):
    """How many exchanges may be released in a period, a QuotaPeriod."""

    period: int
    exchanges: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A grant and where it stands.

    Attributes:
        grant_id: digest of the body, 32 bytes.
        matters: coded matters; empty for any.
        quotas: one per period at most; empty for no limit.
        state: a GrantState.
        revision: of the last event, 0 before the first.
        record: body and events verbatim, never changed in place; None where they are read from the log
            instead, as at a gateway that holds a million grants.
    """

    grant_id: bytes
    consumer: str
    provider: str
    resource: str
    fields: frozenset[str]
    kinds: frozenset[int]
    purposes: frozenset[str]
    matters: frozenset[str]
    case_required: bool
    not_before_ms: int
    not_after_ms: int
    state: int
    revision: int
    quotas: tuple[QuotaRule, ...] = ()
    record: grant_pb2.GrantRecord | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The first 16 hexadecimal digits of the grant's id, for people."""
        return self.grant_id[:8].hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantEvent:
    """What is done to a grant: a GrantEventBody, well formed."""

    grant_id: bytes
    revision: int
    action: int
    issued_at_ms: int


def read_grant(statement: common_pb2.Statement) -> Grant:
    """Return the grant that a statement applies for, pending. Signature and signer are not looked at.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule; the subject names the part.
    """
    if len(statement.body) > MAX_GRANT_BYTES:
        raise Oversized("grant")
    try:
        body = grant_pb2.GrantBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("grant") from error
    _check_body(body)
    grant_id = digest(GRANT, statement.body)
    return Grant(
        grant_id=grant_id,
        consumer=body.consumer,
        provider=body.provider,
        resource=body.resource,
        fields=frozenset(body.fields),
        kinds=frozenset(body.kinds),
        purposes=frozenset(body.purposes),
        matters=frozenset(body.matters),
        case_required=body.case_required,
        not_before_ms=body.not_before.ToMilliseconds(),
        not_after_ms=body.not_after.ToMilliseconds(),
        state=grant_pb2.GRANT_STATE_PENDING,
        revision=0,
        quotas=_quotas(body.quotas),
        record=grant_pb2.GrantRecord(grant_id=grant_id, grant=statement, state=grant_pb2.GRANT_STATE_PENDING),
    )


def read_event(statement: common_pb2.Statement) -> GrantEvent:
    """Return the event that a statement holds. Signature and signer are not looked at.

    Raises:
        Malformed, Oversized: the body breaks a rule.
    """
    if len(statement.body) > MAX_EVENT_BYTES:
        raise Oversized("grant event")
    try:
        body = grant_pb2.GrantEventBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("grant event") from error
    if len(body.nonce) != NONCE_BYTES or len(body.grant_id) != DIGEST_BYTES:
        raise Malformed("nonce or grant id")
    if body.revision < 1 or not body.HasField("issued_at"):
        raise Malformed("revision or issued_at")
    if body.action not in grant_pb2.GrantAction.values() or not body.action:
        raise Malformed("action")
    check_text(body.note, "note")
    return GrantEvent(
        grant_id=body.grant_id,
        revision=body.revision,
        action=body.action,
        issued_at_ms=body.issued_at.ToMilliseconds(),
    )


def _check_body(body: grant_pb2.GrantBody) -> None:
    if len(body.nonce) != NONCE_BYTES:
        raise Malformed("nonce")
    if not body.consumer or not body.provider:
        raise BadIdentifier("consumer or provider")
    split_id(body.resource)
    _check_codes(body.fields, "fields", least=1, most=MAX_FIELDS)
    _check_codes(body.purposes, "purposes", least=1, most=MAX_PURPOSES)
    _check_codes(body.matters, "matters", least=0, most=MAX_MATTERS)
    check_kinds(body.kinds)
    check_text(body.justification, "justification")
    if not body.HasField("not_before") or not body.HasField("not_after"):
        raise Malformed("term")
    if not 0 < _span_ms(body.not_before, body.not_after) <= MAX_TERM_MS:
        raise Malformed("term")


def _quotas(quotas: Sequence[grant_pb2.Quota]) -> tuple[QuotaRule, ...]:
    rules = tuple(QuotaRule(quota.period, quota.exchanges) for quota in quotas)
    if len(rules) > MAX_QUOTAS:
        raise Oversized("quotas")
    if len({rule.period for rule in rules}) != len(rules):
        raise Malformed("quotas")
    if any(rule.period not in _PERIODS or not rule.exchanges for rule in rules):
        raise Malformed("quotas")
    return rules


def _span_ms(start: Timestamp, end: Timestamp) -> float:
    if not 0 <= start.seconds < 1 << 38 or not 0 <= end.seconds < 1 << 38:
        return math.inf
    return end.ToMilliseconds() - start.ToMilliseconds()


def _check_codes(codes: Collection[str], subject: str, *, least: int, most: int) -> None:
    if len(codes) > most:
        raise Oversized(subject)
    if len(codes) < least or len(set(codes)) != len(codes):
        raise Malformed(subject)
    for code in codes:
        check_text(code, subject, least=1, most=MAX_CODE)
