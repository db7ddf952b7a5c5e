"""Disputes, demands and quality: stewards raise and answer, agents report, everybody sees what concerns them.

1. A dispute's exchange is looked up in the log first: what is not there, or another's, is not told apart.
2. Who was only told of a correction sees that step and nothing of the dispute: neither who raised it nor why.
3. Whom a corrected value is about comes beside the step, as tags, and goes into no entry.
4. Times and lists are computed when they are asked for; nothing is held beside what is folded.
"""

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

from exchange.clock import Clock
from exchange.errors import Malformed, UnknownEntry, UnknownTicket
from exchange.identity import Identity
from exchange.tickets import CORRECT, CORRECTED, SUPPLEMENT, read_event, read_ticket
from exchange.timestamps import milliseconds
from exchange.v1 import audit_pb2, common_pb2, ticket_pb2, ticket_pb2_grpc
from gateway import pages
from gateway.calls import Calls
from gateway.registrar import Registrar
from gateway.tickets.clocks import TicketClocks
from gateway.tickets.corrections import Corrections
from gateway.tickets.held import Held
from gateway.tickets.quality import DAY_MS, KEPT_DAYS, QualityRegister
from gateway.tickets.recipients import Find
from gateway.tickets.register import TicketRegister
from gateway.tickets.summary import quality_of

SERVICE = "/exchange.v1.TicketService"
DEFAULT_DAYS = 30
LOOK = 20_000
"""Tickets that are looked at for one page; a page may be short and still have a next one."""


