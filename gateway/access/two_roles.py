"""Tells the officers of certificates that carry two roles: no honest authority makes one.

Whoever calls with such a certificate is nobody, so its refusal has no actor: it is an alert that names the
certificate, once a day each. More than `MOST` of them in a day are told in the process's log alone.
"""

import structlog

from exchange.clock import Clock
from exchange.errors import ExchangeError, TwoRoles
from gateway.audit.entries.alerts import Alerts

MOST = 256
DAY_MS = 86_400_000

_log = structlog.get_logger("gateway.access")


class TwoRolesWatch:
    """Enters alerts.

    Args:
        alerts: enters them.
        clock: the time.
    """

    def __init__(self, *, alerts: Alerts, clock: Clock) -> None:
        self._alerts = alerts
        self._clock = clock
        self._told: dict[str, int] = {}

    async def refused(self, error: ExchangeError) -> None:
        """Take note of why a caller is nobody.

        Raises:
            AuditUnavailable, QueueFull: it could not be made durable.
        """
        if not isinstance(error, TwoRoles):
            return
        now_ms = self._clock.now_ms()
        self._told = {name: at_ms for name, at_ms in self._told.items() if now_ms - at_ms < DAY_MS}
        if error.subject in self._told:
            return
        if len(self._told) >= MOST:
            _log.critical("two roles", subject=error.subject)
            return
        self._told[error.subject] = now_ms
        try:
            await self._alerts.enter(error, severity="critical", since_ms=now_ms)
        except ExchangeError:
            self._told.pop(error.subject, None)
            raise
