"""A region in one process, with every part real but TLS: departments, gateway, log. Tests play the enemy.

`World.open` brings up a health department that asks, a public security department that answers, and a civil
affairs department that has no grant. Between each and the gateway is a `Wire` that a test may corrupt.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nacl.signing import SigningKey
from prometheus_client import CollectorRegistry

from agent.cases import AgentCases
from agent.consumer.ask import Consumer, ConsumerParts
from agent.consumer.plan import Planner, Speaker
from agent.consumer.receipts import ReceiptShelf
from agent.duties import Duties
from agent.gateway_log import GatewayLog
from agent.heads import Heads
from agent.link import GatewayLink
from agent.peers import Peers
from agent.provider.acceptance import Acceptance
from agent.provider.answer import Provider, ProviderParts
from agent.provider.field_rules import FieldRule, ParameterRule
from agent.provider.inspection import Inspector, InspectorParts
from agent.provider.journal import Journal
from agent.provider.pseudonyms import Pseudonyms
from agent.provider.respond import Responder
from agent.provider.source import Source
from agent.provider.tagging import Tagger
from agent.provider.verify_limits import VerifyCounts
from agent.provider.verify_store import VerifyStore
from agent.region import RegionView
from agent.region_rules import AgentRules
from agent.stops import AgentStops
from agent.stream import StreamParts
from certs.profiles import make_leaf
from exchange.checkpoint import LogSigner
from exchange.clock import system_random
from exchange.errors import ExchangeError, by_reason
from exchange.identity import Identity, Role
from exchange.keys import BundleBook
from exchange.keystore import MemoryKeyStore
from exchange.replay import ReplayWindow
from exchange.session import ConsumerSessions, ProviderSessions
from exchange.signing import BatchSigner
from exchange.statement import StatementSigner
from exchange.subject_tags import InnerTags, period_of
from exchange.trust import TrustList, Verified
from exchange.trust_feed import TrustFeed
from exchange.v1 import agent_pb2, audit_pb2, common_pb2, directory_pb2, grant_pb2, trust_pb2
from gateway.access.guards import standard_guards
from gateway.access.refusals import RefusalLimiter
from gateway.access.requests import RequestCheck
from gateway.audit.log.logged import Logged
from gateway.audit.writing.sequencer import Sequencer
from gateway.calls import Calls
from gateway.directory_service import DirectoryService
from gateway.link_service import LinkParts, LinkService
from gateway.metrics import PathMetrics
from gateway.path import Path as ThePath
from gateway.path import PathParts
from gateway.record import Exchange
from gateway.routing.links import Links
from gateway.stops.desk import DeskParts, StopDesk
from gateway.stops.pending_file import PendingFile
from gateway.storage.high_water import HighWaterFile
from gateway.storage.sqlite import SqliteAuditStore
from gateway.subject_tags import AnswerTags, GatewayTagKeys
from tests.support.hostile_wire import Change, Channel, Wire
from tests.support.region import (
    CIVIL,
    DIVISION,
    DOMAIN,
    HEALTH,
    ORIGIN,
    RESOURCE,
    Authority,
    Region,
    item,
)
from tests.support.sealing import NOW_MS

OPEN_RESOURCE = "970100/police/stations"
PERSON = "970102199001010011"
TAG_KEY = b"providers' key for tags, a test's"[:32]
NAME, ADDRESS = "欧阳测试", "东桥区示范路 7 号"


class Table:
    """A source in memory: one record per key unless told otherwise; counts what is read."""

    columns = ("name", "address", "station")
    data_version = "v1"

    def __init__(self) -> None:
        self.reads = 0
        self.records: list[tuple[Any, ...]] = [(NAME, ADDRESS, "东桥派出所")]

    async def read(self, keys: Sequence[Mapping[str, str]], *, timeout_s: float) -> list[Any]:
        self.reads += len(keys)
        return [list(self.records) for _ in keys]

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def sources(table: Table) -> dict[str, Source]:
    """Return public security's two sources over one table."""
    fields = [FieldRule(name=name, column=name, type="text", level=3) for name in table.columns]
    made = {}
    for resource, parameter in (
        (RESOURCE, ParameterRule(name="id", column="id", format="citizen_id")),
        (OPEN_RESOURCE, ParameterRule(name="district", column="district")),
    ):
        made[resource] = Source(
            resource=resource,
            connector=table,
            fields=fields,
            parameters=[parameter],
            timeout_s=5.0,
            pseudonyms=Pseudonyms(bytes(32)),
        )
    return made


