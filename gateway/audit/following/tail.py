"""The officers' stream: entries in order from an index on, then as they come; filtered.

1. Every entry before `next_index` was sent or does not fit, so who resumes there misses and repeats nothing.
   It is told at least every second while following, and every 4,096 entries that do not fit.
2. Nothing queues for a slow reader: what it holds is one frame, and it reads on from its own position.
3. What was just committed is parsed once for all who follow (`recent`). Who is behind is read
   for in one thread that gives way to exchanges.
4. A follower looks for new entries at most 20 times a second, so that the cost of frames is bounded.
5. A tail ends when its certificate is revoked or expires, as links do.
6. Entry and checkpoint are committed together: committed and checkpointed are one. Witnessed entries are sent
   once a head that covers them has its cosignatures.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from exchange.clock import Clock
from exchange.errors import (
    CertificateExpired,
    Draining,
    ExchangeError,
    Malformed,
    Revoked,
    TooMany,
    UnknownEntry,
)
from exchange.trust import TrustList, Verified
from exchange.v1 import audit_pb2
from gateway.audit.entries.filter_words import words
from gateway.audit.entries.filters import Filter
from gateway.audit.following.past import Past
from gateway.audit.following.recent import Recent
from gateway.audit.following.takings import Takings
from gateway.fold import Head

FRAME = 256
SKIPPED = 4096
BEAT_S = 1.0
GAP_S = 0.05
WITNESS_LOOK_S = 0.25
MAX_TAILS = 32
STATES = frozenset(audit_pb2.EntryState.values())


class Log(Protocol):
    """What is needed of the audit log."""

    @property
    def head(self) -> Head:
        """The newest checkpoint, opened."""
        ...

    @property
    def checkpoint(self) -> str:
        """The newest checkpoint, a C2SP signed note."""
        ...

    def leaves(self, first: int, count: int) -> Sequence[bytes]:
        """Return at most `count` leaves from an index on; called in another thread, too."""
        ...

    def subscribe(self, callback: Callable[[int, Sequence[bytes]], None]) -> object:
        """Call back after each commit."""
        ...


class Asked(NamedTuple):
    """A tail that was checked."""

    filter: Filter
    first: int
    follow: bool
    limit: int
    witnessed: bool

    def words(self) -> str:
        """Return what the log says is read."""
        return f"Tail from {self.first}: {words(self.filter)}"


def read(request: audit_pb2.TailRequest) -> Asked:
    """Check what is asked for.

    Raises:
        Malformed: the filter or the state is none.
    """
    if request.state not in STATES:
        raise Malformed("state")
    witnessed = request.state == audit_pb2.ENTRY_STATE_WITNESSED
    return Asked(Filter(request.filter), request.from_index, request.follow, request.limit, witnessed)


@dataclass(slots=True, eq=False, kw_only=True)
class Follower:
    """Who reads.

    Attributes:
        woken: set when there may be something new.
        ended: why nothing is sent any more.
    """

    caller: Verified
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    ended: ExchangeError | None = None

    def end(self, error: ExchangeError) -> None:
        """Send nothing more."""
        self.ended = error
        self.woken.set()


class Tails:
    """Serves all who follow the log.

    Args:
        log: the audit log.
        witnessed: returns the size of the newest head that a quorum of witnesses has cosigned, 0 for none.
        clock: the time.
        max_tails: how many may read at a time.
    """

    def __init__(
        self,
        *,
        log: Log,
        witnessed: Callable[[], int],
        clock: Clock,
        max_tails: int = MAX_TAILS,
    ) -> None:
        self._log = log
        self._witnessed = witnessed
        self._clock = clock
        self._max_tails = max_tails
        self._followers: set[Follower] = set()
        self._recent = Recent()
        self._past = Past(log)
        self._draining = False
        log.subscribe(self._committed)

    def wake(self) -> None:
        """Let everybody look again: entries were witnessed."""
        for follower in self._followers:
            follower.woken.set()

    def trust_changed(self, trust: TrustList) -> None:
        """End the tails of certificates that are revoked."""
        for follower in self._followers:
            if follower.caller.serial in trust.revoked_serials:
                follower.end(Revoked(follower.caller.identity.name))

    def drain(self) -> None:
        """End every tail; who followed is told to come again."""
        self._draining = True
        for follower in self._followers:
            follower.end(Draining("tail"))
        self._past.close()

    @contextmanager
    def place(self, caller: Verified) -> Iterator[Follower]:
        """Hold one of the places for as long as the context lasts.

        Raises:
            TooMany: all are taken.
            Draining: the gateway stops.
        """
        if self._draining:
            raise Draining("tail")
        if len(self._followers) >= self._max_tails:
            raise TooMany("tails")
        follower = Follower(caller=caller)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            if not self._followers:
                self._recent.clear()

    async def frames(self, asked: Asked, follower: Follower) -> AsyncIterator[audit_pb2.TailResponse]:
        """Yield frames; each is at most 256 entries and 2 MiB, or one larger entry.

        Args:
            asked: see `read`.
            follower: from `place`.

        Raises:
            UnknownEntry: the log does not reach the first index: it is another one, or was set back.
            Draining, Revoked, CertificateExpired: the tail ends here.
            StoreDamaged, AuditUnavailable: the log cannot be read.
        """
        if asked.first > self._log.head.size:
            raise UnknownEntry("from_index")
        position = told = asked.first
        left = asked.limit
        told_at = looked_at = time.monotonic() - BEAT_S
        while not asked.limit or left:
            # Cleared before the size is read: what is committed in between wakes again.
            follower.woken.clear()
            self._check(follower)
            end = self._end(asked)
            if position >= end and not asked.follow:
                break
            if position < end:
                await self._rest(asked, end - position, looked_at)
                looked_at = time.monotonic()
                most = min(FRAME, left) if asked.limit else FRAME
                taken = await self._take(position, self._end(asked), asked.filter, most)
                position = taken.position
                left -= len(taken.leaves)
            else:
                taken = Takings(position, 0)
                await self._wait(follower.woken, told_at, asked)
            self._check(follower)
            now = time.monotonic()
            if taken.leaves or position - told >= SKIPPED or (asked.follow and now - told_at >= BEAT_S):
                told, told_at = position, now
                yield self._frame(taken)
        if position > told:
            yield self._frame(Takings(position, 0))

    def _check(self, follower: Follower) -> None:
        if follower.ended is not None:
            raise follower.ended
        if self._clock.now_ms() >= follower.caller.not_after_ms:
            raise CertificateExpired(follower.caller.identity.name)

    def _end(self, asked: Asked) -> int:
        size = self._log.head.size
        return min(size, self._witnessed()) if asked.witnessed else size

    async def _rest(self, asked: Asked, waiting: int, looked_at: float) -> None:
        """Let entries come together, unless a frame's worth waits."""
        pause_s = looked_at + GAP_S - time.monotonic()
        await asyncio.sleep(pause_s if asked.follow and waiting < FRAME and pause_s > 0 else 0)

    async def _wait(self, woken: asyncio.Event, told_at: float, asked: Asked) -> None:
        """Wait for entries, until there is progress to be told at the latest."""
        pause_s = max(0.0, told_at + BEAT_S - time.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(min(pause_s, WITNESS_LOOK_S) if asked.witnessed else pause_s):
                await woken.wait()

    async def _take(self, position: int, end: int, wanted: Filter, most: int) -> Takings:
        end = min(end, position + FRAME)
        if position in self._recent:
            return self._recent.take(position, end, wanted, most)
        if self._draining:
            return Takings(position, most)  # The reading thread is gone; nothing is sent any more.
        return await self._past.take(position, end, wanted, most)

    def _frame(self, taken: Takings) -> audit_pb2.TailResponse:
        return audit_pb2.TailResponse(
            indexes=taken.indexes,
            leaves=taken.leaves,
            checkpoint=self._log.checkpoint,
            next_index=taken.position,
            witnessed_size=self._witnessed(),
        )

    def _committed(self, first_index: int, leaves: Sequence[bytes]) -> None:
        if self._followers:
            self._recent.add(first_index, leaves)
            self.wake()
