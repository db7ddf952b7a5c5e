"""Disputes and demands, folded from the log.

1. A dispute is taken only about an exchange that is in the log, was released, and was that consumer's, of
   that resource, provider and fields: the service shows the entry (`showing`) before it hands the dispute in.
   Whether the resource is suspended or withdrawn since, or a grant over, is not asked: what came stays wrong.
2. Steps follow `exchange.tickets`; what the catalogue must hold for one is looked at here.
3. A correction that recipients are told of is the gateway's entry beside the provider's signed step. Until
   the telling has ended, the exchanges told so far are held, so that after a crash it goes on where it was.
4. Bodies and steps stay in the log: what is held of a ticket are facts and indexes.
"""

from array import array
from bisect import bisect_right, insort
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from heapq import merge

from exchange.errors import (
    BundleStale,
    Malformed,
    RoleNotAllowed,
    TooMany,
    UnknownEntry,
    UnknownField,
    UnknownResource,
    UnknownTicket,
    WrongState,
    WrongSuite,
)
from exchange.grants import check_issued
from exchange.identity import Identity, parse_uri
from exchange.keys import PeerKeys
from exchange.suites import SUITES
from exchange.tickets import (
    ACKNOWLEDGE,
    ANSWER,
    ASSIGN,
    CORRECT,
    CORRECTED,
    SUPPLEMENT,
    Dispute,
    Ticket,
    TicketEvent,
    check_raiser,
    raised,
    read_event,
    read_ticket,
    step,
)
from exchange.v1 import audit_pb2
from gateway.audience import EVERYBODY, Audience
from gateway.directory.organisations import Organisations
from gateway.directory.resources import Catalogue
from gateway.register import Submitted
from gateway.tickets.held import OVERSEERS, Held

MAX_OPEN = 500
"""Tickets of one organisation that are open at a time."""

Newest = Callable[[str, str], PeerKeys | None]
"""Returns the keys in force of an agent, by credit code and name."""


