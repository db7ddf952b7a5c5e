"""Disputes, demands and reports of quality: what is well formed, and which step may follow which.

Shared by the gateway, which decides, and by agents, which verify what they are told. A ticket's id is the
digest of its body. Words go into the log for good: they hold no citizen id (`exchange.review.check_words`);
what is wrong with a value stands sealed (`exchange.sealed_text`).

1. A dispute is with the provider at once, who corrects or declines it; who raised it may withdraw it.
2. A demand waits for an administrator, who gives it to an organisation; one that says whom it is addressed to
   is with that organisation at once. It is answered by a resource of that organisation, declined, withdrawn.
3. Revisions count up by one from 1. Acknowledgements have revision 0: they come in any order, one from each
   recipient that was told.
4. Only stewards of the organisation whose turn it is act, and administrators to assign.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from exchange.canonical import DIGEST_BYTES, NONCE_BYTES, TICKET, digest
from exchange.codes import credit_code, division_code
from exchange.errors import BadIdentifier, Malformed, Oversized, RoleNotAllowed, WrongState
from exchange.identity import Identity, Role
from exchange.resources import MAX_FIELDS, check_text, split_id
from exchange.review import check_words
from exchange.v1 import common_pb2, ticket_pb2

MAX_TICKET_BYTES = 24 * 1024
MAX_EVENT_BYTES = 8 * 1024
MAX_QUALITY_BYTES = 24 * 1024
MAX_CIPHERTEXT = 8 * 1024
MAX_WRAP = 2048
MAX_WANTED = 32
MAX_WORD = 80
MAX_FIELD_NAME = 63
MAX_AGENT = 64
MAX_REVISIONS = 50
EXCHANGE_ID_BYTES = 16
KID_BYTES = 16
MAX_COUNT = 1 << 53
MAX_REPORT_MS = 35 * 86_400_000
"""The longest period of a report of quality."""

ASSIGN = ticket_pb2.TICKET_ACTION_ASSIGN
ANSWER = ticket_pb2.TICKET_ACTION_ANSWER
DECLINE = ticket_pb2.TICKET_ACTION_DECLINE
CORRECT = ticket_pb2.TICKET_ACTION_CORRECT
WITHDRAW = ticket_pb2.TICKET_ACTION_WITHDRAW
ACKNOWLEDGE = ticket_pb2.TICKET_ACTION_ACKNOWLEDGE
OPEN = ticket_pb2.TICKET_STATE_OPEN
ASSIGNED = ticket_pb2.TICKET_STATE_ASSIGNED
ANSWERED = ticket_pb2.TICKET_STATE_ANSWERED
DECLINED = ticket_pb2.TICKET_STATE_DECLINED
CORRECTED = ticket_pb2.TICKET_STATE_CORRECTED
WITHDRAWN = ticket_pb2.TICKET_STATE_WITHDRAWN
ADMIN = "admin"
"""Whose turn it is, where it is an administrator's."""

