"""The quality of what this agent received: counted while answers are opened, reported daily. Counts only.

1. Of an answer the first 100 records are looked at, and of a resource no more than some 500 a second: it is a
   sample where much comes, and everything where little does. How many answers and records came is counted in
   full. A value is missing where it is null or empty, invalid where it breaks what the schema says of it
   (`field_checks`).
2. An answer that tells as of when its data are is dated; it is stale where that is longer ago than the
   provider's line of the responsibility list promises.
3. Counts are kept beside what is known of the region once a minute: a crash loses at most that. What is
   reported is frozen first, so that periods follow each other; one that the region has already is done.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from agent.consumer.field_checks import Check, compile_checks
from exchange import canonical
from exchange.clock import Clock, Random
from exchange.errors import ExchangeError, Unavailable, WrongState
from exchange.quality_report import MAX_REPORT_MS
from exchange.resources import Resource
from exchange.statement import StatementSigner
from exchange.v1 import agent_pb2, common_pb2, directory_pb2, ticket_pb2

LOOKED_AT = 100
"""Records of an answer that are looked at."""
PER_SECOND = 500
"""Records of one resource that are looked at in a second, and the rest of the answer that passes it."""
MAX_RESOURCES = 4096
MAX_FROZEN = 64
KIND = "quality"
KEEP_MS = 60_000
HOUR_MS = 3_600_000

_log = structlog.get_logger("agent.quality")

Observe = Callable[[Resource, agent_pb2.Answer, int], None]
"""Counts an answer; see `QualityBook.observe`."""
HandIn = Callable[[common_pb2.Statement], Awaitable[object]]
"""Hands a report in; returns once it is in the log, raises ExchangeErrors."""


def unobserved(resource: Resource, answer: agent_pb2.Answer, as_of_ms: int) -> None:
    """Count nothing."""


class Keeping(Protocol):
    """What is needed of agent.region.RegionView."""

    def keep(self, kind: str, key: str, value: bytes) -> None:
        """Keep something, durable on return."""
        ...

    def kept(self, kind: str) -> dict[str, bytes]:
        """Return what is kept of a kind, by key."""
        ...


@dataclass(slots=True)
class Counts:
    """Counts of one resource, in one version, since a time.

    Attributes:
        fields: name to values, missing and invalid.
    """

    resource: str
    version: int
    since_ms: int
    until_ms: int = 0
    exchanges: int = 0
    records: int = 0
    dated: int = 0
    stale: int = 0
    oldest_s: int = 0
    fields: dict[str, list[int]] = field(default_factory=dict)

    def plain(self) -> dict[str, object]:
        """Return them for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Watched:
    """A resource that answers come from: its counts, what its schema says, what its provider promises.

    Attributes:
        second: of the clock; since it began, `looked_at` records were looked at.
    """

    counts: Counts
    checks: dict[str, Check]
    fresh_within_s: int
    second: int = 0
    looked_at: int = 0

    def look(self, answer: agent_pb2.Answer) -> None:
        """Look at the values of an answer."""
        fields, checks = self.counts.fields, self.checks
        for column in answer.columns:
            values = column.values[:LOOKED_AT]
            told = fields.get(column.name)
            if told is None:
                told = fields[column.name] = [0, 0, 0]
            told[0] += len(values)
            told[1] += values.count("")
            check = checks.get(column.name)
            if check is not None:
                told[2] += sum(1 for value in values if value and not check(value))


