"""Until when a version of a catalogue entry must be reviewed: `review_days` from when it was signed."""

from collections.abc import Callable, Iterable, Iterator

from exchange.region_rules import RegionRules
from gateway.clocks.escalation import Due
from gateway.clocks.workdays import Workdays
from gateway.directory.catalogue_entry import Entry
from gateway.rules.register import RulesRegister


class CatalogueClocks:
    """Tells the clocks of reviews.

    Args:
        entries: returns everything in the catalogue.
        rules: of the region; a change of them counts for what runs already.
    """

    def __init__(self, *, entries: Callable[[], Iterable[Entry]], rules: RulesRegister) -> None:
        self._entries = entries
        rules.subscribe(self._use)

    def _use(self, rules: RegionRules) -> None:
        self._days, self._workdays = rules.clocks.review_days, Workdays(rules)

    def due(self) -> Iterator[Due]:
        """Yield what waits for review; see `gateway.clocks.escalation.Source`."""
        if not self._days:
            return
        for entry in self._entries():
            waiting = entry.waiting
            if waiting is not None:
                yield Due(
                    key=f"review/{entry.id}/{waiting.resource.version}",
                    subject=f"resource {entry.id} review {waiting.reviewer}",
                    due_ms=self._workdays.after(waiting.resource.issued_at_ms, self._days),
                )
