"""Which log an agent's gateway keeps now: its origin, its keys, where it is reached, what was seen of it."""

from collections.abc import Callable, Sequence

import structlog

from agent.epochs import check_opened, kept_since, lineage_of
from agent.heads import Heads
from agent.region import RegionView
from exchange.errors import LogForked
from exchange.keys import BundleBook
from exchange.lineage import split_origin
from exchange.log_keys import Epoch
from exchange.trust import TrustedGateway, TrustList


class GatewayLog:
    """The log of the gateway that an agent links to.

    Args:
        origin: as configured or enrolled; where that log has ended, the one that goes on is taken.
        addresses: "host:port" as configured; those of the trust list where empty.
        trust: the newest trust list.
        heads: last heads seen.
        region: takes the log's events.
        book: the keys of peers.
    """

    def __init__(
        self,
        *,
        origin: str,
        addresses: Sequence[str],
        trust: Callable[[], TrustList | None],
        heads: Heads,
        region: RegionView,
        book: BundleBook,
    ) -> None:
        self.origin = origin
        self._addresses = addresses
        self._trust = trust
        self._heads = heads
        self._region = region
        self._book = book
        self._log = structlog.get_logger("agent.gateway_log")
        self.follow()

    def follow(self) -> bool:
        """Go over to the log that the trust list names in place of one that has ended.

        Returns:
            Whether the origin is another now.
        """
        trust = self._trust()
        next_ = trust.successor(self.origin) if trust else None
        if next_ is None:
            return False
        sizes = kept_since(self.origin, self.epochs())
        self._log.warning("log goes on under another origin", gateway=next_.origin)
        self._region.follow(next_.origin, sizes[0] if sizes else 0)
        self.origin = next_.origin
        return True

    def epochs(self) -> list[TrustedGateway]:
        """Return the epochs of the log."""
        return lineage_of(self.origin, self._trust())

    def addresses(self) -> Sequence[str]:
        """Return where the gateway is dialled."""
        named = self._named()
        return self._addresses or (named.addresses if named else ())

    def keys(self) -> Sequence[bytes]:
        """Return the keys that sign the log's heads now, 32 bytes each; none of a log that has ended."""
        named = self._named()
        return named.signing_keys if named and not named.closed else ()

    def opened(self, epoch: Epoch, index: int) -> None:
        """Take over that an entry opened an epoch.

        Raises:
            LogForked: it is not what the trust list names, or hides what was seen.
            StoreDamaged: it cannot be written down.
        """
        if epoch.origin == self.origin:
            check_opened(epoch, index, self._heads.before(self.origin), self.epochs())
        # Durable before the event's cursor moves: a crash in between brings the event again.
        self._book.after_loss()

    def check_opened(self) -> None:
        """Refuse a log whose epoch was opened by nothing that is in it.

        Raises:
            LogForked.
        """
        if split_origin(self.origin)[1] > 1 and not self._region.saw_opened(self.origin):
            raise LogForked(f"{self.origin}: the entry that opened it is missing")

    def _named(self) -> TrustedGateway | None:
        trust = self._trust()
        return trust.gateways.get(self.origin) if trust else None
