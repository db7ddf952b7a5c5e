"""Every way an exchange can be refused or fail: one class per reason, one tree, one gRPC code each.

The enum (proto/exchange/v1/reason.proto), these classes, their sentences (exchange/sentences.py) and
docs/errors.md are one to one; a test holds them together.
"""

from collections.abc import Callable
from enum import Enum
from typing import ClassVar, Self, TypeVar

from exchange.sentences import SENTENCES, Sentence
from exchange.v1 import reason_pb2 as r


class Code(Enum):
    """gRPC status codes by name, so that pure modules need no grpc."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ExchangeError(Exception):
    """A refusal or failure that people and programs can act on.

    Args:
        subject: what it is about: names and ids only, never values.
        hop: which process says so, for example "gateway/gateway-1"; filled in where it is caught if empty.
        retry_after_ms: when to try again, where that is known.
    """

    reason: ClassVar["r.Reason.ValueType"] = r.REASON_INTERNAL
    code: ClassVar[Code] = Code.INTERNAL
    retryable: ClassVar[bool] = False

    def __init__(self, subject: str = "", *, hop: str = "", retry_after_ms: int = 0) -> None:
        super().__init__(subject)
        self.subject = subject
        self.hop = hop
        self.retry_after_ms = retry_after_ms

    @property
    def name(self) -> str:
        """The stable code, for example "NO_GRANT"."""
        return r.Reason.Name(self.reason).removeprefix("REASON_")

    @property
    def sentence(self) -> Sentence:
        """Reason and remedy in both languages."""
        return SENTENCES[self.name]

    def again(self) -> Self:
        """Return an error of its own for one more caller: each gets a traceback of its own."""
        return type(self)(self.subject, hop=self.hop, retry_after_ms=self.retry_after_ms)

    def __str__(self) -> str:
        about = f" [{self.subject}]" if self.subject else ""
        return f"{self.name}: {self.sentence.en}{about}"


E = TypeVar("E", bound=ExchangeError)
BY_REASON: dict[int, type[ExchangeError]] = {}


def _reason(reason: "r.Reason.ValueType", *, retryable: bool = False) -> Callable[[type[E]], type[E]]:
    def register(cls: type[E]) -> type[E]:
        cls.reason, cls.retryable = reason, retryable
        BY_REASON[reason] = cls
        return cls

    return register


class BadInput(ExchangeError):
    """The input is wrong."""

    code = Code.INVALID_ARGUMENT


@_reason(r.REASON_MALFORMED)
class Malformed(BadInput):
    """The message cannot be parsed or lacks a part."""


@_reason(r.REASON_OVERSIZED)
class Oversized(BadInput):
    """The message, a value or a list is larger than allowed."""


@_reason(r.REASON_BAD_IDENTIFIER)
class BadIdentifier(BadInput):
    """An identifier has a wrong form or checksum."""


@_reason(r.REASON_WRONG_AUDIENCE)
class WrongAudience(BadInput):
    """The request is for another division or gateway."""


@_reason(r.REASON_BAD_PARAMETER)
class BadParameter(BadInput):
    """A parameter is missing, unknown or of the wrong type."""


@_reason(r.REASON_BAD_CONFIGURATION)
class BadConfiguration(BadInput):
    """The configuration or a command's arguments are wrong."""


@_reason(r.REASON_WRONG_SUITE)
class WrongSuite(BadInput):
    """The cipher suite is not the one the region's policy fixes."""


class NotAuthenticated(ExchangeError):
    """There is no valid identity."""

    code = Code.UNAUTHENTICATED


@_reason(r.REASON_NO_IDENTITY)
class NoIdentity(NotAuthenticated):
    """There is no valid certificate or local credential."""


@_reason(r.REASON_TWO_ROLES)
class TwoRoles(NotAuthenticated):
    """The certificate carries more than one role."""


@_reason(r.REASON_REVOKED)
class Revoked(NotAuthenticated):
    """The certificate or key has been revoked."""


@_reason(r.REASON_CERTIFICATE_EXPIRED)
class CertificateExpired(NotAuthenticated):
    """The certificate or key is outside its time."""