class TicketRegister:
    """Every dispute and demand; built by `apply`, read by everybody.

    Args:
        catalogue, organisations: of the region, as folded so far.
        newest: returns the keys of an agent.
    """

    acts: Collection["audit_pb2.Act.ValueType"] = frozenset(
        {audit_pb2.ACT_TICKET, audit_pb2.ACT_TICKET_EVENT, audit_pb2.ACT_CORRECTION}
    )

    def __init__(self, *, catalogue: Catalogue, organisations: Organisations, newest: Newest) -> None:
        self._catalogue = catalogue
        self._organisations = organisations
        self._newest = newest
        self._by_id: dict[bytes, Held] = {}
        self._by_index: dict[int, Held] = {}
        self._all: array[int] = array("Q")
        self._demands: array[int] = array("Q")
        self._of: dict[str, array[int]] = {}
        self._disputes: dict[str, list[bytes]] = {}
        self._open: dict[str, int] = {}
        self._waiting: dict[bytes, Held] = {}
        self._telling: dict[bytes, Held] = {}
        self._shown: dict[bytes, audit_pb2.ExchangeEntry] = {}

    # -- reading -----------------------------------------------------------------------------------------

    def get(self, ticket_id: bytes) -> Held | None:
        """Return the ticket of an id of 32 bytes, None where there is none."""
        return self._by_id.get(ticket_id)

    def one(self, ticket_id: bytes) -> Held:
        """Return the ticket of an id.

        Raises:
            UnknownTicket.
        """
        found = self._by_id.get(ticket_id)
        if found is None:
            raise UnknownTicket(ticket_id[:8].hex())
        return found

    def page(self, who: Identity, after: int) -> Iterator[Held]:
        """Yield the tickets raised after a log index that concern somebody, oldest first."""
        if who.role in OVERSEERS:
            lists: Sequence[array[int]] = (self._all,)
        else:
            lists = (self._of.get(who.organisation, array("Q")), self._demands)
        starts = [one[bisect_right(one, after) :] for one in lists]
        last = -1
        for index in merge(*starts):
            if index != last:
                yield self._by_index[index]
            last = index

    def waiting(self) -> Collection[Held]:
        """Return the tickets that wait for somebody."""
        return self._waiting.values()

    def telling(self) -> list[Held]:
        """Return the disputes whose correction is still to be told, oldest first."""
        return list(self._telling.values())

    def disputes(self, resource: str) -> list[Held]:
        """Return the disputes about a resource, oldest first."""
        return [self._by_id[one] for one in self._disputes.get(resource, ())]

    def disputed(self) -> Mapping[str, Sequence[bytes]]:
        """Return the ids of disputes by resource."""
        return self._disputes

    # -- deciding ----------------------------------------------------------------------------------------

    @contextmanager
    def showing(self, ticket_id: bytes, entry: audit_pb2.ExchangeEntry) -> Iterator[None]:
        """Show the log's entry of the exchange that a dispute is about, while it is handed in."""
        self._shown[ticket_id] = entry
        try:
            yield
        finally:
            self._shown.pop(ticket_id, None)

    def check(self, submitted: Submitted) -> str:
        """Refuse a ticket or step that breaks a rule; see `gateway.register.Register`.

        Raises:
            UnknownEntry, UnknownResource, UnknownField, UnknownTicket, WrongState, RoleNotAllowed, TooMany,
            BundleStale, WrongSuite, Malformed, ClockSkew.
        """
        if submitted.others:
            raise Malformed("countersignatures")
        if submitted.act == audit_pb2.ACT_TICKET:
            return self._check_ticket(read_ticket(submitted.statement), submitted)
        if submitted.act == audit_pb2.ACT_TICKET_EVENT:
            return self._check_event(read_event(submitted.statement), submitted)
        # The gateway's own to enter, and never handed in.
        raise Malformed("act")

    def _check_ticket(self, ticket: Ticket, submitted: Submitted) -> str:
        check_raiser(ticket, submitted.signer.identity)
        check_issued(ticket.issued_at_ms, submitted.now_ms)
        self._organisations.get(ticket.raised_by)
        if self._open.get(ticket.raised_by, 0) >= MAX_OPEN:
            raise TooMany("open tickets")
        if ticket.dispute is not None:
            self._check_dispute(ticket, ticket.dispute)
        elif ticket.demand is not None and ticket.demand.addressed_to:
            self._organisations.get(ticket.demand.addressed_to)
        return ticket.ticket_id.hex()

    def _check_dispute(self, ticket: Ticket, dispute: Dispute) -> None:
        self._catalogue.once_in_force(dispute.resource)
        entry = self._shown.get(ticket.ticket_id)
        if (
            entry is None
            or entry.exchange_id != dispute.exchange_id
            or entry.decision != audit_pb2.DECISION_RELEASED
            or entry.consumer_organisation != ticket.raised_by
        ):
            # The same answer for what is not there and for what is another's.
            raise UnknownEntry(dispute.exchange_id.hex())
        if (entry.resource, entry.provider_organisation) != (dispute.resource, dispute.provider):
            raise UnknownResource(dispute.resource)
        if not dispute.fields <= set(entry.fields):
            raise UnknownField(", ".join(sorted(dispute.fields - set(entry.fields)))[:80])
        if dispute.sealed is not None:
            if dispute.sealed.suite not in SUITES:
                raise WrongSuite(f"0x{dispute.sealed.suite:04x}")
            keys = self._newest(dispute.provider, dispute.sealed.agent)
            if keys is None or dispute.sealed.kid not in keys.sealing:
                raise BundleStale(dispute.sealed.agent)

    def _check_event(self, event: TicketEvent, submitted: Submitted) -> str:
        who = submitted.signer.identity
        held = self.one(event.ticket_id)
        told = who.organisation in held.standing.told
        if not held.seen_by(who) and not (told and event.action == ACKNOWLEDGE):
            # The same answer for what is not there and for what is not shown.
            raise UnknownTicket(held.ticket.name)
        check_issued(event.issued_at_ms, submitted.now_ms)
        step(held.standing, event, who)
        if event.action == ASSIGN:
            self._organisations.get(event.assigned_to)
        elif event.action == ANSWER and self._catalogue.exactly(event.resource).provider != who.organisation:
            raise RoleNotAllowed(event.resource)
        elif event.action == CORRECT:
            self._check_corrected(held, event)
        elif event.action == SUPPLEMENT and not held.may_be_supplemented:
            raise WrongState(f"ticket {held.ticket.name}")
        return held.ticket.ticket_id.hex()

    def _check_corrected(self, held: Held, event: TicketEvent) -> None:
        dispute = held.ticket.dispute
        assert dispute is not None
        known = dispute.fields | self._catalogue.once_in_force(dispute.resource).fields.keys()
        if not event.fields <= known:
            raise UnknownField(", ".join(sorted(event.fields - known))[:80])

    # -- folding -----------------------------------------------------------------------------------------

    def apply(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Take over an entry of the log; see `gateway.register.Register`."""
        act = entry.administrative
        if act.act == audit_pb2.ACT_TICKET:
            self._raise(index, entry, read_ticket(act.statement))
        elif act.act == audit_pb2.ACT_TICKET_EVENT:
            self._step(index, entry, read_event(act.statement))
        else:
            self._tell(act.correction)

    def _raise(self, index: int, entry: audit_pb2.AuditEntry, ticket: Ticket) -> None:
        if ticket.dispute is not None:
            # What is sealed stays in the log; the gateway has no use for it.
            ticket = replace(ticket, dispute=replace(ticket.dispute, sealed=None))
        held = Held(index=index, standing=raised(ticket), raised_ms=entry.time_ms, since_ms=entry.time_ms)
        self._by_id[ticket.ticket_id] = self._by_index[index] = self._waiting[ticket.ticket_id] = held
        self._all.append(index)
        self._open[ticket.raised_by] = self._open.get(ticket.raised_by, 0) + 1
        if ticket.dispute is None:
            self._demands.append(index)
            return
        self._disputes.setdefault(ticket.dispute.resource, []).append(ticket.ticket_id)
        for party in held.parties():
            self._of.setdefault(party, array("Q")).append(index)

    def _step(self, index: int, entry: audit_pb2.AuditEntry, event: TicketEvent) -> None:
        held = self.one(event.ticket_id)
        held.standing = step(held.standing, event, parse_uri(entry.administrative.actor))
        held.history.append(index)
        if event.action == ACKNOWLEDGE:
            return
        if event.action == SUPPLEMENT:
            held.told_all, held.supplemented = False, True
            self._telling[event.ticket_id] = held
            return
        held.since_ms = entry.time_ms
        if held.standing.state == CORRECTED:
            held.corrected_index = index
            self._telling[event.ticket_id] = held
        if not held.waiting:
            del self._waiting[event.ticket_id]
            self._open[held.ticket.raised_by] -= 1

    def _tell(self, told: audit_pb2.CorrectionRecord) -> None:
        held = self._telling.get(told.ticket_id)
        if held is None:
            raise WrongState(f"correction {told.ticket_id[:8].hex()}")
        if told.ends:
            held.end_telling(told)
            del self._telling[told.ticket_id]
            return
        held.exchanges.update(told.exchange_ids)
        if held.supplemented:
            # What it acknowledged was less than what it is told of now.
            left = held.standing.acknowledged - {told.recipient}
            held.standing = replace(held.standing, acknowledged=left)
        if told.recipient not in held.standing.told:
            held.standing = replace(held.standing, told=held.standing.told | {told.recipient})
            if told.recipient not in held.parties():
                indexes = self._of.setdefault(told.recipient, array("Q"))
                insort(indexes, held.index)

    def audience(self, entry: audit_pb2.AuditEntry) -> Audience:
        """Disputes: both parties. Demands: everybody. A correction: that recipient."""
        act = entry.administrative
        if act.act == audit_pb2.ACT_CORRECTION and not act.correction.ends:
            return Audience(organisations=frozenset({act.correction.recipient}))
        if act.act == audit_pb2.ACT_CORRECTION:
            held = self.one(act.correction.ticket_id)
        elif act.act == audit_pb2.ACT_TICKET:
            held = self.one(read_ticket(act.statement).ticket_id)
        else:
            held = self.one(read_event(act.statement).ticket_id)
        return EVERYBODY if held.ticket.demand is not None else Audience(organisations=held.parties())
