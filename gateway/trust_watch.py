"""Enters in the log every trust list that changes more than time: revocations, gateways, suite.

The list takes effect in memory at once (`TrustFeed`); its entry follows as soon as the log takes it. Only
the newest is waiting at any time, so a slow log makes no queue.
"""

import asyncio

import structlog

from exchange.errors import ExchangeError
from exchange.trust import TrustList
from exchange.trust_feed import TrustFeed
from gateway.registrar import Registrar

RETRY_S = 5.0
_log = structlog.get_logger("gateway.trust_watch")


class TrustWatch:
    """Enters trust lists.

    Args:
        registrar: enters them.
        feed: tells of them.
        retry_s: seconds until it tries again after the log could not take one.
    """

    def __init__(self, *, registrar: Registrar, feed: TrustFeed, retry_s: float = RETRY_S) -> None:
        self._registrar = registrar
        self._newest: TrustList | None = feed.current
        self._woken = asyncio.Event()
        self._retry_s = retry_s
        if self._newest is not None:
            self._woken.set()
        feed.subscribe(self._changed)

    async def run(self) -> None:
        """Enter what comes, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            if not await self._enter():
                await asyncio.sleep(self._retry_s)
                self._woken.set()

    def _changed(self, trust: TrustList) -> None:
        self._newest = trust
        self._woken.set()

    async def _enter(self) -> bool:
        newest = self._newest
        if newest is None:
            return True
        try:
            index = await self._registrar.record_trust_list(newest)
        except ExchangeError as error:
            _log.warning("trust_list_not_entered", number=newest.number, reason=error.name)
            return not error.retryable
        if index is not None:
            _log.info("trust_list_entered", number=newest.number, index=index)
        return True