class QualityBook:
    """Counts, keeps and reports.

    Args:
        region: keeps counts.
        clock, random: for times and nonces.
        signer: returns who signs for this agent now.
        every_ms: how long a period is, milliseconds; 0 to count and report nothing.
    """

    def __init__(
        self,
        *,
        region: Keeping,
        clock: Clock,
        random: Random,
        signer: Callable[[], StatementSigner],
        every_ms: int,
    ) -> None:
        self._region = region
        self._clock = clock
        self._random = random
        self._signer = signer
        self._every_ms = min(every_ms, MAX_REPORT_MS)
        self._watched: dict[str, _Watched] = {}
        self._versions: dict[str, bytes] = {}
        self._frozen: list[Counts] = []
        self._kept_ms = 0
        held = region.kept(KIND).get(KIND)
        self._past = [Counts(**one) for one in json.loads(held)] if held else []

    # -- counting, on the event loop -----------------------------------------------------------------------

    def observe(self, resource: Resource, answer: agent_pb2.Answer, as_of_ms: int) -> None:
        """Count an answer to a query that was opened.

        Args:
            resource: as the question was asked.
            answer: what came.
            as_of_ms: as of when its data are, Unix milliseconds; 0 where it does not tell.
        """
        if not self._every_ms:
            return
        if self._versions.get(resource.id) != resource.digest:
            self._begin(resource)
        watched = self._watched.get(resource.id)
        if watched is None:
            return
        counts, now_ms, records = watched.counts, self._clock.now_ms(), answer.records
        counts.exchanges += 1
        counts.records += records
        if now_ms // 1000 != watched.second:
            watched.second, watched.looked_at = now_ms // 1000, 0
        if watched.looked_at < PER_SECOND:
            watched.looked_at += min(records, LOOKED_AT)
            watched.look(answer)
        if as_of_ms > 0:
            age_s = max(0, now_ms - as_of_ms) // 1000
            counts.dated += 1
            counts.oldest_s = max(counts.oldest_s, age_s)
            counts.stale += 0 < watched.fresh_within_s < age_s

    def _begin(self, resource: Resource) -> None:
        """Count a resource, or a new version of it, from now on."""
        now_ms = self._clock.now_ms()
        before = self._watched.get(resource.id)
        if before is None and len(self._watched) >= MAX_RESOURCES:
            return
        if before is not None:
            self._freeze(before.counts, now_ms)
        assert resource.statement is not None
        body = directory_pb2.ResourceBody.FromString(resource.statement.body)
        since_ms = now_ms
        for one in [one for one in self._past if one.resource == resource.id]:
            self._past.remove(one)
            since_ms = max(since_ms, one.until_ms)
            self._freeze(one, now_ms)
        self._versions[resource.id] = resource.digest
        self._watched[resource.id] = _Watched(
            counts=Counts(resource.id, resource.version, since_ms),
            checks=compile_checks(body.schema, {name: rule.type for name, rule in resource.fields.items()}),
            fresh_within_s=body.responsibility.fresh_within_s,
        )

    def _freeze(self, counts: Counts, now_ms: int) -> None:
        if not counts.exchanges:
            return
        counts.until_ms = counts.until_ms or max(counts.since_ms + 1, now_ms)
        self._frozen.append(counts)
        if len(self._frozen) > MAX_FROZEN:
            lost = self._frozen.pop(0)
            _log.warning("quality not reported", resource=lost.resource)

    # -- reporting -----------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Keep the counts, once a minute at most.

        Raises:
            StoreDamaged: they cannot be written down.
        """
        now_ms = self._clock.now_ms()
        if self._every_ms and now_ms - self._kept_ms >= KEEP_MS:
            self.keep_now()

    def keep_now(self) -> None:
        """Keep the counts as they are. Raises as `keep`."""
        self._kept_ms = self._clock.now_ms()
        open_ = [one.counts for one in self._watched.values() if one.counts.exchanges]
        held = [one.plain() for one in (*self._past, *self._frozen, *open_)]
        self._region.keep(KIND, KIND, json.dumps(held).encode())

    async def report(self, hand_in: HandIn, *, all_: bool = False) -> int:
        """Hand in what is due.

        Args:
            hand_in: does so.
            all_: whether every period ends now, also one that has just begun.

        Returns:
            How many reports are in the log.

        Raises:
            ExchangeError: the region cannot be reached; what is left is tried again.
        """
        self._end_periods(all_=all_)
        handed = 0
        while self._frozen:
            counts = self._frozen.pop(0)
            try:
                await hand_in(self._signed(counts))
                handed += 1
            except WrongState:
                # Handed in before, and the answer was lost.
                _log.info("quality reported already", resource=counts.resource)
            except ExchangeError as error:
                if error.retryable or isinstance(error, Unavailable):
                    self._frozen.insert(0, counts)
                    raise
                # It will not be taken another time either.
                _log.warning("quality not taken", resource=counts.resource, reason=error.name)
        return handed

    def _end_periods(self, *, all_: bool) -> None:
        now_ms = self._clock.now_ms()
        for one in list(self._past):
            # Of an earlier run, and nothing more of it came in this one.
            if one.until_ms or all_ or now_ms - one.since_ms >= self._every_ms:
                self._past.remove(one)
                self._freeze(one, now_ms)
        for resource, watched in list(self._watched.items()):
            if all_ or now_ms - watched.counts.since_ms >= self._every_ms:
                self._freeze(watched.counts, now_ms)
                fresh = Counts(resource, watched.counts.version, watched.counts.until_ms or now_ms)
                self._watched[resource] = _Watched(fresh, watched.checks, watched.fresh_within_s)

    def _signed(self, counts: Counts) -> common_pb2.Statement:
        signer = self._signer()
        # A period that an agent slept through is longer than a report may be: its end counts.
        since_ms = max(counts.since_ms, counts.until_ms - MAX_REPORT_MS)
        body = ticket_pb2.QualityReportBody(
            nonce=self._random(canonical.NONCE_BYTES),
            resource=counts.resource,
            version=counts.version,
            consumer=signer.identity.organisation,
            agent=signer.identity.name,
            exchanges=counts.exchanges,
            records=counts.records,
            fields=[
                ticket_pb2.FieldQuality(name=name, values=told[0], missing=told[1], invalid=told[2])
                for name, told in sorted(counts.fields.items())
            ],
            dated=counts.dated,
            stale=counts.stale,
            oldest_s=counts.oldest_s,
        )
        body.since.FromMilliseconds(since_ms)
        body.until.FromMilliseconds(counts.until_ms)
        body.issued_at.FromMilliseconds(self._clock.now_ms())
        return signer.sign(canonical.QUALITY, body.SerializeToString())
