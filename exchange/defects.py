"""What nobody foresaw in one exchange: it fails that exchange, and neither its batch nor its link.

A guard or source with a defect, or a row that cannot be read, raises what is no ExchangeError. The exchange
fails as INTERNAL; the detail stays here: the exception's type and the step, never its text, which may hold
values.
"""

from collections.abc import Callable

import structlog

from exchange.errors import ExchangeError, Internal

QUIET_MS = 1_000
"""How long the same is not logged again; each is counted."""
MOST_TOLD = 64


class Defects:
    """Counts and logs what nobody foresaw.

    Args:
        logger: names whose step it was, as "gateway.path".
        now_ms: the time, Unix milliseconds.
        count: told of each exchange that failed by it.
    """

    def __init__(
        self, *, logger: str, now_ms: Callable[[], int], count: Callable[[], None] = lambda: None
    ) -> None:
        self._log = structlog.get_logger(logger)
        self._now_ms = now_ms
        self._count = count
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
        self._count()
        kind, now_ms = type(raised).__name__, self._now_ms()
        if now_ms - self._told.get((step, kind), now_ms - QUIET_MS) < QUIET_MS:
            return
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told[step, kind] = now_ms
        self._log.critical("exchange failed unforeseen", error=kind, subject=step)
