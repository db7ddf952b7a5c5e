"""What nobody foresaw in one exchange: it fails that exchange, and neither its batch nor its link.

A guard with a defect, or a row that cannot be read, raises what is no ExchangeError. The exchange is refused
as INTERNAL; the detail stays here: the exception's type and the step, never its text, which may hold values.
"""

from collections.abc import Callable

import structlog
from prometheus_client import Counter

from exchange.errors import ExchangeError, Internal

QUIET_MS = 1_000
"""How long the same is not logged again; each is counted."""
MOST_TOLD = 64

_log = structlog.get_logger("gateway.path")


class Defects:
    """Counts and logs what nobody foresaw.

    Args:
        count: of single exchanges that failed by it.
        now_ms: the time, Unix milliseconds.
    """

    def __init__(self, *, count: Counter, now_ms: Callable[[], int]) -> None:
        self._count = count
        self._now_ms = now_ms
        self._told: dict[tuple[str, str], int] = {}

    def error(self, raised: Exception, step: str) -> ExchangeError:
        """Return why an exchange is refused: what was raised where that is a refusal, else Internal.

        Args:
            raised: by a step.
            step: or guard at which the exchange was, for the log.
        """
        if isinstance(raised, ExchangeError):
            return raised
        self.note(raised, step)
        return Internal()

    def note(self, raised: Exception, step: str) -> None:
        """Count and log what was raised where nothing can be refused any more."""
        self._count.inc()
        kind, now_ms = type(raised).__name__, self._now_ms()
        if now_ms - self._told.get((step, kind), now_ms - QUIET_MS) < QUIET_MS:
            return
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told[step, kind] = now_ms
        _log.critical("exchange failed unforeseen", error=kind, subject=step)