@_reason(r.REASON_BAD_SIGNATURE)
class BadSignature(NotAuthenticated):
    """The signature does not verify."""


@_reason(r.REASON_BAD_TOKEN)
class BadToken(NotAuthenticated):
    """The enrolment token is unknown, used or expired."""


class Refused(ExchangeError):
    """Policy refuses."""

    code = Code.PERMISSION_DENIED


@_reason(r.REASON_ROLE_NOT_ALLOWED)
class RoleNotAllowed(Refused):
    """The role or organisation of the certificate may not do this."""


@_reason(r.REASON_NO_GRANT)
class NoGrant(Refused):
    """There is no grant for this consumer, resource and purpose."""


@_reason(r.REASON_GRANT_EXPIRED)
class GrantExpired(Refused):
    """The grant's term is over or has not begun."""


@_reason(r.REASON_GRANT_REVOKED)
class GrantRevoked(Refused):
    """The grant has been revoked or rejected."""


@_reason(r.REASON_GRANT_PAUSED)
class GrantPaused(Refused):
    """The grant is paused."""


@_reason(r.REASON_GRANT_PENDING)
class GrantPending(Refused):
    """The grant is not in force yet: provider or supervisor has to approve it."""


@_reason(r.REASON_FIELD_NOT_GRANTED)
class FieldNotGranted(Refused):
    """A field asked for is not in the grant."""


@_reason(r.REASON_PURPOSE_NOT_GRANTED)
class PurposeNotGranted(Refused):
    """The purpose is not in the grant."""


@_reason(r.REASON_MATTER_NOT_GRANTED)
class MatterNotGranted(Refused):
    """The matter is not in the grant."""


@_reason(r.REASON_KIND_NOT_GRANTED)
class KindNotGranted(Refused):
    """The kind of exchange is not in the grant or not offered."""


@_reason(r.REASON_CASE_REQUIRED)
class CaseRequired(Refused):
    """The exchange names no case number where one is required."""


@_reason(r.REASON_NOT_SHARED)
class NotShared(Refused):
    """The field is not shared."""


@_reason(r.REASON_PROVIDER_VETO)
class ProviderVeto(Refused):
    """The provider's own rules refuse."""


@_reason(r.REASON_TRUST_STALE, retryable=True)
class TrustStale(Refused):
    """The trust list is older than the region allows for L3 and L4."""


@_reason(r.REASON_SECOND_PERSON_REQUIRED)
class SecondPersonRequired(Refused):
    """The action needs a second person or a countersignature."""


@_reason(r.REASON_APPLICATION_NOT_ALLOWED)
class ApplicationNotAllowed(Refused):
    """The local application may not ask for this purpose, resource or operator."""


@_reason(r.REASON_GRANT_FOREIGN)
class GrantForeign(Refused):
    """The grant is another organisation's."""


@_reason(r.REASON_STEP_NOT_GRANTED)
class StepNotGranted(Refused):
    """The step of the matter is not in the grant."""


@_reason(r.REASON_PURPOSE_UNKNOWN)
class PurposeUnknown(Refused):
    """The region's rules know no such purpose, or not for this matter or term."""


@_reason(r.REASON_FORBIDDEN_BY_RULE)
class ForbiddenByRule(Refused):
    """A guard of the region's rules forbids it."""


@_reason(r.REASON_NON_GOVERNMENT)
class NonGovernment(Refused):
    """Other than government bodies may verify and get derived fields only."""


@_reason(r.REASON_REDISCLOSURE)
class Redisclosure(Refused):
    """Received data may not be passed on."""


@_reason(r.REASON_DATA_CLASS_REFUSED)
class DataClassRefused(Refused):
    """Core data and state secrets cannot be published."""


@_reason(r.REASON_APPROVAL_REQUIRED)
class ApprovalRequired(Refused):
    """A risk rule holds this until a person approves."""


@_reason(r.REASON_RISK_REFUSED)
class RiskRefused(Refused):
    """A risk rule refuses."""


class Unknown(ExchangeError):
    """There is no such thing."""

    code = Code.NOT_FOUND


@_reason(r.REASON_UNKNOWN_RESOURCE)
class UnknownResource(Unknown):
    """There is no such resource."""


