"""The guard of step 4 that asks the region's Cedar policies.

1. It runs after the grant index: what it adds is what no grant may do in this region, at this hour.
2. A decision is kept under a key that names everything a policy can read (`gateway.rules.situation`), and
   under the facts that the policies in force do read, so that a million grants need few decisions. Both are
   bounded, and empty again whenever the rules change. Hour and working day are part of the key.
3. Fail closed: where rules with guards are in force that this gateway cannot compile, nothing passes.
"""

from collections.abc import Hashable
from operator import attrgetter

import structlog

from exchange.errors import ForbiddenByRule, RulesInvalid
from exchange.region_rules import NO_RULES, RegionRules
from exchange.trust import TrustList
from gateway.record import Exchange
from gateway.rules.facts import Facts
from gateway.rules.policies import BROKEN, Guards
from gateway.rules.situation import Situation
from gateway.state import RegionState

MAX_YOUNG = 16_384
"""Decisions that are kept by key; as many again from before. About 600 bytes each."""

_log = structlog.get_logger("gateway.rules")


def guards_compile(rules: RegionRules) -> None:
    """Refuse rules whose guards do not compile or validate; asked before rules are logged.

    Raises:
        RulesInvalid.
    """
    if rules.guards:
        Guards(rules.guards)


class Decisions:
    """Keeps decisions by key, those not asked for leaving first; the id of a guard, "" for none.

    Two generations: what is asked for moves to the young one, and where that is full the old one goes. A hit
    costs one look-up and writes nothing.

    Args:
        most: how many the young one holds.
    """

    def __init__(self, most: int = MAX_YOUNG) -> None:
        self._most = most
        self._young: dict[Hashable, str] = {}
        self._old: dict[Hashable, str] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: Hashable) -> str | None:
        """Return what was decided, None where nothing is kept."""
        found = self._young.get(key)
        if found is None and self._old:
            found = self._old.pop(key, None)
            if found is not None:
                self.keep(key, found)
        return found

    def keep(self, key: Hashable, decided: str) -> None:
        """Keep a decision."""
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young
        self._young[key] = decided

    def clear(self) -> None:
        """Forget everything."""
        self._young.clear()
        self._old.clear()


class RegionGuards:
    """Refuses what a guard of the region's rules forbids. The event loop's.

    Args:
        state: of the region; its rules tell of every change.
    """

    def __init__(self, *, state: RegionState) -> None:
        self._situation = Situation(state=state)
        self._kept = Decisions()
        self._by_facts = Decisions()
        self._guards: Guards | None = None
        self._fault = ""
        self._read_of = attrgetter("action", "action")
        self._rules: RegionRules = NO_RULES
        state.rules.require(guards_compile)
        state.rules.subscribe(self._take)

    @property
    def fault(self) -> RulesInvalid | None:
        """Why nothing passes; None where the guards in force are asked."""
        return RulesInvalid(self._fault) if self._fault else None

    def __call__(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        """Ask the guards, or what they said before of the same."""
        exchange.rule = "guard"
        guards = self._guards
        if guards is None:
            if self._fault:
                exchange.rule = f"guard/{BROKEN}"
                raise ForbiddenByRule(BROKEN)
            return
        key = self._situation.key(exchange, now_ms)
        forbidding = self._kept.get(key)
        if forbidding is None:
            forbidding = self._decide(guards, self._situation.facts(exchange, now_ms))
            self._kept.keep(key, forbidding)
        if forbidding:
            exchange.rule = f"guard/{forbidding}"
            raise ForbiddenByRule(forbidding)

    def _decide(self, guards: Guards, facts: Facts) -> str:
        if not guards.read:
            return guards.forbidding(facts)
        key = self._read_of(facts)
        forbidding = self._by_facts.get(key)
        if forbidding is None:
            forbidding = guards.forbidding(facts)
            self._by_facts.keep(key, forbidding)
        return forbidding

    def _take(self, rules: RegionRules) -> None:
        """Put rules in force that are in the log; they compiled where they were set, perhaps not here."""
        self._kept.clear()
        self._by_facts.clear()
        self._situation.under(rules)
        self._guards, self._fault = None, ""
        if not rules.guards:
            return
        try:
            self._guards = Guards(rules.guards)
        except RulesInvalid as error:
            self._fault = error.subject or BROKEN
            _log.error("guards do not compile, nothing passes", version=rules.version, fault=self._fault)
            return
        if self._guards.read:
            self._read_of = attrgetter(*self._guards.read, "action")
