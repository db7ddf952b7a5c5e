"""A ticket at the gateway: where it stands, where its entries are, and who may see it."""

from dataclasses import dataclass, field

from exchange.identity import Identity, Role
from exchange.tickets import ASSIGNED, OPEN, Standing, Ticket
from exchange.v1 import audit_pb2

OVERSEERS = frozenset({Role.OFFICER, Role.AUDITOR, Role.ADMIN})


@dataclass(slots=True, kw_only=True)
class Held:
    """A ticket and what came of it.

    Attributes:
        index: of the entry that raised it.
        raised_ms: when, Unix milliseconds, by the gateway's clock.
        since_ms: since when whoever it waits for has it.
        history: indexes of the entries of its steps, ascending.
        corrected_index: of the entry that says the source was corrected; 0 before.
        exchanges: told to their recipients while the telling goes on, 16 bytes each.
        told_all: whether everybody who was found has been told.
        told_period: of the disputed exchange's tags, where they were looked for by these.
        untraceable: whether nobody could be looked for by these.
        told_periods: every quarter in which they were looked for.
        erased_periods: quarters of the log that could be searched no more.
        unsearched_periods: quarters of the log that were not searched, for the provider named nobody.
        supplemented: whether it did so afterwards: what was told before is not told again.
    """

    index: int
    standing: Standing
    raised_ms: int
    since_ms: int
    history: list[int] = field(default_factory=list)
    corrected_index: int = 0
    exchanges: set[bytes] = field(default_factory=set)
    told_all: bool = False
    told_period: str = ""
    untraceable: bool = False
    told_periods: tuple[str, ...] = ()
    erased_periods: tuple[str, ...] = ()
    unsearched_periods: tuple[str, ...] = ()
    supplemented: bool = False

    @property
    def may_be_supplemented(self) -> bool:
        """Whether everybody is told who was found, and quarters are left that a subject's tags would open."""
        return self.told_all and not self.untraceable and bool(self.unsearched_periods)

    @property
    def ticket(self) -> Ticket:
        """What was raised."""
        return self.standing.ticket

    @property
    def waiting(self) -> bool:
        """Whether somebody must act on it."""
        return self.standing.state in (OPEN, ASSIGNED)

    def end_telling(self, told: audit_pb2.CorrectionRecord) -> None:
        """Take over from the entry that ends the telling where recipients were looked for."""
        self.told_all, self.exchanges = True, set()
        self.told_period, self.untraceable = told.tag_period, told.erased
        # Before these were told apart there was the disputed exchange's quarter alone.
        self.told_periods = tuple(told.searched_periods or filter(None, [told.tag_period]))
        self.erased_periods = tuple(told.erased_periods)
        self.unsearched_periods = tuple(told.unsearched_periods)

    def parties(self) -> frozenset[str]:
        """Return the credit codes of who raised a dispute and whom it is about."""
        dispute = self.ticket.dispute
        return frozenset({self.ticket.raised_by, dispute.provider if dispute else self.ticket.raised_by})

    def seen_by(self, who: Identity) -> bool:
        """Return whether somebody may see the whole ticket: demands are for everybody."""
        return self.ticket.demand is not None or who.role in OVERSEERS or who.organisation in self.parties()
