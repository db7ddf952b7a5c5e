"""What risk rules hold back now; the guard of step 4 asks here, for next to nothing while nothing holds.

A hold names a consumer and, within it, an agent, an operator or a resource; it has an end. There are at most
64 of one consumer and 4096 in all: beyond that the one that ends first gives way.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from exchange.errors import ApprovalRequired, RiskRefused
from exchange.trust import TrustList
from exchange.v1 import audit_pb2
from gateway.record import Exchange
from gateway.risk.rules_file import Rule

MAX_HOLDS = 4096
MAX_OF_ONE = 64
REFUSE = "refuse"


class Hold(NamedTuple):
    """What is held back; None stands for any."""

    finding_id: bytes
    rule: str
    action: str
    consumer: str
    agent: str | None
    operator: str | None
    resource: str | None
    until_ms: int


class Holds:
    """The holds of a region, by consumer."""

    def __init__(self) -> None:
        self._by_consumer: dict[str, list[Hold]] = {}
        self.size = 0
        self.evicted = 0

    def __iter__(self) -> Iterator[Hold]:
        for held in self._by_consumer.values():
            yield from held

    def put(self, hold: Hold, now_ms: int) -> None:
        """Hold something back; in place of what its finding held before."""
        self.end(hold.finding_id)
        self._drop(lambda one: one.until_ms <= now_ms)
        held = self._by_consumer.get(hold.consumer, [])
        if len(held) >= MAX_OF_ONE or self.size >= MAX_HOLDS:
            among = held if len(held) >= MAX_OF_ONE else list(self)
            self.end(min(among, key=lambda one: one.until_ms).finding_id)
            self.evicted += 1
        self._by_consumer.setdefault(hold.consumer, []).append(hold)
        self.size += 1

    def end(self, finding_id: bytes) -> None:
        """Hold nothing back any more on account of a finding."""
        self._drop(lambda one: one.finding_id == finding_id)

    def keep_rules(self, rules: frozenset[str]) -> None:
        """End what rules hold that are not in force any more, or only alert now."""
        self._drop(lambda one: one.rule not in rules)

    def find(self, consumer: str, agent: str, operator: str, resource: str, now_ms: int) -> Hold | None:
        """Return what holds back an exchange, None where nothing does; a refusal goes before an approval."""
        found = None
        for hold in self._by_consumer.get(consumer, ()):
            if (
                now_ms < hold.until_ms
                and hold.agent in (None, agent)
                and hold.operator in (None, operator)
                and hold.resource in (None, resource)
            ):
                if hold.action == REFUSE:
                    return hold
                found = hold
        return found

    def guard(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        """Refuse an exchange that is held back (step 4 of gateway/path.py)."""
        exchange.rule = "risk"
        if not self.size:
            return
        identity, resource = exchange.caller.identity, exchange.resource
        if identity.organisation not in self._by_consumer:
            return
        name = resource.id if resource is not None else exchange.header.resource
        hold = self.find(identity.organisation, identity.name, exchange.header.operator, name, now_ms)
        if hold is not None:
            exchange.rule = f"risk/{hold.rule}"
            refusal = RiskRefused if hold.action == REFUSE else ApprovalRequired
            raise refusal(f"finding {hold.finding_id.hex()}")

    def _drop(self, fits: Callable[[Hold], bool]) -> None:
        gone = [hold for hold in self if fits(hold)]
        for hold in gone:
            held = self._by_consumer[hold.consumer]
            held.remove(hold)
            if not held:
                del self._by_consumer[hold.consumer]
        self.size -= len(gone)


def hold_of(rule: Rule, finding: audit_pb2.FindingRecord, until_ms: int) -> Hold | None:
    """Return what a finding holds back at step 4; None where it is an alert or holds an answer only."""
    scope = getattr(rule, "by", "consumer+resource")
    if finding.from_tags or rule.from_tags or finding.action == "alert" or rule.action == "alert":
        return None
    return Hold(
        finding.finding_id,
        finding.rule,
        finding.action,
        finding.consumer,
        finding.agent if scope.startswith("agent") else None,
        finding.operator if scope.startswith("operator") else None,
        finding.resources[0] if scope.endswith("resource") and finding.resources else None,
        until_ms,
    )
