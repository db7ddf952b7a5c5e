"""Tells people of witnesses: entries of alerts, each once per episode, one more when a silence is over."""

import time
from collections.abc import Callable, Mapping

import structlog

from exchange.clock import Clock
from exchange.errors import ExchangeError, LogUnwitnessed
from gateway.audit.entries.alerts import Alerts

RETRY_S = 10.0
EPISODE_S = 3600.0

_log = structlog.get_logger("gateway.audit")


class WitnessAlerts:
    """Enters alerts about witnesses.

    Args:
        alerts: enters them.
        clock: the time of day.
        monotonic: seconds that never go backward.
    """

    def __init__(
        self, *, alerts: Alerts, clock: Clock, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._alerts = alerts
        self._clock = clock
        self._monotonic = monotonic
        self._since_ms = 0  # of the silence that was told of; 0 while there is none
        # Key of a witness -> the reason that was told of and still stands, "" for none; and when.
        self._told: dict[str, tuple[str, float]] = {}
        self._not_before = 0.0

    async def tell(
        self, claims: Mapping[str, ExchangeError | None], *, age_s: float, overdue: bool, size: int
    ) -> None:
        """Enter what is new; what cannot be entered now is entered later.

        Args:
            claims: by what each witness contradicts the log, None where it does not; by its key.
            age_s: of the oldest entry without a quorum, seconds.
            overdue: whether that is too old.
            size: entries that a quorum covers.
        """
        if self._monotonic() < self._not_before:
            return
        try:
            await self._tell_of_claims(claims)
            await self._tell_of_age(age_s, overdue, size)
        except ExchangeError as error:
            _log.warning("alert_not_entered", reason=error.name, subject=error.subject)
            self._not_before = self._monotonic() + RETRY_S

    async def _tell_of_claims(self, claims: Mapping[str, ExchangeError | None]) -> None:
        """A witness that claims and cosigns in turn must not fill the log: one alert an hour for each."""
        now = self._monotonic()
        for key, claim in claims.items():
            reason, when = self._told.get(key, ("", now - EPISODE_S))
            if claim is None:
                self._told[key] = "", when
            elif claim.name != reason and now - when >= EPISODE_S:
                await self._alerts.enter(claim, severity="warning", since_ms=self._clock.now_ms())
                self._told[key] = claim.name, now

    async def _tell_of_age(self, age_s: float, overdue: bool, size: int) -> None:
        about = LogUnwitnessed(f"entries from {size} on")
        if overdue and not self._since_ms:
            since_ms = max(self._clock.now_ms() - int(age_s * 1000), 1)
            await self._alerts.enter(about, severity="critical", since_ms=since_ms)
            self._since_ms = since_ms
        elif not overdue and self._since_ms:
            await self._alerts.enter(about, severity="notice", since_ms=self._since_ms)
            self._since_ms = 0
