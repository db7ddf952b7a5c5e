"""A certificate that carries two roles: refused over real TLS for that reason, and told to the officers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from certs.profiles import Lifetimes, make_issuing, make_leaf, make_root
from exchange.clock import SystemClock, system_random
from exchange.errors import AuditUnavailable, NoIdentity, TwoRoles
from exchange.identity import Identity, Role
from exchange.rpc_errors import from_rpc_error
from exchange.tls import channel_credentials, peer
from exchange.trust import TrustAnchor
from exchange.v1 import audit_pb2, reason_pb2
from gateway.access.method_table import MethodTable
from gateway.access.two_roles import DAY_MS, MOST, TwoRolesWatch
from gateway.audit.entries.alerts import Alerts
from gateway.interceptors import chain
from gateway.server import GatewayServer
from tests.support.names import with_names
from tests.support.region import DIVISION, DOMAIN, ORIGIN, MemoryLog, Region

PEM = serialization.Encoding.PEM
WEEK_MS = 7 * DAY_MS


@dataclass
class Held:
    """A key and the certificates above it."""

    key: ec.EllipticCurvePrivateKey
    chain: bytes

    @property
    def key_pem(self) -> bytes:
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(PEM, form, serialization.NoEncryption())


class Authority:
    """One of the present: TLS goes by the real time."""

    def __init__(self) -> None:
        self.now_ms, life = SystemClock().now_ms(), Lifetimes()
        names = {"division": DIVISION, "trust_domain": DOMAIN, "now_ms": self.now_ms}
        self.root = make_root(**names, lifetime_ms=life.root_ms)  # type: ignore[arg-type]
        self.issuing = make_issuing(self.root, **names, lifetime_ms=life.issuing_ms)  # type: ignore[arg-type]
        self.root_pem = self.root.certificate.public_bytes(PEM)

    def held(self, identity: Identity, *more: Identity, hosts: tuple[str, ...] = ()) -> Held:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = make_leaf(
            self.issuing, identity, key.public_key(), now_ms=self.now_ms, lifetime_ms=WEEK_MS, hosts=hosts
        )
        if more:
            leaf = with_names(leaf, self.issuing, [identity, *more])
        return Held(key, leaf.public_bytes(PEM) + self.issuing.certificate.public_bytes(PEM))


def named(role: Role, name: str) -> Identity:
    return Identity(DOMAIN, DIVISION, role, "", name)


@asynccontextmanager
async def gateway(authority: Authority, region: Region, log: MemoryLog) -> AsyncIterator[int]:
    """Run a gateway's chain on a port."""
    own = authority.held(named(Role.GATEWAY, "gateway-1"), hosts=("localhost",))
    anchor = TrustAnchor(root_pem=authority.root_pem, division=DIVISION, trust_domain=DOMAIN)
    server = GatewayServer(
        interceptors=chain(
            identify=lambda context: peer(context, anchor, None, authority.now_ms),
            table=MethodTable(),
            registrar=region.registrar,
            nobody=watch(log).refused,
        )
    )
    port = server.bind("localhost", 0, tls=lambda: (own.key_pem, own.chain), root_pem=authority.root_pem)
    await server.start()
    try:
        yield port
    finally:
        await server.grpc.stop(None)


def watch(log: MemoryLog) -> TwoRolesWatch:
    alerts = Alerts(
        append=log.append,
        gateway=named(Role.GATEWAY, "gateway-1"),
        origin=ORIGIN,
        clock=SystemClock(),
        random=system_random,
    )
    return TwoRolesWatch(alerts=alerts, clock=SystemClock())


async def call(authority: Authority, port: int, held: Held) -> str:
    """Call with a certificate; return the reason of the refusal, "" where there is none."""
    credentials = channel_credentials(root_pem=authority.root_pem, key_pem=held.key_pem, chain_pem=held.chain)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        except grpc.RpcError as error:
            return from_rpc_error(error, hop="gateway").name
    return ""


async def test_a_certificate_of_two_roles_is_refused_for_that_and_the_officers_are_told_once(
    tmp_path: Path,
) -> None:
    authority, region, log = Authority(), Region(tmp_path), MemoryLog()
    both = authority.held(named(Role.ADMIN, "wang"), named(Role.OFFICER, "wang"))
    other = authority.held(named(Role.AUDITOR, "wu"), named(Role.AUDITOR, "wu"))
    async with gateway(authority, region, log) as port:
        assert await call(authority, port, both) == await call(authority, port, both) == "TWO_ROLES"
        assert await call(authority, port, other) == "TWO_ROLES"
        assert await call(authority, port, authority.held(named(Role.ADMIN, "wang"))) == ""
        log.fails = AuditUnavailable("test")
        third = authority.held(named(Role.ADMIN, "li"), named(Role.OFFICER, "li"))
        assert await call(authority, port, third) == "AUDIT_UNAVAILABLE", "no refusal without its entry"
        log.fails = None
        assert await call(authority, port, third) == "TWO_ROLES"
    told = [audit_pb2.AuditEntry.FromString(leaf).administrative for leaf in log.entries]
    assert [one.alert.reason for one in told] == [reason_pb2.REASON_TWO_ROLES] * 3
    serials = [x509.load_pem_x509_certificate(one.chain).serial_number for one in (both, other, third)]
    assert [one.subject for one in told] == [f"certificate {one:x}: 2 URI names" for one in serials]


async def test_a_flood_of_such_certificates_does_not_fill_the_log() -> None:
    log = MemoryLog()
    seen = watch(log)
    for number in range(MOST + 20):
        await seen.refused(TwoRoles(f"certificate {number}"))
        await seen.refused(NoIdentity("no certificate"))
    assert len(log.entries) == MOST
