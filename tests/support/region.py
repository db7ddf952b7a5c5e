"""A region in miniature: a root, its people and agents, a log in memory, a registrar over them."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.timestamp_pb2 import Timestamp

from certs.profiles import Lifetimes, make_issuing, make_leaf, make_root
from exchange import canonical
from exchange.errors import ExchangeError
from exchange.identity import Identity, Role
from exchange.keys import BundleBook, OwnKeys
from exchange.keystore import MemoryKeyStore
from exchange.merkle import leaf_hash, root_of
from exchange.statement import StatementSigner
from exchange.trust import TrustAnchor
from exchange.trust_feed import TrustFeed
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2, trust_pb2
from gateway.access.refusals import RefusalLimiter
from gateway.access.supervised import Supervised
from gateway.calls import Calls
from gateway.clocks.grants import GrantClocks
from gateway.grant_list import GrantLists
from gateway.grant_service import GrantService
from gateway.registrar import Registrar
from gateway.state import RegionState
from gateway.state_store import StateStore
from tests.support.sealing import NOW_MS, StillClock, numbered_random

DOMAIN, DIVISION, ORIGIN = "yunchuan.example", "970100", "970100.yunchuan.example/gateway-1"
HEALTH, POLICE, CIVIL = "11970000MB1A0001X5", "11970100MB1A0001XA", "11980000MB1A0001X9"
YEAR_MS = 365 * 24 * 3600 * 1000
RESOURCE = "970100/police/household"
_nonces = itertools.count(1)


def nonce() -> bytes:
    return next(_nonces).to_bytes(16)


def moment(ms: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMilliseconds(ms)
    return stamp


@dataclass(frozen=True)
class Logged:
    index: int


@dataclass(frozen=True)
class Head:
    size: int


@dataclass
class MemoryLog:
    """A log that is durable at once, or fails when told to."""

    entries: list[bytes] = field(default_factory=list)
    fails: ExchangeError | None = None
    before: Callable[[], object] | None = None
    callbacks: list[Callable[[int, Sequence[bytes]], None]] = field(default_factory=list)

    @property
    def head(self) -> Head:
        return Head(len(self.entries))

    @property
    def checkpoint(self) -> str:
        return f"checkpoint {len(self.entries)}"

    async def append(self, leaf: bytes) -> Logged:
        if self.before is not None:
            await self.before()  # type: ignore[misc]
        if self.fails is not None:
            raise self.fails
        self.entries.append(leaf)
        for callback in self.callbacks:
            callback(len(self.entries) - 1, [leaf])
        return Logged(len(self.entries) - 1)

    def leaves(self, first: int, count: int) -> list[bytes]:
        return self.entries[first : first + count]

    @property
    def fault(self) -> ExchangeError | None:
        return self.fails

    @property
    def sealed_size(self) -> int:
        return 0

    def entry(self, index: int) -> tuple[audit_pb2.Receipt, str]:
        return audit_pb2.Receipt(leaf=self.entries[index], index=index), self.checkpoint

    def node(self, level: int, index: int) -> bytes:
        hashes = [leaf_hash(leaf) for leaf in self.entries[index << level : (index + 1) << level]]
        assert len(hashes) == 1 << level, "the subtree is complete"
        return root_of(hashes)

    def consistency(self, old_size: int, new_size: int = 0) -> tuple[bytes, str]:
        return b"p" * 32, self.checkpoint

    def subscribe(self, callback: Callable[[int, Sequence[bytes]], None]) -> None:
        self.callbacks.append(callback)

    def acts(self) -> list[audit_pb2.AdministrativeEntry]:
        return [audit_pb2.AuditEntry.FromString(leaf).administrative for leaf in self.entries]


class Authority:
    """Makes identities below one root."""

    def __init__(self, division: str = DIVISION) -> None:
        life = Lifetimes()
        self.root = make_root(division=division, trust_domain=DOMAIN, now_ms=NOW_MS, lifetime_ms=life.root_ms)
        self.issuing = make_issuing(
            self.root, division=division, trust_domain=DOMAIN, now_ms=NOW_MS, lifetime_ms=life.issuing_ms
        )
        pem = serialization.Encoding.PEM
        self.root_pem = self.root.certificate.public_bytes(pem)
        self.division = division
        self.signer = self.person(Role.AUTHORITY, "")
        self.number = 0

    def person(
        self, role: Role, name: str = "one", organisation: str = "", hosts: Sequence[str] = ()
    ) -> StatementSigner:
        identity = Identity(DOMAIN, self.division, role, organisation, name)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = make_leaf(
            self.issuing,
            identity,
            key.public_key(),
            now_ms=NOW_MS,
            lifetime_ms=30 * 24 * 3600 * 1000,
            hosts=hosts,
        )
        der = serialization.Encoding.DER
        chain = [leaf.public_bytes(der), self.issuing.certificate.public_bytes(der)]
        return StatementSigner(key=key, chain=chain)

    def trust_list(self, at_ms: int = NOW_MS, **changes: Any) -> common_pb2.Statement:
        self.number += 1
        body = trust_pb2.TrustListBody(
            number=self.number,
            division=self.division,
            trust_domain=DOMAIN,
            issued_at=moment(at_ms),
            max_age_s=300,
            suite=2,
            **changes,
        )
        return self.signer.sign(canonical.TRUST_LIST, body.SerializeToString())


class Region:
    """A registrar, what it stands on, and people who sign."""

    def __init__(self, folder: Path, *, authority: Authority | None = None, log: Any = None) -> None:
        self.folder = folder
        self.clock = StillClock()
        self.authority = authority or Authority()
        self.anchor = TrustAnchor(root_pem=self.authority.root_pem, division=DIVISION, trust_domain=DOMAIN)
        self.feed = TrustFeed(anchor=self.anchor, path=folder / "trust-list.pb", clock=self.clock)
        if self.feed.current is None:
            self.feed.offer(self.authority.trust_list())
        self.log: Any = log if log is not None else MemoryLog()
        self.admin = self.authority.person(Role.ADMIN, "admin-1")
        self.health = self.authority.person(Role.STEWARD, "chen", HEALTH)
        self.police = self.authority.person(Role.STEWARD, "li", POLICE)
        self.police_agent = self.authority.person(Role.AGENT, "police-1", POLICE)
        self.refusals = RefusalLimiter(burst=5, per_second=1)
        self.start()

    def start(self) -> None:
        """Start, or start again after a stop or crash."""
        self.state = RegionState(book=BundleBook(anchor=self.anchor, path=None, clock=self.clock))
        self.store = StateStore(path=self.folder / "state.db", origin=ORIGIN)
        self.registrar = Registrar(
            log=self.log,
            state=self.state,
            store=self.store,
            anchor=self.anchor,
            trust_feed=self.feed,
            clock=self.clock,
            origin=ORIGIN,
            refusals=self.refusals,
            random=numbered_random(b"salt"),
        )
        self.registrar.open()
        self.supervised = Supervised()
        self.clocks = GrantClocks(
            grants=self.state.grants,
            resource=lambda resource_id: self.state.catalogue.by_id.get(resource_id),
            rules=lambda: self.state.rules.current,
            supervised=self.supervised,
            now_ms=self.clock.now_ms,
        )
        self.clocks.open()
        self.registrar.subscribe(self.clocks.changed)

    def grant_service(self, calls: Calls) -> GrantService:
        lists = GrantLists(state=self.state, clocks=self.clocks, supervised=self.supervised)
        return GrantService(
            registrar=self.registrar,
            state=self.state,
            calls=calls,
            clocks=self.clocks,
            lists=lists,
            taken=lambda grant: [rule.exchanges - 1 for rule in grant.quotas],
        )

    async def enter(
        self, act: "audit_pb2.Act.ValueType", signer: StatementSigner, statement: common_pb2.Statement
    ) -> int:
        return await self.registrar.record(act, signer.identity, statement)

    async def add(self, code: str, short: str, **changes: Any) -> int:
        return await self.enter(
            audit_pb2.ACT_ORGANISATION, self.admin, self.organisation(code, short, **changes)
        )

    def organisation(
        self, code: str, short: str, signer: StatementSigner | None = None, **changes: Any
    ) -> common_pb2.Statement:
        return (signer or self.admin).sign(
            canonical.ORGANISATION, organisation_body(self.clock.ms, code, short, **changes)
        )

    async def publish(self, signer: StatementSigner | None = None, **changes: Any) -> int:
        signer = signer or self.police
        return await self.enter(audit_pb2.ACT_RESOURCE, signer, self.resource(signer, **changes))

    def resource(self, signer: StatementSigner | None = None, **changes: Any) -> common_pb2.Statement:
        return (signer or self.police).sign(canonical.RESOURCE, resource_body(self.clock.ms, **changes))

    async def suspend(self, signer: StatementSigner | None = None, **changes: Any) -> int:
        signer = signer or self.police
        held: dict[str, Any] = {
            "nonce": nonce(),
            "id": RESOURCE,
            "version": 1,
            "suspended": True,
            "revision": 1,
        }
        body = directory_pb2.ResourceStateBody(**(held | changes), issued_at=moment(self.clock.ms))
        statement = signer.sign(canonical.RESOURCE_STATE, body.SerializeToString())
        return await self.enter(audit_pb2.ACT_RESOURCE_STATE, signer, statement)

    async def apply(self, signer: StatementSigner | None = None, **changes: Any) -> bytes:
        """Apply for a grant; return its id."""
        signer = signer or self.health
        statement = self.grant(signer, **changes)
        await self.enter(audit_pb2.ACT_GRANT, signer, statement)
        return canonical.digest(canonical.GRANT, statement.body)

    def grant(self, signer: StatementSigner | None = None, **changes: Any) -> common_pb2.Statement:
        return (signer or self.health).sign(canonical.GRANT, grant_body(self.clock.ms, **changes))

    async def decide(
        self,
        grant_id: bytes,
        action: "grant_pb2.GrantAction.ValueType",
        revision: int,
        signer: StatementSigner | None = None,
        **changes: Any,
    ) -> int:
        signer = signer or self.police
        statement = self.event(grant_id, action, revision, signer, **changes)
        return await self.enter(audit_pb2.ACT_GRANT_EVENT, signer, statement)

    def event(
        self,
        grant_id: bytes,
        action: "grant_pb2.GrantAction.ValueType",
        revision: int,
        signer: StatementSigner | None = None,
        **changes: Any,
    ) -> common_pb2.Statement:
        held: dict[str, Any] = {"nonce": nonce(), "issued_at": moment(self.clock.ms)}
        body = grant_pb2.GrantEventBody(
            grant_id=grant_id,
            action=action,
            revision=revision,
            **(held | changes),
        )
        return (signer or self.police).sign(canonical.GRANT_EVENT, body.SerializeToString())

    def own_keys(self, signer: StatementSigner, keystore: MemoryKeyStore | None = None) -> OwnKeys:
        return OwnKeys(
            keystore=keystore or MemoryKeyStore(),
            clock=self.clock,
            organisation=signer.identity.organisation,
            agent=signer.identity.name,
            signer=signer,
            suite=2,
        )

    async def settled(self) -> None:
        """Add two organisations and publish a resource."""
        await self.add(HEALTH, "health")
        await self.add(POLICE, "police")
        await self.publish()


def organisation_body(at_ms: int, code: str, short: str, **changes: Any) -> bytes:
    held: dict[str, Any] = {
        "nonce": nonce(),
        "credit_code": code,
        "alias": short,
        "name_zh": "单位",
        "name_en": "Body",
        "division": DIVISION,
        "issued_at": moment(at_ms),
    }
    return directory_pb2.OrganisationBody(**(held | changes)).SerializeToString()


def item(name: str, level: int = common_pb2.LEVEL_L3, share: int = 2, **changes: Any) -> directory_pb2.Field:
    held: dict[str, Any] = {
        "name": name,
        "title_zh": "项",
        "type": "text",
        "level": level,
        "share_type": share,
    }
    return directory_pb2.Field(**(held | changes))


def parameter(name: str = "id", **changes: Any) -> directory_pb2.Parameter:
    held: dict[str, Any] = {"name": name, "type": "text", "level": common_pb2.LEVEL_L4}
    return directory_pb2.Parameter(**(held | changes))


def resource_body(at_ms: int, **changes: Any) -> bytes:
    secret = item("secret", share=3, legal_basis="Act 5")
    held: dict[str, Any] = {
        "nonce": nonce(),
        "id": RESOURCE,
        "provider": POLICE,
        "title_zh": "户籍",
        "title_en": "Household",
        "version": 1,
        "fields": [item("name"), item("address", common_pb2.LEVEL_L4), item("station", 2, 1), secret],
        "parameters": [parameter(format="citizen_id")],
        "kinds": [common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY],
        "case_required": False,
        "row_cap": 10,
        "issued_at": moment(at_ms),
    }
    return directory_pb2.ResourceBody(**(held | changes)).SerializeToString()


def grant_body(at_ms: int, **changes: Any) -> bytes:
    held: dict[str, Any] = {
        "nonce": nonce(),
        "consumer": HEALTH,
        "provider": POLICE,
        "resource": RESOURCE,
        "fields": ["name", "address"],
        "kinds": [common_pb2.KIND_QUERY],
        "purposes": ["birth"],
        "matters": ["newborn"],
        "case_required": True,
        "not_before": moment(at_ms - 1000),
        "not_after": moment(at_ms + YEAR_MS),
        "justification": "出生一件事",
    }
    return grant_pb2.GrantBody(**(held | changes)).SerializeToString()