@_reason(r.REASON_WITHDRAWN)
class Withdrawn(Unknown):
    """The resource was withdrawn from the catalogue for good."""


@_reason(r.REASON_UNKNOWN_ORGANISATION)
class UnknownOrganisation(Unknown):
    """There is no such organisation."""


@_reason(r.REASON_UNKNOWN_GRANT)
class UnknownGrant(Unknown):
    """There is no such grant."""


@_reason(r.REASON_UNKNOWN_ENTRY)
class UnknownEntry(Unknown):
    """There is no such entry."""


@_reason(r.REASON_ENTRY_ERASED)
class EntryErased(Unknown):
    """The entry was erased at the end of its term; its hash is still in the log."""


@_reason(r.REASON_UNKNOWN_FIELD)
class UnknownField(Unknown):
    """The resource has no such field."""


@_reason(r.REASON_UNKNOWN_TICKET)
class UnknownTicket(Unknown):
    """No such dispute or demand."""


@_reason(r.REASON_UNKNOWN_CASE)
class UnknownCase(Unknown):
    """No such case."""


@_reason(r.REASON_UNKNOWN_STOP)
class UnknownStop(Unknown):
    """No such stop."""


@_reason(r.REASON_UNKNOWN_FINDING)
class UnknownFinding(Unknown):
    """No such finding."""


class NotNow(ExchangeError):
    """The state does not allow it."""

    code = Code.FAILED_PRECONDITION


@_reason(r.REASON_CLOCK_SKEW)
class ClockSkew(NotNow):
    """The clocks differ by more than 60 s."""


@_reason(r.REASON_BUNDLE_STALE, retryable=True)
class BundleStale(NotNow):
    """The key bundle named is unknown, expired or superseded."""


@_reason(r.REASON_WRONG_STATE)
class WrongState(NotNow):
    """The state does not allow this."""


@_reason(r.REASON_SUSPENDED)
class Suspended(NotNow):
    """The resource is suspended."""


@_reason(r.REASON_CASE_NOT_OPEN)
class CaseNotOpen(NotNow):
    """The case is not open, or not one of these parties or this matter."""


@_reason(r.REASON_STOPPED)
class Stopped(NotNow):
    """It was stopped in an emergency."""


@_reason(r.REASON_INCOMPATIBLE)
class Incompatible(NotNow):
    """The new version does not serve those who use the one before."""


@_reason(r.REASON_IN_REVIEW)
class InReview(NotNow):
    """The catalogue entry is in review and not in force."""


@_reason(r.REASON_RULES_INVALID)
class RulesInvalid(NotNow):
    """The region's rules do not hold together, or fail their own cases."""


@_reason(r.REASON_CLOCK_OVERDUE)
class ClockOverdue(NotNow):
    """A clock has run out."""


class TooLate(ExchangeError):
    """Time ran out."""

    code = Code.DEADLINE_EXCEEDED


@_reason(r.REASON_DEADLINE_PASSED, retryable=True)
class DeadlinePassed(TooLate):
    """The deadline passed before an answer came."""


class Exists(ExchangeError):
    """It exists already."""

    code = Code.ALREADY_EXISTS


@_reason(r.REASON_REPLAYED)
class Replayed(Exists):
    """The exchange id or statement was used before."""


@_reason(r.REASON_NOT_AUTHORITATIVE)
class NotAuthoritative(Exists):
    """Another organisation already provides this item in this division."""


class Exhausted(ExchangeError):
    """A bound is reached."""

    code = Code.RESOURCE_EXHAUSTED


@_reason(r.REASON_QUEUE_FULL, retryable=True)
class QueueFull(Exhausted):
    """A queue or window is full."""


@_reason(r.REASON_ROW_CAP)
class RowCap(Exhausted):
    """More records would be returned than allowed."""


@_reason(r.REASON_TOO_MANY, retryable=True)
class TooMany(Exhausted):
    """There are too many requests from this identity."""


@_reason(r.REASON_QUOTA_EXCEEDED, retryable=True)
class QuotaExceeded(Exhausted):
    """The grant's quota is used up."""