_WAITING = frozenset({OPEN, ASSIGNED})
_EXPLAINING = frozenset({DECLINE, CORRECT})
_AFTER = {DECLINE: DECLINED, CORRECT: CORRECTED, WITHDRAW: WITHDRAWN, ANSWER: ANSWERED, ASSIGN: ASSIGNED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A value that a consumer contests.

    Attributes:
        exchange_id: 16 bytes.
        sealed: what is wrong, for one agent of the provider; None where the words say it.
    """

    resource: str
    provider: str
    exchange_id: bytes
    fields: frozenset[str]
    sealed: ticket_pb2.SealedText | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Data that nobody offers yet; `addressed_to` is a credit code or empty."""

    title: str
    wanted: tuple[str, ...]
    division: str
    purpose: str
    matter: str
    addressed_to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A TicketBody, well formed: either a dispute or a demand.

    Attributes:
        ticket_id: digest of the body, 32 bytes.
        nonce: 16 bytes.
    """

    ticket_id: bytes
    nonce: bytes
    raised_by: str
    text: str
    issued_at_ms: int
    dispute: Dispute | None
    demand: Demand | None

    @property
    def name(self) -> str:
        """The first 16 hexadecimal digits of the id, for people."""
        return self.ticket_id[:8].hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketEvent:
    """A TicketEventBody, well formed for its action."""

    ticket_id: bytes
    revision: int
    action: "ticket_pb2.TicketAction.ValueType"
    text: str
    assigned_to: str
    resource: str
    fields: frozenset[str]
    issued_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A ticket and where it stands.

    Attributes:
        waits_for: whose turn it is: a credit code, or ADMIN; empty at the end.
        corrected: the fields that were corrected.
        told, acknowledged: credit codes of recipients.
    """

    ticket: Ticket
    state: "ticket_pb2.TicketState.ValueType"
    revision: int = 0
    waits_for: str = ""
    corrected: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()
    acknowledged: frozenset[str] = frozenset()


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


# -- reading -------------------------------------------------------------------------------------------------


def read_ticket(statement: common_pb2.Statement) -> Ticket:
    """Return the ticket that a statement holds. Signature and signer are not looked at.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule; the subject names the part.
    """
    if len(statement.body) > MAX_TICKET_BYTES:
        raise Oversized("ticket")
    try:
        body = ticket_pb2.TicketBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("ticket") from error
    if len(body.nonce) != NONCE_BYTES or not body.HasField("issued_at"):
        raise Malformed("nonce or issued_at")
    which = body.WhichOneof("subject")
    if which is None:
        raise Malformed("subject")
    check_words(body.text, "text", least=1)
    return Ticket(
        ticket_id=digest(TICKET, statement.body),
        nonce=body.nonce,
        raised_by=credit_code(body.raised_by),
        text=body.text,
        issued_at_ms=_moment(body.issued_at, "issued_at"),
        dispute=_dispute(body.dispute) if which == "dispute" else None,
        demand=_demand(body.demand) if which == "demand" else None,
    )


def _dispute(told: ticket_pb2.Dispute) -> Dispute:
    split_id(told.resource)
    if len(told.exchange_id) != EXCHANGE_ID_BYTES:
        raise Malformed("exchange_id")
    return Dispute(
        resource=told.resource,
        provider=credit_code(told.provider),
        exchange_id=told.exchange_id,
        fields=_names(told.fields, "fields"),
        sealed=_sealed(told.sealed) if told.HasField("sealed") else None,
    )


def _sealed(told: ticket_pb2.SealedText) -> ticket_pb2.SealedText:
    check_text(told.agent, "sealed.agent", least=1, most=MAX_AGENT)
    if len(told.kid) != KID_BYTES or not 0 < len(told.wrap) <= MAX_WRAP:
        raise Malformed("sealed")
    if not 0 < len(told.ciphertext) <= MAX_CIPHERTEXT:
        raise Oversized("sealed.ciphertext")
    return told


def _demand(told: ticket_pb2.Demand) -> Demand:
    check_words(told.title, "title", least=1)
    if not 0 < len(told.wanted) <= MAX_WANTED:
        raise Malformed("wanted")
    for one in told.wanted:
        check_words(one, "wanted", least=1)
    for word, subject in ((told.purpose, "purpose"), (told.matter, "matter")):
        check_words(word, subject)
        check_text(word, subject, most=MAX_WORD)
    return Demand(
        title=told.title,
        wanted=tuple(told.wanted),
        division=division_code(told.division),
        purpose=told.purpose,
        matter=told.matter,
        addressed_to=credit_code(told.addressed_to) if told.addressed_to else "",
    )


def read_event(statement: common_pb2.Statement) -> TicketEvent:
    """Return the step that a statement holds. Signature and signer are not looked at.

    Words are needed to decline and to correct; an organisation to assign, a resource to answer and fields to
    correct. None of these three may be given elsewhere.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule; the subject names the part.
    """
    if len(statement.body) > MAX_EVENT_BYTES:
        raise Oversized("ticket event")
    try:
        body = ticket_pb2.TicketEventBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("ticket event") from error
    if len(body.nonce) != NONCE_BYTES or len(body.ticket_id) != DIGEST_BYTES:
        raise Malformed("nonce or ticket_id")
    action = body.action
    if not action or action not in ticket_pb2.TicketAction.values() or not body.HasField("issued_at"):
        raise Malformed("action or issued_at")
    if (body.revision == 0) != (action == ACKNOWLEDGE) or body.revision > MAX_REVISIONS:
        raise Malformed("revision")
    for given, needed, subject in (
        (body.assigned_to, ASSIGN, "assigned_to"),
        (body.resource, ANSWER, "resource"),
        (body.fields, CORRECT, "fields"),
    ):
        if bool(given) != (action == needed):
            raise Malformed(subject)
    check_words(body.text, "text", least=1 if action in _EXPLAINING else 0)
    if body.resource:
        split_id(body.resource)
    return TicketEvent(
        ticket_id=body.ticket_id,
        revision=body.revision,
        action=action,
        text=body.text,
        assigned_to=credit_code(body.assigned_to) if body.assigned_to else "",
        resource=body.resource,
        fields=_names(body.fields, "fields") if body.fields else frozenset(),
        issued_at_ms=_moment(body.issued_at, "issued_at"),
    )


def read_quality(statement: common_pb2.Statement) -> QualityReport:
    """Return the report that a statement holds. Signature and signer are not looked at.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule; the subject names the part.
    """
    if len(statement.body) > MAX_QUALITY_BYTES:
        raise Oversized("quality report")
    try:
        body = ticket_pb2.QualityReportBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("quality report") from error
    if len(body.nonce) != NONCE_BYTES or not body.version or not body.HasField("issued_at"):
        raise Malformed("nonce, version or issued_at")
    split_id(body.resource)
    check_text(body.agent, "agent", least=1, most=MAX_AGENT)
    since_ms, until_ms = _moment(body.since, "since"), _moment(body.until, "until")
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
        issued_at_ms=_moment(body.issued_at, "issued_at"),
    )


