"""Reads the bodies of grants and of their events: what is well formed, before who may sign it is asked.

Bounds: 64 fields, 16 purposes, 64 matters, a term of at most five years; the others stand in
`exchange.grant_limits`. What is read here is only read from then on; a grant's history is kept beside it
verbatim.
"""

from dataclasses import dataclass, field
from sys import intern
from typing import Any, cast

from exchange.bodies import read_body
from exchange.canonical import DIGEST_BYTES, GRANT, NONCE_BYTES, digest
from exchange.errors import BadIdentifier, Malformed
from exchange.grant_limits import Limits, QuotaRule, RowFilter, check_codes, read_limits, shared
from exchange.resources import MAX_FIELDS, check_kinds, check_text, split_id
from exchange.timestamps import milliseconds
from exchange.v1 import common_pb2, grant_pb2

MAX_PURPOSES = 16
MAX_MATTERS = 64
MAX_GRANT_BYTES = 16 * 1024
MAX_EVENT_BYTES = 4 * 1024
MAX_TERM_MS = (5 * 366) * 24 * 3600 * 1000
"""Unix seconds of what an event may name: about the year 6325, within every calendar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A grant and where it stands.

    Attributes:
        grant_id: digest of the body, 32 bytes.
        matters: coded matters; empty for any, or for those of the domains.
        limits: what narrows it besides.
        not_after_ms: end of its term as it stands, extensions included, Unix milliseconds.
        state: a GrantState.
        revision: of the last event, 0 before the first.
        supervisor: credit code of who had to approve what the provider did last; empty for nobody.
        extended_to_ms: the end that waits for the supervisor, Unix milliseconds; 0 where none does.
        extended_at_ms: when that was signed; 0 where none waits.
        deleted_before_ms: what was received before is deleted, as the consumer attested; 0 for never.
        used: of one that has ended, whether it was ever in force.
        since_ms: since when it stands as it does, Unix milliseconds, where a clock may run for that: applied
            for (by the gateway's log), supervising, or with a data life in force or ended; otherwise 0.
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
    limits: Limits
    case_required: bool
    not_before_ms: int
    not_after_ms: int
    state: int
    revision: int
    supervisor: str = ""
    extended_to_ms: int = 0
    extended_at_ms: int = 0
    deleted_before_ms: int = 0
    used: bool = False
    since_ms: int = 0
    record: grant_pb2.GrantRecord | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The first 16 hexadecimal digits of the grant's id, for people."""
        return self.grant_id[:8].hex()

    @property
    def quotas(self) -> tuple[QuotaRule, ...]:
        """How much may be released, at most one rule a period."""
        return self.limits.quotas

    @property
    def row_filters(self) -> tuple[RowFilter, ...]:
        """What every record must fit."""
        return self.limits.row_filters


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantEvent:
    """What is done to a grant: a GrantEventBody, well formed.

    Attributes:
        not_after_ms: of an extension: the new end, Unix milliseconds; otherwise 0.
        deleted_before_ms: of an attestation: what was received before is deleted, Unix milliseconds; else 0.
    """

    grant_id: bytes
    revision: int
    action: int
    issued_at_ms: int
    not_after_ms: int = 0
    deleted_before_ms: int = 0


def read_grant(statement: common_pb2.Statement) -> Grant:
    """Return the grant that a statement applies for, pending. Signature and signer are not looked at.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule; the subject names the part.
    """
    body = read_body(grant_pb2.GrantBody, statement.body, "grant", most=MAX_GRANT_BYTES)
    _check_body(body)
    grant_id = digest(GRANT, statement.body)
    return Grant(
        grant_id=grant_id,
        consumer=intern(body.consumer),
        provider=intern(body.provider),
        resource=intern(body.resource),
        fields=shared(frozenset(body.fields)),
        kinds=shared(frozenset(body.kinds)),
        purposes=shared(frozenset(body.purposes)),
        matters=shared(frozenset(body.matters)),
        limits=read_limits(body),
        case_required=body.case_required,
        not_before_ms=milliseconds(body.not_before, "term"),
        not_after_ms=milliseconds(body.not_after, "term"),
        state=grant_pb2.GRANT_STATE_PENDING,
        revision=0,
        record=grant_pb2.GrantRecord(grant_id=grant_id, grant=statement, state=grant_pb2.GRANT_STATE_PENDING),
    )


def read_event(statement: common_pb2.Statement) -> GrantEvent:
    """Return the event that a statement holds. Signature and signer are not looked at.

    Raises:
        Malformed, Oversized: the body breaks a rule.
    """
    body = read_body(grant_pb2.GrantEventBody, statement.body, "grant event", most=MAX_EVENT_BYTES)
    if len(body.nonce) != NONCE_BYTES or len(body.grant_id) != DIGEST_BYTES:
        raise Malformed("nonce or grant id")
    if body.revision < 1 or not body.HasField("issued_at"):
        raise Malformed("revision or issued_at")
    if body.action not in grant_pb2.GrantAction.values() or not body.action:
        raise Malformed("action")
    check_text(body.note, "note")
    issued_at_ms = _ms(body, "issued_at")
    return GrantEvent(
        grant_id=body.grant_id,
        revision=body.revision,
        action=body.action,
        issued_at_ms=issued_at_ms,
        not_after_ms=_only(body, "not_after", grant_pb2.GRANT_ACTION_EXTEND),
        deleted_before_ms=_only(body, "deleted_before", grant_pb2.GRANT_ACTION_ATTEST_DELETION),
    )


def _only(body: grant_pb2.GrantEventBody, name: str, action: int) -> int:
    """Return the moment that belongs to one action, which must name it, and to no other; 0 there."""
    if body.HasField(cast(Any, name)) != (body.action == action):
        raise Malformed(name)
    return _ms(body, name) if body.action == action else 0


def _ms(body: grant_pb2.GrantEventBody, name: str) -> int:
    unix_ms = milliseconds(getattr(body, name), name)
    if not unix_ms:
        raise Malformed(name)
    return unix_ms


def _check_body(body: grant_pb2.GrantBody) -> None:
    if len(body.nonce) != NONCE_BYTES:
        raise Malformed("nonce")
    if not body.consumer or not body.provider:
        raise BadIdentifier("consumer or provider")
    split_id(body.resource)
    check_codes(body.fields, "fields", least=1, most=MAX_FIELDS)
    check_codes(body.purposes, "purposes", least=1, most=MAX_PURPOSES)
    check_codes(body.matters, "matters", least=0, most=MAX_MATTERS)
    check_kinds(body.kinds)
    check_text(body.justification, "justification")
    if not body.HasField("not_before") or not body.HasField("not_after"):
        raise Malformed("term")
    span_ms = milliseconds(body.not_after, "term") - milliseconds(body.not_before, "term")
    if not 0 < span_ms <= MAX_TERM_MS:
        raise Malformed("term")
