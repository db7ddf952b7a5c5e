"""Quotas are exact: whatever is under way at once, used and reserved together never exceed them."""

import random
from collections import Counter
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exchange.canonical import GRANT, digest
from exchange.clock import BEIJING
from exchange.errors import DeadlinePassed, Malformed, QuotaExceeded
from exchange.grant_body import QuotaRule
from exchange.grants import Grant, read_grant
from exchange.v1 import common_pb2, exchange_pb2, grant_pb2
from gateway.access.quota import GRACE_MS, SWEEP_MS, Quotas, Reservation
from gateway.access.quota_periods import DAY, MONTH, TERM, span
from gateway.record import Exchange
from gateway.storage.ports import QuotaKey
from tests.support.region import grant_body


def at(*moment: int) -> int:
    """Return a moment of Beijing time as Unix milliseconds."""
    return int(datetime(*moment, tzinfo=BEIJING).timestamp() * 1000)  # type: ignore[arg-type, misc]


NOON = at(2026, 11, 26, 12)


def quota(period: grant_pb2.QuotaPeriod.ValueType, exchanges: int) -> grant_pb2.Quota:
    return grant_pb2.Quota(period=period, exchanges=exchanges)


def grant(*quotas: grant_pb2.Quota) -> Grant:
    return read_grant(common_pb2.Statement(body=grant_body(NOON, quotas=quotas)))


class Counts:
    """Stands for the log's store."""

    def __init__(self) -> None:
        self.used: Counter[QuotaKey] = Counter()

    def __call__(self, key: QuotaKey) -> int:
        return self.used[key]

    def release(self, reservation: Reservation, now_ms: int) -> None:
        """What the path does: charge, count durably, then end."""
        self.used.update(reservation.charge(now_ms))
        reservation.end()


def quotas_over(counts: Counts, *grants: Grant) -> Quotas:
    held = {one.grant_id: one for one in grants}
    return Quotas(state=cast(Any, SimpleNamespace(grants=held)), used=counts)


# -- periods ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "now", "start", "end"),
    [
        (DAY, (2026, 11, 26, 0), (2026, 11, 26), (2026, 11, 27)),
        (DAY, (2026, 11, 26, 23, 59, 59), (2026, 11, 26), (2026, 11, 27)),
        (MONTH, (2026, 11, 30, 23, 59, 59), (2026, 11, 1), (2026, 12, 1)),
        (MONTH, (2026, 12, 31, 12), (2026, 12, 1), (2027, 1, 1)),
        (MONTH, (2028, 2, 29, 1), (2028, 2, 1), (2028, 3, 1)),
        (MONTH, (2027, 1, 1, 0), (2027, 1, 1), (2027, 2, 1)),
    ],
)
def test_days_and_months_are_those_of_beijing_time(
    period: int, now: tuple[int, ...], start: tuple[int, ...], end: tuple[int, ...]
) -> None:
    assert span(period, at(*now)) == (at(*start), at(*end))


def test_every_moment_lies_in_its_period_and_periods_follow_each_other_without_a_hole() -> None:
    for period in (DAY, MONTH):
        now_ms = at(2026, 1, 1)
        while now_ms < at(2029, 1, 1):
            start_ms, end_ms = span(period, now_ms)
            assert start_ms == now_ms and span(period, end_ms - 1) == (start_ms, end_ms)
            now_ms = end_ms


# -- reading ---------------------------------------------------------------------------------------------


def test_a_grant_says_its_quotas_in_their_order() -> None:
    assert grant(quota(MONTH, 9), quota(DAY, 3)).quotas == (QuotaRule(MONTH, 9), QuotaRule(DAY, 3))
    assert grant().quotas == ()


@pytest.mark.parametrize(
    ("quotas", "error"),
    [
        ([quota(DAY, 0)], Malformed),
        ([quota(grant_pb2.QUOTA_PERIOD_UNSPECIFIED, 1)], Malformed),
        ([quota(DAY, 1), quota(DAY, 2)], Malformed),
        ([grant_pb2.Quota(period=cast(Any, 77), exchanges=1)], Malformed),
        ([quota(DAY, 1)] * 5, Malformed),
    ],
)
def test_a_quota_of_nothing_of_no_period_or_twice_is_refused(
    quotas: list[grant_pb2.Quota], error: type[Exception]
) -> None:
    with pytest.raises(error):
        grant(*quotas)