@_reason(r.REASON_VERIFY_LIMIT, retryable=True)
class VerifyLimit(Exhausted):
    """Too many verifications of this subject, or too many that did not match."""


class Unavailable(ExchangeError):
    """Something needed is away."""

    code = Code.UNAVAILABLE


@_reason(r.REASON_PROVIDER_AWAY, retryable=True)
class ProviderAway(Unavailable):
    """The provider's agent is not linked."""


@_reason(r.REASON_AUDIT_UNAVAILABLE, retryable=True)
class AuditUnavailable(Unavailable):
    """The audit entry could not be made durable; nothing was released."""


@_reason(r.REASON_LINK_LOST, retryable=True)
class LinkLost(Unavailable):
    """The link broke while the exchange was under way."""


@_reason(r.REASON_GATEWAY_AWAY, retryable=True)
class GatewayAway(Unavailable):
    """The gateway cannot be reached."""


@_reason(r.REASON_SOURCE_DOWN, retryable=True)
class SourceDown(Unavailable):
    """The provider's source cannot be read."""


@_reason(r.REASON_SOURCE_TIMEOUT, retryable=True)
class SourceTimeout(Unavailable):
    """The provider's source did not answer in time."""


@_reason(r.REASON_DRAINING, retryable=True)
class Draining(Unavailable):
    """The process is about to stop."""


@_reason(r.REASON_AUTHORITY_AWAY, retryable=True)
class AuthorityAway(Unavailable):
    """The authority cannot be reached."""


@_reason(r.REASON_RECEIPT_OVERDUE)
class ReceiptOverdue(Unavailable):
    """The provider gets no receipts and has stopped answering."""


@_reason(r.REASON_LOG_BEHIND)
class LogBehind(Unavailable):
    """The log is behind a head already signed or seen; it refuses to sign."""


@_reason(r.REASON_AGENT_AWAY, retryable=True)
class AgentAway(Unavailable):
    """The department's own agent cannot be reached."""


@_reason(r.REASON_LOG_UNWITNESSED, retryable=True)
class LogUnwitnessed(Unavailable):
    """No quorum of witnesses has cosigned the log for longer than is allowed."""


@_reason(r.REASON_WITNESS_AWAY, retryable=True)
class WitnessAway(Unavailable):
    """A witness cannot be reached or will not cosign."""


@_reason(r.REASON_SINK_AWAY, retryable=True)
class SinkAway(Unavailable):
    """What audit records are delivered to cannot be reached."""


class Broken(ExchangeError):
    """A proof, seal or record does not verify."""

    code = Code.DATA_LOSS


@_reason(r.REASON_SEAL_BROKEN)
class SealBroken(Broken):
    """A sealed value, wrap or commitment does not open."""


@_reason(r.REASON_RESPONSE_SIGNATURE)
class ResponseSignature(Broken):
    """The response's signature does not verify."""


@_reason(r.REASON_RESPONSE_MISMATCH)
class ResponseMismatch(Broken):
    """The response does not answer this request."""


@_reason(r.REASON_RECEIPT_BROKEN)
class ReceiptBroken(Broken):
    """The receipt, proof or checkpoint does not verify."""


@_reason(r.REASON_LOG_FORKED)
class LogForked(Broken):
    """Two heads of one log do not agree."""


@_reason(r.REASON_BUNDLE_ROLLBACK)
class BundleRollback(Broken):
    """A key bundle is older than one already seen, forks or leaves a gap."""


@_reason(r.REASON_TRUST_ROLLBACK)
class TrustRollback(Broken):
    """A trust list is older than one already seen."""


@_reason(r.REASON_STORE_DAMAGED)
class StoreDamaged(Broken):
    """A record or file on disk is damaged."""


@_reason(r.REASON_EVIDENCE_BROKEN)
class EvidenceBroken(Broken):
    """A bundle of evidence does not verify."""


@_reason(r.REASON_INTERNAL)
class Internal(ExchangeError):
    """Something unforeseen; its detail stays in the log of the process."""


def by_reason(reason: int) -> type[ExchangeError]:
    """Return the class of a reason; Internal for one that this version does not know."""
    return BY_REASON.get(reason, Internal)
