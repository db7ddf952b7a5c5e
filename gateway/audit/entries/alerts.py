"""Enters alerts in the log: what the gateway noticed and people should look at."""

from collections.abc import Awaitable, Callable
from typing import Literal

import structlog

from exchange.clock import Clock, Random
from exchange.errors import ExchangeError
from exchange.identity import Identity
from exchange.v1 import audit_pb2
from gateway.act_entries import ActEntries

Severity = Literal["notice", "warning", "critical"]

_log = structlog.get_logger("gateway.audit")


class Alerts:
    """Enters alerts.

    Args:
        append: appends an administrative entry and waits until it is durable.
        gateway: who noticed.
        origin: of the log.
        clock: the time.
        random: for salts.
    """

    def __init__(
        self,
        *,
        append: Callable[[bytes], Awaitable[object]],
        gateway: Identity,
        origin: str,
        clock: Clock,
        random: Random,
    ) -> None:
        self._append = append
        self._gateway = gateway
        self._entries = ActEntries(origin=origin, clock=clock, random=random)

    async def enter(self, error: ExchangeError, *, severity: Severity, since_ms: int) -> None:
        """Enter an alert, and write it to the process's log whether or not it could be entered.

        Args:
            error: what was noticed; its reason is entered, and its subject: names and numbers only.
            severity: how grave.
            since_ms: since when, Unix milliseconds.

        Raises:
            AuditUnavailable, QueueFull: it could not be made durable; enter it again later.
        """
        write = (
            _log.info if severity == "notice" else _log.warning if severity == "warning" else _log.critical
        )
        write("alert", reason=error.name, subject=error.subject)
        entry = self._entries.act(audit_pb2.ACT_ALERT, self._gateway, error.subject)
        entry.administrative.alert.CopyFrom(
            audit_pb2.AlertRecord(reason=error.reason, severity=severity, since_ms=since_ms)
        )
        await self._append(entry.SerializeToString())
