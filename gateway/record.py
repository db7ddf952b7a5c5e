"""The record of one exchange while it passes through the gateway."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from exchange.errors import Code, ExchangeError
from exchange.identity import Identity
from exchange.resources import Resource
from exchange.v1 import audit_pb2, common_pb2, exchange_pb2, reason_pb2
from gateway.audit.log.logged import Logged
from gateway.storage.ports import QuotaKey

REFUSING_CODES = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.UNAUTHENTICATED,
        Code.PERMISSION_DENIED,
        Code.NOT_FOUND,
        Code.FAILED_PRECONDITION,
        Code.ALREADY_EXISTS,
    }
)
"""Codes by which an exchange counts as refused; by all others it failed, but for REFUSING_REASONS."""
REFUSING_REASONS = frozenset({reason_pb2.REASON_QUOTA_EXCEEDED, reason_pb2.REASON_VERIFY_LIMIT})
"""Rules that were set refuse here, though the same may be asked again later."""


class Caller(Protocol):
    """Who asked: a link or a unary call."""

    identity: Identity
    serial: int
    not_after_ms: int
    in_flight: int
    consumer_window: int

    def settle(self, exchange: "Exchange", leaf: bytes, logged: Logged | None) -> None:
        """Take the outcome.

        Args:
            exchange: the record, concluded.
            leaf: the log entry's bytes; empty where the outcome is not in the log.
            logged: the entry's place, durable; None where there is none, and then nothing is released.
        """
        ...


class Provider(Protocol):
    """Who answers: a link."""

    identity: Identity

    def receipt(self, exchange: "Exchange", leaf: bytes, logged: Logged) -> None:
        """Take the log entry of an exchange that was answered."""
        ...


class Reservation(Protocol):
    """A place in the quotas of the grant."""

    def charge(self, now_ms: int) -> Sequence[QuotaKey]:
        """Return the quotas that an entry of this moment counts against; DeadlinePassed where it may not."""
        ...

    def end(self) -> None:
        """Give it back; what was released is counted by then. May be called again."""
        ...


@dataclass(frozen=True, slots=True)
class TagList:
    """The tags of an answer's subjects, as they are kept beside its entry.

    Attributes:
        period: for example "2026Q4".
        count: how many, decoys included.
        root: RFC 6962 root over them in their order, 32 bytes.
        tags: all of them in that order, 32 bytes each.
    """

    period: str
    count: int
    root: bytes
    tags: bytes


@dataclass(slots=True)
class Exchange:
    """One exchange on its way: what is known of it so far.

    Attributes:
        rule: the step or guard that decided last.
        claimed: whether the header's claims and the signature are bounded and may be entered in the log.
        error: why it was refused or failed; None while it is well.
        tags: of its answer's subjects; None where there are none.
        owed: whether its outcome was told already, and only the provider waits for its receipt.
        case_standing: what is known of the case that it names.
        rules_version: of the region's rules that decided.
        data_as_of_ms: as the answer tells, Unix milliseconds; 0 where it does not.
        metering: as the answer tells, a Metering.
        reservation: in the quotas of its grant; None where that has none.
    """

    caller: Caller
    signed: common_pb2.Signed
    admitted_ns: int
    header: exchange_pb2.RequestHeader = field(default_factory=exchange_pb2.RequestHeader)
    exchange_id: bytes = b""
    digest: bytes = b""
    claimed: bool = False
    deadline_ms: int = 0
    resource: Resource | None = None
    grant_revision: int = 0
    provider: Provider | None = None
    forwarded_ns: int = 0
    answer: common_pb2.Signed | None = None
    answer_digest: bytes = b""
    answered_ns: int = 0
    rule: str = ""
    error: ExchangeError | None = None
    failure: int = 0
    tags: TagList | None = None
    owed: bool = False
    case_standing: "audit_pb2.CaseStanding.ValueType" = audit_pb2.CASE_STANDING_UNSPECIFIED
    rules_version: int = 0
    data_as_of_ms: int = 0
    metering: int = 0
    reservation: Reservation | None = None

    @property
    def decision(self) -> "audit_pb2.Decision.ValueType":
        """How it ended."""
        if self.error is None:
            return audit_pb2.DECISION_RELEASED
        if self.error.code in REFUSING_CODES or self.error.reason in REFUSING_REASONS:
            return audit_pb2.DECISION_REFUSED
        return audit_pb2.DECISION_FAILED

    @property
    def released(self) -> bool:
        """Whether the provider's answer goes to the consumer: also a signed refusal of the provider's."""
        return self.answer is not None and (self.error is None or self.failure != 0)

    def stop(self, error: ExchangeError, *, rule: str, hop: str) -> "Exchange":
        """Note why it goes no further."""
        if not error.hop:
            error.hop = hop
        self.error = error
        self.rule = rule
        return self

    def elapsed_us(self) -> int:
        """Return the microseconds since admission."""
        return (time.perf_counter_ns() - self.admitted_ns) // 1000
