"""The region's reviews, folded from the log. Pure.

1. A review is drawn by an officer or auditor; at most 200 are open at a time.
2. Its items are stated once, by the gateway, in an entry of their own: a start reads them and draws nothing.
   A review without that entry (the gateway died in between) is drawn again, with the same seed and outcome.
3. Every step with an item follows `gateway.review.item`.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from exchange.errors import RoleNotAllowed, TooMany, UnknownEntry, WrongState
from exchange.identity import Identity, Role, parse_uri
from exchange.review import FINDING, SELECT, Draw, Event, Selected, read_draw, read_event
from exchange.sampling import seed_of
from exchange.v1 import audit_pb2, common_pb2
from gateway.review.item import CLOSED, REVIEWERS, Item, sees, step

MAX_OPEN = 200


@dataclass(slots=True, kw_only=True)
class Review:
    """A review and where it stands.

    Attributes:
        index: of the draw's log entry.
        statement: the signed draw.
        drawer: SPIFFE id of who drew.
        drawn_ms: when, Unix milliseconds, by the gateway's clock.
        seed: of the sample, 32 bytes.
        selection_index: of the entry that states the items; 0 while there is none.
        population: how many entries could have been drawn.
        items: by index of the entry, ascending.
        parties: who answers for them.
        unclosed: how many items are not closed.
        findings: how many are closed with a finding.
    """

    index: int
    draw: Draw
    statement: common_pb2.Statement = field(repr=False)
    drawer: str
    drawn_ms: int
    seed: bytes
    selection_index: int = 0
    population: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    parties: frozenset[str] = frozenset()
    unclosed: int = 0
    findings: int = 0

    @property
    def name(self) -> str:
        """The first 16 hexadecimal digits of the review's id, for people."""
        return self.draw.review_id[:8].hex()

    @property
    def open(self) -> bool:
        """Whether something is left to do."""
        return not self.selection_index or self.unclosed > 0

    def concerns(self, who: Identity) -> bool:
        """Return whether somebody may see the review: overseers all, others where they see an item."""
        return who.role in REVIEWERS or any(sees(who, Selected(index=0, party=one)) for one in self.parties)

    def seen_by(self, who: Identity) -> list[Item]:
        """Return the items that somebody may see, in order of their entries."""
        return [item for item in self.items.values() if sees(who, item.selected)]


class Reviews:
    """Every review of the region; built by `apply`, read by everybody."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Review] = {}
        self._by_index: dict[int, Review] = {}
        self._order: array[int] = array("Q")

    def one(self, review_id: bytes) -> Review:
        """Return the review of an id.

        Raises:
            UnknownEntry.
        """
        found = self._by_id.get(review_id)
        if found is None:
            raise UnknownEntry(f"review {review_id[:8].hex()}")
        return found

    def page(self, who: Identity, after: int, limit: int) -> Sequence[Review]:
        """Return at most `limit` reviews drawn after a log index that concern somebody, oldest first.

        Args:
            who: an officer or auditor sees every review, others those with an item they may see.
            after: index of the draw after which to go on, -1 for the start.
            limit: how many at most.
        """
        found: list[Review] = []
        for place in range(bisect_right(self._order, after), len(self._order)):
            review = self._by_index[self._order[place]]
            if review.concerns(who):
                found.append(review)
                if len(found) == limit:
                    break
        return found

    def unselected(self) -> Iterator[Review]:
        """Yield the reviews whose items are still to be stated, oldest first."""
        for index in self._order:
            if not self._by_index[index].selection_index:
                yield self._by_index[index]

    def check_draw(self, who: Identity) -> None:
        """Refuse a draw by somebody who may not make one, or not now.

        Raises:
            RoleNotAllowed, TooMany.
        """
        if who.role not in REVIEWERS:
            raise RoleNotAllowed("draw")
        if sum(review.open for review in self._by_id.values()) >= MAX_OPEN:
            raise TooMany("open reviews")

    def check_event(self, event: Event, who: Identity) -> None:
        """Refuse a step that breaks a rule.

        Raises:
            UnknownEntry, WrongState, RoleNotAllowed, SecondPersonRequired.
        """
        review = self.one(event.review_id)
        if event.action == SELECT:
            _check_selection(review, event, who)
            return
        item = review.items.get(event.item)
        if item is None or not sees(who, item.selected):
            # The same answer for what is not there and for what is not shown.
            raise UnknownEntry(f"review {review.name} item {event.item}")
        step(item, event, who, 0)

    def apply(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Take over a draw or a step that was checked before it was logged at that index.

        Raises:
            ExchangeError: it does not fit what came before.
        """
        told = entry.administrative
        if told.act == audit_pb2.ACT_REVIEW_DRAW:
            self._add(index, entry, read_draw(told.statement))
            return
        event, who = read_event(told.statement), parse_uri(told.actor)
        review = self.one(event.review_id)
        if event.action == SELECT:
            _check_selection(review, event, who)
            review.items = {one.index: Item(selected=one) for one in event.selected}
            review.selection_index, review.population = index, event.population
            review.unclosed = len(review.items)
            review.parties = frozenset(one.party for one in event.selected)
            return
        item = review.items.get(event.item)
        if item is None:
            raise UnknownEntry(f"review {review.name} item {event.item}")
        after = step(item, event, who, index)
        review.items[event.item] = after
        review.unclosed += (item.state == CLOSED) - (after.state == CLOSED)
        review.findings += _found(after) - _found(item)

    def _add(self, index: int, entry: audit_pb2.AuditEntry, draw: Draw) -> None:
        review = Review(
            index=index,
            draw=draw,
            statement=entry.administrative.statement,
            drawer=entry.administrative.actor,
            drawn_ms=entry.time_ms,
            seed=seed_of(entry.salt, draw.review_id),
        )
        self._by_id[draw.review_id] = self._by_index[index] = review
        self._order.append(index)


def tally(review: Review, who: Identity) -> tuple[int, int, int]:
    """Return how many items somebody may see, how many of them are closed, and how many with a finding."""
    if who.role in REVIEWERS:
        total = len(review.items)
        return total, total - review.unclosed, review.findings
    seen = review.seen_by(who)
    return len(seen), sum(item.state == CLOSED for item in seen), sum(map(_found, seen))


def _found(item: Item) -> bool:
    return item.state == CLOSED and item.verdict == FINDING


def _check_selection(review: Review, event: Event, who: Identity) -> None:
    if who.role is not Role.GATEWAY:
        raise RoleNotAllowed("selection")
    if review.selection_index:
        raise WrongState(f"review {review.name} has its items")
    draw = review.draw
    if len(event.selected) != min(draw.count, event.population):
        raise WrongState(f"review {review.name} count")
    if any(not draw.first <= one.index < draw.end for one in event.selected):
        raise WrongState(f"review {review.name} range")
