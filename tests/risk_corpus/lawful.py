"""Lawful traffic: departments at their work, with its habits, busy days and mistakes."""

from collections.abc import Iterator
from random import Random

from exchange.v1 import reason_pb2 as r
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
    Event,
    consumer,
)

PEOPLE = 400_000
WORKDAYS = 5
COUNTERS, BUREAUS, HOSPITALS, BANKS = range(4), range(10, 16), range(20, 22), range(30, 32)
PENSIONS, FLAKY, LAUNCH, FUNERAL, HURRIED = 40, 41, 42, 43, 44


def lawful(days: int, random: Random) -> Iterator[Event]:
    """Yield what departments do in so many days, in no order."""
    for day in range(days):
        begins = MONDAY_MS + day * DAY
        works = day % 7 < WORKDAYS
        for number in HOSPITALS:
            yield from _hospital(number, begins, random)
        if works:
            for number in COUNTERS:
                # The day after a weekend is busy, and the first of a month more so.
                yield from _counter(number, begins, random, busy=1.0 + 0.8 * (day % 7 == 0))
            for number in BUREAUS:
                yield from _bureau(number, begins, random)
            for number in BANKS:
                yield from _bank(number, begins, random)
            yield from _funeral(begins, random)
            yield from _mistakes(begins, random)
            if day % 10 == 4:
                yield from _overtime(begins, random)
        if day % 7 == 5:
            yield from _batch(begins, random)
    yield from _launch(days, random)
    yield from _hurried(days, random)


def _case(random: Random) -> str:
    return f"LJ-2026-{random.randrange(10**8):08d}"


def _one(
    at: int, who: int, operator: str, resource: str, subject: int, case: str, *, verify: bool = False
) -> Event:
    return Event(at, consumer(who), operator, resource, FIELDS[resource], subject, case, verify=verify)


def _counter(number: int, begins: int, random: Random, *, busy: float) -> Iterator[Event]:
    """A service hall: operators with a case every few minutes, each asking one to three providers."""
    for desk in range(6):
        at = begins + 8 * HOUR + 30 * MINUTE + random.randrange(20 * MINUTE)
        while at < begins + 17 * HOUR + 30 * MINUTE:
            if not begins + 12 * HOUR <= at < begins + 13 * HOUR + 30 * MINUTE:
                case, subject = _case(random), random.randrange(PEOPLE)
                for resource in random.sample([HOUSEHOLD, MARRIAGE, INSURANCE], random.choice([1, 1, 2, 3])):
                    yield _one(at, number, f"hall-{number}-{desk}", resource, subject, case)
                    at += random.randrange(5_000, 30_000)
            at += int(random.expovariate(busy / (8 * MINUTE)))


def _bureau(number: int, begins: int, random: Random) -> Iterator[Event]:
    """A small office: some cases a day; one comes back to the same person within its case."""
    for _ in range(random.randrange(4, 15)):
        at = begins + 9 * HOUR + random.randrange(8 * HOUR)
        case, subject = _case(random), random.randrange(PEOPLE)
        resource = random.choice([HOUSEHOLD, ENTERPRISES, PROPERTY, INSURANCE])
        operator = f"office-{number}-{random.randrange(3)}"
        for again in range(random.choice([1, 1, 1, 2, 4])):
            yield _one(at + again * 20 * MINUTE, number, operator, resource, subject, case)


def _hospital(number: int, begins: int, random: Random) -> Iterator[Event]:
    """Round the clock, every day, three shifts."""
    for hour in range(24):
        for _ in range(random.randrange(2, 9)):
            at = begins + hour * HOUR + random.randrange(HOUR)
            operator = f"ward-{number}-{hour // 8}-{random.randrange(4)}"
            yield _one(at, number, operator, INSURANCE, random.randrange(PEOPLE), _case(random))


def _bank(number: int, begins: int, random: Random) -> Iterator[Event]:
    for _ in range(random.randrange(40, 90)):
        at = begins + 9 * HOUR + random.randrange(8 * HOUR)
        operator = f"desk-{number}-{random.randrange(4)}"
        subject = random.randrange(PEOPLE)
        yield _one(at, number, operator, MARRIAGE, subject, _case(random), verify=True)


def _funeral(begins: int, random: Random) -> Iterator[Event]:
    """Deaths and, for some, the address; never the bank account."""
    for _ in range(random.randrange(3, 9)):
        at, case = begins + 9 * HOUR + random.randrange(8 * HOUR), _case(random)
        subject = random.randrange(PEOPLE)
        yield _one(at, FUNERAL, "parlour-1", DEATHS, subject, case)
        if random.random() < 0.5:
            yield _one(at + 5 * MINUTE, FUNERAL, "parlour-1", HOUSEHOLD, subject, case)


def _mistakes(begins: int, random: Random) -> Iterator[Event]:
    """A client that repeats one wrong request, and clerks who forget the case number now and then."""
    at = begins + 10 * HOUR + random.randrange(4 * HOUR)
    for turn in range(random.choice([5, 20, 60])):
        yield Event(
            at + turn * 20_000,
            consumer(FLAKY),
            "app",
            INSURANCE,
            FIELDS[INSURANCE],
            None,
            "",
            reason=r.REASON_GRANT_EXPIRED,
            attempt=7,
        )
    for number in (*COUNTERS, *BUREAUS):
        for turn in range(random.choice([0, 0, 1, 3])):
            yield Event(
                begins + 10 * HOUR + random.randrange(6 * HOUR) + turn * MINUTE,
                consumer(number),
                f"hall-{number}-0",
                HOUSEHOLD,
                FIELDS[HOUSEHOLD],
                None,
                "",
                reason=r.REASON_CASE_REQUIRED,
            )


def _overtime(begins: int, random: Random) -> Iterator[Event]:
    """A bureau that works late once in a while: some cases, not many."""
    number = random.choice(BUREAUS)
    for _ in range(random.randrange(3, 9)):
        at = begins + 19 * HOUR + 30 * MINUTE + random.randrange(2 * HOUR)
        yield _one(at, number, f"office-{number}-1", HOUSEHOLD, random.randrange(PEOPLE), _case(random))


def _batch(begins: int, random: Random) -> Iterator[Event]:
    """Every Saturday night pensions are checked against deaths: by a job, without operator or case."""
    for turn in range(900 + random.randrange(100)):
        at = begins + 22 * HOUR + turn * 7_000
        yield _one(at, PENSIONS, "", DEATHS, turn, "")


def _launch(days: int, random: Random) -> Iterator[Event]:
    """A new service goes live with a campaign: a pair that never was, and high volume at once; lawful."""
    begins = MONDAY_MS + (days // 7 * 7 - 6) * DAY
    for turn in range(420):
        at = begins + 9 * HOUR + turn * 25_000
        operator = f"live-{turn % 12}"
        yield _one(at, LAUNCH, operator, PROPERTY, random.randrange(PEOPLE), _case(random))


def _hurried(days: int, random: Random) -> Iterator[Event]:
    """A flood: the relief office asks all afternoon at five times its usual pace; lawful."""
    for day in range(days):
        if day % 7 < WORKDAYS:
            flood = day == days - 3
            for turn in range(1500 if flood else 60):
                at = MONDAY_MS + day * DAY + 9 * HOUR + turn * (12_000 if flood else 6 * MINUTE)
                operator = f"relief-{turn % 15}"
                yield _one(at, HURRIED, operator, PROPERTY, random.randrange(PEOPLE), _case(random))
