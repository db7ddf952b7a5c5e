"""The region's rules as plain values, and how two versions of them differ."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from exchange.errors import by_reason
from exchange.region_rules import RegionRules
from exchange.v1 import rules_pb2
from gateway.rules.policies import Guard, read_guards
from shuqiao.views import View, unix_ms
from shuqiao.words import Text

PARTS = {
    "case_mode": Text("办件编号", "Case numbers"),
    "case_services": Text("办件开办单位", "Who may open cases"),
    "purposes": Text("用途", "Purposes"),
    "supervisions": Text("监管", "Supervisions"),
    "clocks": Text("期限（工作日）", "Clocks (working days)"),
    "days_off": Text("另行休息日", "Days off besides"),
    "working_days": Text("另行工作日", "Working days besides"),
    "catalogue_review": Text("目录审核", "Catalogue review"),
    "guards": Text("守卫", "Guards"),
    "risk": Text("风险规则", "Risk rules"),
    "verify_limits": Text("核验上限", "Bounds on verifications"),
}
"""The parts of a region's rules, in the order in which they are shown."""


class Change(NamedTuple):
    """One thing that differs: "" where it is not there."""

    what: str
    before: str
    after: str


def document(rules: RegionRules) -> dict[str, Any]:
    """Return rules for programs."""
    guards, _ = read_guards(rules.guards)
    return {
        "version": rules.version,
        "issued_at": unix_ms(rules.issued_at_ms) if rules.version else "",
        "case_mode": "claims" if rules.claims else "events",
        "case_services": sorted(rules.case_services),
        "purposes": {code: _purpose(one) for code, one in sorted(rules.purposes.items())},
        "supervisions": {provider: asdict(one) for provider, one in sorted(rules.supervisors.items())},
        "clocks": asdict(rules.clocks),
        "days_off": sorted(day.isoformat() for day in rules.days_off),
        "working_days": sorted(day.isoformat() for day in rules.working_days),
        "catalogue_review": rules.catalogue_review,
        "guards": {one.id: guard(one) for one in guards},
        "risk": rules.risk,
        "verify_limits": asdict(rules.verify_limits),
    }


def guard(one: Guard) -> View:
    """Return a guard."""
    return {
        "file": one.file,
        "line": one.line,
        "reason_zh": one.reason_zh,
        "reason_en": one.reason_en,
        "policy": one.text,
    }


def difference(before: RegionRules, after: RegionRules) -> list[Change]:
    """Return what differs between two rules, part by part; guards by their text, not by their place."""
    old, new = (dict(_flat(_compared(rules))) for rules in (before, after))
    return [
        Change(name, old.get(name, ""), new.get(name, ""))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def steps(answer: rules_pb2.ExplainResponse) -> list[View]:
    """Return the rules that were asked, with reason and remedy of the one that refuses."""
    return [_step(step) for step in answer.steps]


def groups(answer: rules_pb2.DryRunResponse) -> list[View]:
    """Return the exchanges whose decision would have been another."""
    return [
        {
            "refused": group.refused,
            "rule": group.rule,
            "consumer": group.consumer,
            "resource": group.resource,
            "count": group.count,
            "example": group.example,
        }
        for group in answer.groups
    ]


def reasons_of(rules: RegionRules) -> Mapping[str, Text]:
    """Return by id why each guard forbids."""
    guards, _ = read_guards(rules.guards)
    return {one.id: Text(one.reason_zh, one.reason_en) for one in guards}


def lines(value: object) -> object:
    """Return a part of a document for people, a line for each thing in it."""
    if isinstance(value, Text):
        return value
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_words(below)}" for name, below in value.items())
    return _words(value)


def _purpose(one: Any) -> View:
    told = asdict(one)
    return {**told, "matters": sorted(one.matters)}


def _step(step: rules_pb2.ExplainStep) -> View:
    view: View = {"rule": step.rule, "passed": step.passed}
    if step.passed:
        return view
    error = by_reason(step.reason)
    said = error(step.subject).sentence
    return view | {
        "code": error(step.subject).name,
        "subject": step.subject,
        "reason": {"zh": said.zh, "en": said.en},
        "remedy": {"zh": said.remedy_zh, "en": said.remedy_en},
    }


def _compared(rules: RegionRules) -> dict[str, Any]:
    told = document(rules)
    told["guards"] = {name: view["policy"] for name, view in told["guards"].items()}
    del told["version"], told["issued_at"]
    return told


def _flat(told: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in told.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name}.")
        else:
            found.append((f"{before}{name}", _words(value)))
    return found


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{name}={_words(below)}" for name, below in value.items() if below not in ("", [], 0)
        )
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
