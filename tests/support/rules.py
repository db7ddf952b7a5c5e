"""The region's rules in tests: bodies, two administrators, facts, and a path whose request check is open."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from exchange import canonical
from exchange.identity import Identity, Role
from exchange.region_rules import RegionRules, read_rules
from exchange.v1 import audit_pb2, common_pb2, exchange_pb2, rules_pb2
from gateway.access.guards import Guard
from gateway.access.refusals import RefusalLimiter
from gateway.audit.log.reader import Present
from gateway.metrics import PathMetrics
from gateway.path import Path as ThePath
from gateway.path import PathParts
from gateway.record import Exchange
from gateway.rules.facts import Facts
from gateway.state import RegionState
from tests.support.region import (
    DIVISION,
    DOMAIN,
    HEALTH,
    ORIGIN,
    POLICE,
    RESOURCE,
    MemoryLog,
    Region,
    moment,
    nonce,
)
from tests.support.sealing import StillClock

POLICIES = Path(__file__).resolve().parents[2] / "deploy" / "policies"
HOUR_MS = 3_600_000
MORNING_MS = 1_790_000_000_000 - 1_790_000_000_000 % (24 * HOUR_MS) + 26 * HOUR_MS
"""10:00 in UTC+8 on 2026-09-22, a Tuesday and working day; the day after the certificates were made."""

NIGHT = """
@id("by-night") @reason_zh("夜间不查") @reason_en("Not by night")
forbid (principal, action == Action::"query", resource) when { context.level >= 4 && context.hour >= 20 };
"""
NOBODY = """
@id("nobody") @reason_zh("一律不得") @reason_en("Nobody")
forbid (principal, action, resource);
"""


def shipped() -> list[tuple[str, str]]:
    """Return name and text of the guards that travel with the product."""
    return [(file.stem, file.read_text()) for file in sorted((POLICIES / "guards").glob("*.cedar"))]


def rules_body(version: int, at_ms: int, *guards: str, **changes: Any) -> bytes:
    """Return a RegionRulesBody with some texts as its guards."""
    files = [rules_pb2.GuardFile(name=f"file-{n}", text=text) for n, text in enumerate(guards)]
    held: dict[str, Any] = {
        "nonce": nonce(),
        "version": version,
        "issued_at": moment(at_ms),
        "guards": files,
    }
    return rules_pb2.RegionRulesBody(**(held | changes)).SerializeToString()


def rules_of(*guards: str, **changes: Any) -> RegionRules:
    """Return rules with some texts as their guards."""
    return read_rules(rules_body(1, MORNING_MS, *guards, **changes))


async def set_rules(region: Region, *guards: str, **changes: Any) -> int:
    """Have both administrators set the next version of the rules."""
    other = region.authority.person(Role.ADMIN, "admin-2")
    body = rules_body(region.state.rules.current.version + 1, region.clock.ms, *guards, **changes)
    return await region.registrar.record(
        audit_pb2.ACT_RULES,
        region.admin.identity,
        region.admin.sign(canonical.RULES, body),
        countersignatures=[other.sign(canonical.RULES, body)],
    )


def facts(**changes: Any) -> Facts:
    """Return the facts of a query for one field of level L3 between two departments of one city."""
    held: dict[str, Any] = {
        "consumer": HEALTH,
        "consumer_division": DIVISION,
        "consumer_province": "97",
        "consumer_kind": "government",
        "provider": POLICE,
        "provider_division": DIVISION,
        "provider_province": "97",
        "provider_kind": "government",
        "action": "query",
        "resource": RESOURCE,
        "resource_division": DIVISION,
        "resource_level": 4,
        "resource_important": False,
        "scope": "scenario",
        "purposes": frozenset({"birth"}),
        "supervised": False,
        "on_demand": True,
        "purpose": "birth",
        "matter": "newborn",
        "step": "",
        "case": "claim",
        "fields": frozenset({"name"}),
        "field_count": 1,
        "level": 3,
        "important": False,
        "derived": False,
        "hour": 10,
        "working_day": True,
        "same_division": True,
        "same_province": True,
    }
    return Facts(**(held | changes))


def header(grant_id: bytes, **changes: Any) -> exchange_pb2.RequestHeader:
    """Return the header of a question for the household resource, without its digest."""
    held: dict[str, Any] = {
        "exchange_id": nonce(),
        "kind": common_pb2.KIND_QUERY,
        "consumer_organisation": HEALTH,
        "consumer_agent": "health-1",
        "resource": RESOURCE,
        "fields": ["name"],
        "grant_id": grant_id,
        "purpose": "birth",
        "matter": "newborn",
        "case_number": "C-1",
        "deadline_ms": 1 << 60,
    }
    return exchange_pb2.RequestHeader(**(held | changes))


@dataclass
class Caller:
    """Whoever asks at the path, and what it was told."""

    identity: Identity
    serial: int = 1
    not_after_ms: int = 1 << 60
    in_flight: int = 0
    consumer_window: int = 1 << 30
    settled: list[Exchange] = field(default_factory=list)

    def settle(self, exchange: Exchange, leaf: bytes, logged: object) -> None:
        self.settled.append(exchange)


def agent_of(organisation: str, name: str = "health-1") -> Caller:
    return Caller(Identity(DOMAIN, DIVISION, Role.AGENT, organisation, name))


class OpenRequests:
    """Stands where requests are checked: takes every header as signed and timely."""

    def check(self, exchange: Exchange, trust: object, now_ms: int) -> None:
        exchange.rule = "request"
        self.read(exchange)

    def read(self, exchange: Exchange) -> None:
        exchange.header = exchange_pb2.RequestHeader.FromString(exchange.signed.body)
        exchange.exchange_id = exchange.header.exchange_id
        exchange.claimed = True


class AnyLink:
    """A provider's link that takes whatever is forwarded."""

    identity = Identity(DOMAIN, DIVISION, Role.AGENT, POLICE, "police-1")

    def __init__(self) -> None:
        self.forwarded: list[Exchange] = []

    def forward(self, exchange: Exchange) -> None:
        self.forwarded.append(exchange)

    def newest(self, organisation: str, agent: str) -> "AnyLink":
        return self


