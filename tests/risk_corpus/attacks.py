"""Attacks, each an incident with a label; some are made to be missed and say so."""

from collections.abc import Iterator
from random import Random

from exchange.v1 import reason_pb2 as r
from tests.risk_corpus.lawful import PEOPLE, WORKDAYS, _case
from tests.risk_corpus.world import (
    DAY,
    DEATHS,
    ENTERPRISES,
    FIELDS,
    HOUR,
    HOUSEHOLD,
    INSURANCE,
    MARRIAGE,
    MINUTE,
    MONDAY_MS,
    PROPERTY,
    REFUNDS,
    Event,
    Incident,
    consumer,
)

RULES: dict[str, tuple[str, ...]] = {
    "enumeration without cases": ("cases-missing-in-a-row",),
    "enumeration under one case": ("one-case-for-many", "many-subjects-operator"),
    "enumeration under invented cases": ("many-subjects-operator",),
    "enumeration over days": ("many-subjects-slowly",),
    "combination across providers": ("death-address-bank",),
    "curiosity about one person": ("same-subject-again",),
    "curiosity about many, no cases": ("without-cases",),
    "probing of grants": ("probing-of-grants",),
    "guessing by verification": ("verify-limits-hit", "same-subject-again"),
    "exfiltration by many operators": ("far-above-its-past",),
    "exfiltration at night": ("sensitive-out-of-hours",),
    "exfiltration by a new pair": ("new-pair-high-volume",),
    "operators silenced": ("silent-operators",),
    "one pseudonym, many departments": ("operator-of-many",),
}
HARD: dict[str, tuple[str, ...]] = {
    "slow and low under plausible cases": ("many-subjects-slowly",),
    "combination by two departments together": ("death-address-bank",),
    "just below every threshold": ("many-subjects-operator",),
    "curiosity hidden in real cases": ("same-subject-again",),
    "night work of a night department": ("sensitive-out-of-hours",),
    "volume that grows by a tenth a day": ("far-above-its-past",),
}


