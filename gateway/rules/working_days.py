"""Which days are working days: the official calendar, and what the region's rules say besides.

The calendar knows the years that the State Council has published; beyond them Monday to Friday count. Days
are counted in UTC+8.
"""

from datetime import date, timedelta

import chinese_calendar

from exchange.region_rules import RegionRules

HOUR_MS = 3_600_000
OFFSET_HOURS = 8
HOURS_A_DAY = 24
FRIDAY = 4
_EPOCH = date(1970, 1, 1)


def local_hours(now_ms: int) -> int:
    """Return the hours since 1970-01-01 00:00 in UTC+8."""
    return now_ms // HOUR_MS + OFFSET_HOURS


def local_day(hours: int) -> date:
    """Return the day of an hour that `local_hours` counted."""
    return _EPOCH + timedelta(days=hours // HOURS_A_DAY)


def is_working_day(day: date, rules: RegionRules) -> bool:
    """Return whether a day is a working day in the region; the rules go before the calendar."""
    if day in rules.working_days:
        return True
    if day in rules.days_off:
        return False
    try:
        return bool(chinese_calendar.is_workday(day))
    except NotImplementedError:
        return day.weekday() <= FRIDAY
