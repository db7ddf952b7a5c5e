"""Quotas of grants, exactly: reserved at the decision, counted with the entry, never exceeded in between.

1. used + reserved never exceeds a quota, whatever is under way at once: `reserve` takes one of every period
   that the exchange may end in, or refuses and takes none.
2. A reservation ends with its exchange. What is counted was written by the audit log in the transaction of
   the entry that says RELEASED, in the period of that entry's time; nothing else counts.
3. A reservation whose exchange never ended lapses a little after the deadline; nothing is released on it.
4. Nothing here outlives the process: after a start, what is used is what the log's store has counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from exchange.errors import DeadlinePassed, QuotaExceeded
from exchange.grants import Grant
from exchange.trust import TrustList
from gateway.access.quota_periods import NAMES, span
from gateway.record import Exchange
from gateway.state import RegionState
from gateway.storage.ports import QuotaKey

GRACE_MS = 5_000
"""How long after its deadline an exchange may still be concluded."""
SWEEP_MS = 1_000
"""How often lapsed reservations of one quota are looked for, at most."""


@dataclass(slots=True, eq=False)
class Reservation:
    """A place in every quota of one exchange.

    Attributes:
        keys: the periods, those included in which the exchange may yet end.
        until_ms: when it lapses, Unix milliseconds.
    """

    keys: Sequence[QuotaKey]
    until_ms: int
    _quotas: "Quotas"
    _live: bool = True
    _charged: bool = False

    def charge(self, now_ms: int) -> Sequence[QuotaKey]:
        """Return the quotas that an entry of this moment counts against; from then on it does not lapse.

        Raises:
            DeadlinePassed: it has lapsed, or reserved nothing in the period that it is now.
        """
        due = [key for key in self.keys if key.start_ms == span(key.period, now_ms).start_ms]
        if not self._live or {key.period for key in due} != {key.period for key in self.keys}:
            raise DeadlinePassed("quota")
        self._charged = True
        return due

    def end(self) -> None:
        """Give the places back: what was released is counted by now. May be called again."""
        if self._live:
            self._live = False
            self._quotas.take_back(self)

    def lapsed(self, now_ms: int) -> bool:
        """Return whether its time is over and nothing was entered on it."""
        return now_ms >= self.until_ms and not self._charged


@dataclass(slots=True)
class _Places:
    """The live reservations of one quota in one period, and when lapsed ones were last looked for."""

    taken: set[Reservation] = field(default_factory=set)
    swept_ms: int = 0


class Quotas:
    """Holds the reservations; a guard of the path, its last.

    Args:
        state: for the grants.
        used: returns what the log has counted against a quota.
    """

    def __init__(self, *, state: RegionState, used: Callable[[QuotaKey], int]) -> None:
        self._state = state
        self._used = used
        self._places: dict[QuotaKey, _Places] = {}

    def __call__(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        """Reserve what the grant's quotas ask for.

        Raises:
            QuotaExceeded: one of them is used up.
            AuditUnavailable: what is used cannot be read.
        """
        exchange.rule = "quota"
        grant = self._state.grants.get(exchange.header.grant_id)
        if grant is not None and grant.quotas:
            exchange.reservation = self.reserve(grant, exchange.deadline_ms, now_ms)

    def peek(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        """Decide the same and change nothing, perhaps about another time; raises as the call does."""
        exchange.rule = "quota"
        grant = self._state.grants.get(exchange.header.grant_id)
        if grant is not None and grant.quotas:
            self._free(grant, exchange.deadline_ms + GRACE_MS, now_ms, self._standing)

    def reserve(self, grant: Grant, deadline_ms: int, now_ms: int) -> Reservation:
        """Return a place in each of a grant's quotas.

        Args:
            grant: one with quotas.
            deadline_ms: of the exchange, Unix milliseconds.
            now_ms: Unix milliseconds.

        Raises:
            QuotaExceeded: there is none; with the time until the period ends, where it does.
            AuditUnavailable: what is used cannot be read.
        """
        until_ms = deadline_ms + GRACE_MS
        keys = self._free(grant, until_ms, now_ms, self._reserved)
        reservation = Reservation(keys, until_ms, self)
        for key in keys:
            self._places.setdefault(key, _Places()).taken.add(reservation)
        return reservation

    def _free(
        self, grant: Grant, until_ms: int, now_ms: int, reserved: Callable[[QuotaKey, int, int], int]
    ) -> list[QuotaKey]:
        """Return the periods in which an exchange may end, each with a place left; raises as `reserve`."""
        keys: list[QuotaKey] = []
        for rule in grant.quotas:
            for start_ms, end_ms in dict.fromkeys((span(rule.period, now_ms), span(rule.period, until_ms))):
                key = QuotaKey(grant.grant_id, rule.period, start_ms)
                if self._used(key) + reserved(key, rule.exchanges, now_ms) >= rule.exchanges:
                    wait_ms = max(end_ms - now_ms, 0)
                    raise QuotaExceeded(f"{grant.name} {NAMES[rule.period]}", retry_after_ms=wait_ms)
                keys.append(key)
        return keys

    def taken(self, grant: Grant, now_ms: int) -> list[int]:
        """Return how much of each of a grant's quotas is used or reserved now, in their order.

        Raises:
            AuditUnavailable: it cannot be read.
        """
        keys = [
            QuotaKey(grant.grant_id, rule.period, span(rule.period, now_ms).start_ms) for rule in grant.quotas
        ]
        return [self._used(key) + self._reserved(key, 0, now_ms) for key in keys]

    def take_back(self, reservation: Reservation) -> None:
        """Take out a reservation that has ended."""
        for key in reservation.keys:
            places = self._places[key]
            places.taken.discard(reservation)
            if not places.taken:
                del self._places[key]

    def _reserved(self, key: QuotaKey, quota: int, now_ms: int) -> int:
        """Return how many places are taken; lapsed ones are looked for only where they stand in the way."""
        places = self._places.get(key)
        if places is None:
            return 0
        count = len(places.taken)
        if self._used(key) + count >= quota and now_ms - places.swept_ms >= SWEEP_MS:
            places.swept_ms = now_ms
            for lapsed in [one for one in places.taken if one.lapsed(now_ms)]:
                lapsed.end()
            count = len(places.taken)
        return count

    def _standing(self, key: QuotaKey, quota: int, now_ms: int) -> int:
        """Return how many places are taken then, without taking out what will have lapsed."""
        places = self._places.get(key)
        return sum(not one.lapsed(now_ms) for one in places.taken) if places else 0
