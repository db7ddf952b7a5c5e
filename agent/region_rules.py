"""The region's rules as the agent knows them: signed by two administrators, versions only count up.

A gateway that withholds newer rules leaves the agent with older ones, as with every event (agent/region.py).
"""

from collections.abc import Callable, Collection

from agent.region import RegionView
from exchange import canonical
from exchange.region_rules import NO_RULES, RegionRules, check_signers, read_rules
from exchange.v1 import audit_pb2, common_pb2

KIND = "rules"
KEY = "current"


class AgentRules:
    """Holds the newest rules that were shown.

    Args:
        region: tells of events and keeps what was taken.

    Attributes:
        current: what holds now.
    """

    acts: Collection[int] = frozenset({audit_pb2.ACT_RULES})

    def __init__(self, *, region: RegionView) -> None:
        self._region = region
        self._told: list[Callable[[RegionRules], None]] = []
        self.current: RegionRules = NO_RULES
        body = region.kept(KIND).get(KEY)
        if body is not None:
            self.current = read_rules(body)
        self.subscribe(region.use_rules)
        region.add(self)
        self.subscribe(region.use_rules)

    def subscribe(self, told: Callable[[RegionRules], None]) -> None:
        """Have a function called with the rules whenever they change, and once now."""
        self._told.append(told)
        told(self.current)

    def take(self, act: audit_pb2.AdministrativeEntry, index: int, at_ms: int) -> None:
        """Take over rules; older ones than those held are passed over."""
        statements: list[common_pb2.Statement] = [act.statement, *act.countersignatures]
        signers = self._region.signers(statements, canonical.RULES, at_ms=at_ms)
        check_signers(statements, signers)
        rules = read_rules(act.statement.body)
        if rules.version <= self.current.version:
            return
        self._region.keep(KIND, KEY, act.statement.body)
        self.current = rules
        for told in self._told:
            told(rules)
