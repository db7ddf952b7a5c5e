"""Sensitive data outside office hours, where that is not the consumer's custom (`rules_file.OutOfHours`).

Beijing time. Days off are weekends and what the region's rules name; their working days count as such.
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

from gateway.risk.detector import Alarm, Tally
from gateway.risk.observed import Observed
from gateway.risk.rules_file import OutOfHours
from gateway.risk.windows import Cells

MINUTE_MS = 60_000
ZONE_MS = 8 * 3_600_000
CUSTOM_DAYS = 30
"""A consumer's custom fades by half in so many days."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SATURDAY = 5


class Custom:
    """On how many days a consumer asked at all, and on how many of them outside office hours; both fade.

    Attributes:
        pane: the present day.
        today: whether it asked outside office hours today.
    """

    __slots__ = ("days", "outside", "pane", "today")

    def __init__(self) -> None:
        self.pane = 0
        self.days = self.outside = 0.0
        self.today = False

    def roll(self, day: int) -> None:
        """Close the present day: whatever was asked on it, it counts once."""
        fade = 0.5 ** ((day - self.pane) / CUSTOM_DAYS)
        self.days = (self.days + 1) * fade
        self.outside = (self.outside + self.today) * fade
        self.pane, self.today = day, False


class Hours(Tally):
    """Counts what comes outside office hours.

    Args:
        rule: the rule.
        days_off, working_days: that the week does not show.
    """

    def __init__(
        self, rule: OutOfHours, *, days_off: Collection[date], working_days: Collection[date]
    ) -> None:
        super().__init__(rule, rule.by, rule.least)
        self._opens, self._shuts = rule.opens, rule.shuts
        self._usual, self._learn = rule.usual_permille, rule.learn_days
        self._days_off, self._working_days = days_off, working_days
        self._customs: Cells[Custom] = Cells(Custom, most=rule.max_keys)
        self._minute = (-1, False)
        self._day_ms = 24 * 60 * MINUTE_MS

    def look(self, seen: Observed) -> Alarm | None:
        """See `Detector`."""
        if not seen.sealed or (not self._scope.everything and not self._scope.admits(seen)):
            return None
        minute, outside = self._minute
        if seen.time_ms // MINUTE_MS != minute:
            minute = seen.time_ms // MINUTE_MS
            outside = self.is_outside(minute)
            self._minute = minute, outside
        day = seen.time_ms // self._day_ms
        custom = self._customs.at(seen.consumer, "", day)
        if custom.pane != day:
            custom.roll(day)
        if not outside:
            return None
        custom.today = True
        if custom.days < self._learn or custom.outside * 1000 > self._usual * custom.days:
            return None
        return self._count(seen, self._key(seen))

    def is_outside(self, minute: int) -> bool:
        """Return whether a minute since 1970 lies outside office hours."""
        at = _EPOCH + timedelta(milliseconds=minute * MINUTE_MS + ZONE_MS)
        day = at.date()
        works = (at.weekday() < _SATURDAY or day in self._working_days) and day not in self._days_off
        return not works or not self._opens <= at.hour * 60 + at.minute < self._shuts
