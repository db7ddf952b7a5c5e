"""The periods over which quotas count: days and months by UTC+8, and a grant's whole term.

A day and a month are those of the calendar that the region lives by; there is no summer time to heed.
"""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from exchange.clock import BEIJING, BEIJING_MS
from exchange.v1 import grant_pb2

DAY = grant_pb2.QUOTA_PERIOD_DAY
MONTH = grant_pb2.QUOTA_PERIOD_MONTH
TERM = grant_pb2.QUOTA_PERIOD_TERM
NAMES: dict[int, str] = {DAY: "day", MONTH: "month", TERM: "term"}

_DAY_MS = 86_400_000


class Span(NamedTuple):
    """From a moment to before another, Unix milliseconds; `end_ms` is 0 where there is no end."""

    start_ms: int
    end_ms: int


_WHOLE = Span(0, 0)


def span(period: int, now_ms: int) -> Span:
    """Return the period that a moment lies in.

    Args:
        period: a QuotaPeriod.
        now_ms: Unix milliseconds.
    """
    if period == TERM:
        return _WHOLE
    day = (now_ms + BEIJING_MS) // _DAY_MS
    if period == DAY:
        start_ms = day * _DAY_MS - BEIJING_MS
        return Span(start_ms, start_ms + _DAY_MS)
    if period == MONTH:
        return _month(day)
    raise ValueError(f"period {period}")


@lru_cache(maxsize=8)
def _month(day: int) -> Span:
    """Return the month of a day, counted from 1 January 1970."""
    first = datetime.fromtimestamp(day * 86_400 - BEIJING_MS // 1000, BEIJING).replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return Span(int(first.timestamp()) * 1000, int(following.timestamp()) * 1000)
