"""Sensitive data outside office hours, where that is not the consumer's custom (`rules_file.OutOfHours`).

Beijing time. Days off are weekends and what the region's rules name; their working days count as such.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta

from exchange.clock import BEIJING_MS
from gateway.risk.detector import Alarms, Answer, Tally
from gateway.risk.rules_file import OutOfHours
from gateway.risk.windows import Cell, Cells

MINUTE_MS = 60_000
CUSTOM_DAYS = 30
"""A consumer's custom fades by half in so many days."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SATURDAY = 5


class Custom(Cell):
    """On how many days a consumer asked at all, and on how many of them outside office hours; both fade.

    Attributes:
        pane: the present day.
        today: whether it asked outside office hours today.
    """

    __slots__ = ("days", "outside", "today")

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

    def look(self, now_ms: int, answers: Sequence[Answer], alarms: Alarms) -> None:
        """See `Detector`."""
        minute, outside = self._minute
        if now_ms // MINUTE_MS != minute:
            minute = now_ms // MINUTE_MS
            outside = self.is_outside(minute)
            self._minute = minute, outside
        day, slot = now_ms // self._day_ms, self.slot
        for number, seen, lane, _ in answers:
            custom = lane[slot]
            if custom is None or not seen.sealed:
                continue
            if custom.pane != day:
                custom = lane[slot] = self._customs.at(seen.consumer, "", day)
                if custom.pane != day:
                    custom.roll(day)
            if not outside:
                continue
            custom.today = True
            if custom.days < self._learn or custom.outside * 1000 > self._usual * custom.days:
                continue
            alarm = self._count(seen, self._key(seen), now_ms // self.pane_ms)
            if alarm is not None:
                alarms.append((number, alarm))

    def is_outside(self, minute: int) -> bool:
        """Return whether a minute since 1970 lies outside office hours."""
        at = _EPOCH + timedelta(milliseconds=minute * MINUTE_MS + BEIJING_MS)
        day = at.date()
        works = (at.weekday() < _SATURDAY or day in self._working_days) and day not in self._days_off
        return not works or not self._opens <= at.hour * 60 + at.minute < self._shuts
