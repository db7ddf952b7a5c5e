"""The region's rules in force, folded from RegionRulesBody statements that two administrators signed.

1. The version counts up by one; of two administrators who race, the second is refused.
2. What is set was shown to hold together first: guards and risk rules that do not compile are never logged.
"""

from collections.abc import Callable, Collection, Sequence

from exchange.errors import WrongState
from exchange.grants import check_issued
from exchange.region_rules import NO_RULES, RegionRules, check_signers, read_rules
from exchange.v1 import audit_pb2, common_pb2
from gateway.audience import EVERYBODY, Audience
from gateway.register import Submitted

Holds = Callable[[RegionRules], None]
"""Raises RulesInvalid where rules do not hold together."""


class RulesRegister:
    """Holds the rules in force.

    Args:
        current: what holds at first.

    Attributes:
        current: what holds now.
        statements: the body, signed by each of the two; empty where none were ever set.
        index: of the entry that set them.
    """

    acts: Collection["audit_pb2.Act.ValueType"] = frozenset({audit_pb2.ACT_RULES})

    def __init__(self, current: RegionRules = NO_RULES) -> None:
        self.current: RegionRules = current
        self.statements: Sequence[common_pb2.Statement] = ()
        self.index = 0
        self._checks: list[Holds] = []
        self._told: list[Callable[[RegionRules], None]] = []

    def require(self, holds: Holds) -> None:
        """Have rules refused that a function raises about; asked before they are logged."""
        self._checks.append(holds)

    def hold(self, rules: RegionRules) -> None:
        """Refuse rules that do not hold together.

        Raises:
            RulesInvalid.
        """
        for holds in self._checks:
            holds(rules)

    def subscribe(self, told: Callable[[RegionRules], None]) -> None:
        """Have a function called with the rules whenever they change, and once now."""
        self._told.append(told)
        told(self.current)

    def check(self, submitted: Submitted) -> str:
        """Refuse rules that two administrators did not sign, that do not follow, or do not hold together."""
        signers = [submitted.signer.identity, *(other.identity for other in submitted.others)]
        check_signers([submitted.statement], signers)
        rules = read_rules(submitted.statement.body)
        if rules.version != self.current.version + 1:
            raise WrongState(f"rules version {rules.version}, due is {self.current.version + 1}")
        check_issued(rules.issued_at_ms, submitted.now_ms, within_ms=RULES_SKEW_MS)
        self.hold(rules)
        return f"version {rules.version}"

    def apply(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Take over rules that were checked before they were logged."""
        act = entry.administrative
        self.current = read_rules(act.statement.body)
        self.statements, self.index = (act.statement, *act.countersignatures), index
        for told in self._told:
            told(self.current)

    def audience(self, entry: audit_pb2.AuditEntry) -> Audience:
        """Rules are for everybody: agents hold the gateway to them."""
        return EVERYBODY


RULES_SKEW_MS = 7 * 24 * 3600 * 1000
"""Two people may take some days to sign."""
