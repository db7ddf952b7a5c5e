"""The gateway as a member of its region: its trust list, its place in that list, its certificate."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from exchange.clock import Clock
from exchange.enrolment import IdentityFolder, register_gateway
from exchange.errors import AuthorityAway, ExchangeError, TrustStale
from exchange.renewal import keep_renewed
from exchange.trust_feed import TrustFeed, watch_authority
from gateway.config import AuthorityAddress

REGISTER_PAUSE_S = 2.0


class Membership:
    """Keeps the gateway a member.

    Args:
        identity: of the gateway.
        feed: the newest trust list.
        authority: where the authority is.
        origin: of the gateway's log.
        log_key: its public key, Ed25519, 32 bytes.
        clock: the time.
    """

    def __init__(
        self,
        *,
        identity: IdentityFolder,
        feed: TrustFeed,
        authority: AuthorityAddress,
        origin: str,
        log_key: bytes,
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._feed = feed
        self._authority = authority
        self._origin = origin
        self._log_key = log_key
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
        if self._origin not in trust.gateways:
            return [AuthorityAway("the trust list does not name this gateway yet")]
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
        """Enter log key and addresses in the trust list, again whenever the list says otherwise."""
        wanted = (tuple(addresses), self._log_key)
        while True:
            trust = self._feed.current
            known = trust.gateways.get(self._origin) if trust else None
            if known is None or (tuple(known.addresses), known.log_keys[0]) != wanted:
                try:
                    await register_gateway(
                        self._identity,
                        origin=self._origin,
                        log_keys=[self._log_key],
                        addresses=addresses,
                        address=self._authority.service,
                    )
                except ExchangeError as error:
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