# -- reserving -------------------------------------------------------------------------------------------


def test_the_last_place_is_given_once_and_comes_back_with_its_exchange() -> None:
    one, counts = grant(quota(DAY, 2)), Counts()
    quotas = quotas_over(counts, one)
    first = quotas.reserve(one, NOON + 10_000, NOON)
    second = quotas.reserve(one, NOON + 10_000, NOON)
    with pytest.raises(QuotaExceeded) as refused:
        quotas.reserve(one, NOON + 10_000, NOON)
    assert refused.value.subject == f"{one.name} day"
    assert refused.value.retry_after_ms == 12 * 3600 * 1000, "until midnight"
    second.end()
    second.end()
    third = quotas.reserve(one, NOON + 10_000, NOON)
    for reservation in (first, third):
        counts.release(reservation, NOON)
    with pytest.raises(QuotaExceeded):
        quotas.reserve(one, NOON + 10_000, NOON)
    assert quotas.taken(one, NOON) == [2]
    assert not quotas._places, "nothing is kept of what has ended"


def test_to_ask_takes_no_place_and_ends_no_reservation_whatever_time_is_asked_about() -> None:
    one, counts = grant(quota(DAY, 1)), Counts()
    quotas = quotas_over(counts, one)

    def asked(now_ms: int) -> Exchange:
        header = exchange_pb2.RequestHeader(grant_id=one.grant_id, deadline_ms=now_ms)
        made = Exchange(cast(Any, None), common_pb2.Signed(), 0, header)
        made.deadline_ms = now_ms
        return made

    for _ in range(3):
        quotas.peek(asked(NOON), None, NOON)
    assert not quotas._places
    held = quotas.reserve(one, NOON + 10_000, NOON)
    with pytest.raises(QuotaExceeded):
        quotas.peek(asked(NOON), None, NOON)
    quotas.peek(asked(NOON + 3600_000), None, NOON + 3600_000)
    with pytest.raises(QuotaExceeded):
        quotas.reserve(one, NOON + 10_000, NOON + 1)
    counts.release(held, NOON + 2)
    with pytest.raises(QuotaExceeded):
        quotas.peek(asked(NOON + 3600_000), None, NOON + 3600_000)
    quotas.peek(asked(NOON + 24 * 3600_000), None, NOON + 24 * 3600_000)


def test_a_refusal_by_one_quota_takes_no_place_in_the_others() -> None:
    one, counts = grant(quota(MONTH, 5), quota(DAY, 1)), Counts()
    quotas = quotas_over(counts, one)
    held = quotas.reserve(one, NOON + 10_000, NOON)
    for _ in range(10):
        with pytest.raises(QuotaExceeded):
            quotas.reserve(one, NOON + 10_000, NOON)
    assert quotas.taken(one, NOON) == [1, 1]
    held.end()
    assert quotas.taken(one, NOON) == [0, 0]


def test_one_grants_exhausted_quota_does_not_touch_another_grant() -> None:
    spent, other, counts = grant(quota(DAY, 1)), grant(quota(DAY, 1)), Counts()
    assert spent.grant_id != other.grant_id
    quotas = quotas_over(counts, spent, other)
    counts.release(quotas.reserve(spent, NOON + 10_000, NOON), NOON)
    with pytest.raises(QuotaExceeded):
        quotas.reserve(spent, NOON + 10_000, NOON)
    quotas.reserve(other, NOON + 10_000, NOON)


def test_the_next_day_begins_anew_the_term_never_does() -> None:
    daily, term, counts = grant(quota(DAY, 1)), grant(quota(TERM, 1)), Counts()
    quotas = quotas_over(counts, daily, term)
    for one in (daily, term):
        counts.release(quotas.reserve(one, NOON + 10_000, NOON), NOON)
    tomorrow = NOON + 86_400_000
    quotas.reserve(daily, tomorrow + 10_000, tomorrow)
    with pytest.raises(QuotaExceeded) as refused:
        quotas.reserve(term, tomorrow + 10_000, tomorrow)
    assert refused.value.retry_after_ms == 0, "waiting does not help"


