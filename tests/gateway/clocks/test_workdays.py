"""Working days by the Chinese calendar, in the time of UTC+8, and as the region's rules correct them."""

from datetime import date, datetime, timedelta

import pytest

from exchange.clock import BEIJING
from exchange.region_rules import RegionRules
from gateway.clocks.workdays import Workdays

PLAIN = Workdays(RegionRules())


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=BEIJING).timestamp() * 1000)


def test_a_term_of_one_day_ends_when_the_next_working_day_ends() -> None:
    monday = ms("2026-03-02T09:30")
    assert PLAIN.after(monday, 1) == ms("2026-03-04T00:00")
    friday = ms("2026-03-06T17:59")
    assert PLAIN.after(friday, 1) == ms("2026-03-10T00:00")


def test_the_day_is_that_of_utc_plus_8_and_not_of_utc() -> None:
    # 2026-03-02 23:59 and 2026-03-03 00:01 in UTC+8 are the same day in UTC.
    assert PLAIN.after(ms("2026-03-02T23:59"), 1) == ms("2026-03-04T00:00")
    assert PLAIN.after(ms("2026-03-03T00:01"), 1) == ms("2026-03-05T00:00")


def test_the_spring_festival_does_not_count_and_its_adjusted_saturdays_do() -> None:
    # 2025: 28 January to 4 February off; Sunday 26 January and Saturday 8 February worked.
    assert PLAIN.worked(date(2025, 1, 26))
    assert not PLAIN.worked(date(2025, 1, 28))
    assert PLAIN.worked(date(2025, 2, 8))
    assert PLAIN.after(ms("2025-01-24T10:00"), 3) == ms("2025-02-06T00:00")


def test_days_that_the_rules_name_override_the_calendar() -> None:
    rules = RegionRules(
        days_off=frozenset({date(2026, 3, 3)}), working_days=frozenset({date(2026, 3, 7), date(2026, 3, 3)})
    )
    days = Workdays(rules)
    assert not days.worked(date(2026, 3, 3))  # named both ways: off
    assert days.worked(date(2026, 3, 7))
    assert days.after(ms("2026-03-02T09:00"), 1) == ms("2026-03-05T00:00")
    assert days.after(ms("2026-03-06T09:00"), 1) == ms("2026-03-08T00:00")


def test_a_year_the_calendar_does_not_know_has_weekends_and_what_the_rules_say() -> None:
    far = date(2090, 10, 2)
    assert not Workdays.known(far)
    assert far.weekday() == 0 and PLAIN.worked(far)
    assert not PLAIN.worked(far - timedelta(days=1))
    assert not Workdays(RegionRules(days_off=frozenset({far}))).worked(far)


@pytest.mark.parametrize("days", [1, 2, 5, 10, 20, 250])
def test_between_counts_the_days_that_after_went_through(days: int) -> None:
    begin = ms("2025-09-26T15:00")
    end = PLAIN.after(begin, days)
    assert PLAIN.between(begin, end - 1) == days
    assert PLAIN.between(end, begin) == 0


@pytest.mark.parametrize("days", [0, -1, 251])
def test_a_term_out_of_bounds_is_a_mistake_of_the_caller(days: int) -> None:
    with pytest.raises(ValueError, match="working days"):
        PLAIN.after(ms("2026-03-02T09:00"), days)