class Attacks:
    """Makes incidents.

    Args:
        days: how long the corpus is; attacks begin after the first week.
        random: where everything comes from.
    """

    def __init__(self, days: int, random: Random) -> None:
        self._days = days
        self._random = random
        self.incidents: list[Incident] = []

    def make(self, each: int) -> Iterator[Event]:
        """Yield so many incidents of each kind."""
        makers = {
            "enumeration without cases": self._no_case,
            "enumeration under one case": self._one_case,
            "enumeration under invented cases": self._invented,
            "enumeration over days": self._over_days,
            "combination across providers": self._combination,
            "curiosity about one person": self._curious,
            "curiosity about many, no cases": self._browsing,
            "probing of grants": self._probing,
            "guessing by verification": self._guessing,
            "exfiltration by many operators": self._spread,
            "exfiltration at night": self._night,
            "exfiltration by a new pair": self._new_pair,
            "operators silenced": self._silent,
            "one pseudonym, many departments": self._shared,
            "slow and low under plausible cases": self._slow,
            "combination by two departments together": self._collusion,
            "just below every threshold": self._below,
            "curiosity hidden in real cases": self._hidden,
            "night work of a night department": self._night_ward,
            "volume that grows by a tenth a day": self._growing,
        }
        for kind, maker in makers.items():
            for turn in range(each):
                number = len(self.incidents) + 1
                rules = RULES.get(kind) or HARD[kind]
                self.incidents.append(Incident(number, kind, frozenset(rules), hard=kind in HARD))
                for event in maker(turn):
                    yield event._replace(incident=number)

    def _workday(self, hour: int) -> int:
        """Return a moment in a random working day after the first week, Unix milliseconds."""
        day = self._random.choice([day for day in range(7, self._days - 1) if day % 7 < WORKDAYS])
        return MONDAY_MS + day * DAY + hour * HOUR + self._random.randrange(30 * MINUTE)

    def _ask(self, at: int, who: int, operator: str, resource: str, case: str, subject: int = -1) -> Event:
        if subject < 0:
            subject = self._random.randrange(PEOPLE)
        # A pseudonym is its department's own, but where an incident is about just that.
        if operator.startswith("x-") and not operator.startswith("x-shared"):
            operator = f"{operator}-{who}"
        return Event(at, consumer(who), operator, resource, FIELDS[resource], subject, case)

    def _no_case(self, turn: int) -> Iterator[Event]:
        at, who = self._workday(10), 10 + turn % 6
        for number in range(150):
            yield self._ask(at + number * 3_000, who, "x-enum", DEATHS, "")._replace(
                reason=r.REASON_CASE_REQUIRED, subject=None
            )

    def _one_case(self, turn: int) -> Iterator[Event]:
        at, case = self._workday(14), _case(self._random)
        for number in range(500):
            yield self._ask(at + number * 12_000, 10 + turn % 6, "x-one-case", HOUSEHOLD, case)

    def _invented(self, turn: int) -> Iterator[Event]:
        at = self._workday(13)
        for number in range(400):
            yield self._ask(at + number * 11_000, turn % 4, f"x-inv-{turn}", HOUSEHOLD, _case(self._random))

    def _over_days(self, turn: int) -> Iterator[Event]:
        """Some 350 a day for five days by one operator, below the hourly threshold."""
        for day in range(7, 12):
            for number in range(350):
                at = MONDAY_MS + day * DAY + 9 * HOUR + number * 80_000
                yield self._ask(at, 10 + turn % 6, f"x-days-{turn}", INSURANCE, _case(self._random))

    def _combination(self, turn: int) -> Iterator[Event]:
        at, who = self._workday(9), 10 + turn % 6
        for number in range(5):
            subject = self._random.randrange(PEOPLE)
            parts = [DEATHS, HOUSEHOLD, REFUNDS]
            self._random.shuffle(parts)
            for later, resource in enumerate(parts):
                when = at + number * 20 * MINUTE + later * 40 * MINUTE
                yield self._ask(when, who, f"x-agg-{later}", resource, _case(self._random), subject)

    def _curious(self, turn: int) -> Iterator[Event]:
        subject = self._random.randrange(PEOPLE)
        for number in range(8):
            at = MONDAY_MS + (7 + number // 2) * DAY + (10 + number % 2 * 5) * HOUR + turn * MINUTE
            case = _case(self._random) if number % 2 else ""
            yield self._ask(at, turn % 4, f"hall-{turn % 4}-1", HOUSEHOLD, case, subject)

    def _browsing(self, turn: int) -> Iterator[Event]:
        at = self._workday(9)
        for number in range(70):
            yield self._ask(at + number * 5 * MINUTE, 10 + turn % 6, "x-browse", PROPERTY, "")

    def _probing(self, turn: int) -> Iterator[Event]:
        at = self._workday(11)
        for number in range(24):
            reason = self._random.choice(
                [r.REASON_FIELD_NOT_GRANTED, r.REASON_PURPOSE_NOT_GRANTED, r.REASON_NO_GRANT]
            )
            yield self._ask(at + number * MINUTE, 10 + turn % 6, "x-probe", REFUNDS, "LJ-1")._replace(
                reason=reason, attempt=hash((turn, number)), subject=None
            )

    def _guessing(self, turn: int) -> Iterator[Event]:
        """Verifies guesses; after five the provider refuses."""
        at, subject = self._workday(15), self._random.randrange(PEOPLE)
        for number in range(16):
            asked = self._ask(at + number * 20_000, 30 + turn % 2, "x-guess", MARRIAGE, "LJ-2", subject)
            asked = asked._replace(verify=True)
            if number >= 5:
                asked = asked._replace(reason=r.REASON_PROVIDER_VETO, by_provider=True, subject=None)
            yield asked

    def _spread(self, turn: int) -> Iterator[Event]:
        at = self._workday(14)
        for number in range(900):
            yield self._ask(
                at + number * 3_000,
                turn % 4,
                f"hall-{turn % 4}-{number % 60}",
                HOUSEHOLD,
                _case(self._random),
            )

    def _night(self, turn: int) -> Iterator[Event]:
        at = self._workday(23)
        for number in range(40):
            yield self._ask(at + number * MINUTE // 2, turn % 4, "x-night", HOUSEHOLD, _case(self._random))

    def _new_pair(self, turn: int) -> Iterator[Event]:
        at, who = self._workday(9), (0, 1, 2, 3, 30, 31)[turn % 6]
        for number in range(600):
            operator = f"hall-{who}-{number % 20}"
            yield self._ask(at + number * 15_000, who, operator, REFUNDS, _case(self._random))

    def _silent(self, turn: int) -> Iterator[Event]:
        at = self._workday(9)
        for number in range(400):
            yield self._ask(at + number * MINUTE, 10 + turn % 6, "", ENTERPRISES, _case(self._random))

    def _shared(self, turn: int) -> Iterator[Event]:
        at = self._workday(9)
        for number in range(20):
            yield self._ask(
                at + number * 10 * MINUTE, number % 4, f"x-shared-{turn}", MARRIAGE, _case(self._random)
            )

    # -- made to be missed -------------------------------------------------------------------------------

    def _slow(self, turn: int) -> Iterator[Event]:
        """Twelve strangers a day among real work, each under a plausible case of its own."""
        for day in range(7, self._days):
            for number in range(12 if day % 7 < WORKDAYS else 0):
                at = MONDAY_MS + day * DAY + 9 * HOUR + number * 35 * MINUTE
                yield self._ask(at, turn % 4, f"hall-{turn % 4}-2", HOUSEHOLD, _case(self._random))

    def _collusion(self, turn: int) -> Iterator[Event]:
        """Two departments each receive a part and put the parts together outside."""
        at = self._workday(10)
        for number in range(5):
            subject = self._random.randrange(PEOPLE)
            for who, resource in ((11, DEATHS), (12, HOUSEHOLD), (11, REFUNDS)):
                yield self._ask(
                    at + number * 9 * MINUTE, who, "x-two", resource, _case(self._random), subject
                )

    def _below(self, turn: int) -> Iterator[Event]:
        """One hundred and twenty strangers in an hour by one operator, once."""
        at = self._workday(10)
        for number in range(120):
            yield self._ask(at + number * 30_000, turn % 4, f"x-below-{turn}", MARRIAGE, _case(self._random))

    def _hidden(self, turn: int) -> Iterator[Event]:
        """The same person eight times, always within one real case."""
        at, subject, case = self._workday(9), self._random.randrange(PEOPLE), _case(self._random)
        for number in range(8):
            yield self._ask(
                at + number * 30 * MINUTE, turn % 4, f"hall-{turn % 4}-3", HOUSEHOLD, case, subject
            )

    def _night_ward(self, turn: int) -> Iterator[Event]:
        """A night nurse looks up neighbours: the ward asks at night anyway."""
        at = self._workday(2)
        for number in range(30):
            yield self._ask(at + number * 4 * MINUTE, 20 + turn % 2, "ward-x", INSURANCE, _case(self._random))

    def _growing(self, turn: int) -> Iterator[Event]:
        """From 60 an hour on, a tenth more each day: its own past grows with it."""
        for day in range(7, self._days):
            for number in range(int(60 * 1.1 ** (day - 7)) if day % 7 < WORKDAYS else 0):
                at = MONDAY_MS + day * DAY + 15 * HOUR + number * (HOUR // 400)
                operator = f"office-{14 + turn % 2}-{number % 9}"
                yield self._ask(at, 14 + turn % 2, operator, PROPERTY, _case(self._random))