def test_an_exchange_that_ends_after_midnight_counts_in_the_day_of_its_entry() -> None:
    one, counts = grant(quota(DAY, 1)), Counts()
    quotas = quotas_over(counts, one)
    before = at(2026, 11, 26, 23, 59, 59)
    after = before + 2_000
    reservation = quotas.reserve(one, before + 10_000, before)
    assert quotas.taken(one, before) == quotas.taken(one, after) == [1], "it may end in either"
    with pytest.raises(QuotaExceeded):
        quotas.reserve(one, after + 10_000, after)
    counts.release(reservation, after)
    assert quotas.taken(one, before) == [0] and quotas.taken(one, after) == [1]


def test_a_lapsed_reservation_gives_its_place_back_and_nothing_is_released_on_it() -> None:
    one, counts = grant(quota(DAY, 1)), Counts()
    quotas = quotas_over(counts, one)
    lost = quotas.reserve(one, NOON + 10_000, NOON)
    with pytest.raises(QuotaExceeded):
        quotas.reserve(one, NOON + 20_000, NOON + 10_000 + GRACE_MS - 1)
    later = NOON + 10_000 + GRACE_MS + SWEEP_MS
    quotas.reserve(one, later + 10_000, later)
    with pytest.raises(DeadlinePassed):
        lost.charge(later)


def test_a_reservation_that_is_being_entered_does_not_lapse() -> None:
    one, counts = grant(quota(DAY, 1)), Counts()
    quotas = quotas_over(counts, one)
    slow = quotas.reserve(one, NOON + 10_000, NOON)
    keys = slow.charge(NOON + 9_000)
    later = NOON + 60_000
    with pytest.raises(QuotaExceeded):
        quotas.reserve(one, later + 10_000, later)
    counts.used.update(keys)
    slow.end()
    assert quotas.taken(one, later) == [1]


def test_a_clock_that_is_set_back_a_day_releases_nothing_on_what_was_reserved() -> None:
    one = grant(quota(DAY, 5))
    quotas = quotas_over(Counts(), one)
    reservation = quotas.reserve(one, NOON + 10_000, NOON)
    with pytest.raises(DeadlinePassed):
        reservation.charge(NOON - 86_400_000)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_order_no_quota_is_ever_exceeded_and_none_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    grants = [grant(quota(DAY, 3), quota(MONTH, 7), quota(TERM, 12)), grant(quota(DAY, 2))]
    counts = Counts()
    quotas = quotas_over(counts, *grants)
    now_ms = at(2026, 11, 29, 22)
    held: list[tuple[Grant, Reservation]] = []
    entering: list[tuple[Reservation, list[QuotaKey]]] = []
    released = refused = 0
    for _ in range(600):
        now_ms += chance.choice((0, 1, 500, 20_000, 7_200_000 if chance.random() < 0.05 else 0))
        match chance.randrange(5):
            case 0 | 1:
                one = chance.choice(grants)
                try:
                    held.append((one, quotas.reserve(one, now_ms + chance.randrange(1, 60_000), now_ms)))
                except QuotaExceeded:
                    refused += 1
            case 2 if held:
                held.pop(chance.randrange(len(held)))[1].end()
            case 3 if held:
                reservation = held.pop(chance.randrange(len(held)))[1]
                try:
                    entering.append((reservation, list(reservation.charge(now_ms))))
                except DeadlinePassed:
                    reservation.end()
            case 4 if entering:
                reservation, keys = entering.pop(chance.randrange(len(entering)))
                if chance.random() < 0.8:
                    counts.used.update(keys)
                    released += 1
                reservation.end()
        for one in grants:
            for rule, taken in zip(one.quotas, quotas.taken(one, now_ms), strict=True):
                assert taken <= rule.exchanges
    assert refused and released
    for _, reservation in held:
        reservation.end()
    for reservation, _ in entering:
        reservation.end()
    assert not quotas._places
    assert sum(used for key, used in counts.used.items() if key.period == DAY) == released
    most = {(one.grant_id, rule.period): rule.exchanges for one in grants for rule in one.quotas}
    assert all(used <= most[key.grant_id, key.period] for key, used in counts.used.items())


def test_the_body_of_a_grant_with_quotas_is_addressed_by_its_digest_as_ever() -> None:
    body = grant_body(NOON, quotas=[quota(DAY, 1)])
    assert read_grant(common_pb2.Statement(body=body)).grant_id == digest(GRANT, body)
