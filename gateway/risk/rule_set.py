"""The windows of one set of rules, exchanges taken through all of them.

Exchanges of one moment go through one rule after the other. Rules share nothing, so that what is found is
the same as if each exchange had gone through all rules before the next.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from struct import Struct
from typing import Any

from exchange.region_rules import RegionRules
from exchange.resources import Resource
from gateway.risk.combination import Combinations
from gateway.risk.detector import NO_TAG, Alarm, Alarms, Answer, Detector, Lane
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

MAX_LANES = 16_384
"""More than are busy at a time; of more all are forgotten at once, and cells are looked up again."""
_TIME = attrgetter("time_ms")
_PLACE = itemgetter(0)
_beginning = Struct(">Q").unpack_from


class Windows:
    """The windows of one set of rules; pure but for what it has taken in.

    Args:
        rules: the risk rules.
        region: the region's rules, for days off.
        resource: finds the resource that an id resolves to.
        max_lanes: how many it remembers; nothing of what is found depends on it.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        region: RegionRules,
        resource: Callable[[str], Resource | None],
        *,
        max_lanes: int = MAX_LANES,
    ) -> None:
        made = [_detector(rule, region) for rule in rules if not isinstance(rule, Combination)]
        self.combinations = Combinations([rule for rule in rules if isinstance(rule, Combination)], resource)
        self._detectors = made
        self._of_answers = [one for one in made if not isinstance(one, RefusalTally)]
        self._of_refusals = [one for one in made if isinstance(one, RefusalTally)]
        for slot, one in enumerate(self._of_answers):
            one.slot = slot
        self._lanes: dict[tuple[str, ...], Lane] = {}
        self._max_lanes = max_lanes

    def take(self, batch: Sequence[Observed]) -> list[Alarm]:
        """Take in exchanges; return what fits then, in their order."""
        alarms: list[Alarm] = []
        for now_ms, moment in groupby(batch, _TIME):
            alarms += self.take_moment(now_ms, list(moment))
        return alarms

    def take_moment(self, now_ms: int, moment: Sequence[Observed]) -> list[Alarm]:
        """Take in exchanges of one moment; return what fits then, in their order."""
        lanes = self._lanes
        answers: list[Answer] = []
        for number, seen in enumerate(moment):
            if seen.released:
                # Consumer, agent, operator, provider and resource.
                lane = lanes.get(seen[1:6])
                if lane is None:
                    lane = self._lane(seen)
                tags = seen.tags
                answers.append((number, seen, lane, _beginning(tags)[0] if tags else NO_TAG))
        alarms: Alarms = []
        if answers:
            for detector in self._of_answers:
                detector.look(now_ms, answers, alarms)
        self._take_refusals(moment, len(answers), alarms)
        return [alarm for _, alarm in sorted(alarms, key=_PLACE)] if alarms else []

    def _take_refusals(self, moment: Sequence[Observed], answers: int, alarms: Alarms) -> None:
        refusals = [one for one in enumerate(moment) if not one[1].released] if answers < len(moment) else []
        for detector in self._of_refusals:
            # Where nothing was refused yet no row begins anew.
            if detector.in_a_row and (refusals or detector.held):
                detector.look_at(list(enumerate(moment)), alarms)
            elif refusals:
                detector.look_at(refusals, alarms)

    def _lane(self, seen: Observed) -> Lane:
        if len(self._lanes) >= self._max_lanes:
            self._lanes.clear()
        lane = self._lanes[seen[1:6]] = [one.opening(seen) for one in self._of_answers]
        return lane

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
