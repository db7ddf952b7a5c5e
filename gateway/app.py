"""Wires a gateway and runs it: the only place that knows every part."""

import asyncio
import json
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from nacl.signing import SigningKey
from prometheus_client import CollectorRegistry

from exchange.checkpoint import LogSigner
from exchange.clock import NonceSource, SystemClock
from exchange.enrolment import IdentityFolder, call, renew
from exchange.errors import AuthorityAway, BadConfiguration, ExchangeError, TrustStale
from exchange.keys import BundleBook
from exchange.keystore import FileKeyStore, KeyStore
from exchange.replay import ReplayWindow
from exchange.telemetry import set_up_logs
from exchange.tls import SERVER_OPTIONS, peer, reloading_server_credentials
from exchange.trust import TrustList, Verified
from exchange.trust_feed import TrustFeed, watch_authority
from exchange.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    directory_pb2,
    directory_pb2_grpc,
    exchange_pb2,
    exchange_pb2_grpc,
    grant_pb2,
    grant_pb2_grpc,
    link_pb2,
    link_pb2_grpc,
    trust_pb2,
    trust_pb2_grpc,
)
from gateway import interceptors
from gateway.access.guards import standard_guards
from gateway.access.method_table import MethodTable
from gateway.access.refusals import RefusalLimiter
from gateway.access.requests import RequestCheck
from gateway.admin_service import AdminService
from gateway.audit.projection import ExchangeIndex
from gateway.audit.sequencer import Sequencer
from gateway.audit_service import AuditService
from gateway.calls import Calls
from gateway.config import GatewayConfig, load
from gateway.directory_service import DirectoryService
from gateway.exchange_service import ExchangeService
from gateway.grant_service import GrantService
from gateway.link_service import LinkParts, LinkService
from gateway.metrics import GatewayMetrics, PathMetrics
from gateway.path import Path, PathParts
from gateway.ready_face import ReadyFace
from gateway.registrar import Registrar
from gateway.routing.links import Links
from gateway.state import RegionState
from gateway.state_store import StateStore
from gateway.storage.high_water import HighWaterFile
from gateway.storage.sqlite import SqliteAuditStore
from gateway.trust_watch import TrustWatch

