"""Ties the link to the two roles: who takes which part of a frame, what is done when a stream comes up."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import grpc
import structlog

from agent.consumer.ask import Consumer
from agent.gateway_log import GatewayLog
from agent.gateway_stubs import GatewayStubs
from agent.heads import Seen
from agent.peers import Peers
from agent.provider.acceptance import Acceptance
from agent.provider.answer import Provider
from agent.region import RegionView
from agent.stops import AgentStops
from agent.stream import LinkStream
from exchange import canonical
from exchange.enrolment import IdentityFolder
from exchange.errors import BundleRollback, ExchangeError, GatewayAway
from exchange.grants import Grant
from exchange.keys import OwnKeys
from exchange.log_keys import Epoch
from exchange.peer_keys import read_bundle_body
from exchange.rpc_errors import answered
from exchange.trust_feed import TrustFeed
from exchange.v1 import (
    case_pb2,
    common_pb2,
    directory_pb2,
    link_pb2,
    ticket_pb2,
)

TIMEOUT_S = 10.0


class Duties:
    """The roles of one agent, as its streams see them.

    Args:
        identity: of this agent.
        region: takes events.
        feed: takes trust lists.
        keys: the agent's own.
        consumer: takes outcomes.
        provider: takes requests and receipts.
        peers: asks the directory.
        acceptance: accepts what is unconditional.
        on_drain: called when the gateway says it will stop.
        log: tells of the gateway's log.
        stops: takes emergency stops.
    """

    def __init__(
        self,
        *,
        identity: IdentityFolder,
        region: RegionView,
        feed: TrustFeed,
        keys: OwnKeys,
        consumer: Consumer,
        provider: Provider,
        peers: Peers,
        acceptance: Acceptance,
        on_drain: Callable[[], None],
        log: GatewayLog,
        stops: AgentStops,
    ) -> None:
        self._identity = identity
        self._region = region
        self._feed = feed
        self._keys = keys
        self._consumer = consumer
        self._provider = provider
        self._peers = peers
        self._acceptance = acceptance
        self._on_drain = on_drain
        self._gateway_log = log
        self._stops = stops
        self._log = structlog.get_logger("agent.duties")
        self._gateway: GatewayStubs | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsure = True  # whether the region's log may lack the newest bundle after all
        self.foreign_bundle: ExchangeError | None = None
        region.subscribe(self._grant_changed)
        region.subscribe_bundles(self._bundle_logged)
        region.subscribe_epochs(self._epoch_opened)
        stops.subscribe(lambda: consumer.drop_stopped(stops.force))

    # -- what streams call -------------------------------------------------------------------------------

    def requests(self, items: Sequence[link_pb2.Delivery], stream: LinkStream) -> None:
        """Hand requests to the provider."""
        self._provider.requests(items, stream)

    def outcomes(self, items: Sequence[link_pb2.Delivery], checkpoints: Sequence[Seen]) -> None:
        """Hand outcomes to the consumer."""
        self._consumer.outcomes(items, checkpoints)

    def receipts(self, items: Sequence[link_pb2.Delivery], checkpoints: Sequence[Seen]) -> None:
        """Hand the log entries of answers to the provider."""
        self._provider.receipts(items, checkpoints)

    def notices(self, notices: Sequence[link_pb2.Notice]) -> None:
        """Take over events and trust lists; what does not verify is left out and logged."""
        for notice in notices:
            if notice.HasField("event"):
                self._region.take_event(notice.event)
            elif notice.HasField("trust_list"):
                try:
                    self._feed.offer(notice.trust_list)
                except ExchangeError as error:
                    self._log.warning("trust list left out", reason=error.name, subject=error.subject)
            elif notice.HasField("stop"):
                self._stops.notice(notice.stop)
            elif notice.HasField("drain"):
                self._on_drain()

    def event(self, event: directory_pb2.Event) -> None:
        """Take over one event of the backlog."""
        self._region.take_event(event)

    def cursor(self) -> int:
        """Return the first event index not seen."""
        return self._region.cursor

    def busy(self, stream: LinkStream) -> bool:
        """Whether either role has anything under way on a stream."""
        return self._consumer.busy(stream) or self._provider.busy(stream)

    def lost(self, stream: LinkStream, why: ExchangeError) -> None:
        """Tell both roles that a stream ended."""
        self._consumer.lost(stream, why)
        self._provider.lost(stream)

    async def linked(self, channel: grpc.aio.Channel) -> None:
        """Publish the keys and accept what waits, before exchanges go on a new stream.

        Raises:
            LogForked: the log's epoch was opened by nothing that is in it.
        """
        self._gateway_log.check_opened()
        self._gateway = GatewayStubs(channel)
        self._peers.stub = self._gateway.directory
        await self.publish_keys()
        for grant in self._region.grants():
            self._grant_changed(grant)

    async def report_quality(self, report: common_pb2.Statement) -> None:
        """Hand a report of quality in.

        Raises:
            GatewayAway: there is no link, or what the gateway says.
        """
        request = ticket_pb2.ReportQualityRequest(report=report)
        await self._call(partial(self._linked().tickets.ReportQuality, request, timeout=TIMEOUT_S))

    # -- keys and grants ---------------------------------------------------------------------------------

    async def publish_keys(self) -> None:
        """Make new keys where they are due, and publish the bundle until the region's log holds it.

        Raises:
            BundleRollback: the log holds a bundle under this agent's name that it never made.
            GatewayAway: there is no link, or what the gateway says.
        """
        self._keys.rotate_if_due()
        if self._keys.confirmed and not self._unsure:
            return
        held = await self._confirm_newest()
        self._keys.rotate_if_due()
        if self._keys.confirmed and held:
            self._unsure = False
            return
        request = directory_pb2.PublishBundleRequest(bundle=self._keys.bundle)
        await self._call(partial(self._linked().directory.PublishBundle, request, timeout=TIMEOUT_S))
        self._keys.confirm(self._keys.seq, self._keys.bundle_digest)
        self._unsure = False
        self._consumer.forget_plans()

    async def submit_case(self, statement: common_pb2.Statement) -> int:
        """Have a step in a case entered in the region's log; return the index of its entry.

        Raises:
            GatewayAway: there is no link, or what the gateway says.
        """
        request = case_pb2.SubmitCaseEventRequest(event=statement)
        answer = await self._call(partial(self._linked().cases.SubmitCaseEvent, request, timeout=TIMEOUT_S))
        return int(answer.index)

    def _epoch_opened(self, epoch: Epoch, index: int) -> None:
        """Take note that entries are lost: keys of ours and of peers may be among them."""
        self._gateway_log.opened(epoch, index)
        self._unsure = True

    async def _confirm_newest(self) -> bool:
        """Learn whether an earlier attempt was logged after all.

        Returns:
            Whether the log holds the newest bundle.
        """
        who = self._identity.identity()
        request = directory_pb2.ListBundlesRequest(
            organisation=who.organisation, agent=who.name, after_seq=max(0, self._keys.seq - 1)
        )
        answer = await self._call(partial(self._linked().directory.ListBundles, request, timeout=TIMEOUT_S))
        found = b""
        for statement in answer.bundles:
            body = read_bundle_body(statement)
            found = canonical.digest(canonical.BUNDLE, statement.body)
            self._keys.confirm(body.seq, found)
        return found == self._keys.bundle_digest

    def _bundle_logged(self, statement: common_pb2.Statement) -> None:
        """Alarm when the log holds a bundle under this agent's name that it never made."""
        who = self._identity.identity()
        body = directory_pb2.KeyBundleBody.FromString(statement.body)
        if (body.organisation, body.agent) != (who.organisation, who.name):
            self._log.info("bundle of another agent of ours", agent=body.agent[:80], seq=body.seq)
            return
        try:
            self._keys.confirm(body.seq, canonical.digest(canonical.BUNDLE, statement.body))
        except BundleRollback as error:
            self._log.error("alarm", reason=error.name, subject=error.subject)
            self.foreign_bundle = error

    def _grant_changed(self, grant: Grant) -> None:
        self._consumer.forget_plans()
        if self._gateway is None or not self._acceptance.due(grant):
            return
        signer = self._identity.statement_signer()
        self._spawn(self._acceptance.accept(grant, signer, self._gateway.grants))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _linked(self) -> GatewayStubs:
        if self._gateway is None:
            raise GatewayAway("no link")
        return self._gateway

    async def _call(self, call: Callable[[], Awaitable[Any]]) -> Any:
        return await answered(call, hop="gateway", away=GatewayAway)
