"""States what drawn reviews consist of: reads the range, draws, and enters the items, signed by the gateway.

1. One review at a time, in steps of some hundred entries in a thread; after each step as long a rest as the
   step took, so that exchanges keep at least half of the interpreter.
2. What is drawn depends on the draw's entry and the range alone. A crash anywhere before the items are
   durable changes nothing: the next start draws the same again.
3. A failure that may pass is tried again; one that stays is logged, and the review stays without items.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import structlog

from exchange.canonical import NONCE_BYTES, REVIEW_EVENT
from exchange.clock import Clock, Random, system_random
from exchange.errors import ExchangeError, Refused, StoreDamaged, Unavailable
from exchange.population import Population, answerable
from exchange.review import Selected, selection_body
from exchange.sampling import Sampler
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2
from gateway.registrar import Registrar
from gateway.review.reviews import Review, Reviews

STEP = 128
"""Entries per step: shorter than the interval at which threads take turns, so that the loop hardly waits."""
PATIENCE_S = 5.0

_log = structlog.get_logger("gateway.review")


class Log(Protocol):
    """What is needed of the audit log."""

    def leaves(self, first: int, count: int) -> Sequence[bytes]:
        """Return at most `count` leaves from an index on; from any thread."""
        ...


class Selection:
    """Draws what was not drawn yet.

    Args:
        log: the audit log.
        reviews: as they are folded.
        registrar: enters the items.
        signer: returns who signs for the gateway now; certificates are renewed.
        clock: the time.
        random: for nonces.
        retry_s: seconds after which a failure that may pass is tried again.
    """

    def __init__(
        self,
        *,
        log: Log,
        reviews: Reviews,
        registrar: Registrar,
        signer: Callable[[], StatementSigner],
        clock: Clock,
        random: Random = system_random,
        retry_s: float = 5.0,
    ) -> None:
        self._log = log
        self._reviews = reviews
        self._registrar = registrar
        self._signer = signer
        self._clock = clock
        self._random = random
        self._retry_s = retry_s
        self._woken = asyncio.Event()
        self._stated: dict[bytes, asyncio.Event] = {}
        self._given_up: set[bytes] = set()
        registrar.subscribe(self._changed)

    async def run(self) -> None:
        """Draw what is to be drawn, now and whenever a draw is entered; never returns."""
        while True:
            self._woken.clear()
            failed = False
            for review in list(self._reviews.unselected()):
                if review.draw.review_id not in self._given_up:
                    failed |= not await self._try(review)
            if failed:
                await asyncio.sleep(self._retry_s)
            else:
                await self._woken.wait()

    async def wait(self, review: Review) -> int:
        """Return the index of the entry with a review's items; 0 where there is none after a while."""
        if not review.selection_index:
            stated = self._stated.setdefault(review.draw.review_id, asyncio.Event())
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await stated.wait()
            except TimeoutError:
                return 0
        return review.selection_index

    def _changed(self, index: int, leaf: bytes, entry: audit_pb2.AuditEntry) -> None:
        """Told of every entry that was folded, also of one that was in doubt and turned out durable."""
        if entry.administrative.act == audit_pb2.ACT_REVIEW_DRAW:
            self._woken.set()
        elif entry.administrative.act == audit_pb2.ACT_REVIEW_EVENT:
            for review_id in list(self._stated):
                if self._reviews.one(review_id).selection_index:
                    self._stated.pop(review_id).set()

    async def _try(self, review: Review) -> bool:
        """Return whether nothing is left to be tried with a review."""
        try:
            await self._state(review)
        except ExchangeError as error:
            passing = error.retryable or isinstance(error, (Unavailable, Refused))
            _log.warning("review not drawn", name=review.name, reason=error.name, subject=error.subject)
            if not passing:
                self._given_up.add(review.draw.review_id)
            return not passing
        except Exception as error:
            # A draw must not take exchanges down with it, nor do so again at the next start.
            _log.error("review not drawn", name=review.name, error=type(error).__name__)
            self._given_up.add(review.draw.review_id)
        return True

    async def _state(self, review: Review) -> None:
        selected, population = await self._draw(review)
        body = selection_body(
            nonce=self._random(NONCE_BYTES),
            review_id=review.draw.review_id,
            selected=selected,
            population=population,
            issued_at_ms=self._clock.now_ms(),
        )
        signer = self._signer()
        statement = signer.sign(REVIEW_EVENT, body.SerializeToString())
        # A crash here: nothing is stated, and the next start states the same.
        await self._registrar.record(audit_pb2.ACT_REVIEW_EVENT, signer.identity, statement)

    async def _draw(self, review: Review) -> tuple[list[Selected], int]:
        draw = review.draw
        population, sampler = Population(draw), Sampler(seed=review.seed, count=draw.count)

        def read(first: int) -> None:
            for index, leaf in enumerate(self._leaves(first, min(STEP, draw.end - first)), first):
                population.add(index, leaf)

        def offer(start: int) -> None:
            for index, weight in population.weighted(start, STEP):
                sampler.offer(index, weight)

        for first in range(draw.first, draw.end, STEP):
            await _step(partial(read, first))
        await _step(population.settle)
        for start in range(0, len(population), STEP):
            await _step(partial(offer, start))
        selected: list[Selected] = []

        def answer(indexes: Sequence[int]) -> None:
            for index in indexes:
                entry = audit_pb2.AuditEntry.FromString(self._leaves(index, 1)[0])
                selected.append(answerable(index, entry, population.rules(index)))

        drawn = sampler.drawn()
        for start in range(0, len(drawn), STEP):
            await _step(partial(answer, drawn[start : start + STEP]))
        return selected, sampler.population

    def _leaves(self, first: int, count: int) -> Sequence[bytes]:
        leaves = self._log.leaves(first, count)
        if len(leaves) != count:
            raise StoreDamaged(f"entries {first} to {first + count - 1}")
        return leaves


async def _step(work: Callable[[], object]) -> None:
    begun = time.perf_counter()
    await asyncio.to_thread(work)
    await asyncio.sleep(time.perf_counter() - begun)
