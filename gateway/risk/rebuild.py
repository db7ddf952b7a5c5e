"""Rebuilds the windows from the tail of the log: after a restart, and where the rules have changed.

In a thread that gives way to exchanges, over at most 200,000 entries and no further back than the rules look.
Until it is done the rules work with what came since; `behind` says so. What was already found is in the log,
so nothing is found a second time. What comes meanwhile is taken in afterwards, a slice at a time; of more
than 50,000 the rest is lost and counted.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from exchange.clock import Clock
from exchange.errors import ExchangeError
from exchange.resources import Resource
from gateway.pace import Pace
from gateway.risk.engine import Engine
from gateway.risk.hours import CUSTOM_DAYS
from gateway.risk.observed import Observed
from gateway.risk.rule_set import Windows
from gateway.risk.rules_file import DAY_S, NewPair, OutOfHours, Rule, Volume
from gateway.risk.tail import CHUNK, MAX_ENTRIES, Log, first_since, observed

MAX_MEANWHILE = 50_000
SHARE = 0.25

_log = structlog.get_logger("gateway.risk")


class Rebuild:
    """Rebuilds.

    Args:
        log: the audit log.
        engine: whose windows they are.
        resource: finds the resource that an id resolves to; used from the thread.
        clock: the time.

    Attributes:
        behind: whether windows lack what came before.
        lost: how many exchanges came meanwhile for which there was no room.
        read: how many entries the last rebuilding read.
    """

    def __init__(
        self, *, log: Log, engine: Engine, resource: Callable[[str], Resource | None], clock: Clock
    ) -> None:
        self._log = log
        self._engine = engine
        self._resource = resource
        self._clock = clock
        self._due = asyncio.Event()
        self._closing = threading.Event()
        self._meanwhile: list[Observed] = []
        self.behind = False
        self.lost = 0
        self.read = 0
        engine.subscribe(self._changed)

    def _changed(self) -> None:
        self.behind = bool(self._engine.rules)
        self._due.set()

    async def run(self) -> None:
        """Rebuild whenever it is due, until cancelled; what fails is logged, the rules go on without."""
        with ThreadPoolExecutor(1, thread_name_prefix="risk-rebuild") as thread:
            try:
                while True:
                    await self._due.wait()
                    try:
                        await self.turn(thread)
                    except ExchangeError as error:
                        _log.error("risk windows not rebuilt", reason=error.name, subject=error.subject)
            finally:
                self._closing.set()
                self._engine.seen = None

    async def turn(self, thread: ThreadPoolExecutor) -> None:
        """Rebuild the windows of the rules in force; begins anew where they change meanwhile."""
        engine = self._engine
        while self._due.is_set():
            self._due.clear()
            if not engine.rules:
                continue
            self._meanwhile = []
            engine.seen = self._keep
            windows, end = engine.fresh_windows(), self._log.head.size
            since_ms = self._clock.now_ms() - looks_back_ms(engine.rules)
            # Entries below `end` were taken in before this line, all later ones are kept for afterwards.
            await asyncio.get_running_loop().run_in_executor(thread, self._read, windows, end, since_ms)
            while self._meanwhile and not self._due.is_set():
                slice_, self._meanwhile = self._meanwhile[:CHUNK], self._meanwhile[CHUNK:]
                windows.take(slice_)
                await asyncio.sleep(0)
            if not self._due.is_set():
                windows.combinations.absorb(engine.windows.combinations)
                engine.windows, engine.seen = windows, None
                self.behind = False
                _log.info("risk windows rebuilt", size=self.read)

    def _keep(self, batch: Sequence[Observed]) -> None:
        room = MAX_MEANWHILE - len(self._meanwhile)
        self._meanwhile += batch[:room]
        self.lost += max(len(batch) - room, 0)

    def _read(self, windows: Windows, end: int, since_ms: int) -> None:
        """Run in the thread; the windows are nobody else's yet."""
        pace = Pace(lambda: self._log.head.size, share=SHARE)
        first = first_since(self._log, max(end - MAX_ENTRIES, 0), end, since_ms)
        self.read = 0
        for start in range(first, end, CHUNK):
            if self._closing.is_set() or self._due.is_set():
                return
            begun = time.thread_time()
            self._take(windows, start, min(CHUNK, end - start))
            self._closing.wait(pace.rest_s(time.thread_time() - begun))

    def _take(self, windows: Windows, start: int, count: int) -> None:
        batch = list(observed(self._log, start, count, self._resource))
        self.read += count
        for seen in batch:
            shape = windows.combinations.shape(seen.resource, seen.fields) if seen.released else ()
            if shape and seen.tags:
                windows.combinations.take(seen, shape)
        windows.take(batch)


def looks_back_ms(rules: Sequence[Rule]) -> int:
    """Return how far back the rules look, milliseconds."""
    spans = [rule.window for rule in rules]
    spans += [rule.remember for rule in rules if isinstance(rule, (Volume, NewPair))]
    spans += [CUSTOM_DAYS * DAY_S for rule in rules if isinstance(rule, OutOfHours)]
    return max(spans, default=0) * 1000
