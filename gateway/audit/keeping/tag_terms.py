"""Ends the gateway's tag keys: a period's key goes when the term of the last entry of that period is over.

The entry that says so comes first: a crash after it leaves the key to the next turn, which enters it again. A
key is never gone without an entry. The rows of the period leave `trace.db` with that entry. As with segments,
nothing is erased unless the clock is vouched for by a fresh trust list: one that jumps ahead erases nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from exchange.clock import Clock, Random
from exchange.errors import ExchangeError
from exchange.identity import Identity
from exchange.subject_tags import period_end_ms
from exchange.v1 import audit_pb2
from gateway.act_entries import ActEntries
from gateway.subject_tags import SKEW_MS, GatewayTagKeys

TURN_S = 3600.0
DAY_MS = 86_400_000


class TagTerms:
    """Erases keys whose term is over.

    Args:
        keys: the gateway's.
        append: makes an entry durable.
        gateway: who acts.
        origin: of the log.
        keep_days: how long entries are kept.
        clock, random: time, and salts.
        now: the time where it is vouched for, None otherwise (`terms.trusted_now`).
    """

    def __init__(
        self,
        *,
        keys: GatewayTagKeys,
        append: Callable[[bytes], Awaitable[object]],
        gateway: Identity,
        origin: str,
        keep_days: int,
        clock: Clock,
        random: Random,
        now: Callable[[], int | None],
    ) -> None:
        self._keys = keys
        self._append = append
        self._gateway = gateway
        self._keep_ms = keep_days * DAY_MS
        self._now = now
        self._entries = ActEntries(origin=origin, clock=clock, random=random)
        self._log = structlog.get_logger("gateway.tags")

    async def run(self) -> None:
        """Erase what is due, again and again until cancelled; what fails is logged and tried again."""
        while True:
            try:
                await self.turn()
            except ExchangeError as error:
                self._log.warning("tag key not erased", reason=error.name, subject=error.subject)
            await asyncio.sleep(TURN_S)

    async def turn(self) -> list[str]:
        """Erase the keys of periods whose entries are all past their term; return the periods.

        Raises:
            AuditUnavailable, QueueFull: it could not be entered; the key stands.
            StoreDamaged: a key could not be deleted; it is tried again.
        """
        now_ms = self._now()
        if now_ms is None:
            return []
        due = [one for one in self._keys.periods if period_end_ms(one) + SKEW_MS + self._keep_ms <= now_ms]
        for period in due:
            await self.erase(period)
        return due

    async def erase(self, period: str) -> None:
        """Enter that a period's key is erased, then erase it."""
        entry = self._entries.act(audit_pb2.ACT_TAG_KEY_ERASED, self._gateway, period)
        await self._append(entry.SerializeToString())
        # A crash here: the entry is there and the key too, until the next turn.
        self._keys.erase(period)
        self._log.warning("tag key erased", subject=period)
