"""Wires a gateway and runs it: the only place that knows every part."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath
from typing import Any

import grpc
import structlog
from cryptography.x509 import load_der_x509_certificate
from prometheus_client import CollectorRegistry

from exchange.clock import NonceSource, SystemClock
from exchange.configuration import read_passphrase
from exchange.enrolment import IdentityFolder
from exchange.errors import ExchangeError, LogBehind
from exchange.identity import identity_of
from exchange.keys import BundleBook
from exchange.keystore import FileKeyStore
from exchange.replay import ReplayWindow
from exchange.serving import cancel_all, first_of, keep_private, say_ready, serve_until_told
from exchange.telemetry import set_up_logs
from exchange.tls import peer
from exchange.trust import TrustList, Verified
from exchange.trust_feed import TrustFeed
from exchange.v1 import audit_pb2
from gateway import interceptors
from gateway.access.method_table import MethodTable
from gateway.access.refusals import RefusalLimiter
from gateway.access.requests import RequestCheck
from gateway.access.two_roles import TwoRolesWatch
from gateway.audit.epochs.log_state import load_state, signer_of
from gateway.audit.epochs.rotation import KeyRotation, keep_rotating
from gateway.audit.log.log_keys import write_log_keys
from gateway.audit.writing.folder import segments_in, sequencer_in
from gateway.config import GatewayConfig, load
from gateway.evidence import Evidence, EvidenceParts
from gateway.governance import Governance, GovernanceParts
from gateway.link_service import LinkService
from gateway.membership import Membership
from gateway.metrics import GatewayMetrics, PathMetrics
from gateway.path import Path, PathParts
from gateway.ready_face import ReadyFace
from gateway.registrar import Registrar
from gateway.routing.links import Links
from gateway.server import GatewayServer
from gateway.services import ServiceParts, add_services
from gateway.state import RegionState
from gateway.state_store import StateStore, state_key
from gateway.subject_tags import AnswerTags, GatewayTagKeys
from gateway.trust_watch import TrustWatch

GRACE_S = 5.0
SECOND_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where the gateway listens, ports filled in."""

    port: int
    metrics_port: int
    log_port: int


