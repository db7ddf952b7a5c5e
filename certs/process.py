"""The authority as it runs: the one place where its parts are wired together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from certs.authority import Authority
from certs.config import AuthorityConfig
from certs.enrolment_service import MAX_WAITING, AuthorityService, Desk, EnrolmentService
from certs.founding import DATABASE
from certs.gate import Gate
from certs.own_keys import KEYS, OwnKeys
from certs.records import Records
from certs.tag_desk import TagDesk
from certs.trust_list import TrustListPublisher
from exchange.clock import Clock, SystemClock, system_random
from exchange.configuration import read_passphrase
from exchange.errors import BadConfiguration, ExchangeError
from exchange.keystore import FileKeyStore, KeyStore
from exchange.tls import SERVER_OPTIONS, peer, reloading_server_credentials
from exchange.v1 import trust_pb2_grpc

STOP_S = 2.0
ENROLMENT = "exchange.v1.EnrolmentService"
SERVICE = "exchange.v1.AuthorityService"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An authority that serves.

    Attributes:
        enrolment_port, service_port: where, also when the configuration said 0.
    """

    authority: Authority
    enrolment_port: int
    service_port: int


@asynccontextmanager
async def running(config: AuthorityConfig, *, clock: Clock | None = None) -> AsyncIterator[Running]:
    """Serve an authority as long as the context lasts.

    Raises:
        BadConfiguration, StoreDamaged: it cannot start.
    """
    now = clock or SystemClock()
    keystore = FileKeyStore(folder=config.folder / KEYS, passphrase=read_passphrase(config.passphrase_file))
    keys = _open_keys(config, keystore)
    records = Records(path=config.folder / DATABASE)
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="authority")
    try:
        authority = _wire(config, keys, keystore, records, now)
        desk = Desk(authority=authority, executor=executor)
        await desk.run(authority.trust_lists.make, now.now_ms())
        await desk.run(authority.tags.keys)
        serving = _Servers(config=config, desk=desk, clock=now)
        await serving.start()
        resigning = asyncio.create_task(_resign(desk, now, config.trust_list.resign_s))
        try:
            yield Running(
                authority=authority,
                enrolment_port=serving.enrolment_port,
                service_port=serving.service_port,
            )
        finally:
            resigning.cancel()
            await asyncio.gather(resigning, return_exceptions=True)
            await serving.stop()
    finally:
        executor.shutdown()
        records.close()


def _open_keys(config: AuthorityConfig, keystore: KeyStore) -> OwnKeys:
    return OwnKeys(
        folder=config.folder,
        keystore=keystore,
        division=config.division,
        trust_domain=config.trust_domain,
        hosts=config.listen.hosts,
        lifetimes=config.lifetimes.lifetimes(),
    )


def _wire(
    config: AuthorityConfig, keys: OwnKeys, keystore: KeyStore, records: Records, clock: Clock
) -> Authority:
    lists = TrustListPublisher(
        records=records,
        identity=keys.identity,
        signer=keys.signer,
        max_age_s=config.trust_list.max_age_s,
        suite=config.trust_list.suite,
        max_watchers=config.trust_list.max_watchers,
    )
    tags = TagDesk(
        keystore=keystore,
        records=records,
        clock=clock,
        random=system_random,
        per_hour=config.tags.derivations_per_hour,
    )
    return Authority(
        keys=keys, records=records, trust_lists=lists, tags=tags, clock=clock, random=system_random
    )


class _Servers:
    """The two ports: grpc can demand a client's certificate or not ask for one, but not leave it open."""

    def __init__(self, *, config: AuthorityConfig, desk: Desk, clock: Clock) -> None:
        self._log = structlog.get_logger("certs.process")
        self._health = health.aio.HealthServicer()
        self._desk, self._clock, self._listen = desk, clock, config.listen
        authority = desk.authority
        anchor, lists = authority.keys.anchor, authority.trust_lists

        def identify(context: Any) -> Any:
            return peer(context, anchor, lists.current, clock.now_ms())

        gate = Gate(identify=identify)
        most = config.trust_list.max_watchers + 2 * MAX_WAITING
        self._enrolment = self._server(Gate(identify=None), most)
        trust_pb2_grpc.add_EnrolmentServiceServicer_to_server(EnrolmentService(desk=desk), self._enrolment)
        self._service = self._server(gate, 4 * MAX_WAITING)
        service = AuthorityService(desk=desk, caller=gate.caller)
        trust_pb2_grpc.add_AuthorityServiceServicer_to_server(service, self._service)
        self.enrolment_port = self._bind(self._enrolment, config.listen.enrolment_port, mutual=False)
        self.service_port = self._bind(self._service, config.listen.service_port, mutual=True)

    async def start(self) -> None:
        """Serve on both ports."""
        await self._enrolment.start()
        await self._service.start()
        for name in ("", ENROLMENT, SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Refuse new calls, let the others end, then close."""
        await self._health.enter_graceful_shutdown()
        await asyncio.gather(self._enrolment.stop(STOP_S), self._service.stop(STOP_S))

    def _server(self, gate: Gate, most: int) -> grpc.aio.Server:
        server = grpc.aio.server(
            interceptors=[gate], options=list(SERVER_OPTIONS), maximum_concurrent_rpcs=most
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    def _bind(self, server: grpc.aio.Server, port: int, *, mutual: bool) -> int:
        keys = self._desk.authority.keys
        credentials = reloading_server_credentials(
            newest=lambda: keys.serving(self._clock.now_ms()),
            root_pem=keys.root_pem,
            mutual=mutual,
            alarm=lambda error: self._log.error("certificate-not-renewed", error=type(error).__name__),
        )
        place = f"{self._listen.host}:{port}"
        try:
            return server.add_secure_port(place, credentials)
        except RuntimeError as error:
            raise BadConfiguration(f"cannot listen on {place}") from error


async def _resign(
    desk: Desk, clock: Clock, every_s: float, pause: Callable[[float], Any] = asyncio.sleep
) -> None:
    """Make a new trust list again and again; a fault is logged, and the next turn tries again."""
    log = structlog.get_logger("certs.process")
    while True:
        await pause(every_s)
        try:
            await desk.run(desk.authority.trust_lists.make, clock.now_ms())
        except ExchangeError as error:
            log.error("trust-list-not-signed", reason=error.name, subject=error.subject)
