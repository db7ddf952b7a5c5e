"""The providers' keys for the tags of subjects, as an agent holds them: fetched ahead, kept, and let go.

Kept in the agent's key store, so that it starts and answers while the authority is away; the next period's
key comes two weeks before the period begins. Keys of the past are deleted within a day: whoever takes an
agent over cannot make tags of earlier periods, and erasing a key at the authority is its end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import grpc
import structlog

from exchange.clock import Clock
from exchange.enrolment import CALL_S, IdentityFolder, call
from exchange.errors import AuthorityAway, ExchangeError, Malformed
from exchange.keystore import KeyStore
from exchange.subject_tags import (
    KEY_BYTES,
    InnerTags,
    check_period,
    period_end_ms,
    period_of,
    period_start_ms,
)
from exchange.v1 import trust_pb2, trust_pb2_grpc

LOOK_S = 20.0
REFRESH_MS = 3_600_000
AHEAD_MS = 31 * 86_400_000
KEPT_MS = 86_400_000
MAX_KEYS = 4
_PREFIX = "tags-"

Fetch = Callable[[], Awaitable[trust_pb2.GetTagKeysResponse]]


class TagKeyRing:
    """Holds the keys with which to tag.

    Args:
        keystore: keeps them; everything in it is read once, at the start.
        clock: the time.
        fetch: asks the authority.
    """

    def __init__(self, *, keystore: KeyStore, clock: Clock, fetch: Fetch) -> None:
        self._keystore = keystore
        self._clock = clock
        self._fetch = fetch
        self._log = structlog.get_logger("agent.tags")
        self._asked_ms = 0
        self._keys: dict[str, bytes] = {}
        for name in keystore.names():
            if name.startswith(_PREFIX):
                self._keys[name.removeprefix(_PREFIX).upper()] = keystore.get(name) or b""
        # What holds of now is looked up for every exchange.
        self._present: tuple[str, InnerTags] | None = None
        self._from_ms, self._until_ms = 0, 0
        self.fault: ExchangeError | None = None

    def present(self, now_ms: int) -> tuple[str, InnerTags] | None:
        """Return the period of a time in Unix milliseconds and what tags in it; None without a key."""
        if self._present is None or not self._from_ms <= now_ms < self._until_ms:
            period = period_of(now_ms)
            key = self._keys.get(period)
            self._present = (period, InnerTags(key)) if key else None
            self._from_ms, self._until_ms = period_start_ms(period), period_end_ms(period)
        return self._present

    async def run(self) -> None:
        """Keep the keys up to date until cancelled; what fails is logged and tried again."""
        while True:
            await self.refresh()
            await asyncio.sleep(LOOK_S)

    async def refresh(self) -> None:
        """Fetch what is missing, hourly what may have changed, and let go of the past."""
        now_ms = self._clock.now_ms()
        if self.present(now_ms) is not None and now_ms < self._asked_ms + REFRESH_MS:
            return
        try:
            self._take(await self._fetch(), now_ms)
            self.fault = None
            self._asked_ms = now_ms
        except ExchangeError as error:
            self.fault = error
            self._log.warning("tag keys not fetched", reason=error.name, subject=error.subject)
        self._let_go(now_ms)

    def _take(self, answer: trust_pb2.GetTagKeysResponse, now_ms: int) -> None:
        if len(answer.keys) > MAX_KEYS:
            raise Malformed("tag keys")
        for one in answer.keys:
            if len(one.key) != KEY_BYTES:
                raise Malformed("tag key")
            starts_ms = period_start_ms(check_period(one.period))
            if starts_ms > now_ms + AHEAD_MS or period_end_ms(one.period) <= now_ms:
                continue
            held = self._keys.get(one.period)
            if held == one.key:
                continue
            if held:
                # The authority lost its key and made another: traces find nothing under this one.
                self._log.error("alarm", subject=f"tag key {one.period} changed")
            self._keystore.put(f"{_PREFIX}{one.period.lower()}", one.key)
            self._keys[one.period], self._present = one.key, None

    def _let_go(self, now_ms: int) -> None:
        for period in [one for one in self._keys if period_end_ms(one) + KEPT_MS <= now_ms]:
            self._keystore.delete(f"{_PREFIX}{period.lower()}")
            del self._keys[period]


def fetch_from_authority(held: IdentityFolder) -> Fetch:
    """Return what asks the authority of an identity, with its certificate of that moment."""
    return partial(_fetch, held)


async def _fetch(held: IdentityFolder) -> trust_pb2.GetTagKeysResponse:
    async def ask(channel: "grpc.aio.Channel") -> trust_pb2.GetTagKeysResponse:
        stub: trust_pb2_grpc.AuthorityServiceAsyncStub = trust_pb2_grpc.AuthorityServiceStub(channel)
        return await stub.GetTagKeys(trust_pb2.GetTagKeysRequest(), timeout=CALL_S)

    place = held.enrolment().service_address
    if not place:
        raise AuthorityAway("no address")
    return await call(
        place, ask, root_pem=held.root_pem(), key_pem=held.key_pem(), chain_pem=held.chain_pem()
    )
