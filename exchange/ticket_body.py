"""What a ticket and its steps say: TicketBody and TicketEventBody, well formed, before who may sign is asked.

A ticket's id is the digest of its body. Words go into the log for good: they hold no citizen id
(`exchange.review.check_words`); what is wrong with a value stands sealed (`exchange.sealed_text`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from exchange.bodies import read_body
from exchange.canonical import DIGEST_BYTES, NONCE_BYTES, TICKET, digest
from exchange.codes import credit_code, division_code
from exchange.errors import BadIdentifier, Malformed, Oversized
from exchange.resources import MAX_FIELDS, check_text, split_id
from exchange.review import check_words
from exchange.timestamps import milliseconds
from exchange.v1 import common_pb2, ticket_pb2

MAX_TICKET_BYTES = 24 * 1024
MAX_EVENT_BYTES = 8 * 1024
MAX_CIPHERTEXT = 8 * 1024
MAX_WRAP = 2048
MAX_WANTED = 32
MAX_WORD = 80
MAX_FIELD_NAME = 63
MAX_AGENT = 64
MAX_REVISIONS = 50
EXCHANGE_ID_BYTES = 16
KID_BYTES = 16

ASSIGN = ticket_pb2.TICKET_ACTION_ASSIGN
ANSWER = ticket_pb2.TICKET_ACTION_ANSWER
DECLINE = ticket_pb2.TICKET_ACTION_DECLINE
CORRECT = ticket_pb2.TICKET_ACTION_CORRECT
WITHDRAW = ticket_pb2.TICKET_ACTION_WITHDRAW
ACKNOWLEDGE = ticket_pb2.TICKET_ACTION_ACKNOWLEDGE
SUPPLEMENT = ticket_pb2.TICKET_ACTION_SUPPLEMENT
_EXPLAINING = frozenset({DECLINE, CORRECT})


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


def read_ticket(statement: common_pb2.Statement) -> Ticket:
    """Return the ticket that a statement holds. Signature and signer are not looked at.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule; the subject names the part.
    """
    body = read_body(ticket_pb2.TicketBody, statement.body, "ticket", most=MAX_TICKET_BYTES)
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
        issued_at_ms=milliseconds(body.issued_at, "issued_at"),
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
        fields=field_names(told.fields, "fields"),
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
    body = read_body(ticket_pb2.TicketEventBody, statement.body, "ticket event", most=MAX_EVENT_BYTES)
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
        fields=field_names(body.fields, "fields") if body.fields else frozenset(),
        issued_at_ms=milliseconds(body.issued_at, "issued_at"),
    )


def field_names(told: Sequence[str], subject: str, *, least: int = 1) -> frozenset[str]:
    """Return names of fields, each once, at least so many.

    Raises:
        Malformed, BadIdentifier: with the subject given.
    """
    names = frozenset(told)
    if not least <= len(told) <= MAX_FIELDS or len(names) != len(told):
        raise Malformed(subject)
    for name in names:
        if not 0 < len(name) <= MAX_FIELD_NAME or not name.isidentifier() or not name.isascii():
            raise BadIdentifier(subject)
    return names
