"""Working days of the region: the Chinese calendar with adjusted workdays, and what the rules say besides.

1. A day of `days_off` is off and one of `working_days` is worked, whatever the calendar says.
2. Otherwise the calendar of `chinese_calendar` decides: holidays, and weekends that are worked instead.
3. Of years that calendar does not know yet, Monday to Friday are worked (`known`); a region that needs the
   holidays of such a year before the calendar is renewed enters them in its rules.

Days are those of UTC+8. The day on which something happens is not counted: a term of one day from a Monday
ends when Tuesday ends.
"""

from datetime import UTC, date, datetime, timedelta

from chinese_calendar import constants, is_workday

from exchange.clock import BEIJING, BEIJING_MS
from exchange.region_rules import MAX_CLOCK_DAYS, RegionRules

DAY_MS = 24 * 3600 * 1000
MAX_KEPT = 4096
MAX_SPAN_DAYS = 20 * 366
SATURDAY = 5

_EPOCH = date(1970, 1, 1)
_FIRST_YEAR: int = min(constants.holidays).year
_LAST_YEAR: int = max(constants.holidays).year
_DAY = timedelta(days=1)


class Workdays:
    """Counts working days.

    Args:
        rules: of the region; a change of them makes another `Workdays`.
    """

    def __init__(self, rules: RegionRules) -> None:
        self._off = rules.days_off
        self._worked = rules.working_days
        self._ends: dict[tuple[date, int], int] = {}

    @staticmethod
    def known(day: date) -> bool:
        """Whether the calendar knows the year; otherwise only weekends and the rules' days count as off."""
        return _FIRST_YEAR <= day.year <= _LAST_YEAR

    def worked(self, day: date) -> bool:
        """Whether a day is a working day; one that the rules name both ways is off."""
        if day in self._off:
            return False
        if day in self._worked:
            return True
        if not self.known(day):
            return day.weekday() < SATURDAY
        worked: bool = is_workday(day)
        return worked

    def after(self, time_ms: int, days: int) -> int:
        """Return when a term of so many working days ends.

        Args:
            time_ms: when it begins, Unix milliseconds; its day is not counted.
            days: working days, 1 to 250.

        Returns:
            The first millisecond after its last day, Unix milliseconds.
        """
        if not 1 <= days <= MAX_CLOCK_DAYS:
            raise ValueError(f"{days} working days")
        begin = day_of(time_ms)
        found = self._ends.get((begin, days))
        if found is None:
            if len(self._ends) >= MAX_KEPT:
                self._ends.clear()
            found = self._ends[begin, days] = _start_ms(self._last(begin, days) + _DAY)
        return found

    def between(self, a_ms: int, b_ms: int) -> int:
        """Return how many working days there are from the day after `a_ms` to the day of `b_ms`, it included.

        Args:
            a_ms, b_ms: Unix milliseconds; 0 days where the second is not on a later day.

        Raises:
            ValueError: more than twenty years lie between.
        """
        first, last = day_of(a_ms), day_of(b_ms)
        if (last - first).days > MAX_SPAN_DAYS:
            raise ValueError("more than twenty years")
        return sum(self.worked(first + timedelta(days=n)) for n in range(1, (last - first).days + 1))

    def _last(self, day: date, days: int) -> date:
        # Rules name at most 64 days off, holidays are fewer than 40 a year: this ends soon.
        while days:
            day += _DAY
            days -= self.worked(day)
        return day


def day_of(time_ms: int) -> date:
    """Return the day, UTC+8, of Unix milliseconds."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(BEIJING).date()


def _start_ms(day: date) -> int:
    return (day - _EPOCH).days * DAY_MS - BEIJING_MS
