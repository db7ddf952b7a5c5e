"""Tries risk rules on the log: what they would have found in a time, beside what those in force would have.

1. Both go over the same exchanges from as far back as either looks, so that windows are full when the time
   begins; at most 200,000 entries. What was found before it counts as found, and is not told.
2. What rules would have held back goes into no window of theirs, as at the gateway. Of those of now nothing
   is touched; what people decided about findings is left out, and so is what the consumer would have done.
3. Read and weighed in a thread, 256 entries at a time; the rest in between lets exchanges go before.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from exchange.region_rules import RegionRules
from exchange.resources import Resource
from exchange.v1 import audit_pb2, rules_pb2
from gateway.pace import Pace
from gateway.risk.engine import Engine
from gateway.risk.observed import Observed
from gateway.risk.rebuild import looks_back_ms
from gateway.risk.rules_file import read_risk_rules
from gateway.risk.tail import CHUNK, MAX_ENTRIES, Log, entries, first_since, observed

SHARE = 0.25
"""Of one core while exchanges run."""
MAX_FIRST = 3
KEY = bytes(32)
"""Of marks, by which findings of one trial are told apart; none leaves it."""


class _Time:
    """The time of the exchange that is looked at."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms


class _Side:
    """Some rules at work on what is read.

    Attributes:
        counts: findings within the time, by rule; all rules stand here.
        first: the first findings of each.
    """

    def __init__(self, rules: RegionRules, resource: Callable[[str], Resource | None], since_ms: int) -> None:
        self._time = _Time()
        self._since_ms = since_ms
        self._engine = Engine(resource=resource, found=self._found, key=KEY, clock=self._time, random=bytes)
        self._engine.use_rules(rules)
        self.counts = {rule.id: 0 for rule in self._engine.rules}
        self.first: dict[str, list[rules_pb2.RiskDryRunFinding]] = {rule: [] for rule in self.counts}

    @property
    def looks_back_ms(self) -> int:
        """How far back the rules look."""
        return looks_back_ms(self._engine.rules)

    def take(self, batch: Sequence[Observed]) -> None:
        """Have exchanges go by, one after the other: what one brings about may hold the next back."""
        engine = self._engine
        for seen in batch:
            self._time.ms = seen.time_ms
            if engine.holds.find(seen.consumer, seen.agent, seen.operator, seen.resource, seen.time_ms):
                continue
            if seen.released and seen.tags and engine.weigh(seen) is not None:
                continue
            engine.take([seen])

    def _found(self, finding: audit_pb2.FindingRecord) -> None:
        if self._time.ms < self._since_ms:
            return
        self.counts[finding.rule] += 1
        first = self.first[finding.rule]
        if len(first) < MAX_FIRST:
            first.append(
                rules_pb2.RiskDryRunFinding(
                    time_ms=self._time.ms,
                    consumer=finding.consumer,
                    resources=finding.resources,
                    count=finding.count,
                )
            )


class RiskTrial:
    """One trial.

    Args:
        log: the audit log.
        resource: finds the resource that an id resolves to; used from the thread.
        in_force, proposed: the rules.
        since_ms, until_ms: the time whose findings are told, Unix milliseconds.

    Raises:
        RulesInvalid: the proposed ones cannot be read.
    """

    def __init__(
        self,
        log: Log,
        resource: Callable[[str], Resource | None],
        *,
        in_force: RegionRules,
        proposed: RegionRules,
        since_ms: int,
        until_ms: int,
    ) -> None:
        read_risk_rules(proposed.risk)
        self._log = log
        self._resource = resource
        self._in_force, self._proposed = (_Side(rules, resource, since_ms) for rules in (in_force, proposed))
        self._since_ms, self._until_ms = since_ms, until_ms
        self._pace = Pace(lambda: log.head.size, share=SHARE)
        self._examined = 0

    async def run(self) -> rules_pb2.RiskDryRun | None:
        """Return what both would have found; None where neither has any rule.

        Raises:
            AuditUnavailable, StoreDamaged: the log cannot be read.
        """
        sides = [side for side in (self._in_force, self._proposed) if side.counts]
        if not sides:
            return None
        back_ms = max(side.looks_back_ms for side in sides)
        first, told_ms, end = await asyncio.to_thread(self._range, back_ms)
        for start in range(first, end, CHUNK):
            worked_s = await asyncio.to_thread(self._work, sides, start, min(CHUNK, end - start))
            await asyncio.sleep(self._pace.rest_s(worked_s))
        return self._told(told_ms)

    def _range(self, back_ms: int) -> tuple[int, int, int]:
        """Return the first index, from when on all is there that is told, and the index after the last."""
        log = self._log
        end = first_since(log, 0, log.head.size, self._until_ms)
        low = max(end - MAX_ENTRIES, 0)
        first = first_since(log, low, end, self._since_ms - back_ms)
        told_ms = self._since_ms
        if low and first == low:
            told_ms = max(told_ms, *(entry.time_ms for _, entry in entries(log, low, CHUNK)[:1]))
        return first, told_ms, end

    def _work(self, sides: Sequence[_Side], start: int, count: int) -> float:
        """Run in the thread; return the processor time that it took, seconds."""
        begun = time.thread_time()
        batch = list(observed(self._log, start, count, self._resource))
        self._examined += len(batch)
        for side in sides:
            side.take(batch)
        return time.thread_time() - begun

    def _told(self, since_ms: int) -> rules_pb2.RiskDryRun:
        before, after, first = self._in_force.counts, self._proposed.counts, self._proposed.first
        return rules_pb2.RiskDryRun(
            examined=self._examined,
            since_ms=since_ms,
            rules=[
                rules_pb2.RiskDryRunRule(
                    rule=rule,
                    in_force=before.get(rule),
                    proposed=after.get(rule),
                    first=first.get(rule, ()),
                )
                for rule in dict.fromkeys([*before, *after])
            ],
        )
