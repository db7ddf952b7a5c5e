"""The windows of one set of rules, each exchange taken through all of them."""

from collections.abc import Callable, Sequence
from typing import Any

from exchange.region_rules import RegionRules
from exchange.resources import Resource
from gateway.risk.combination import Combinations
from gateway.risk.detector import Alarm, Detector
from gateway.risk.detectors import (
    CaseTally,
    RefusalTally,
    SharedPseudonym,
    ShareOf,
    SubjectCount,
    SubjectTally,
)
from gateway.risk.hours import Hours
from gateway.risk.observed import Observed
from gateway.risk.past import AgainstPast
from gateway.risk.rules_file import (
    CaseLoad,
    Combination,
    NewPair,
    NoCase,
    OutOfHours,
    Refusals,
    Rule,
    SharedOperator,
    SilentOperator,
    SubjectAgain,
    Subjects,
    Volume,
)


class Windows:
    """The windows of one set of rules; pure but for what it has taken in.

    Args:
        rules: the risk rules.
        region: the region's rules, for days off.
        resource: finds the resource that an id resolves to.
    """

    def __init__(
        self, rules: Sequence[Rule], region: RegionRules, resource: Callable[[str], Resource | None]
    ) -> None:
        made = [_detector(rule, region) for rule in rules if not isinstance(rule, Combination)]
        self.combinations = Combinations([rule for rule in rules if isinstance(rule, Combination)], resource)
        self._detectors = made
        self._of_answers = [one.look for one in made if not one.refused]
        self._of_refusals = [one.look for one in made if one.refused]
        self._rows = [one.answered for one in made if isinstance(one, RefusalTally) and one.in_a_row]

    def take(self, seen: Observed) -> list[Alarm]:
        """Take in one exchange; return what fits now."""
        alarms = []
        for look in self._of_answers if seen.released else self._of_refusals:
            alarm = look(seen)
            if alarm is not None:
                alarms.append(alarm)
        if seen.released:
            for answered in self._rows:
                answered(seen)
        return alarms

    @property
    def evicted(self) -> int:
        """How many cells were dropped for want of room."""
        return sum(one.evicted for one in self._detectors) + self.combinations.evicted

    @property
    def held(self) -> int:
        """How many cells there are."""
        return sum(one.held for one in self._detectors) + self.combinations.held


def _detector(rule: Rule, region: RegionRules) -> Detector[Any]:
    match rule:
        case Refusals():
            return RefusalTally(rule)
        case Subjects():
            return SubjectCount(rule)
        case SubjectAgain():
            return SubjectTally(rule)
        case Volume() | NewPair():
            return AgainstPast(rule)
        case OutOfHours():
            return Hours(rule, days_off=region.days_off, working_days=region.working_days)
        case NoCase() | SilentOperator():
            return ShareOf(rule)
        case SharedOperator():
            return SharedPseudonym(rule)
        case CaseLoad():
            return CaseTally(rule)
        case Combination():
            raise TypeError("a combination is no detector")
