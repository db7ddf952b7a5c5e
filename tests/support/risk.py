"""An engine at work over a small catalogue, and what passes through it."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from exchange.region_rules import RegionRules
from exchange.resources import Resource, parse_resource
from exchange.v1 import audit_pb2, common_pb2
from gateway.risk.engine import Engine
from gateway.risk.observed import Observed
from tests.support.region import CIVIL, HEALTH, POLICE, item, resource_body
from tests.support.sealing import NOW_MS, StillClock, numbered_random

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
HOUSEHOLD, DEATHS, REFUNDS = "970100/police/household", "970100/civil/deaths", "970100/police/refunds"
OWNERS = {HOUSEHOLD: POLICE, DEATHS: CIVIL, REFUNDS: POLICE}
FIELDS = {HOUSEHOLD: ("address",), DEATHS: ("death_date",), REFUNDS: ("bank_account",)}
COMBINATION = """
[[rule]]
id = "combined"
kind = "combination"
title_zh = "组合"
title_en = "combined"
severity = "critical"
action = "approval"
window = "30d"
fields = ["*/*/deaths#death_*", "*/*/*#address", "code:BANK-1"]
"""
REFUSALS = """
[[rule]]
id = "in-a-row"
kind = "refusals"
title_zh = "连续拒绝"
title_en = "in a row"
severity = "warning"
action = "refuse"
by = "agent"
reasons = ["CASE_REQUIRED"]
in_a_row = true
least = 5
window = "10m"
hold = "30m"
"""


def resource(name: str) -> Resource:
    fields = [item(one, code="BANK-1" if one == "bank_account" else "") for one in FIELDS[name]]
    body = resource_body(NOW_MS, id=name, provider=OWNERS[name], fields=fields)
    return parse_resource(common_pb2.Statement(body=body))


RESOURCES = {name: resource(name) for name in OWNERS}


def tag(subject: str) -> bytes:
    return hashlib.sha256(subject.encode()).digest()


@dataclass
class AtWork:
    """An engine, its clock, and what it found."""

    rules: str
    clock: StillClock = field(default_factory=StillClock)
    found: list[audit_pb2.FindingRecord] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.engine = Engine(
            resource=RESOURCES.get,
            found=self.found.append,
            key=bytes(32),
            clock=self.clock,
            random=numbered_random(b"risk"),
        )
        self.engine.use_rules(RegionRules(version=1, risk=self.rules))

    def seen(self, resource: str = HOUSEHOLD, subject: str = "", **changes: Any) -> Observed:
        self.number += 1
        told: dict[str, Any] = {
            "time_ms": self.clock.ms,
            "consumer": HEALTH,
            "agent": "health-1",
            "operator": "op-1",
            "provider": OWNERS[resource],
            "resource": resource,
            "case": f"LJ-{self.number}",
            "sealed": True,
            "released": True,
            "reason": 0,
            "by_provider": False,
            "exchange_id": self.number.to_bytes(16),
            "fields": FIELDS[resource],
            "tags": tag(subject) if subject else b"",
        }
        told |= changes
        return Observed(**told)

    def answer(self, resource: str = HOUSEHOLD, subject: str = "", **changes: Any) -> bool:
        """Have an answer weighed and, where it goes, taken in; return whether it goes."""
        seen = self.seen(resource, subject, **changes)
        if self.engine.weigh(seen) is not None:
            return False
        self.engine.take([seen])
        return True

    def refuse(self, reason: int, **changes: Any) -> None:
        self.engine.take([self.seen(released=False, reason=reason, **changes)])

    def holds(self, resource: str = HOUSEHOLD, **changes: Any) -> str:
        """Return the action by which an exchange would be held back; empty where it would not."""
        told = {"consumer": HEALTH, "agent": "health-1", "operator": "op-1", "resource": resource} | changes
        hold = self.engine.holds.find(now_ms=self.clock.ms, **told)
        return hold.action if hold else ""