LOG_KEY = "log"
GRACE_S = 5.0
SECOND_S = 1.0
HOUR_S = 3600.0
REGISTER_PAUSE_S = 2.0
SERVICES = (admin_pb2, audit_pb2, directory_pb2, exchange_pb2, grant_pb2, link_pb2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where the gateway listens, ports filled in."""

    port: int
    metrics_port: int


def log_signer(keystore: KeyStore, origin: str) -> LogSigner:
    """Return the log's signer; its key is made at the first start and never leaves the key store."""
    raw = keystore.get(LOG_KEY)
    if raw is None:
        raw = bytes(SigningKey.generate())
        keystore.put(LOG_KEY, raw)
    return LogSigner(origin=origin, key=SigningKey(raw))


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
        passphrase = config.passphrase_file.read_bytes().strip()
        keystore = FileKeyStore(folder=folder / "keys", passphrase=passphrase)
        self.identity = IdentityFolder(folder / "identity", keystore)
        self._anchor = self.identity.anchor()
        who = self.identity.identity()
        self.origin = f"{who.division}.{who.trust_domain}/{who.name}"
        self._hop = f"gateway/{who.name}"
        self._tls = self._read_tls()
        self.feed = TrustFeed(anchor=self._anchor, path=self.identity.trust_list_path, clock=self._clock)
        self._signer = log_signer(keystore, self.origin)
        self.sequencer = Sequencer(
            store=SqliteAuditStore(folder=folder),
            high_water=HighWaterFile(path=folder / "high-water"),
            signer=self._signer,
            max_queue=config.limits.audit_queue,
            min_free_bytes=config.limits.min_free_mib << 20,
        )
        self._book = BundleBook(anchor=self._anchor, path=None, clock=self._clock)
        self.state = RegionState(book=self._book)
        self.refusals = RefusalLimiter()
        self.registrar = Registrar(
            log=self.sequencer,
            state=self.state,
            store=StateStore(path=folder / "state.db", origin=self.origin),
            anchor=self._anchor,
            trust_feed=self.feed,
            clock=self._clock,
            origin=self.origin,
            refusals=self.refusals,
        )
        self.links = Links()
        self.registry = CollectorRegistry()
        self._metrics = GatewayMetrics(self.registry)
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
                guards=standard_guards(self.state),
                release_guards=(),
                refusals=self.refusals,
                trust=self._trust,
                clock=self._clock,
                random=self._nonces,
                metrics=PathMetrics(self.registry),
            )
        )

    def _identify(self, context: Any) -> Verified:
        return peer(context, self._anchor, self.feed.current, self._clock.now_ms())

    def _add_services(self, server: grpc.aio.Server) -> LinkService:
        calls = Calls(registrar=self.registrar, peer=interceptors.caller)
        index = ExchangeIndex(path=self._config.folder / "search.db", log=self.sequencer)
        link_service = LinkService(
            LinkParts(
                origin=self.origin,
                path=self.path,
                links=self.links,
                registrar=self.registrar,
                sequencer=self.sequencer,
                trust_feed=self.feed,
                peer=interceptors.caller,
                clock=self._clock,
                consumer_window=self._config.limits.consumer_window,
                max_links=self._config.limits.max_links,
            )
        )
        link_pb2_grpc.add_LinkServiceServicer_to_server(link_service, server)
        exchange_pb2_grpc.add_ExchangeServiceServicer_to_server(
            ExchangeService(path=self.path, peer=interceptors.caller), server
        )
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(
            DirectoryService(
                registrar=self.registrar, state=self.state, calls=calls, linked=self.links.agents_of
            ),
            server,
        )
        grant_pb2_grpc.add_GrantServiceServicer_to_server(
            GrantService(registrar=self.registrar, state=self.state, calls=calls), server
        )
        audit_pb2_grpc.add_AuditServiceServicer_to_server(
            AuditService(registrar=self.registrar, calls=calls, log=self.sequencer, find=index.find),
            server,
        )
        admin_pb2_grpc.add_AdminServiceServicer_to_server(
            AdminService(
                registrar=self.registrar,
                calls=calls,
                log=self.sequencer,
                trust_feed=self.feed,
                agents=lambda: [(link.identity.uri, len(link.pending)) for link in self.links],
                faults=lambda: [str(fault) for fault in self.faults()],
            ),
            server,
        )
        self._add_common_services(server)
        return link_service

    def _add_common_services(self, server: grpc.aio.Server) -> None:
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        self._health = servicer
        names = [name for module in SERVICES for name in _services_of(module)]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)

    def _read_tls(self) -> tuple[bytes, bytes]:
        return self.identity.key_pem(), self.identity.chain_pem()

    # -- how it is ---------------------------------------------------------------------------------------

    def faults(self) -> Sequence[ExchangeError]:
        """Return everything that keeps exchanges from succeeding, the log store first."""
        found: list[ExchangeError] = []
        if self.sequencer.fault is not None:
            found.append(self.sequencer.fault)
        trust = self.feed.current
        if trust is None or not trust.fresh(self._clock.now_ms()):
            found.append(TrustStale(f"number {trust.number}" if trust else "none"))
        elif self.origin not in trust.gateways:
            found.append(AuthorityAway("the trust list does not name this gateway yet"))
        return found

    def _refresh(self) -> None:
        trust, links = self.feed.current, list(self.links)
        self._metrics.ready.set(not self.faults())
        self._metrics.links.set(len(links))
        self._metrics.pending.set(sum(len(link.pending) for link in links))
        self._metrics.log_size.set(self.sequencer.head.size)
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
            for error in self.registrar.open():
                self._log.warning("bundle not in force", reason=error.name, subject=error.subject)
            stack.push_async_callback(self.registrar.close)
            self.feed.subscribe(self._trust_changed)
            server = self._make_server()
            link_service = self._add_services(server)
            port = self._bind(server, listen.host, listen.port)
            await server.start()
            stack.push_async_callback(server.stop, GRACE_S)
            metrics_port = await self.ready_face.start(listen.metrics_host, listen.metrics_port)
            stack.push_async_callback(self.ready_face.stop)
            tasks = [asyncio.create_task(work) for work in self._background(port)]
            stack.push_async_callback(_cancel, tasks)
            await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
            ready(Listening(port=port, metrics_port=metrics_port))
            stopping = asyncio.create_task(stop.wait())
            stack.push_async_callback(_cancel, [stopping])
            done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._health.enter_graceful_shutdown()
            await link_service.drain(GRACE_S)

    def _make_server(self) -> grpc.aio.Server:
        chain = interceptors.chain(identify=self._identify, table=MethodTable(), registrar=self.registrar)
        return grpc.aio.server(interceptors=chain, options=SERVER_OPTIONS)

    def _bind(self, server: grpc.aio.Server, host: str, port: int) -> int:
        credentials = reloading_server_credentials(
            newest=lambda: self._tls,
            root_pem=self.identity.root_pem(),
            mutual=True,
            alarm=lambda error: self._log.error("certificate not reloaded", error=type(error).__name__),
        )
        try:
            bound = server.add_secure_port(f"{host}:{port}", credentials)
        except RuntimeError:
            bound = 0
        if not bound:
            raise BadConfiguration(f"listen.port {port} cannot be bound")
        return bound

    def _background(self, port: int) -> list[Any]:
        watch = TrustWatch(registrar=self.registrar, feed=self.feed)
        return [
            watch_authority(
                self.feed,
                self._config.authority.enrolment,
                self.identity.root_pem(),
                alarm=self._authority_alarm,
            ),
            watch.run(),
            self._register(port),
            self._each_second(),
            self._renewals(),
        ]

    async def _register(self, port: int) -> None:
        """Enter log key and addresses in the trust list, and again whenever a list does not name them."""
        addresses = self._config.listen.advertise or [f"127.0.0.1:{port}"]
        told = trust_pb2.TrustedGateway(
            origin=self.origin, log_keys=[self._signer.public_key], addresses=addresses
        )

        async def ask(channel: grpc.aio.Channel) -> None:
            stub = trust_pb2_grpc.AuthorityServiceStub(channel)
            await stub.RegisterGateway(trust_pb2.RegisterGatewayRequest(gateway=told), timeout=GRACE_S)

        while True:
            trust = self.feed.current
            known = trust.gateways.get(self.origin) if trust else None
            wanted = (tuple(addresses), self._signer.public_key)
            if known is None or (tuple(known.addresses), known.log_keys[0]) != wanted:
                try:
                    await call(
                        self._config.authority.service,
                        ask,
                        root_pem=self.identity.root_pem(),
                        key_pem=self._tls[0],
                        chain_pem=self._tls[1],
                    )
                except ExchangeError as error:
                    self._authority_alarm(error)
            await asyncio.sleep(REGISTER_PAUSE_S)

    async def _each_second(self) -> None:
        while True:
            await asyncio.sleep(SECOND_S)
            self.path.expire()
            self.registrar.settle()
            try:
                await self.registrar.flush_refusals()
            except ExchangeError as error:
                self._log.warning("refusal counts not entered", reason=error.name)

    async def _renewals(self) -> None:
        """Renew when two thirds of the certificate's life are over; the next handshakes use the new one."""
        while True:
            certificate = self.identity.certificate()
            begun = certificate.not_valid_before_utc.timestamp()
            life_s = certificate.not_valid_after_utc.timestamp() - begun
            await asyncio.sleep(min(HOUR_S, max(1.0, life_s / 60)))
            if not self.identity.renewal_due(self._clock.now_ms()):
                continue
            try:
                await renew(self.identity, clock=self._clock)
            except ExchangeError as error:
                self._log.warning("renewal failed", reason=error.name, subject=error.subject)
                continue
            self._tls = self._read_tls()
            self._log.info("certificate renewed")

    def _trust_changed(self, trust: TrustList) -> None:
        for organisation, agent, error in self._book.recheck(trust):
            self._log.warning("bundle dropped", organisation=organisation, agent=agent, reason=error.name)

    def _authority_alarm(self, error: Exception) -> None:
        if isinstance(error, ExchangeError):
            self._log.warning("authority", reason=error.name, subject=error.subject)
        else:
            self._log.error("authority", error=type(error).__name__)


def _services_of(module: Any) -> list[str]:
    return [service.full_name for service in module.DESCRIPTOR.services_by_name.values()]


async def _cancel(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


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
    set_up_logs("gateway")
    config = load(config_path)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        gateway = Gateway(config)

        def ready(listening: Listening) -> None:
            told = {
                "process": "gateway",
                "origin": gateway.origin,
                "port": listening.port,
                "metrics_port": listening.metrics_port,
            }
            print("ready " + json.dumps(told), flush=True)

        await gateway.run(stop, ready)

    asyncio.run(main())
    return 0
