"""The agents' links: who can be reached, what each owes, and how outcomes go back to it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

from exchange.errors import ExchangeError, LinkLost, ProviderAway, QueueFull, Replayed
from exchange.identity import Identity
from exchange.link import MAX_FRAME_BYTES, Outbox
from exchange.rpc_errors import to_failure
from exchange.v1 import common_pb2, exchange_pb2, link_pb2
from gateway.audit.log.logged import Logged
from gateway.record import Exchange

RECEIPT_BYTES = 2048
MAX_NOTICES = 4096
MAX_LINKS_PER_AGENT = 8


class Parcel(NamedTuple):
    """One item of a frame, not yet copied into it.

    Attributes:
        request: what to forward; None in all else.
        answer: what to release; None in all else.
        failure: why there is no answer; None in all else. Without any of the three it is a receipt.
        leaf: the log entry's bytes.
        logged: its place, durable; None where there is no entry.
        exchange: of an answer, so that it can be taken back.
    """

    request: common_pb2.Signed | None = None
    answer: common_pb2.Signed | None = None
    failure: exchange_pb2.Failure | None = None
    leaf: bytes = b""
    logged: Logged | None = None
    exchange: Exchange | None = None

    def fill(self, delivery: link_pb2.Delivery, place: int) -> None:
        """Copy it into a frame.

        Args:
            delivery: an item of the frame, empty.
            place: of the checkpoint that the entry's proof leads to, among those of the frame.
        """
        if self.request is not None:
            delivery.request.CopyFrom(self.request)
            return
        if self.answer is not None:
            released = delivery.released
            released.response.CopyFrom(self.answer)
            receipt = released.receipt
        elif self.failure is not None:
            delivery.failure.CopyFrom(self.failure)
            receipt = delivery.failure.receipt
        else:
            receipt = delivery.receipt
        logged = self.logged
        if logged is not None:
            receipt.leaf, receipt.index, receipt.proof = self.leaf, logged.index, logged.proof
            receipt.checkpoint = place


class AgentLink:
    """One stream of one agent, as consumer and as provider.

    Args:
        identity: from the certificate.
        serial: of the certificate.
        not_after_ms: when the certificate ends.
        provider_window: how many requests the agent takes before it has answered.
        consumer_window: how many requests the gateway takes from it before they are settled.
        write: writes one frame of parcels.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        serial: int,
        not_after_ms: int,
        provider_window: int,
        consumer_window: int,
        write: Callable[["AgentLink", list[Parcel]], Awaitable[None]],
    ) -> None:
        self.identity = identity
        self.serial = serial
        self.not_after_ms = not_after_ms
        self.provider_window = provider_window
        self.consumer_window = consumer_window
        self.pending: dict[bytes, Exchange] = {}
        self.late: dict[bytes, Exchange] = {}
        self.in_flight = 0
        self._notices: deque[link_pb2.Notice] = deque()
        self.closing: asyncio.Future[ExchangeError] = asyncio.get_running_loop().create_future()
        # Items settle within the two windows: the box holds both directions and the receipts.
        self.outbox: Outbox[Parcel] = Outbox(
            write=lambda parcels: write(self, parcels), capacity=2 * provider_window + consumer_window
        )

    def forward(self, exchange: Exchange) -> None:
        """Send a request to this agent as a provider.

        Raises:
            QueueFull: its window or its queue is full.
        """
        if len(self.pending) >= self.provider_window:
            raise QueueFull(self.identity.name)
        if exchange.exchange_id in self.pending:
            # Beyond the replay window's memory, yet still waiting: both would lose their outcome.
            raise Replayed(exchange.exchange_id.hex())
        self.outbox.put(Parcel(request=exchange.signed), len(exchange.signed.body) + 256)
        self.pending[exchange.exchange_id] = exchange

    def give_up(self, exchange_id: bytes) -> Exchange:
        """Take out an exchange that passed its deadline; its answer may still come."""
        exchange = self.late[exchange_id] = self.pending.pop(exchange_id)
        if len(self.late) > self.provider_window:
            del self.late[next(iter(self.late))]
        return exchange

    def settle(self, exchange: Exchange, leaf: bytes, logged: Logged | None) -> None:
        """Send an outcome to this agent as a consumer. A link that has ended takes nothing more."""
        self.in_flight -= 1
        if exchange.released and logged is not None and exchange.answer is not None:
            parcel = Parcel(answer=exchange.answer, leaf=leaf, logged=logged, exchange=exchange)
            self._post(parcel, len(exchange.answer.body) + RECEIPT_BYTES)
        else:
            assert exchange.error is not None
            failure = to_failure(exchange.error, exchange.exchange_id)
            self._post(Parcel(failure=failure, leaf=leaf, logged=logged), RECEIPT_BYTES)

    def receipt(self, exchange: Exchange, leaf: bytes, logged: Logged) -> None:
        """Send this agent, as the provider, the log entry of what it answered; it goes along with others."""
        self._post(Parcel(leaf=leaf, logged=logged), RECEIPT_BYTES, along=True)

    def withdraw(self, why: Callable[[Exchange], ExchangeError | None]) -> int:
        """Take back answers that wait to be written; whoever asked is told why instead.

        Args:
            why: returns the refusal of an exchange, None where its answer may go.

        Returns:
            How many were taken back.
        """
        taken = 0

        def revised(parcel: Parcel) -> Parcel:
            nonlocal taken
            error = why(parcel.exchange) if parcel.exchange is not None else None
            if error is None or parcel.exchange is None:
                return parcel
            taken += 1
            return Parcel(failure=to_failure(error, parcel.exchange.exchange_id))

        self.outbox.revise(revised)
        return taken

    def _post(self, parcel: Parcel, size: int, *, along: bool = False) -> None:
        try:
            self.outbox.put(parcel, size, along=along)
        except QueueFull:
            # The stream has ended or does not read: whoever asked learns of it by the link's loss.
            self.close(LinkLost(self.identity.name))

    def close(self, why: ExchangeError) -> None:
        """Have the stream ended."""
        if not self.closing.done():
            self.closing.set_result(why)

    def notify(self, notice: link_pb2.Notice) -> None:
        """Send a notice ahead of whatever waits; who reads too slowly gets them with the next link."""
        if len(self._notices) >= MAX_NOTICES:
            self.close(LinkLost(self.identity.name))
            return
        self._notices.append(notice)
        self.outbox.poke()

    @property
    def noticing(self) -> bool:
        """Whether notices wait."""
        return bool(self._notices)

    def take_notices(self) -> Sequence[link_pb2.Notice]:
        """Take the notices that go into the next frame; what is too much for one has another frame made."""
        taken: list[link_pb2.Notice] = []
        size = 0
        while self._notices and size < MAX_FRAME_BYTES:
            taken.append(self._notices.popleft())
            size += taken[-1].ByteSize()
        if self._notices:
            self.outbox.poke()
        return taken


