"""Runs the corpus through the real engine with real rules at simulated time, and counts what comes of it."""

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from exchange.region_rules import RegionRules
from exchange.v1 import audit_pb2
from gateway.risk.engine import Engine
from gateway.risk.observed import Observed
from tests.risk_corpus.attacks import Attacks
from tests.risk_corpus.lawful import lawful
from tests.risk_corpus.world import PROVIDERS, Event, Incident, resources, tag

LABEL_BYTES = 2


@dataclass
class Clock:
    """The corpus's time."""

    ms: int = 0

    def now_ms(self) -> int:
        return self.ms


@dataclass
class Score:
    """What came of a corpus.

    Attributes:
        findings: per rule, how many.
        right: per rule, how many of these are about an incident.
        told: each finding, a line.
        events: how many exchanges were tried; `lawful` of them lawful.
        lawful_held: lawful exchanges that were held back.
        attack_held: those of incidents.
    """

    incidents: list[Incident]
    findings: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    events: int = 0
    lawful: int = 0
    lawful_held: int = 0
    attack_held: int = 0

    @property
    def precision(self) -> float:
        """Share of findings that are about an incident."""
        return sum(self.right.values()) / max(sum(self.findings.values()), 1)

    def recall(self, *, hard: bool | None = None) -> float:
        """Share of incidents that a finding is about; of all, the hard ones or the others."""
        among = [one for one in self.incidents if hard is None or one.hard is hard]
        return sum(bool(one.found_by) for one in among) / max(len(among), 1)

    def recall_of(self, rule: str) -> tuple[int, int]:
        """Return how many of the incidents that a rule is meant to find it found, and how many there are."""
        meant = [one for one in self.incidents if rule in one.rules]
        return sum(rule in one.found_by for one in meant), len(meant)


class _Run:
    def __init__(self, rules: str, incidents: list[Incident], seed: int) -> None:
        self.clock = Clock()
        catalogue = resources()
        self.sealed = {name: one.sealed for name, one in catalogue.items()}
        self.score = Score(incidents)
        self._random = Random(seed)
        self.engine = Engine(
            resource=catalogue.get,
            found=self._found,
            key=bytes(32),
            clock=self.clock,
            random=self._random.randbytes,
        )
        self.engine.use_rules(RegionRules(version=1, risk=rules))

    def feed(self, event: Event) -> None:
        score, engine = self.score, self.engine
        self.clock.ms = event.time_ms
        score.events += 1
        score.lawful += not event.incident
        agent = "agent-1"
        hold = engine.holds.find(event.consumer, agent, event.operator, event.resource, event.time_ms)
        if hold is not None:
            self._held(event)
            return
        seen = Observed(
            event.time_ms,
            event.consumer,
            agent,
            event.operator,
            PROVIDERS[event.resource],
            event.resource,
            event.case,
            self.sealed[event.resource],
            not event.reason,
            event.reason,
            event.by_provider,
            event.incident.to_bytes(LABEL_BYTES) + score.events.to_bytes(14),
            event.fields,
            event.attempt,
            tag(event.subject) if event.subject is not None else b"",
        )
        if not event.reason and not event.verify and engine.weigh(seen) is not None:
            self._held(event)
            return
        engine.take([seen])

    def _held(self, event: Event) -> None:
        if event.incident:
            self.score.attack_held += 1
        else:
            self.score.lawful_held += 1

    def _found(self, finding: audit_pb2.FindingRecord) -> None:
        """A finding is right where half of the exchanges that it names belong to incidents."""
        score = self.score
        score.findings[finding.rule] += 1
        score.told.append(_line(finding, self.clock.ms))
        labels = [int.from_bytes(one[:LABEL_BYTES]) for one in finding.exchange_ids]
        guilty = [label for label in labels if label]
        if 2 * len(guilty) >= len(labels):
            score.right[finding.rule] += 1
            for label in set(guilty):
                score.incidents[label - 1].found_by.add(finding.rule)


def _line(finding: audit_pb2.FindingRecord, time_ms: int) -> str:
    told = [time_ms, finding.rule, finding.action, finding.count, finding.consumer]
    told += [finding.operator or "-", *finding.resources, finding.finding_id[:8].hex()]
    exchanges = sha256(b"".join(finding.exchange_ids)).hexdigest()[:16]
    return " ".join(str(one) for one in [*told, exchanges])


def run(rules: str, *, days: int, each: int, seed: int) -> Score:
    """Return what rules make of a corpus.

    Args:
        rules: TOML.
        days: at least 14.
        each: incidents of each kind.
        seed: the same gives the same.
    """
    random = Random(seed)
    attacks = Attacks(days, random)
    events = [*lawful(days, random), *attacks.make(each)]
    events.sort(key=lambda event: event.time_ms)
    told = _Run(rules, attacks.incidents, seed)
    for event in events:
        told.feed(event)
    return told.score
