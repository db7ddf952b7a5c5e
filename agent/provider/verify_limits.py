"""Keeps verification from becoming an oracle: how often one consumer may ask about one subject, and be wrong.

1. The region's rules set the bounds (`exchange.region_rules.VerifyLimits`); each may be 0 for none.
2. A subject is counted by a keyed digest of the parameters that name it, never by a value.
3. Whether a verdict may be told is decided when it is there (`settle`), one after the other: many questions
   at once get no more mismatches than one after another. `check` spares the source what is refused anyway.
4. A mismatch is a verdict that a claim is wrong, or that nothing can be said of any claim: enumerating
   identifiers shows as the latter. Beyond the bound right claims are refused too, or they would tell.
5. Memory is bounded. What has no room is counted together with others in a fixed number of places: a subject
   may then be refused too early, never too late.
6. Counts are for a day (Beijing) and an hour. They are written every second, so that a restart does not
   reset them; a crash forgets a second.
"""

import asyncio
import hashlib
import hmac
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog

from exchange.clock import BEIJING_MS
from exchange.errors import StoreDamaged, VerifyLimit
from exchange.region_rules import VerifyLimits
from exchange.resources import Resource
from exchange.subject_tags import FORMATS

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SUBJECT_BYTES = 16
MAX_SUBJECTS = 100_000
PLACES = 65_536

Subject = bytes
"""Keyed digest of consumer and subject, 16 bytes."""


class Counted(NamedTuple):
    """How often one consumer asked about one subject on a day, and did not match."""

    asked: int
    wrong: int


class Kept(NamedTuple):
    """Counts as they are written: a day's by subject, and an hour's mismatched subjects by consumer."""

    day: int
    subjects: Mapping[Subject, Counted]
    hour: int
    mismatched: Mapping[str, frozenset[Subject]]


class Store(Protocol):
    """Keeps counts."""

    def load(self, day: int, hour: int) -> Kept:
        """Return what was kept of a day and hour, and forget what is older; raises StoreDamaged."""
        ...

    def save(self, changed: Kept) -> None:
        """Keep what has changed since the last time; raises StoreDamaged. May run in another thread."""
        ...