class TicketService(ticket_pb2_grpc.TicketServiceServicer):
    """Serves tickets and quality.

    Args:
        registrar: enters them.
        tickets, quality: as they are folded.
        clocks: of tickets.
        corrections: tells past recipients.
        find: finds an exchange in the log.
        calls: what every call has around it.
        clock: the time.
    """

    def __init__(
        self,
        *,
        registrar: Registrar,
        tickets: TicketRegister,
        quality: QualityRegister,
        clocks: TicketClocks,
        corrections: Corrections,
        find: Find,
        calls: Calls,
        clock: Clock,
    ) -> None:
        self._registrar = registrar
        self._tickets = tickets
        self._quality = quality
        self._clocks = clocks
        self._corrections = corrections
        self._find = find
        self._calls = calls
        self._clock = clock

    async def RaiseTicket(
        self, request: ticket_pb2.RaiseTicketRequest, context: Any
    ) -> ticket_pb2.RaiseTicketResponse:
        """Raise a dispute or demand."""
        return await self._calls.run(f"{SERVICE}/RaiseTicket", request, context, self._raise)

    async def ActOnTicket(
        self, request: ticket_pb2.ActOnTicketRequest, context: Any
    ) -> ticket_pb2.ActOnTicketResponse:
        """Take a ticket a step further."""
        return await self._calls.run(f"{SERVICE}/ActOnTicket", request, context, self._act)

    async def ListTickets(
        self, request: ticket_pb2.ListTicketsRequest, context: Any
    ) -> ticket_pb2.ListTicketsResponse:
        """List tickets, oldest first."""
        return await self._calls.run(f"{SERVICE}/ListTickets", request, context, self._list)

    async def GetTicket(
        self, request: ticket_pb2.GetTicketRequest, context: Any
    ) -> ticket_pb2.GetTicketResponse:
        """Return one ticket."""
        return await self._calls.run(f"{SERVICE}/GetTicket", request, context, self._get)

    async def ReportQuality(
        self, request: ticket_pb2.ReportQualityRequest, context: Any
    ) -> ticket_pb2.ReportQualityResponse:
        """Take a report of quality."""
        return await self._calls.run(f"{SERVICE}/ReportQuality", request, context, self._report)

    async def ListQuality(
        self, request: ticket_pb2.ListQualityRequest, context: Any
    ) -> ticket_pb2.ListQualityResponse:
        """Return the quality of resources."""
        return await self._calls.run(f"{SERVICE}/ListQuality", request, context, self._qualities)

    # -- changing ----------------------------------------------------------------------------------------

    async def _raise(
        self, request: ticket_pb2.RaiseTicketRequest, caller: Identity
    ) -> ticket_pb2.RaiseTicketResponse:
        ticket = read_ticket(request.ticket)
        entry = audit_pb2.ExchangeEntry()
        if ticket.dispute is not None and self._tickets.get(ticket.ticket_id) is None:
            index = await self._find(ticket.dispute.exchange_id)
            if index is None:
                raise UnknownEntry(ticket.dispute.exchange_id.hex())
            entry = audit_pb2.AuditEntry.FromString(self._registrar.leaf(index)).exchange
        with self._tickets.showing(ticket.ticket_id, entry):
            index = await self._registrar.record(audit_pb2.ACT_TICKET, caller, request.ticket)
        return ticket_pb2.RaiseTicketResponse(ticket_id=ticket.ticket_id, index=index)

    async def _act(
        self, request: ticket_pb2.ActOnTicketRequest, caller: Identity
    ) -> ticket_pb2.ActOnTicketResponse:
        event = read_event(request.event)
        afterwards = event.action == SUPPLEMENT
        tells = afterwards or event.action == CORRECT
        if (afterwards and not request.subjects) or (request.subjects and not tells):
            raise Malformed("subjects")
        around = None
        if tells:
            held = self._tickets.one(event.ticket_id)
            around = await self._corrections.taking(held, request.subjects, caller, afterwards=afterwards)
        index = await self._registrar.record(audit_pb2.ACT_TICKET_EVENT, caller, request.event, around=around)
        held = self._tickets.one(event.ticket_id)
        told = await self._corrections.wait(held) if tells else len(held.standing.told)
        return ticket_pb2.ActOnTicketResponse(state=held.standing.state, index=index, told=told)

    async def _report(
        self, request: ticket_pb2.ReportQualityRequest, caller: Identity
    ) -> ticket_pb2.ReportQualityResponse:
        index = await self._registrar.record(audit_pb2.ACT_QUALITY, caller, request.report)
        return ticket_pb2.ReportQualityResponse(index=index)

    # -- reading -----------------------------------------------------------------------------------------

    async def _list(
        self, request: ticket_pb2.ListTicketsRequest, caller: Identity
    ) -> ticket_pb2.ListTicketsResponse:
        most = pages.page_size(request.page_size)
        after = _position(request.page_token)
        looked = list(islice(self._tickets.page(caller, after), LOOK))
        wanted = [held for held in looked if self._fits(held, request)]
        # In a thread: each entry may be in another sealed chunk.
        told = await asyncio.to_thread(self._fitting, wanted, caller, most)
        response = ticket_pb2.ListTicketsResponse(tickets=[record for _, record in told])
        if len(told) < len(wanted):
            response.next_page_token = pages.token("tickets", str(told[-1][0]))
        elif len(looked) == LOOK:
            response.next_page_token = pages.token("tickets", str(looked[-1].index))
        return response

    async def _get(
        self, request: ticket_pb2.GetTicketRequest, caller: Identity
    ) -> ticket_pb2.GetTicketResponse:
        held = self._tickets.one(request.ticket_id)
        if not held.seen_by(caller) and caller.organisation not in held.standing.told:
            # The same answer as for a ticket that is not there.
            raise UnknownTicket(held.ticket.name)
        return ticket_pb2.GetTicketResponse(ticket=self._record(held, caller))

    def _fits(self, held: Held, request: ticket_pb2.ListTicketsRequest) -> bool:
        if request.state and held.standing.state != request.state:
            return False
        if request.disputes != request.demands and request.demands != (held.ticket.demand is not None):
            return False
        return not request.overdue or 0 < self._clocks.due_ms(held) <= self._clock.now_ms()

    def _fitting(
        self, found: list[Held], caller: Identity, most: int
    ) -> list[tuple[int, ticket_pb2.TicketRecord]]:
        return pages.fitting(self._told(found, caller), lambda one: one[1].ByteSize(), most=most)

    def _told(self, found: list[Held], caller: Identity) -> Iterator[tuple[int, ticket_pb2.TicketRecord]]:
        for held in found:
            yield held.index, self._record(held, caller)

    def _record(self, held: Held, caller: Identity) -> ticket_pb2.TicketRecord:
        standing = held.standing
        if not held.seen_by(caller):
            return self._record_of_recipient(held, caller)
        record = ticket_pb2.TicketRecord(
            ticket_id=held.ticket.ticket_id,
            ticket=self._statement(held.index),
            events=[self._statement(index) for index in held.history],
            state=standing.state,
            revision=standing.revision,
            waits_for=standing.waits_for,
            told=sorted(standing.told),
            acknowledged=sorted(standing.acknowledged),
            told_all=held.told_all,
            told_period=held.told_period,
            untraceable=held.untraceable,
            told_periods=held.told_periods,
            erased_periods=held.erased_periods,
            unsearched_periods=held.unsearched_periods,
        )
        due_ms = self._clocks.due_ms(held)
        if due_ms:
            record.due_at.FromMilliseconds(due_ms)
        return record

    def _record_of_recipient(self, held: Held, caller: Identity) -> ticket_pb2.TicketRecord:
        own = frozenset({caller.organisation})
        return ticket_pb2.TicketRecord(
            ticket_id=held.ticket.ticket_id,
            events=[self._statement(held.corrected_index)],
            state=CORRECTED,
            revision=held.standing.revision,
            told=own & held.standing.told,
            acknowledged=own & held.standing.acknowledged,
        )

    def _statement(self, index: int) -> common_pb2.Statement:
        return audit_pb2.AuditEntry.FromString(self._registrar.leaf(index)).administrative.statement

    async def _qualities(
        self, request: ticket_pb2.ListQualityRequest, caller: Identity
    ) -> ticket_pb2.ListQualityResponse:
        now_ms = self._clock.now_ms()
        until_ms = milliseconds(request.until, "until") if request.HasField("until") else now_ms
        since_ms = until_ms - DEFAULT_DAYS * DAY_MS
        if request.HasField("since"):
            since_ms = milliseconds(request.since, "since")
        if not 0 <= until_ms - since_ms <= KEPT_DAYS * DAY_MS:
            raise Malformed("since")
        names = {*self._quality.resources(), *self._tickets.disputed()}
        chosen = names & {request.resource} if request.resource else names
        found = (
            quality_of(name, self._quality, self._tickets.disputes(name), since_ms, until_ms)
            for name in sorted(chosen)
        )
        return ticket_pb2.ListQualityResponse(resources=[one for one in found if one.reports or one.disputes])


def _position(token: str) -> int:
    key = pages.key_of("tickets", token) or "-1"
    if not key.removeprefix("-").isdecimal():
        raise Malformed("page_token")
    return int(key)