class Gateway:
    """One gateway process.

    Args:
        config: its configuration.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._clock = SystemClock()
        self._nonces = NonceSource()
        self._log = structlog.get_logger("gateway")
        folder = config.folder
        passphrase = read_passphrase(config.passphrase_file)
        keystore = FileKeyStore(folder=folder / "keys", passphrase=passphrase)
        self.identity = IdentityFolder(folder / "identity", keystore)
        self._anchor = self.identity.anchor()
        who = self.identity.identity()
        self._log_state = load_state(folder, keystore, f"{who.division}.{who.trust_domain}/{who.name}")
        self.origin = self._log_state.origin
        self._hop = f"gateway/{who.name}"
        self.feed = TrustFeed(anchor=self._anchor, path=self.identity.trust_list_path, clock=self._clock)
        self.tag_keys = GatewayTagKeys(keystore=keystore)
        self.membership = Membership(
            identity=self.identity,
            feed=self.feed,
            authority=config.authority,
            origin=self.origin,
            log_keys=lambda: self.rotation.announced,
            key_change=lambda: self.rotation.key_change(),
            epoch=self._log_state.statements,
            clock=self._clock,
        )
        segments = segments_in(folder, origin=self.origin, keys=keystore)
        self.sequencer = sequencer_in(
            folder,
            signer=signer_of(self._log_state, keystore),
            files=segments,
            max_queue=config.limits.audit_queue,
            min_free_bytes=config.limits.min_free_mib << 20,
            ancestry=self._log_state.ancestry,
        )
        self.registry = CollectorRegistry()
        self._metrics = GatewayMetrics(self.registry)
        self._book = BundleBook(anchor=self._anchor, path=None, clock=self._clock)
        self.state = RegionState(book=self._book)
        self.refusals = RefusalLimiter()
        self.registrar = Registrar(
            log=self.sequencer,
            state=self.state,
            store=StateStore(path=folder / "state.db", origin=self.origin, key=state_key(keystore)),
            anchor=self._anchor,
            trust_feed=self.feed,
            clock=self._clock,
            origin=self.origin,
            refusals=self.refusals,
        )
        self.rotation = KeyRotation(
            folder=folder,
            keystore=keystore,
            state=self._log_state,
            statement_signer=self.identity.statement_signer,
            use_signer=self.sequencer.use_signer,
            enter=partial(self.registrar.record, audit_pb2.ACT_LOG_KEY, who),
            published=lambda state: write_log_keys(folder, state.verifying()),
            clock=self._clock,
        )
        self.links = Links()
        self.evidence = Evidence(
            EvidenceParts(
                config=config,
                gateway=who,
                keystore=keystore,
                log=self.sequencer,
                segments=segments,
                registrar=self.registrar,
                tag_keys=self.tag_keys,
                anchor=self._anchor,
                trust=self._trust,
                tls=self.membership.tls,
                registry=self.registry,
                clock=self._clock,
                random=self._nonces,
            )
        )
        self.governance = Governance(
            GovernanceParts(
                folder=folder,
                gateway=who,
                hop=self._hop,
                keystore=keystore,
                log=self.sequencer,
                state=self.state,
                registrar=self.registrar,
                evidence=self.evidence,
                tag_keys=self.tag_keys,
                links=self.links,
                conclude=lambda exchanges: self.path.lose(exchanges),
                signer=self.identity.statement_signer,
                anchor=self._anchor,
                trust_feed=self.feed,
                registry=self.registry,
                clock=self._clock,
                random=self._nonces,
            )
        )
        self.path = self._make_path(who.division)
        self.ready_face = ReadyFace(registry=self.registry, refresh=self._refresh, faults=self.faults)

    # -- wiring ------------------------------------------------------------------------------------------

    def _trust(self) -> TrustList | None:
        return self.feed.current

    def _make_path(self, division: str) -> Path:
        replay = ReplayWindow(started_ms=self._clock.now_ms())
        return Path(
            PathParts(
                origin=self.origin,
                hop=self._hop,
                state=self.state,
                links=self.links,
                sequencer=self.sequencer,
                requests=RequestCheck(origin=self.origin, division=division, state=self.state, replay=replay),
                guards=self.governance.guards,
                release_guards=self.governance.release_guards,
                tags=AnswerTags(keys=self.tag_keys),
                refusals=self.refusals,
                trust=self._trust,
                clock=self._clock,
                random=self._nonces,
                metrics=PathMetrics(self.registry),
                concluded=self.governance.concluded,
            )
        )

    def _identify(self, context: Any) -> Verified:
        return peer(context, self._anchor, self.feed.current, self._clock.now_ms())

    def _add_services(self, server: grpc.aio.Server) -> LinkService:
        parts = ServiceParts(
            path=self.path,
            governance=self.governance,
            links=self.links,
            registrar=self.registrar,
            state=self.state,
            log=self.sequencer,
            evidence=self.evidence,
            rotation=self.rotation,
            trust_feed=self.feed,
            limits=self._config.limits,
            faults=self.faults,
            clock=self._clock,
        )
        return add_services(server, parts)

    # -- how it is ---------------------------------------------------------------------------------------

    def faults(self) -> Sequence[ExchangeError]:
        """Return everything that keeps exchanges from succeeding, the log store first."""
        return [*self.evidence.faults(), *self.membership.faults(), *self.governance.faults()]

    def _refresh(self) -> None:
        trust, links = self.feed.current, list(self.links)
        self._metrics.ready.set(not self.faults())
        self._metrics.links.set(len(links))
        self._metrics.pending.set(sum(len(link.pending) for link in links))
        self.evidence.measure(self._metrics)
        self.governance.measure()
        if trust is not None:
            self._metrics.trust_age.set((self._clock.now_ms() - trust.issued_at_ms) / 1000)

    # -- running -----------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, ready: Callable[[Listening], None]) -> None:
        """Serve until told to stop.

        Args:
            stop: set to end.
            ready: told where the gateway listens, once it does.
        """
        listen = self._config.listen
        async with AsyncExitStack() as stack:
            await self.sequencer.open()
            stack.push_async_callback(self.sequencer.close)
            await self.evidence.open(stack)
            self._stop_where_ended(self.feed.current)
            for error in self.registrar.open():
                self._log.warning("bundle not in force", reason=error.name, subject=error.subject)
            stack.push_async_callback(self.registrar.close)
            self.governance.open()
            await self._record_opening()
            self.feed.subscribe(self._trust_changed)
            self.feed.subscribe(self.evidence.tails.trust_changed)
            chain = interceptors.chain(
                identify=self._identify,
                table=MethodTable(),
                registrar=self.registrar,
                nobody=TwoRolesWatch(alerts=self.governance.alerts, clock=self._clock).refused,
            )
            server = GatewayServer(interceptors=chain)
            link_service = self._add_services(server.grpc)
            port = server.bind(
                listen.host, listen.port, tls=self.membership.tls, root_pem=self.identity.root_pem()
            )
            await server.start()
            stack.push_async_callback(server.grpc.stop, GRACE_S)
            metrics_port = await self.ready_face.start(listen.metrics_host, listen.metrics_port)
            stack.push_async_callback(self.ready_face.stop)
            log_port = await self.evidence.serve(stack)
            duties = [
                *self.membership.duties(listen.advertise or [f"127.0.0.1:{port}"]),
                TrustWatch(registrar=self.registrar, feed=self.feed).run(),
                *self.evidence.duties(),
                *self.governance.duties(),
                self._each_second(),
                keep_rotating(self.rotation, self._trust, partial(asyncio.sleep, SECOND_S)),
            ]
            tasks = [asyncio.create_task(duty) for duty in duties]
            stack.push_async_callback(cancel_all, tasks)
            ready(Listening(port=port, metrics_port=metrics_port, log_port=log_port))
            await first_of(tasks, stop)
            await server.leave()
            await link_service.drain(GRACE_S)

    async def _record_opening(self) -> None:
        epoch, opened_by = self._log_state.statements, None
        if epoch:
            # Who opened it was checked before the state was written, and is again by the authority.
            opened_by = identity_of(load_der_x509_certificate(epoch[0].chain[0]))
        await self.registrar.record_opening(self.identity.identity(), epoch, opened_by=opened_by)

    async def _each_second(self) -> None:
        while True:
            await asyncio.sleep(SECOND_S)
            self.path.expire()
            self.registrar.settle()
            self.sequencer.probe()
            try:
                await self.registrar.flush_refusals()
            except ExchangeError as error:
                self._log.warning("refusal counts not entered", reason=error.name)

    def _trust_changed(self, trust: TrustList) -> None:
        self._stop_where_ended(trust)
        for organisation, agent, error in self._book.recheck(trust):
            self._log.warning("bundle dropped", organisation=organisation, agent=agent, reason=error.name)

    def _stop_where_ended(self, trust: TrustList | None) -> None:
        """Sign nothing under an origin that the region has closed: this log is an old copy."""
        successor = trust.successor(self.origin) if trust else None
        if successor is not None:
            self.sequencer.refuse_to_sign(LogBehind(f"{self.origin} has ended, {successor.origin} goes on"))


def serve(config_path: FilePath) -> int:
    """Run a gateway until SIGTERM or SIGINT.

    Args:
        config_path: the TOML file.

    Returns:
        The exit code: 0 after a stop.

    Raises:
        BadConfiguration: every fault of the configuration.
        LogBehind, LogForked, StoreDamaged: the log refuses to sign; nothing was served.
    """
    keep_private()
    set_up_logs("gateway")
    gateway = Gateway(load(config_path))

    def ready(listening: Listening) -> None:
        say_ready(
            process="gateway",
            origin=gateway.origin,
            port=listening.port,
            metrics_port=listening.metrics_port,
            log_port=listening.log_port,
        )

    serve_until_told(lambda stop: gateway.run(stop, ready))
    return 0
