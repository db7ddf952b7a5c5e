"""Times as people type and read them: days, and times that name no zone, are of UTC+8, Beijing time.

1. A date alone is a day of UTC+8, in every command and form, as working days and quotas count them.
2. A time with an offset or Z is what it says.
3. What is printed for people is in UTC+8: times with their offset, days under a title that says so.
   Programs (--json) get UTC; nothing here is for them.
"""

from datetime import date, datetime, time, timedelta

from exchange.clock import BEIJING
from exchange.errors import BadConfiguration

YESTERDAY = "yesterday"
FORMS = "2026-11-26 (UTC+8), 2026-11-26T08:00+08:00"

DAY = "日期（UTC+8，当日零时）"
DAY_EN = "a date (UTC+8, its first instant)"
WHOLE_DAY = "日期（UTC+8，含当日）"
WHOLE_DAY_EN = "a date (UTC+8, that day included)"
"""What the help of an option says about dates; the whole day where a range is read."""


def moment_of(value: datetime | date) -> datetime:
    """Return the moment that a date or time means; a date means its first instant."""
    if not isinstance(value, datetime):
        return datetime.combine(value, time.min, BEIJING)
    return value if value.tzinfo is not None else value.replace(tzinfo=BEIJING)


def typed_ms(option: str, text: str, *, whole_day: bool = False) -> int:
    """Return a time that was typed as Unix milliseconds, 0 for none.

    Args:
        option: its name.
        text: a date, or RFC 3339; without an offset it is of UTC+8.
        whole_day: whether a date means its end: what is read until then has that day in it.

    Raises:
        BadConfiguration: it is neither, or before 1970.
    """
    if not text:
        return 0
    try:
        milliseconds = round(_moment(text, whole_day).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise BadConfiguration(f"{option} {text}: {FORMS}") from error
    if milliseconds <= 0:
        raise BadConfiguration(f"{option} {text}: {FORMS}")
    return milliseconds


def _moment(text: str, whole_day: bool) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return moment_of(datetime.fromisoformat(text))
    return moment_of(day + timedelta(days=whole_day))


def yesterday(now_ms: int) -> str:
    """Return the date of the day before a moment (Unix milliseconds), as it would be typed."""
    today = datetime.fromtimestamp(now_ms / 1000, BEIJING).date()
    return (today - timedelta(days=1)).isoformat()


def shown(text: str) -> str:
    """Return a time for people, in UTC+8 with its offset, to the second; what is no time as it is.

    Args:
        text: RFC 3339 with an offset, as programs get it.
    """
    try:
        return datetime.fromisoformat(text).astimezone(BEIJING).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        # Nothing, or a witness's time beyond the calendar, which is told as a number.
        return text


def shown_day(text: str) -> str:
    """Return the day of UTC+8 that a time (RFC 3339 with an offset) is in; what is no time as it is."""
    return shown(text).partition("T")[0]