class VerifyCounts:
    """Counts verifications.

    Args:
        limits: the region's, as they are now.
        key: for the digests, 32 bytes.
        store: keeps the counts; read once, here.
        now_ms: Unix milliseconds.
        room: how many subjects are counted each for itself.
    """

    def __init__(
        self,
        *,
        limits: Callable[[], VerifyLimits],
        key: bytes,
        store: Store,
        now_ms: int,
        room: int = MAX_SUBJECTS,
    ) -> None:
        self._log = structlog.get_logger("agent.verify")
        self._limits = limits
        self._key = key
        self._store = store
        self._room = room
        self._day, self._hour = _day(now_ms), now_ms // HOUR_MS
        self._subjects: OrderedDict[Subject, Counted] = OrderedDict()
        self._crowd: dict[int, Counted] = {}
        self._mismatched: dict[str, set[Subject]] = {}
        self._changed: set[Subject] = set()
        self._newly: set[tuple[str, Subject]] = set()
        kept = store.load(self._day, self._hour)
        for subject, counted in kept.subjects.items():
            self._put(subject, counted)
        self._mismatched = {consumer: set(subjects) for consumer, subjects in kept.mismatched.items()}

    def subject(self, consumer: str, resource: Resource, parameters: Mapping[str, str]) -> Subject:
        """Return by what a consumer's question about somebody is counted.

        Parameters that name a citizen or a body count for every resource alike; where there is none, all
        parameters together count, for their resource.
        """
        rules = resource.parameters
        named = {
            rules[name].format: text for name, text in parameters.items() if rules[name].format in FORMATS
        }
        parts = [consumer]
        if named:
            parts += [part for pair in sorted(named.items()) for part in pair]
        else:
            parts += [resource.id, *(_folded(part) for pair in sorted(parameters.items()) for part in pair)]
        told = b"".join(len(raw).to_bytes(4) + raw for raw in map(str.encode, parts))
        return hmac.digest(self._key, told, hashlib.sha256)[:SUBJECT_BYTES]

    def check(self, consumer: str, subject: Subject, now_ms: int) -> None:
        """Refuse what is beyond a bound already.

        Raises:
            VerifyLimit.
        """
        self._turn(now_ms)
        limits, counted = self._limits(), self._counted(subject)
        if limits.per_subject_day and counted.asked >= limits.per_subject_day:
            raise VerifyLimit("subject")
        if limits.mismatches_per_subject_day and counted.wrong >= limits.mismatches_per_subject_day:
            raise VerifyLimit("mismatches of a subject")
        mismatched = self._mismatched.get(consumer, ())
        if limits.mismatched_subjects_hour and len(mismatched) >= limits.mismatched_subjects_hour:
            raise VerifyLimit("subjects that did not match")

    def settle(self, consumer: str, subject: Subject, verdicts: Sequence[bool | None], now_ms: int) -> None:
        """Count a verdict that is about to be told.

        Raises:
            VerifyLimit: it must not be told, and is not counted.
        """
        self.check(consumer, subject, now_ms)
        wrong = False in verdicts or True not in verdicts
        counted = self._counted(subject)
        self._put(subject, Counted(counted.asked + 1, counted.wrong + wrong))
        self._changed.add(subject)
        if wrong:
            # Bounded by the limit itself: at the bound `check` refuses.
            mismatched = self._mismatched.setdefault(consumer, set())
            if subject not in mismatched and self._limits().mismatched_subjects_hour:
                mismatched.add(subject)
                self._newly.add((consumer, subject))

    async def flush(self) -> None:
        """Write what has changed; what cannot be written is kept and written the next time."""
        changed = self._take()
        if changed is None:
            return
        try:
            await asyncio.to_thread(self._store.save, changed)
        except StoreDamaged as error:
            self._log.warning("counts not written", reason=error.name, subject=error.subject)
            self._changed |= changed.subjects.keys() if changed.day == self._day else set()
            if changed.hour == self._hour:
                self._newly |= {(name, one) for name, found in changed.mismatched.items() for one in found}

    def _take(self) -> Kept | None:
        if not self._changed and not self._newly:
            return None
        mismatched: dict[str, set[Subject]] = {}
        for consumer, subject in self._newly:
            mismatched.setdefault(consumer, set()).add(subject)
        kept = Kept(
            self._day,
            {subject: self._counted(subject) for subject in self._changed},
            self._hour,
            {consumer: frozenset(subjects) for consumer, subjects in mismatched.items()},
        )
        self._changed, self._newly = set(), set()
        return kept

    def _counted(self, subject: Subject) -> Counted:
        found = self._subjects.get(subject)
        return found if found is not None else self._crowd.get(_place(subject), Counted(0, 0))

    def _put(self, subject: Subject, counted: Counted) -> None:
        self._subjects[subject] = counted
        self._subjects.move_to_end(subject)
        if len(self._subjects) > self._room:
            left, had = self._subjects.popitem(last=False)
            before = self._crowd.get(_place(left), Counted(0, 0))
            self._crowd[_place(left)] = Counted(max(before.asked, had.asked), max(before.wrong, had.wrong))

    def _turn(self, now_ms: int) -> None:
        """Begin a new day or hour; a clock that goes back begins none."""
        day, hour = _day(now_ms), now_ms // HOUR_MS
        if day > self._day:
            self._day = day
            self._subjects.clear()
            self._crowd.clear()
            self._changed.clear()
        if hour > self._hour:
            self._hour = hour
            self._mismatched.clear()
            self._newly.clear()


def _day(now_ms: int) -> int:
    return (now_ms + BEIJING_MS) // DAY_MS


def _place(subject: Subject) -> int:
    return int.from_bytes(subject[:2]) % PLACES


def _folded(text: str) -> str:
    """Return a text so that no spelling of it that a source takes for the same counts anew."""
    return unicodedata.normalize("NFKC", text).strip().casefold()
