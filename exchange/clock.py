"""Time and randomness as they are handed to whatever needs them, so that tests can hold both still."""

import secrets
import time
from collections.abc import Callable
from typing import Protocol


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
