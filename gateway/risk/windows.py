"""Windows over what passes: counts in panes, distinct counts, and how much memory they may take.

1. A window is the present pane and those before it, 8 in all: it covers between 7/8 and the whole of its
   length, never more, so that what counts happened within it.
2. Distinct counts are estimated by linear counting (Whang et al. 1990) with 4 places for each that is wanted:
   the standard error at the threshold is below 4 % from 100 on. Nothing is kept of what was counted.
3. Where most keys come once (cases, subjects), the first time leaves 8 bytes in a table of 2^21 places and no
   more; a cell is made the second time. What was seen first is forgotten when newer keys need its place.
4. Cells are bounded per rule. One consumer may have a fourth of them: who floods forgets its own past, not
   that of others. What is dropped is counted (`evicted`).
5. A cell whose pane is the present one may be used again without being looked up (gateway/risk/detector.py):
   looking up puts cells in order by use, once per pane. What is dropped has the pane of no time.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from math import ceil, exp
from typing import Generic, TypeVar

PANES = 8
EVIDENCE = 16
ID_BYTES = 16
MAX_RESOURCES = 16
PLACES_PER_ITEM = 4
SHARE = 4
SIGHTING_BITS = 21
_PLACE = (1 << SIGHTING_BITS) - 1
MARK = (1 << 16) - 1
GONE = -1
"""The pane of no time."""
HASH = (1 << 64) - 1


class Cell:
    """What is kept under one key.

    Attributes:
        pane: that was last counted in; `GONE` once it was dropped.
    """

    __slots__ = ("pane",)
    pane: int

    def drop(self) -> None:
        """Let go of what it holds: somebody may still refer to it."""
        self.pane = GONE


C = TypeVar("C", bound=Cell)


class Cells(Generic[C]):
    """The cells of one rule, by consumer and key.

    Args:
        make: makes an empty one.
        most: how many there may be.
    """

    def __init__(self, make: Callable[[], C], *, most: int) -> None:
        self._make = make
        self._most = most
        self._own = max(most // SHARE, 1)
        self._owners: OrderedDict[str, OrderedDict[Hashable, C]] = OrderedDict()
        self.size = 0
        self.evicted = 0

    def find(self, owner: str, key: Hashable) -> C | None:
        """Return a cell, None where there is none."""
        held = self._owners.get(owner)
        return None if held is None else held.get(key)

    def at(self, owner: str, key: Hashable, pane: int) -> C:
        """Return a cell, made where there is none; called with another pane it counts as just used."""
        held = self._owners.get(owner)
        if held is None:
            return self.add(owner, key, pane)
        cell = held.get(key)
        if cell is None:
            return self.add(owner, key, pane)
        if cell.pane != pane:
            self.touch(owner, key)
        return cell

    def touch(self, owner: str, key: Hashable) -> None:
        """Have a cell that there is count as just used."""
        self._owners[owner].move_to_end(key)
        self._owners.move_to_end(owner)

    def items(self) -> Iterator[tuple[str, Hashable, C]]:
        """Yield consumer, key and cell of all."""
        for owner, held in self._owners.items():
            for key, cell in held.items():
                yield owner, key, cell

    def add(self, owner: str, key: Hashable, pane: int) -> C:
        """Return a new cell under a key that has none."""
        owners = self._owners
        held = owners.get(owner)
        if held is not None and len(held) >= self._own:
            self._drop(held)
        elif self.size >= self._most:
            oldest, theirs = next(iter(owners.items()))
            self._drop(theirs)
            if not theirs:
                del owners[oldest]
                held = owners.get(owner)
        cell = self._make()
        cell.pane = pane
        if held is None:
            held = owners[owner] = OrderedDict()
        else:
            owners.move_to_end(owner)
        held[key] = cell
        self.size += 1
        return cell

    def _drop(self, held: OrderedDict[Hashable, C]) -> None:
        held.popitem(last=False)[1].drop()
        self.size -= 1
        self.evicted += 1


class Shown(Cell):
    """What a cell keeps to show later what was counted.

    Attributes:
        quiet_until_ms: no finding before this time: there is one already.
        ids: exchange ids, 16 bytes each, the newest 16 at most.
        resources: that were seen, at most 16.
    """

    __slots__ = ("ids", "quiet_until_ms", "resources")

    def __init__(self) -> None:
        self.pane = 0
        self.quiet_until_ms = 0
        self.ids = b""
        self.resources: tuple[str, ...] = ()

    def clear(self) -> None:
        """Begin anew."""
        self.ids, self.resources = b"", ()

    def drop(self) -> None:
        """See `Cell`."""
        self.clear()
        self.pane = GONE

    def note(self, resource: str, exchange_id: bytes, *, keep_id: bool) -> None:
        """Keep what shows later what was counted."""
        if resource not in self.resources and len(self.resources) < MAX_RESOURCES:
            self.resources += (resource,)
        if keep_id:
            self.ids = (self.ids + exchange_id)[-EVIDENCE * ID_BYTES :]


class Counts(Shown):
    """A sliding count; panes are made when a second one begins, for most cells never see one.

    Attributes:
        total: within the window.
        second: another count beside it, of the same panes.
        first: mark of what was counted first, 16 bits.
        marks: of what was counted already, at most 16; empty while it is the first alone.
    """

    __slots__ = ("_panes", "first", "marks", "second", "total")
    _panes: list[tuple[int, int, int]]
    first: int
    marks: tuple[int, ...]
    second: int
    total: int

    def __init__(self) -> None:
        # Not by way of `Shown`, and nothing that the garbage collector has to look at: these come by the
        # hundred thousand, most of them for keys that come twice.
        self.pane = self.quiet_until_ms = self.total = self.second = self.first = 0
        self.ids = b""
        self.resources = self.marks = ()
        self._panes = _NO_PANES

    def add(self, pane: int, other: int = 0) -> None:
        """Count one in a pane, and some beside it."""
        if pane != self.pane:
            self.turn(pane)
        self.total += 1
        self.second += other

    def turn(self, pane: int) -> None:
        """Have a pane be the present one; what comes counts in it.

        Of a clock that went back a little nothing follows: what comes counts in the newest pane.
        """
        if pane > self.pane:
            self._roll(pane)
        elif self.pane - pane >= PANES:
            self.clear()
            self.pane = pane

    def clear(self) -> None:
        """Begin anew."""
        self._panes = _NO_PANES
        self.total = self.second = 0
        self.ids, self.resources = b"", ()

    def _roll(self, pane: int) -> None:
        """Close the newest pane: what it had is the total without what the older ones have."""
        oldest = pane - PANES + 1
        own = self.total - sum(one for _, one, _ in self._panes)
        beside = self.second - sum(other for _, _, other in self._panes)
        kept = [one for one in (*self._panes, (self.pane, own, beside)) if one[0] >= oldest and one[1]]
        if kept:
            self._panes = kept
            self.total = sum(one for _, one, _ in kept)
            self.second = sum(other for _, _, other in kept)
        else:
            self.clear()
        self.pane = pane


_NO_PANES: list[tuple[int, int, int]] = []
"""Shared and never changed."""


class Sightings:
    """Which keys were seen for the first time, each with a mark of 16 bits; see rule 3.

    A place is 32 bits of the key's hash, 16 of the pane, 16 of the mark, and each key has two that it may
    take: one is mistaken for another once in 2^32. Hashes are keyed by the process: nobody can aim them.
    """

    def __init__(self) -> None:
        self._places = array("Q")

    def note(self, number: int, pane: int, mark: int = 0) -> int | None:
        """Return the mark of a sighting within the window; or None, and note this one.

        Args:
            number: hash of the key, 64 bits.
            pane: the present one.
            mark: of this sighting, 16 bits.
        """
        places = self._places
        if not places:
            places = self._places = array("Q", bytes(8 << SIGHTING_BITS))
        at, wanted = number & _PLACE, number >> 32
        one, two = places[at], places[at ^ 1]
        age = (pane - (one >> 16)) & MARK if one else MARK + 1
        if age < PANES and one >> 32 == wanted:
            return one & MARK
        older = (pane - (two >> 16)) & MARK if two else MARK + 1
        if older < PANES and two >> 32 == wanted:
            return two & MARK
        places[at ^ 1 if older > age else at] = wanted << 32 | (pane & MARK) << 16 | mark
        return None


class Distinct(Shown):
    """A sliding distinct count by linear counting; see rule 2.

    One byte a place says in which pane it was set last, 0 for in none of the window: setting one costs the
    same however many there are, and a pane that leaves the window is cleared in one go.

    Args:
        places: how many; see `places_for`.
    """

    __slots__ = ("_codes", "filled")

    def __init__(self, places: int) -> None:
        super().__init__()
        self.filled = 0
        self._codes = bytearray(places)

    def add(self, pane: int, number: int) -> bool:
        """Set the place of a number, which is evenly distributed, in a pane; return whether it was set."""
        if pane != self.pane:
            self._roll(pane)
        codes = self._codes
        place = number % len(codes)
        before = codes[place]
        codes[place] = self.pane % PANES + 1
        if before:
            return True
        self.filled += 1
        return False

    def clear(self) -> None:
        """Begin anew."""
        self._codes = bytearray(len(self._codes))
        self.filled = 0
        self.ids, self.resources = b"", ()

    def drop(self) -> None:
        """See `Cell`."""
        self.pane, self.ids, self.resources, self._codes = GONE, b"", (), bytearray()

    def _roll(self, pane: int) -> None:
        if -PANES < pane - self.pane < 0:
            return
        if not 0 <= pane - self.pane < PANES:
            self.clear()
        else:
            for passed in range(self.pane + 1, pane + 1):
                code = passed % PANES + 1
                gone = self._codes.count(code)
                if gone:
                    self._codes = self._codes.translate(_CLEARING[code])
                    self.filled -= gone
        self.pane = pane


_CLEARING = [bytes(0 if byte == code else byte for byte in range(256)) for code in range(PANES + 1)]


def places_for(least: int) -> int:
    """Return how many places there are where it is to be told when `least` different ones have come."""
    return max(least * PLACES_PER_ITEM, 256)


def filled_at(least: int) -> int:
    """Return how many places are set, as expected, when `least` different ones have come."""
    size = places_for(least)
    return max(ceil(size * (1 - exp(-least / size))), 1)
