"""Until when a ticket must be acted on: the region's working days from when whoever it waits for has it."""

from collections.abc import Iterator

from exchange.region_rules import RegionRules
from gateway.clocks.escalation import Due
from gateway.clocks.workdays import Workdays
from gateway.rules.register import RulesRegister
from gateway.tickets.held import Held
from gateway.tickets.register import TicketRegister


class TicketClocks:
    """Tells the clocks of tickets.

    Args:
        tickets: as they are folded.
        rules: of the region; a change of them counts for what runs already.
    """

    def __init__(self, *, tickets: TicketRegister, rules: RulesRegister) -> None:
        self._tickets = tickets
        rules.subscribe(self._use)

    def _use(self, rules: RegionRules) -> None:
        self._clocks, self._workdays = rules.clocks, Workdays(rules)

    def due_ms(self, held: Held) -> int:
        """Return when a ticket's clock runs out, Unix milliseconds; 0 where none runs."""
        clocks = self._clocks
        days = clocks.dispute_days if held.ticket.dispute is not None else clocks.demand_days
        return self._workdays.after(held.since_ms, days) if days and held.waiting else 0

    def due(self) -> Iterator[Due]:
        """Yield what waits for somebody; see `gateway.clocks.escalation.Source`."""
        for held in self._tickets.waiting():
            due_ms = self.due_ms(held)
            if due_ms:
                kind = "dispute" if held.ticket.dispute is not None else "demand"
                name = held.ticket.ticket_id.hex()
                yield Due(
                    key=f"ticket/{name}/{held.standing.revision}",
                    subject=f"{kind} {name[:16]} waits for {held.standing.waits_for}",
                    due_ms=due_ms,
                )