def _counts(told: Sequence[ticket_pb2.FieldQuality]) -> dict[str, FieldCounts]:
    _names([one.name for one in told], "fields", least=0)
    for one in told:
        if one.values > MAX_COUNT or one.missing > one.values or one.invalid > one.values - one.missing:
            raise Malformed(f"counts of {one.name}")
    return {
        one.name: FieldCounts(values=one.values, missing=one.missing, invalid=one.invalid) for one in told
    }


def _names(told: Sequence[str], subject: str, *, least: int = 1) -> frozenset[str]:
    names = frozenset(told)
    if not least <= len(told) <= MAX_FIELDS or len(names) != len(told):
        raise Malformed(subject)
    for name in names:
        if not 0 < len(name) <= MAX_FIELD_NAME or not name.isidentifier() or not name.isascii():
            raise BadIdentifier(subject)
    return names


def _moment(stamp: Timestamp, subject: str) -> int:
    try:
        return stamp.ToMilliseconds()
    except ValueError as error:
        raise Malformed(subject) from error


# -- standing ------------------------------------------------------------------------------------------------


def raised(ticket: Ticket) -> Standing:
    """Return where a ticket stands when it was raised."""
    if ticket.dispute is not None:
        return Standing(ticket=ticket, state=ASSIGNED, waits_for=ticket.dispute.provider)
    assert ticket.demand is not None
    if ticket.demand.addressed_to:
        return Standing(ticket=ticket, state=ASSIGNED, waits_for=ticket.demand.addressed_to)
    return Standing(ticket=ticket, state=OPEN, waits_for=ADMIN)


def check_raiser(ticket: Ticket, signer: Identity) -> None:
    """Refuse a ticket that no steward of the organisation that raises it signed.

    Raises:
        RoleNotAllowed.
    """
    _check_steward(signer, ticket.raised_by)


def step(held: Standing, event: TicketEvent, signer: Identity) -> Standing:
    """Return where a ticket stands after a step; what the catalogue or the log must hold is not looked at.

    Raises:
        RoleNotAllowed: the signer may not take it.
        WrongState: it may not be taken now, or by whoever was not told.
    """
    action, ticket = event.action, held.ticket
    _check_signer(held, event, signer)
    if action == ACKNOWLEDGE:
        return _acknowledge(held, signer)
    if event.revision != held.revision + 1:
        raise WrongState(f"ticket {ticket.name} revision {event.revision}, due is {held.revision + 1}")
    if held.state not in _WAITING or not _fits(held, action):
        raise WrongState(f"ticket {ticket.name}")
    return replace(
        held,
        state=_AFTER[action],
        revision=event.revision,
        waits_for=event.assigned_to,
        corrected=event.fields,
    )


def _fits(held: Standing, action: int) -> bool:
    if action == WITHDRAW:
        return True
    if held.ticket.dispute is not None:
        return action in (CORRECT, DECLINE)
    return action == ASSIGN or (held.state == ASSIGNED and action in (ANSWER, DECLINE))


def _check_signer(held: Standing, event: TicketEvent, signer: Identity) -> None:
    if event.action == ASSIGN:
        if signer.role is not Role.ADMIN:
            raise RoleNotAllowed(str(signer))
    elif event.action == WITHDRAW:
        _check_steward(signer, held.ticket.raised_by)
    elif event.action == ACKNOWLEDGE:
        _check_steward(signer, signer.organisation)
    elif held.waits_for in ("", ADMIN):
        if signer.role is not Role.STEWARD:
            raise RoleNotAllowed(str(signer))
        raise WrongState(f"ticket {held.ticket.name}")
    else:
        _check_steward(signer, held.waits_for)


def _acknowledge(held: Standing, signer: Identity) -> Standing:
    if held.state != CORRECTED or signer.organisation not in held.told - held.acknowledged:
        raise WrongState(f"ticket {held.ticket.name}")
    return replace(held, acknowledged=held.acknowledged | {signer.organisation})


def _check_steward(signer: Identity, organisation: str) -> None:
    if signer.role is not Role.STEWARD or signer.organisation != organisation:
        raise RoleNotAllowed(str(signer))
