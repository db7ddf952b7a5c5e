"""Disputes and demands: which step may follow which, and who takes it.

Shared by the gateway, which decides, and by agents, which verify what they are told; what bodies say is read
by `exchange.ticket_body`.

1. A dispute is with the provider at once, who corrects or declines it; who raised it may withdraw it.
2. A demand waits for an administrator, who gives it to an organisation; one that says whom it is addressed to
   is with that organisation at once. It is answered by a resource of that organisation, declined, withdrawn.
3. Revisions count up by one from 1. Acknowledgements have revision 0: they come in any order, one from each
   recipient that was told.
4. A dispute that was corrected may be supplemented: its provider names whom the value is about, which changes
   no state. Whether anything is left to be named is the gateway's to know.
5. Only stewards of the organisation whose turn it is act, and administrators to assign.
"""

from dataclasses import dataclass, replace

from exchange.errors import RoleNotAllowed, WrongState
from exchange.identity import Identity, Role
from exchange.ticket_body import (
    ACKNOWLEDGE,
    ANSWER,
    ASSIGN,
    CORRECT,
    DECLINE,
    SUPPLEMENT,
    WITHDRAW,
    Dispute,
    Ticket,
    TicketEvent,
    read_event,
    read_ticket,
)
from exchange.v1 import ticket_pb2

__all__ = [
    "ACKNOWLEDGE",
    "ANSWER",
    "ASSIGN",
    "CORRECT",
    "DECLINE",
    "SUPPLEMENT",
    "WITHDRAW",
    "Dispute",
    "Standing",
    "Ticket",
    "TicketEvent",
    "check_raiser",
    "raised",
    "read_event",
    "read_ticket",
    "step",
]

OPEN = ticket_pb2.TICKET_STATE_OPEN
ASSIGNED = ticket_pb2.TICKET_STATE_ASSIGNED
ANSWERED = ticket_pb2.TICKET_STATE_ANSWERED
DECLINED = ticket_pb2.TICKET_STATE_DECLINED
CORRECTED = ticket_pb2.TICKET_STATE_CORRECTED
WITHDRAWN = ticket_pb2.TICKET_STATE_WITHDRAWN
ADMIN = "admin"
"""Whose turn it is, where it is an administrator's."""

_WAITING = frozenset({OPEN, ASSIGNED})
_AFTER = {DECLINE: DECLINED, CORRECT: CORRECTED, WITHDRAW: WITHDRAWN, ANSWER: ANSWERED, ASSIGN: ASSIGNED}


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
    if action == SUPPLEMENT and held.state == CORRECTED:
        return replace(held, revision=event.revision)
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
    elif event.action == SUPPLEMENT and held.ticket.dispute is not None:
        _check_steward(signer, held.ticket.dispute.provider)
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
