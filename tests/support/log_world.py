"""A gateway's log face over real TLS, with real certificates of the present time, and whoever may come."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs.profiles import Lifetimes, make_issuing, make_leaf, make_root
from exchange.clock import SystemClock
from exchange.identity import Identity, Role
from exchange.identity_folder import pem_of
from exchange.keys import BundleBook
from exchange.tls import load_identity
from exchange.trust import TrustAnchor, TrustList
from exchange.trust_feed import TrustFeed
from exchange.v1 import audit_pb2
from gateway.audit.log.tiles import Tiles
from gateway.audit.writing.folder import sequencer_in
from gateway.audit.writing.sequencer import Sequencer
from gateway.log_face import LogFace, LogFaceParts
from gateway.registrar import Registrar
from gateway.state import RegionState
from gateway.state_store import StateStore
from tests.support.audit import ORIGIN, SIGNER, entry, submit
from tests.support.small_authority import trust_list

DOMAIN, DIVISION = "yunchuan.example", "970100"
HEALTH = "11970100MB1A0001XA"
SHARD = "gateway-1"
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Member:
    """A certificate and its key."""

    identity: Identity
    key_pem: bytes
    chain_pem: bytes
    serial: int


class LogAuthority:
    """Issues certificates that are valid now."""

    def __init__(self) -> None:
        now_ms, life = SystemClock().now_ms() - HOUR_MS, Lifetimes()
        self._now_ms = now_ms
        self._root = make_root(
            division=DIVISION, trust_domain=DOMAIN, now_ms=now_ms, lifetime_ms=life.root_ms
        )
        self._issuing = make_issuing(
            self._root, division=DIVISION, trust_domain=DOMAIN, now_ms=now_ms, lifetime_ms=life.issuing_ms
        )
        self.root_pem = self._root.certificate.public_bytes(serialization.Encoding.PEM)

    def anchor(self) -> TrustAnchor:
        return TrustAnchor(root_pem=self.root_pem, division=DIVISION, trust_domain=DOMAIN)

    def member(self, role: Role, name: str, *, hours: float = 24, hosts: tuple[str, ...] = ()) -> Member:
        organisation = HEALTH if role in (Role.AGENT, Role.STEWARD) else ""
        identity = Identity(DOMAIN, DIVISION, role, organisation, name)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = make_leaf(
            self._issuing,
            identity,
            key.public_key(),
            now_ms=self._now_ms,
            lifetime_ms=int(hours * HOUR_MS),
            hosts=hosts,
        )
        der = serialization.Encoding.DER
        chain = [leaf.public_bytes(der), self._issuing.certificate.public_bytes(der)]
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Member(identity, key_pem, pem_of(chain), leaf.serial_number)

    @property
    def issuing_serial(self) -> int:
        return self._issuing.certificate.serial_number


@dataclass
class LogWorld:
    """The face while it serves."""

    authority: LogAuthority
    log: Sequencer
    gateway: Member
    face: LogFace = field(init=False)
    port: int = 0
    trust: TrustList = field(default_factory=trust_list)
    witnessed: str = ""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/log/{SHARD}/"

    def client(self, member: Member | None = None) -> httpx.AsyncClient:
        """Return a client that trusts the root, with a member's certificate."""
        return httpx.AsyncClient(
            verify=self.context(member), base_url=self.url, trust_env=False, timeout=20.0
        )

    def context(self, member: Member | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.root_pem.decode())
        if member is not None:
            load_identity(context, key_pem=member.key_pem, chain_pem=member.chain_pem)
        return context

    def revoke(self, *serials: int) -> None:
        self.trust = replace(self.trust, revoked_serials=frozenset(serials))

    def acts(self, act: "audit_pb2.Act.ValueType") -> list[audit_pb2.AdministrativeEntry]:
        """Return the log's administrative entries of one kind."""
        leaves = self.log.leaves(0, self.log.head.size)
        entries = [audit_pb2.AuditEntry.FromString(leaf).administrative for leaf in leaves]
        return [one for one in entries if one.act == act]

    async def grow(self, count: int) -> None:
        """Append entries of exchanges."""
        first = self.log.head.size
        for start in range(first, first + count, 5000):
            numbers = range(start, min(start + 5000, first + count))
            await submit(self.log, [entry(number) for number in numbers]).places()


@asynccontextmanager
async def log_world(folder: Path, *, entries: int) -> AsyncIterator[LogWorld]:
    """Serve a log of so many entries as long as the context lasts."""
    authority, clock = LogAuthority(), SystemClock()
    log = sequencer_in(folder, signer=SIGNER)
    await log.open()
    world = LogWorld(
        authority=authority,
        log=log,
        gateway=authority.member(Role.GATEWAY, SHARD, hosts=("127.0.0.1", "localhost")),
    )
    await world.grow(entries)
    anchor = authority.anchor()
    state = RegionState(book=BundleBook(anchor=anchor, path=None, clock=clock))
    registrar = Registrar(
        log=log,
        state=state,
        store=StateStore(path=folder / "state.db", origin=ORIGIN),
        anchor=anchor,
        trust_feed=TrustFeed(anchor=anchor, path=folder / "trust-list.pb", clock=clock),
        clock=clock,
        origin=ORIGIN,
    )
    registrar.open()
    face = world.face = LogFace(
        LogFaceParts(
            shard=SHARD,
            log=Tiles(log),
            registrar=registrar,
            anchor=anchor,
            trust=lambda: world.trust,
            clock=clock,
            tls=lambda: (world.gateway.key_pem, world.gateway.chain_pem),
            witnessed=lambda: world.witnessed,
        )
    )
    world.port = await face.start("127.0.0.1", 0)
    try:
        yield world
    finally:
        await face.stop()
        await registrar.close()
        await log.close()


def serial_of(secured: ssl.SSLObject) -> int:
    """Return the serial of the certificate that a peer showed."""
    der = secured.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number
