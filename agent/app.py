"""Wires an agent and runs it: the only place that knows every part."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import structlog

from agent.config import AgentConfig, load
from agent.consumer.ask import Consumer, ConsumerParts
from agent.consumer.correction_view import CorrectionView
from agent.consumer.local_api import Listening, LocalApi
from agent.consumer.plan import Planner, Speaker
from agent.consumer.receipts import ReceiptShelf
from agent.desk_view import AgentDesk
from agent.duties import Duties
from agent.gateway_log import GatewayLog
from agent.governance import Governance, GovernanceParts
from agent.heads import Heads
from agent.link import GatewayLink
from agent.peers import Peers
from agent.provider.acceptance import Acceptance
from agent.provider.answer import Provider, ProviderParts
from agent.provider.inspection import Inspector, InspectorParts
from agent.provider.journal import Journal
from agent.provider.pseudonyms import pseudonyms_in
from agent.provider.respond import Responder
from agent.provider.source import Source, build_source
from agent.provider.synthetic_shapes import check_sandboxed
from agent.provider.tag_keys import TagKeyRing, fetch_from_authority
from agent.provider.tagging import Tagger
from agent.region import RegionView
from agent.stream import StreamParts
from exchange.clock import NonceSource, SystemClock
from exchange.configuration import read_passphrase
from exchange.enrolment import IdentityFolder
from exchange.errors import AuthorityAway, BadConfiguration, ExchangeError
from exchange.keys import BundleBook, OwnKeys
from exchange.keystore import FileKeyStore
from exchange.region_rules import RegionRules
from exchange.renewal import keep_renewed
from exchange.replay import ReplayWindow
from exchange.serving import cancel_all, first_of, keep_private, say_ready, serve_until_told
from exchange.session import ConsumerSessions, ProviderSessions
from exchange.signing import BatchSigner
from exchange.suites import DEFAULT_SUITE
from exchange.telemetry import set_up_logs
from exchange.tls import CHANNEL_OPTIONS, channel_credentials
from exchange.trust import TrustList
from exchange.trust_feed import TrustFeed, watch_authority

SWEEP_S = 0.25
SECOND_S = 1.0
KEYS_S = 20.0
WEEK_MS = 7 * 86_400_000


class Agent:
    """One agent process.

    Args:
        config: its configuration.
        base: the folder from which relative paths of sources count.
    """

    def __init__(self, config: AgentConfig, *, base: Path) -> None:
        self._config = config
        self._clock = SystemClock()
        self._nonces = NonceSource()
        self._log = structlog.get_logger("agent")
        folder = config.folder
        passphrase = read_passphrase(config.passphrase_file)
        keystore = FileKeyStore(folder=folder / "keys", passphrase=passphrase)
        self.identity = IdentityFolder(folder / "identity", keystore)
        who = self.identity.identity()
        check_sandboxed(config.resource, who.trust_domain)
        self._who = who
        self._authority_fault: ExchangeError | None = None
        anchor = self.identity.anchor()
        self.feed = TrustFeed(anchor=anchor, path=self.identity.trust_list_path, clock=self._clock)
        trust = self.feed.current
        self.keys = OwnKeys(
            keystore=keystore,
            clock=self._clock,
            organisation=who.organisation,
            agent=who.name,
            signer=self.identity.statement_signer(),
            suite=trust.suite if trust else DEFAULT_SUITE,
        )
        self._signer = BatchSigner(kid=self.keys.signing_kid, key=self.keys.signing_key)
        origin, addresses = self._gateway()
        self.region = RegionView(
            path=folder / "region.db",
            origin=origin,
            anchor=anchor,
            trust=self._trust,
            clock=self._clock,
        )
        self.governance = Governance(
            GovernanceParts(
                config=config,
                identity=who,
                keystore=keystore,
                keys=self.keys,
                region=self.region,
                signer=self.identity.statement_signer,
                clock=self._clock,
                random=self._nonces,
            )
        )
        self.heads = Heads(path=folder / "heads.json")
        self.book = BundleBook(anchor=anchor, path=folder / "bundles.db", clock=self._clock)
        self.log = GatewayLog(
            origin=origin,
            addresses=addresses,
            trust=self._trust,
            heads=self.heads,
            region=self.region,
            book=self.book,
        )
        self.peers = Peers(
            region=self.region,
            book=self.book,
            trust=self._trust,
            clock=self._clock,
            hop=f"gateway/{self.origin}",
        )
        # The key of pseudonyms is made by who provides: a catalogue entry may demand them any time.
        pseudonyms = pseudonyms_in(keystore, self._nonces) if config.resource else None
        self.sources: dict[str, Source] = {
            item.id: build_source(item, base=base, pseudonyms=pseudonyms) for item in config.resource
        }
        self.journal = Journal(path=folder / "journal.db", clock=self._clock)
        self.tag_keys = TagKeyRing(
            keystore=keystore, clock=self._clock, fetch=fetch_from_authority(self.identity)
        )
        self.provider = self._make_provider()
        self.consumer = self._make_consumer()
        self.link = self._make_link()
        self.desk = AgentDesk(
            identity=self.identity,
            consumer=self.consumer,
            provider=self.provider,
            link=self.link,
            region=self.region,
            sources=self.sources,
            trust=self._trust,
            authority_fault=self._authority_trouble,
            keys_fault=lambda: self.duties.foreign_bundle,
            clock=self._clock,
        )
        self.local = LocalApi(
            settings=config.local,
            asker=self.desk,
            hop=self.consumer.hop,
            catalogue=self.desk,
            receipts=self.shelf,
            cases=self.governance.case_desk(self.duties.submit_case),
            corrections=CorrectionView(corrections=self.governance.corrections, shelf=self.shelf),
        )

    # -- wiring ------------------------------------------------------------------------------------------

    def _trust(self) -> TrustList | None:
        return self.feed.current

    def _gateway(self) -> tuple[str, Sequence[str]]:
        """Return origin and fixed addresses of the gateway: configured, or the first of the enrolment."""
        chosen = self._config.gateway
        if chosen.origin:
            return chosen.origin, chosen.addresses
        gateways = self.identity.enrolment().gateways
        trust = self.feed.current
        known = gateways or (tuple(trust.gateways.values()) if trust else ())
        if not known:
            raise BadConfiguration("gateway: none in the configuration, the enrolment or the trust list")
        return known[0].origin, chosen.addresses

    @property
    def origin(self) -> str:
        """Of the gateway's log."""
        return self.log.origin

    def _make_provider(self) -> Provider:
        self.opened = ProviderSessions(clock=self._clock)
        tagger = Tagger(present=self.tag_keys.present, sources=self.sources, random=self._nonces)
        self._inspection = InspectorParts(
            identity=self._who,
            division=self._who.division,
            gateway=self.origin,
            keys=self.keys,
            region=self.region,
            sessions=self.opened,
            replay=ReplayWindow(started_ms=self._clock.now_ms()),
            trust=self._trust,
            answered=self.journal.known,
            stops=self.governance.stops.force,
            check_case=self.governance.cases.check,
            allow=self.governance.allow,
            rules=self._rules_now,
        )
        return Provider(
            ProviderParts(
                hop=f"provider/{self._who.name}",
                inspector=Inspector(self._inspection),
                responder=Responder(identity=self._who, random=self._nonces, tagger=tagger),
                peers=self.peers,
                sources=self.sources,
                journal=self.journal,
                clock=self._clock,
                window=self._config.limits.provider_window,
                receipt_after_s=self._config.limits.receipt_after_s,
                stops=self.governance.stops.force,
                verify_counts=self.governance.verify_counts,
                unreceipted_per_hour=self._config.limits.unreceipted_per_hour,
                rules=self._rules_now,
            )
        )

    def _make_consumer(self) -> Consumer:
        self._speaker = speaker = Speaker(
            identity=self._who, division=self._who.division, gateway=self.origin
        )
        self.shelf = ReceiptShelf()
        self.sessions = ConsumerSessions(clock=self._clock)
        return Consumer(
            ConsumerParts(
                speaker=speaker,
                keys=self.keys,
                planner=Planner(speaker=speaker, region=self.region),
                peers=self.peers,
                sessions=self.sessions,
                shelf=self.shelf,
                observe=self.governance.quality.observe,
                send=lambda digest, item, size: self.link.send(digest, item, size),
                trust=self._trust,
                head=lambda: self.heads.message(self.origin),
                clock=self._clock,
                random=self._nonces,
                capacity=self._config.limits.questions,
                rules=self._rules_now,
            )
        )

    def _rules_now(self) -> RegionRules:
        return self.governance.rules.current

    def _make_link(self) -> GatewayLink:
        self.duties = Duties(
            identity=self.identity,
            region=self.region,
            feed=self.feed,
            keys=self.keys,
            consumer=self.consumer,
            provider=self.provider,
            peers=self.peers,
            acceptance=Acceptance(organisation=self._who.organisation, region=self.region, clock=self._clock),
            on_drain=lambda: self.link.redial(),
            log=self.log,
            stops=self.governance.stops,
        )
        parts = StreamParts(
            origin=self.origin,
            instance=secrets.token_bytes(16),
            window=self._config.limits.provider_window,
            capacity=self._config.limits.questions + 2 * self._config.limits.provider_window,
            signer=self._current_signer,
            log_keys=self.log.keys,
            heads=self.heads,
            roles=self.duties,
            trust_number=lambda: self.feed.current.number if self.feed.current else 0,
            clock=self._clock,
            epochs=self.log.epochs,
        )
        return GatewayLink(
            parts=parts,
            addresses=self.log.addresses,
            credentials=self._credentials,
            options=CHANNEL_OPTIONS,
        )

    def _current_signer(self) -> BatchSigner:
        if self._signer.kid != self.keys.signing_kid:
            self._signer = BatchSigner(kid=self.keys.signing_kid, key=self.keys.signing_key)
        return self._signer

    def _credentials(self) -> grpc.ChannelCredentials:
        return channel_credentials(
            root_pem=self.identity.root_pem(),
            key_pem=self.identity.key_pem(),
            chain_pem=self.identity.chain_pem(),
        )

    # -- running -----------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, ready: Callable[[Listening], None]) -> None:
        """Serve until told to stop.

        Args:
            stop: set to end.
            ready: told where the faces listen, once they do.
        """
        await self.journal.open()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            if self.sources and self.tag_keys.present(self._clock.now_ms()) is None:
                # Only who provides needs them; waited for, so that the first question finds them.
                await self.tag_keys.refresh()
            background = [
                watch_authority(
                    self.feed,
                    self.identity.enrolment().enrolment_address,
                    self.identity.root_pem(),
                    alarm=self._authority_alarm,
                ),
                self.link.run(),
                self._every(SWEEP_S, self.consumer.expire),
                self._every(SECOND_S, self._each_second),
                keep_renewed(self.identity, clock=self._clock, renewed=self._renewed),
                self._rotations(),
                *self.governance.duties(self.duties.report_quality),
            ]
            if self.sources:
                background.append(self.tag_keys.run())
            self.feed.subscribe(self._trust_changed)
            tasks = [asyncio.create_task(work) for work in background]
            stack.push_async_callback(cancel_all, tasks)
            listening = await self.local.start()
            stack.push_async_callback(self.local.stop)
            ready(listening)
            await first_of(tasks, stop)
            await self.governance.report_last(self.duties.report_quality)

    async def _close(self) -> None:
        await self.provider.close()
        for source in self.sources.values():
            await source.close()
        await self.journal.close()
        await self.governance.close()
        self.heads.save()
        self.region.close()
        self.book.close()

    async def _every(self, seconds: float, act: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            act()

    def _each_second(self) -> None:
        self.governance.sweep()
        self.provider.watch()
        self.sessions.forget_ended()
        self.opened.forget_ended()
        self.heads.save()

    async def _rotations(self) -> None:
        """Make and publish keys when they are due; what fails is tried again."""
        while True:
            await asyncio.sleep(KEYS_S)
            try:
                trust = self.feed.current
                if trust is not None:
                    self.keys.use_suite(trust.suite)
                await self.duties.publish_keys()
                await self.journal.prune(self._clock.now_ms() - WEEK_MS)
            except ExchangeError as error:
                self._log.warning("keys not published", reason=error.name, subject=error.subject)

    def _renewed(self) -> None:
        """Sign bundles with the new certificate, and make a stream with it beside the old one."""
        self.keys.use_signer(self.identity.statement_signer())
        self.link.redial()

    def _authority_alarm(self, error: Exception) -> None:
        if isinstance(error, ExchangeError):
            self._authority_fault = error
            self._log.warning("authority away", reason=error.name, subject=error.subject)

    def _authority_trouble(self) -> ExchangeError | None:
        if self.sources and self.tag_keys.present(self._clock.now_ms()) is None:
            return self._authority_fault or self.tag_keys.fault or AuthorityAway("tag key")
        return self._authority_fault

    def _trust_changed(self, trust: TrustList) -> None:
        self._authority_fault = None
        self.book.recheck(trust)
        if self.log.follow():
            self._speaker.gateway = self._inspection.gateway = self.origin
            self.link.follow(self.origin)
        self.consumer.forget_plans()


def serve(config_path: Path) -> int:
    """Run an agent until SIGTERM or SIGINT.

    Args:
        config_path: the TOML file.

    Returns:
        The exit code: 0 after a stop.

    Raises:
        BadConfiguration: every fault of the configuration.
    """
    keep_private()
    set_up_logs("agent")
    agent = Agent(load(config_path), base=config_path.parent.resolve())

    def ready(listening: Listening) -> None:
        say_ready(
            process="agent",
            spiffe_id=agent.identity.identity().uri,
            http=listening.http,
            grpc=listening.grpc,
        )

    serve_until_told(lambda stop: agent.run(stop, ready))
    return 0