@dataclass
class Who:
    """What Duties need of an identity folder."""

    signer: StatementSigner

    def identity(self) -> Any:
        return self.signer.identity

    def statement_signer(self) -> StatementSigner:
        return self.signer


class Department:
    """One agent with all its parts, and the wire to the gateway."""

    def __init__(
        self, world: "World", signer: StatementSigner, folder: Path, held: Mapping[str, Source]
    ) -> None:
        folder.mkdir()
        self.world, self.signer, self.identity = world, signer, signer.identity
        clock, anchor = world.clock, world.region.anchor
        self.feed = TrustFeed(anchor=anchor, path=folder / "trust-list.pb", clock=clock)
        self.feed.offer(world.trust.statement)
        self.keys = world.region.own_keys(signer, MemoryKeyStore())
        self.view = RegionView(
            path=folder / "region.db", origin=ORIGIN, anchor=anchor, trust=self.trust, clock=clock
        )
        self.stops = AgentStops(region=self.view, division=DIVISION, clock=clock)
        self.book = BundleBook(anchor=anchor, path=folder / "bundles.db", clock=clock)
        self.heads = Heads(path=folder / "heads.json")
        self.peers = Peers(
            region=self.view, book=self.book, trust=self.trust, clock=clock, hop=f"gateway/{ORIGIN}"
        )
        self.feed.subscribe(self._trust_changed)
        self.journal = Journal(path=folder / "journal.db", clock=clock)
        self.rules = AgentRules(region=self.view)
        self.verify_store = VerifyStore(folder / "verify-counts.db")
        self.verify_counts = VerifyCounts(
            limits=lambda: self.rules.current.verify_limits,
            key=bytes(32),
            store=self.verify_store,
            now_ms=clock.now_ms(),
        )
        self.provider = self._provider(held)
        self.consumer = self._consumer()
        self.wire = Wire()
        self.replies: dict[str, Change] = {}
        self.link = self._link()
        self.carrying: asyncio.Task[None] | None = None

    def trust(self) -> TrustList | None:
        return self.feed.current

    def _trust_changed(self, trust: TrustList) -> None:
        self.book.recheck(trust)
        self.consumer.forget_plans()

    def _provider(self, held: Mapping[str, Source]) -> Provider:
        clock = self.world.clock
        period = period_of(clock.now_ms())
        tagger = Tagger(
            present=lambda now_ms: (period, InnerTags(TAG_KEY)), sources=held, random=system_random
        )
        self.inspector = Inspector(
            InspectorParts(
                identity=self.identity,
                division=DIVISION,
                gateway=ORIGIN,
                keys=self.keys,
                region=self.view,
                sessions=ProviderSessions(clock=clock),
                replay=ReplayWindow(started_ms=clock.now_ms()),
                trust=self.trust,
                answered=self.journal.known,
                stops=self.stops.force,
                check_case=AgentCases(
                    region=self.view,
                    rules=self.rules,
                    organisation=self.identity.organisation,
                ).check,
                rules=lambda: self.rules.current,
            )
        )
        return Provider(
            ProviderParts(
                hop=f"provider/{self.identity.name}",
                inspector=self.inspector,
                responder=Responder(identity=self.identity, random=system_random, tagger=tagger),
                peers=self.peers,
                sources=held,
                journal=self.journal,
                clock=clock,
                window=64,
                receipt_after_s=30.0,
                stops=self.stops.force,
                verify_counts=self.verify_counts,
                rules=lambda: self.rules.current,
            )
        )

    def _consumer(self) -> Consumer:
        speaker = Speaker(identity=self.identity, division=DIVISION, gateway=ORIGIN)
        return Consumer(
            ConsumerParts(
                speaker=speaker,
                keys=self.keys,
                planner=Planner(speaker=speaker, region=self.view),
                peers=self.peers,
                sessions=ConsumerSessions(clock=self.world.clock),
                shelf=ReceiptShelf(),
                send=lambda digest, entry, size: self.link.send(digest, entry, size),
                trust=self.trust,
                head=lambda: self.heads.message(ORIGIN),
                clock=self.world.clock,
                random=system_random,
                capacity=256,
                rules=lambda: self.rules.current,
            )
        )

    def _link(self) -> GatewayLink:
        self.signing = BatchSigner(kid=self.keys.signing_kid, key=self.keys.signing_key)
        duties = Duties(
            identity=Who(self.signer),  # type: ignore[arg-type]
            region=self.view,
            feed=self.feed,
            keys=self.keys,
            consumer=self.consumer,
            provider=self.provider,
            peers=self.peers,
            acceptance=Acceptance(
                organisation=self.identity.organisation, region=self.view, clock=self.world.clock
            ),
            on_drain=lambda: None,
            log=GatewayLog(
                origin=ORIGIN,
                addresses=(),
                trust=self.trust,
                heads=self.heads,
                region=self.view,
                book=self.book,
            ),
            stops=self.stops,
        )
        parts = StreamParts(
            origin=ORIGIN,
            instance=b"i" * 16,
            window=64,
            capacity=512,
            signer=lambda: self.signing,
            log_keys=lambda: self.feed.current.gateways[ORIGIN].log_keys if self.feed.current else (),
            heads=self.heads,
            roles=duties,
            trust_number=lambda: self.feed.current.number if self.feed.current else 0,
            clock=self.world.clock,
        )
        return GatewayLink(
            parts=parts,
            addresses=lambda: [self.identity.name],
            credentials=lambda: grpc.local_channel_credentials(),
            options=(),
        )

    async def dial(self) -> bool:
        """Bring the link up; return whether it came up."""
        up: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.carrying = asyncio.create_task(self.link._carry(self.identity.name, up))
        if not await up:
            await self.carrying
            return False
        return True

    @property
    def linked(self) -> bool:
        return self.link._current is not None and not self.link._current.ended

    async def hang_up(self) -> None:
        if self.carrying is not None:
            self.carrying.cancel()
            with suppress(asyncio.CancelledError):
                await self.carrying
            self.carrying = None
        self.wire = Wire()

    async def redial(self) -> bool:
        """End the link and bring a new one up."""
        await self.hang_up()
        return await self.dial()

    async def fault(self) -> str:
        """Wait for the link to end and return the reason."""
        assert self.carrying is not None
        await self.carrying
        assert self.link.fault is not None
        return self.link.fault.name


