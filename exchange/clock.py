"""Time and randomness as they are handed to whatever needs them, so that tests can hold both still."""

import secrets
import time
from collections.abc import Callable
from datetime import timedelta, timezone
from typing import Protocol

BEIJING = timezone(timedelta(hours=8))
"""The zone of the people who use this: days of theirs, and times that are shown to them, are of UTC+8."""
BEIJING_MS = 8 * 3_600_000
"""How far it is ahead of UTC, milliseconds."""


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return time.time_ns() // 1_000_000


Random = Callable[[int], bytes]
"""Returns that many random bytes, fit for keys."""

system_random: Random = secrets.token_bytes


class NonceSource:
    """Random bytes for nonces and salts, drawn many at a time: a call costs 10 µs, a slice 0.2.

    What is drawn is handed out once. Keys and secrets are drawn one by one from `system_random` instead, so
    that none of them lies in memory before it is used. One thread only.

    Args:
        draw: the system's source.
        reserve_bytes: how much is drawn at a time.
    """

    def __init__(self, *, draw: Random = system_random, reserve_bytes: int = 4096) -> None:
        self._draw = draw
        self._reserve_bytes = reserve_bytes
        self._reserve = b""
        self._next = 0

    def __call__(self, count: int) -> bytes:
        """Return that many random bytes."""
        start, end = self._next, self._next + count
        if end > len(self._reserve):
            if count > self._reserve_bytes:
                return self._draw(count)
            self._reserve = self._draw(self._reserve_bytes)
            start, end = 0, count
        self._next = end
        return self._reserve[start:end]
