"""Enters findings in the log: what the gateway found by its rules, as its own entry.

What is found holds from memory at once; the entry follows as soon as the log takes it. At most 1000 wait: of
more the newest are dropped and counted, what they hold back stays held.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from exchange.clock import Clock, Random
from exchange.errors import ExchangeError
from exchange.identity import Identity
from exchange.v1 import audit_pb2
from gateway.act_entries import ActEntries

MAX_WAITING = 1000
RETRY_S = 1.0

_log = structlog.get_logger("gateway.risk")


class FindingRecorder:
    """Enters findings.

    Args:
        enter: appends an administrative entry, waits until it is durable, and folds it.
        known: whether a finding is in the log already.
        gateway: who found it.
        origin: of the log.
        clock, random: time, and salts.
    """

    def __init__(
        self,
        *,
        enter: Callable[[audit_pb2.AuditEntry], Awaitable[object]],
        known: Callable[[bytes], bool],
        gateway: Identity,
        origin: str,
        clock: Clock,
        random: Random,
    ) -> None:
        self._enter = enter
        self._known = known
        self._gateway = gateway
        self._entries = ActEntries(origin=origin, clock=clock, random=random)
        self._waiting: deque[audit_pb2.FindingRecord] = deque()
        self._work = asyncio.Event()
        self.dropped = 0
        self.entered = 0

    def take(self, finding: audit_pb2.FindingRecord) -> None:
        """Queue a finding."""
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(finding)
        self._work.set()

    async def run(self) -> None:
        """Enter what is queued, again and again until cancelled; what fails is tried again."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                try:
                    await self.enter_next()
                except ExchangeError as error:
                    _log.warning("finding not entered", reason=error.name)
                    await asyncio.sleep(RETRY_S)

    async def enter_next(self) -> None:
        """Enter the oldest that waits.

        Raises:
            AuditUnavailable, QueueFull: it could not be made durable; it waits on.
        """
        finding = self._waiting[0]
        # Where it was in doubt whether an entry is durable, it may have been folded meanwhile.
        if not self._known(finding.finding_id):
            entry = self._entries.act(audit_pb2.ACT_FINDING, self._gateway, finding.rule)
            entry.administrative.finding.CopyFrom(finding)
            await self._enter(entry)
            _log.warning("finding", subject=f"{finding.rule} {finding.finding_id.hex()}")
        self.entered += 1
        self._waiting.popleft()