class Links:
    """All links of this gateway. Work goes to an agent's newest; an older one drains."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, str], list[AgentLink]] = {}

    def __iter__(self) -> Iterator[AgentLink]:
        for links in list(self._links.values()):
            yield from list(links)

    def add(self, link: AgentLink) -> None:
        """Enter a link; an agent with too many loses its oldest, which may be a stream that broke unseen."""
        key = (link.identity.organisation, link.identity.name)
        links = self._links.setdefault(key, [])
        links.append(link)
        for older in links[:-MAX_LINKS_PER_AGENT]:
            older.close(LinkLost(link.identity.name))

    def remove(self, link: AgentLink) -> list[Exchange]:
        """Take a link out.

        Returns:
            The exchanges it still owed an answer; each has failed with LinkLost.
        """
        key = (link.identity.organisation, link.identity.name)
        links = self._links.get(key, [])
        if link in links:
            links.remove(link)
        if not links:
            self._links.pop(key, None)
        link.outbox.close()
        owed = list(link.pending.values())
        link.pending.clear()
        hop = f"provider/{link.identity.name}"
        return [ex.stop(LinkLost(link.identity.name), rule="link", hop=hop) for ex in owed]

    def newest(self, organisation: str, agent: str) -> AgentLink:
        """Return the link that work for an agent goes to.

        Raises:
            ProviderAway: it has none.
        """
        links = self._links.get((organisation, agent))
        if not links:
            raise ProviderAway(f"{organisation}/{agent}")
        return links[-1]

    def agents_of(self, organisation: str) -> list[str]:
        """Return the names of an organisation's linked agents."""
        return [agent for owner, agent in self._links if owner == organisation]
