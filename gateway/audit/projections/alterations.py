"""Tells officers, by an alert in the log, that a projection lacked what the log says."""

import asyncio

from exchange.clock import Clock
from exchange.errors import ExchangeError, StoreDamaged
from gateway.audit.entries.alerts import Alerts

RETRY_S = 5.0


class Alterations:
    """Enters one alert for each time that a projection was found altered.

    Args:
        alerts: enters them.
        clock: the time.
    """

    def __init__(self, *, alerts: Alerts, clock: Clock) -> None:
        self._alerts = alerts
        self._clock = clock
        self._noticed: dict[str, int] = {}
        self._any = asyncio.Event()

    def notice(self, name: str) -> None:
        """Take note that a projection was found altered; until that is entered, once is enough."""
        self._noticed.setdefault(name, self._clock.now_ms())
        self._any.set()

    async def run(self) -> None:
        """Enter what is noticed until cancelled; what cannot be entered now is tried again."""
        while True:
            await self._any.wait()
            self._any.clear()
            for name, since_ms in list(self._noticed.items()):
                try:
                    error = StoreDamaged(f"{name}: rows missing or altered")
                    await self._alerts.enter(error, severity="critical", since_ms=since_ms)
                    del self._noticed[name]
                except ExchangeError:
                    # The log is down, and says so itself.
                    await asyncio.sleep(RETRY_S)
                    self._any.set()