@dataclass
class Collector:
    """Asks at the gateway's path itself, and collects the outcomes."""

    identity: Any
    serial: int
    not_after_ms: int
    in_flight: int = 0
    consumer_window: int = 64
    outcomes: list[tuple[Exchange, bytes, Logged | None]] = field(default_factory=list)

    def settle(self, exchange: Exchange, leaf: bytes, logged: Logged | None) -> None:
        self.in_flight -= 1
        self.outcomes.append((exchange, leaf, logged))


class World:
    """The region."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_key = SigningKey.generate()
        self.table = Table()
        self.gateway_keys = MemoryKeyStore()

    async def open(self, monkeypatch: Any) -> None:
        """Bring everything up."""
        gateway = self.folder / "gateway"
        gateway.mkdir()
        signer = LogSigner(origin=ORIGIN, key=self.log_key)
        self.sequencer = Sequencer(
            store=SqliteAuditStore(folder=gateway),
            high_water=HighWaterFile(path=gateway / "high-water"),
            signer=signer,
            min_free_bytes=0,
        )
        await self.sequencer.open()
        self.authority = Authority()
        self.region = Region(gateway, authority=self.authority, log=self.sequencer)
        self.clock = self.region.clock
        self.declared = [
            trust_pb2.TrustedGateway(name="gateway-1", origin=ORIGIN, log_keys=[signer.public_key])
        ]
        self.tell_trust()
        await self.region.settled()
        await self.region.add(CIVIL, "civil")
        await self._publish_open()
        await self._grants()
        self._gateway()
        monkeypatch.setattr(grpc.aio, "secure_channel", self._channel)
        self.departments: dict[str, Department] = {}
        self.police = self._department(self.region.police_agent, sources(self.table))
        self.health = self._department(self.authority.person(Role.AGENT, "health-1", HEALTH), {})
        self.civil = self._department(self.authority.person(Role.AGENT, "civil-1", CIVIL), {})
        for department in self.departments.values():
            await department.journal.open()
            assert await department.dial()

    async def _publish_open(self) -> None:
        await self.region.publish(
            id=OPEN_RESOURCE,
            fields=[item("station", common_pb2.LEVEL_L2), item("name", common_pb2.LEVEL_L2)],
            parameters=[directory_pb2.Parameter(name="district", type="text", level=common_pb2.LEVEL_L1)],
        )

    async def _grants(self) -> None:
        kinds = [common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY]
        self.grant = await self.region.apply(kinds=kinds)
        await self.region.decide(self.grant, grant_pb2.GRANT_ACTION_ACCEPT, 1)
        self.open_grant = await self.region.apply(
            resource=OPEN_RESOURCE, fields=["station"], kinds=kinds, case_required=False
        )
        await self.region.decide(self.open_grant, grant_pb2.GRANT_ACTION_ACCEPT, 1)

    @property
    def trust(self) -> TrustList:
        assert self.region.feed.current is not None
        return self.region.feed.current

    def tell_trust(self, **changes: object) -> None:
        """Have the authority sign a list, and the gateway take it."""
        statement = self.authority.trust_list(self.clock.ms, gateways=self.declared, **changes)
        self.region.feed.offer(statement)

    def _gateway(self) -> None:
        region = self.region
        self.links = Links()
        self.metrics = PathMetrics(CollectorRegistry())
        requests = RequestCheck(
            origin=ORIGIN,
            division=DIVISION,
            state=region.state,
            replay=ReplayWindow(started_ms=self.clock.now_ms()),
        )
        self.path = ThePath(
            PathParts(
                origin=ORIGIN,
                hop="gateway/gateway-1",
                state=region.state,
                links=self.links,
                sequencer=self.sequencer,
                requests=requests,
                guards=standard_guards(region.state),
                release_guards=(),
                tags=AnswerTags(keys=GatewayTagKeys(keystore=self.gateway_keys)),
                refusals=RefusalLimiter(),
                trust=lambda: region.feed.current,
                clock=self.clock,
                random=system_random,
                metrics=self.metrics,
            )
        )
        self.stops = StopDesk(
            DeskParts(
                register=region.state.stops,
                registrar=region.registrar,
                links=self.links,
                conclude=self.path.lose,
                anchor=region.anchor,
                trust_feed=region.feed,
                file=PendingFile(self.folder / "stops-unlogged.pb"),
                clock=self.clock,
                hop="gateway/gateway-1",
            )
        )
        calls = Calls(registrar=region.registrar, peer=lambda context: context.verified)
        self.services: dict[str, Any] = {
            "DirectoryService": DirectoryService(
                registrar=region.registrar, state=region.state, calls=calls, linked=self.links.agents_of
            ),
            "GrantService": region.grant_service(calls),
            "LinkService": LinkService(
                LinkParts(
                    origin=ORIGIN,
                    path=self.path,
                    links=self.links,
                    registrar=region.registrar,
                    sequencer=self.sequencer,
                    trust_feed=region.feed,
                    peer=lambda context: context.verified,
                    clock=self.clock,
                    consumer_window=64,
                    provider_window=64,
                    max_links=16,
                    stop_notices=self.stops.notices,
                )
            ),
        }

    def verified(self, signer: StatementSigner) -> Verified:
        """Return what TLS would tell of whoever holds a certificate."""
        chain = signer.sign(b"test", b"").chain
        return self.region.anchor.verify_chain(chain, at_ms=self.clock.ms, trust=None)

    def gateway_signer(self) -> StatementSigner:
        """Return the gateway's own certificate and key, as whoever stole or runs it holds them."""
        identity = Identity(DOMAIN, DIVISION, Role.GATEWAY, "", "gateway-1")
        key = ec.generate_private_key(ec.SECP256R1())
        issuing = self.authority.issuing
        leaf = make_leaf(
            issuing,
            identity,
            key.public_key(),
            hosts=["gateway-1"],
            now_ms=NOW_MS,
            lifetime_ms=30 * 86_400_000,
        )
        der = serialization.Encoding.DER
        chain = [leaf.public_bytes(der), issuing.certificate.public_bytes(der)]
        return StatementSigner(key=key, chain=chain)

    def _department(self, signer: StatementSigner, held: Mapping[str, Source]) -> Department:
        name = signer.identity.name
        made = self.departments[name] = Department(self, signer, self.folder / name, held)
        return made

    def _channel(self, address: str, *_: object, **__: object) -> Channel:
        made = self.departments[address]
        return Channel(self.verified(made.signer), self.services, made.wire, made.replies)

    def collector(self, who: Department, **changes: object) -> Collector:
        """Return a caller at the gateway's path with a department's certificate."""
        verified = self.verified(who.signer)
        made = Collector(verified.identity, verified.serial, verified.not_after_ms)
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    async def close(self) -> None:
        for department in self.departments.values():
            await department.hang_up()
            await department.provider.close()
            await department.journal.close()
            department.verify_store.close()
            department.view.close()
            department.book.close()
        await self.region.registrar.close()
        await self.sequencer.close()

    # -- asking ------------------------------------------------------------------------------------------

    def question(self, **changes: Any) -> agent_pb2.AskRequest:
        held: dict[str, Any] = {
            "resource": RESOURCE,
            "kind": common_pb2.KIND_QUERY,
            "fields": ["name", "address"],
            "parameters": [agent_pb2.NamedValue(name="id", value=PERSON)],
            "purpose": "birth",
            "matter": "newborn",
            "case_number": "C-1",
        }
        return agent_pb2.AskRequest(**(held | changes))

    def open_question(self, **changes: Any) -> agent_pb2.AskRequest:
        district = [agent_pb2.NamedValue(name="district", value="970102")]
        return self.question(resource=OPEN_RESOURCE, fields=["station"], parameters=district, **changes)

    async def ask(
        self, question: agent_pb2.AskRequest | None = None, *, who: Department | None = None
    ) -> agent_pb2.AskResponse:
        """Ask through the health department's agent, unless another is named."""
        asker = who or self.health
        async with asyncio.timeout(20):
            return await asker.consumer.ask(question or self.question())

    async def ask_lost(self, dropped: asyncio.Event) -> agent_pb2.AskResponse:
        """Ask where the outcome will not come; the deadline passes once `dropped` is set."""
        asking = asyncio.create_task(self.ask())
        async with asyncio.timeout(20):
            await dropped.wait()
        self.clock.ms += 10_001
        self.health.consumer.expire()
        return await asking

    async def still_works(self) -> None:
        """Take every hand off the wires and exchange honestly."""
        for department in self.departments.values():
            department.wire.honest()
            department.replies.clear()
            if not department.linked:
                assert await department.redial()
        response = await self.ask()
        assert outcome(response) == "ANSWER", outcome(response)
        assert list(response.answer.columns[0].values) == [NAME]
        assert response.HasField("receipt")

    def entries(self) -> list[audit_pb2.ExchangeEntry]:
        """Return the exchanges in the log."""
        leaves = self.sequencer.leaves(0, self.sequencer.head.size)
        entries = [audit_pb2.AuditEntry.FromString(leaf) for leaf in leaves]
        return [entry.exchange for entry in entries if entry.HasField("exchange")]


def outcome(response: agent_pb2.AskResponse) -> str:
    """Return "ANSWER" or the name of the reason; a failure never carries an answer."""
    if response.HasField("answer"):
        return "ANSWER"
    return by_reason(response.failure.reason)().name


def error_of(exchange: Exchange) -> str:
    """Return the name of an exchange's error at the gateway, "" where it has none."""
    return exchange.error.name if isinstance(exchange.error, ExchangeError) else ""


async def until(true: Callable[[], bool]) -> None:
    """Let others run until something holds."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  nobody announces it
            await asyncio.sleep(0.001)
