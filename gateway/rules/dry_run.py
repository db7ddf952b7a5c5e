"""Replays exchanges of the log against other rules, and says whose decision would have been another.

1. An entry has who asked what for which purpose and when; grants, catalogue, organisations and cases are
   those of now. So both decisions are made anew, by the rules in force and by the others, and compared.
2. Entries are read in a thread, the newest first; guards are asked on the event loop in pieces of two
   milliseconds, and the rest between them lets exchanges go before (`gateway.pace`).
3. The guards asked here are not the path's: nothing that the path keeps is touched, nothing is reserved.
4. That somebody looked is an entry before the first exchange is read. One dry run at a time.
5. What risk rules would have found comes afterwards (gateway/risk/trial.py).
6. Quotas are asked on neither side: they stand in grants, and no rules change them. What a quota refused is
   the same under both. Bounds on verifications are rules and counted by providers: the log has no verdicts.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from exchange.clock import Clock
from exchange.errors import ExchangeError, Malformed, TooMany
from exchange.identity import Identity
from exchange.region_rules import RegionRules, read_rules
from exchange.trust import TrustList
from exchange.v1 import audit_pb2, exchange_pb2, rules_pb2
from gateway.access.guards import Guard
from gateway.audit.log.reader import Present
from gateway.pace import Pace
from gateway.registrar import Registrar
from gateway.risk import tail
from gateway.risk.trial import RiskTrial
from gateway.rules.supposed import REQUEST, consumer_of, suppose, walk
from gateway.state import RegionState

MAX_LIMIT = 1_000_000
USUAL_LIMIT = 100_000
MAX_GROUPS = 10_000
MAX_TOLD = 100
CHUNK = 256
PIECE_S = 0.002
SHARE = 0.25
"""Of one core while exchanges run."""
_DECIDED = frozenset({audit_pb2.DECISION_RELEASED, audit_pb2.DECISION_REFUSED})
_BEFORE_GUARDS = frozenset({REQUEST, "admit"})

MakeGuards = Callable[[RegionState], Sequence[Guard]]
"""Makes the guards of step 4 for a state."""


class Log(tail.Log, Protocol):
    """What is needed of the audit log; read from another thread than the event loop's."""

    def present(self, first: int, count: int) -> Present:
        """Return at most `count` entries from an index on, leaving out what was erased."""
        ...


@dataclass(slots=True)
class _Group:
    count: int
    example: int


Key = tuple[str, str, str, bool]
_OTHERS: Key = ("", "", "", True)


class DryRuns:
    """Answers what other rules would have decided.

    Args:
        log: the audit log.
        registrar: enters that somebody looked.
        state: of the region.
        make_guards: makes the guards of step 4.
        trust: returns the newest trust list.
        clock: the time.
    """

    def __init__(
        self,
        *,
        log: Log,
        registrar: Registrar,
        state: RegionState,
        make_guards: MakeGuards,
        trust: Callable[[], TrustList | None],
        clock: Clock,
    ) -> None:
        self._log = log
        self._registrar = registrar
        self._state = state
        self._make_guards = make_guards
        self._trust = trust
        self._clock = clock
        self._running = False

    async def answer(self, request: rules_pb2.DryRunRequest, caller: Identity) -> rules_pb2.DryRunResponse:
        """Return whose decision would have been another.

        Raises:
            Malformed, Oversized, BadIdentifier, RulesInvalid: the rules will not do.
            TooMany: another dry run is under way.
            AuditUnavailable: that somebody looked could not be entered.
            StoreDamaged: the log cannot be read.
        """
        now_ms = self._clock.now_ms()
        since, until = request.since_ms, request.until_ms or now_ms
        limit = request.limit or USUAL_LIMIT
        if not 0 <= since < until or limit > MAX_LIMIT:
            raise Malformed("since_ms, until_ms or limit")
        rules = read_rules(request.rules)
        if self._running:
            raise TooMany("dry run")
        self._running = True
        try:
            # To compile guards takes milliseconds, in which exchanges go on.
            sides = await asyncio.to_thread(self._sides, rules)
            trial = await asyncio.to_thread(self._trial, rules, since, until)
            await self._registrar.record_read(caller, f"DryRun since={since} until={until} limit={limit}")
            run = _Run(self._log, self._state, sides, self._trust, caller)
            await run.replay(since, until, limit)
            answer = run.response()
            risk = await trial.run()
            if risk is not None:
                answer.risk.CopyFrom(risk)
        finally:
            self._running = False
        return answer

    def _trial(self, rules: RegionRules, since_ms: int, until_ms: int) -> RiskTrial:
        return RiskTrial(
            self._log,
            self._state.catalogue.find,
            in_force=self._state.rules.current,
            proposed=rules,
            since_ms=since_ms,
            until_ms=until_ms,
        )

    def _sides(self, rules: RegionRules) -> "Sequence[_Side]":
        self._state.rules.hold(rules)
        states = (self._state.under(self._state.rules.current), self._state.under(rules))
        return [_Side(state, self._make_guards(state)) for state in states]