class Entered:
    """A sequencer that releases at once and keeps the entries."""

    fault = None

    def __init__(self) -> None:
        self.leaves: list[bytes] = []

    def submit(self, leaves: Sequence[bytes], done: Any, beside: Sequence[bytes], charges: Any = ()) -> None:
        first = len(self.leaves)
        self.leaves += leaves
        done([first + place for place in range(len(leaves))])


class OpenPath:
    """The path itself, from step 3 on, over a region in miniature."""

    def __init__(self, region: Region, guards: Sequence[Guard]) -> None:
        self.region, self.link, self.log = region, AnyLink(), Entered()
        parts: dict[str, Any] = {"requests": OpenRequests(), "links": self.link, "sequencer": self.log}
        self.path = ThePath(
            PathParts(
                origin=ORIGIN,
                hop="gateway/gateway-1",
                state=region.state,
                guards=guards,
                release_guards=(),
                tags=None,  # type: ignore[arg-type]
                refusals=RefusalLimiter(burst=1 << 20),
                trust=lambda: region.feed.current,
                clock=region.clock,
                random=lambda size: bytes(size),
                metrics=PathMetrics(CollectorRegistry()),
                **parts,
            )
        )

    def ask(self, asked: exchange_pb2.RequestHeader) -> Exchange:
        """Return what became of an exchange: forwarded, or refused and entered."""
        caller = agent_of(asked.consumer_organisation, asked.consumer_agent)
        before = len(self.link.forwarded)
        self.path.admit(caller, [common_pb2.Signed(body=asked.SerializeToString())])
        if len(self.link.forwarded) > before:
            return self.link.forwarded[-1]
        return caller.settled[-1]


def digest_of(state: RegionState, resource: str = RESOURCE) -> bytes:
    """Return the digest of a resource's entry as it stands."""
    return state.resource(resource).digest


def morning(region: Region) -> StillClock:
    """Put a region's clock to the morning of a working day, with a trust list of that time."""
    region.clock.ms = MORNING_MS
    region.feed.offer(region.authority.trust_list(MORNING_MS))
    return region.clock


class ReadLog(MemoryLog):
    """The log in memory, read as the real one is.

    Attributes:
        tags: kept beside entries, by index.
    """

    def __init__(self, *told: Any, **more: Any) -> None:
        super().__init__(*told, **more)
        self.tags: dict[int, bytes] = {}

    def beside(self, first: int, count: int) -> dict[int, bytes]:
        return {index: tags for index, tags in self.tags.items() if first <= index < first + count}

    def present(self, first: int, count: int) -> Present:
        entries = list(enumerate(self.entries))[first : first + count]
        return Present(entries, first + len(entries))


def enter(region: Region, grant: bytes, at_ms: int, **changes: Any) -> int:
    """Put the entry of an exchange into the log; return its index."""
    entry = audit_pb2.AuditEntry(salt=nonce(), version=1, time_ms=at_ms)
    held: dict[str, Any] = {
        "exchange_id": nonce(),
        "consumer_organisation": HEALTH,
        "consumer_agent": "health-1",
        "resource": RESOURCE,
        "fields": ["name"],
        "kind": common_pb2.KIND_QUERY,
        "purpose": "birth",
        "matter": "newborn",
        "case_number": "C-1",
        "grant_id": grant,
        "decision": audit_pb2.DECISION_RELEASED,
        "rule": "forward",
    }
    entry.exchange.CopyFrom(audit_pb2.ExchangeEntry(**(held | changes)))
    region.log.entries.append(entry.SerializeToString())
    return len(region.log.entries) - 1
