"""The gateway as a member of its region: its trust list, its place in that list, its certificate."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from exchange.clock import Clock
from exchange.enrolment import IdentityFolder, register_gateway
from exchange.errors import AuthorityAway, ExchangeError, LogBehind, TrustStale
from exchange.renewal import keep_renewed
from exchange.trust_feed import TrustFeed, watch_authority
from exchange.v1 import common_pb2
from gateway.config import AuthorityAddress

REGISTER_PAUSE_S = 2.0


class Membership:
    """Keeps the gateway a member.

    Args:
        identity: of the gateway.
        feed: the newest trust list.
        authority: where the authority is.
        origin: of the gateway's log.
        log_keys: returns its public keys, Ed25519, 32 bytes each, newest first.
        key_change: returns the note by which a key vouches for the next; "" where none changes.
        epoch: LogEpochBody, signed by each of those who opened the log's epoch; empty in the first.
        clock: the time.
    """

    def __init__(
        self,
        *,
        identity: IdentityFolder,
        feed: TrustFeed,
        authority: AuthorityAddress,
        origin: str,
        log_keys: Callable[[], Sequence[bytes]],
        key_change: Callable[[], str],
        epoch: Sequence[common_pb2.Statement],
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._feed = feed
        self._authority = authority
        self._origin = origin
        self._log_keys = log_keys
        self._key_change = key_change
        self._epoch = epoch
        self._refused: ExchangeError | None = None
        self._clock = clock
        self._log = structlog.get_logger("gateway.membership")
        self._tls = self._read_tls()

    def tls(self) -> tuple[bytes, bytes]:
        """Return private key and chain, PEM; called on a foreign thread at each handshake."""
        return self._tls

    def faults(self) -> list[ExchangeError]:
        """Return what keeps exchanges from succeeding as far as the region goes."""
        trust = self._feed.current
        if trust is None or not trust.fresh(self._clock.now_ms()):
            return [TrustStale(f"number {trust.number}" if trust else "none")]
        named = trust.gateways.get(self._origin)
        if named is not None and named.closed:
            return [LogBehind(f"{self._origin} has ended: the region follows a later epoch")]
        if named is None:
            return [self._refused or AuthorityAway("the trust list does not name this gateway yet")]
        return []

    def duties(self, addresses: Sequence[str]) -> list[Coroutine[Any, Any, None]]:
        """Return what must run for as long as the gateway does.

        Args:
            addresses: "host:port", where agents are to dial.
        """
        root = self._identity.root_pem()
        return [
            watch_authority(self._feed, self._authority.enrolment, root, alarm=self._alarm),
            self._stay_registered(addresses),
            keep_renewed(self._identity, clock=self._clock, renewed=self._renewed),
        ]

    async def _stay_registered(self, addresses: Sequence[str]) -> None:
        """Enter log keys and addresses in the trust list, again whenever the list says otherwise."""
        while True:
            trust, keys = self._feed.current, self._log_keys()
            known = trust.gateways.get(self._origin) if trust else None
            if (
                known is None
                or tuple(known.addresses) != tuple(addresses)
                or set(keys) - set(known.log_keys)
                or known.live_keys > len(keys)
            ):
                try:
                    await register_gateway(
                        self._identity,
                        origin=self._origin,
                        log_keys=keys,
                        addresses=addresses,
                        address=self._authority.service,
                        epoch=self._epoch,
                        key_change=self._key_change(),
                    )
                    self._refused = None
                except ExchangeError as error:
                    self._refused = error
                    self._alarm(error)
            await asyncio.sleep(REGISTER_PAUSE_S)

    def _renewed(self) -> None:
        self._tls = self._read_tls()

    def _read_tls(self) -> tuple[bytes, bytes]:
        return self._identity.key_pem(), self._identity.chain_pem()

    def _alarm(self, error: Exception) -> None:
        if isinstance(error, ExchangeError):
            self._log.warning("authority", reason=error.name, subject=error.subject)
        else:
            self._log.error("authority", error=type(error).__name__)