@dataclass(frozen=True, slots=True)
class _Side:
    """The state under some rules, and the guards for it."""

    state: RegionState
    guards: Sequence[Guard]


class _Run:
    """One dry run."""

    def __init__(
        self,
        log: Log,
        state: RegionState,
        sides: Sequence[_Side],
        trust: Callable[[], TrustList | None],
        caller: Identity,
    ) -> None:
        self._log = log
        self._state = state
        self._present, self._other = sides
        self._trust = trust
        self._caller = caller
        self._pace = Pace(lambda: log.head.size, share=SHARE)
        self._groups: dict[Key, _Group] = {}
        self._examined = self._same = 0

    async def replay(self, since_ms: int, until_ms: int, limit: int) -> None:
        """Look at the exchanges of a time, the newest first."""
        end = self._log.head.size
        while end > 0 and self._examined < limit:
            first = max(0, end - CHUNK)
            begun = time.thread_time()
            entries = await asyncio.to_thread(_entries, self._log, first, end)
            await asyncio.sleep(self._pace.rest_s(time.thread_time() - begun))
            if entries and max(entry.time_ms for _, entry in entries) < since_ms:
                return
            fitting = [
                (index, entry)
                for index, entry in entries
                if since_ms <= entry.time_ms < until_ms and _replayable(entry.exchange)
            ]
            await self._look_at(fitting[: limit - self._examined])
            end = first

    async def _look_at(self, entries: Sequence[tuple[int, audit_pb2.AuditEntry]]) -> None:
        begun = time.perf_counter()
        for index, entry in entries:
            self._compare(index, entry)
            worked = time.perf_counter() - begun
            if worked > PIECE_S:
                await asyncio.sleep(self._pace.rest_s(worked))
                begun = time.perf_counter()

    def _compare(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        said = entry.exchange
        before = self._decide(self._present, said, entry.time_ms)
        after = self._decide(self._other, said, entry.time_ms)
        self._examined += 1
        if bool(before) == bool(after):
            self._same += 1
            return
        key = (after or before, said.consumer_organisation, said.resource, bool(after))
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            key = _OTHERS
        self._groups.setdefault(key, _Group(0, index)).count += 1

    def _decide(self, side: _Side, said: audit_pb2.ExchangeEntry, at_ms: int) -> str:
        """Return the rule that refuses; "" where none does."""
        header = exchange_pb2.RequestHeader(
            exchange_id=said.exchange_id,
            issued_at_ms=at_ms,
            deadline_ms=at_ms,
            kind=said.kind,
            consumer_organisation=said.consumer_organisation,
            consumer_agent=said.consumer_agent,
            resource=said.resource,
            fields=said.fields,
            grant_id=said.grant_id,
            purpose=said.purpose,
            matter=said.matter,
            step=said.step,
            case_number=said.case_number,
            application=said.application,
            operator=said.operator,
        )
        consumer = consumer_of(self._caller, said.consumer_organisation, said.consumer_agent)
        try:
            exchange = suppose(side.state, consumer, header)
        except ExchangeError:
            return REQUEST
        now_ms = self._trust_ms()
        steps = walk(exchange, side.guards, self._trust(), now_ms=at_ms, trust_ms=now_ms)
        return next((step.rule for step in steps if step.error is not None), "")

    def _trust_ms(self) -> int:
        """Return a time at which the trust list is fresh: its age then is not in the entry."""
        trust = self._trust()
        return trust.issued_at_ms if trust else 0

    def response(self) -> rules_pb2.DryRunResponse:
        """Return what was found."""
        return rules_pb2.DryRunResponse(examined=self._examined, same=self._same, groups=self._told())

    def _told(self) -> Iterator[rules_pb2.DryRunGroup]:
        by_count = sorted(self._groups.items(), key=lambda item: (-item[1].count, item[0]))
        for (rule, consumer, resource, refused), group in by_count[:MAX_TOLD]:
            yield rules_pb2.DryRunGroup(
                rule=rule,
                consumer=consumer,
                resource=resource,
                refused=refused,
                count=group.count,
                example=group.example,
            )


def _entries(log: Log, first: int, end: int) -> list[tuple[int, audit_pb2.AuditEntry]]:
    """Return the entries of a range that are there, the newest first."""
    found = log.present(first, end - first).entries
    parsed = [(index, audit_pb2.AuditEntry.FromString(leaf)) for index, leaf in found if index < end]
    return parsed[::-1]


def _replayable(said: audit_pb2.ExchangeEntry) -> bool:
    """Return whether the guards had their say: what was refused before, rules do not change."""
    return bool(said.grant_id) and said.decision in _DECIDED and said.rule not in _BEFORE_GUARDS
