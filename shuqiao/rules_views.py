"""The region's rules as plain values, and how two versions of them differ."""

import tomllib
from collections.abc import Mapping, Sequence
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
    "supervisions": Text("监督", "Supervisions"),
    "clocks": Text("期限（工作日）", "Clocks (working days)"),
    "days_off": Text("另行休息日", "Days off besides"),
    "working_days": Text("另行工作日", "Working days besides"),
    "catalogue_review": Text("目录审核", "Catalogue review"),
    "guards": Text("守卫", "Guards"),
    "risk": Text("风险规则", "Risk rules"),
    "verify_limits": Text("核验上限", "Bounds on verifications"),
}
"""The parts of a region's rules, in the order in which they are shown."""


WORDS = {
    "code": Text("代码", "code"),
    "title_zh": Text("中文名称", "Chinese title"),
    "title_en": Text("英文名称", "English title"),
    "legal_basis": Text("依据", "legal basis"),
    "matters": Text("事项", "matters"),
    "max_term_days": Text("最长天数", "days at most"),
    "organisation": Text("监督部门", "supervisor"),
    "grants": Text("授权", "grants"),
    "catalogue": Text("目录", "catalogue"),
    "unconditional_days": Text("无条件审批", "unconditional decision"),
    "conditional_days": Text("有条件审批", "conditional decision"),
    "supervise_days": Text("监督", "supervision"),
    "dispute_days": Text("异议", "dispute"),
    "demand_days": Text("需求", "demand"),
    "attest_days": Text("声明删除", "attestation of deletion"),
    "review_days": Text("目录审核", "catalogue review"),
    "per_subject_day": Text("一主体一天", "of a subject in a day"),
    "mismatches_per_subject_day": Text("一主体一天不一致", "mismatches of a subject in a day"),
    "mismatched_subjects_hour": Text("一小时不一致的主体", "mismatched subjects in an hour"),
    "claims": Text("使用部门自述", "claims of the consumer"),
    "events": Text("由签名的事件开办与办结", "opened and closed by signed events"),
    "true": Text("是", "yes"),
    "false": Text("否", "no"),
}
"""What stands in the rules, in words."""


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
    changes = [
        Change(name, old.get(name, ""), new.get(name, ""))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if before.risk != after.risk and not any(one.what.startswith("risk.") for one in changes):
        changes.append(Change("risk", before.risk, after.risk))  # in its comments alone
    return changes


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


def risk_findings(answer: rules_pb2.DryRunResponse) -> View | None:
    """Return what the risk rules would have found; None where there are none."""
    if not answer.HasField("risk"):
        return None
    return {
        "examined": answer.risk.examined,
        "since": unix_ms(answer.risk.since_ms),
        "rules": [_risk_rule(rule) for rule in answer.risk.rules],
    }


def _risk_rule(rule: rules_pb2.RiskDryRunRule) -> View:
    return {
        "rule": rule.rule,
        "in_force": rule.in_force if rule.HasField("in_force") else None,
        "proposed": rule.proposed if rule.HasField("proposed") else None,
        "first": [
            {
                "time": unix_ms(one.time_ms),
                "consumer": one.consumer,
                "resources": list(one.resources),
                "count": one.count,
            }
            for one in rule.first
        ],
    }


def reasons_of(rules: RegionRules) -> Mapping[str, Text]:
    """Return by id why each guard forbids."""
    guards, _ = read_guards(rules.guards)
    return {one.id: Text(one.reason_zh, one.reason_en) for one in guards}


def lines(value: object) -> object:
    """Return a part of a document for people, a line for each thing in it."""
    if isinstance(value, Text):
        return value
    if value in ("", [], {}):
        return None
    told = [_line(*one) for one in value.items()] if isinstance(value, Mapping) else [_in_words(value)]
    return _joined(told)


def titled(what: str) -> Text:
    """Return what a change is about, in words: "clocks.dispute_days" is a part and a place in it."""
    part, _, rest = what.partition(".")
    name, _, last = rest.rpartition(".")
    below, title = WORDS.get(last, Text(last, last)), PARTS[part]
    return Text(
        *(" ".join(filter(None, told)) for told in ((title.zh, name, below.zh), (title.en, name, below.en)))
    )


def shown(value: str) -> object:
    """Return what a change says before or after, in words where it is one of a few."""
    return WORDS.get(value, value)


def risk_rules(text: str) -> dict[str, str]:
    """Return risk rules by id as they are written, without comments; {"": text} where they cannot be read."""
    try:
        rules = tomllib.loads(text).get("rule", [])
        return {
            rule["id"]: "\n".join(f"{name} = {_words(of)}" for name, of in rule.items()) for rule in rules
        }
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError):
        return {"": text}


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
    told["risk"] = risk_rules(rules.risk)
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


def _joined(told: Sequence[Text]) -> Text:
    return Text("\n".join(one.zh for one in told), "\n".join(one.en for one in told))


def _line(name: str, value: object) -> Text:
    head, told = WORDS.get(name, Text(name, name)), _in_words(value)
    return Text(f"{head.zh}：{told.zh}", f"{head.en}: {told.en}")


def _in_words(value: object) -> Text:
    if isinstance(value, Mapping):
        told = [
            _line(name, below) for name, below in value.items() if name != "code" and below not in ("", [], 0)
        ]
        return Text("，".join(one.zh for one in told), ", ".join(one.en for one in told))
    word = _words(value)
    return WORDS.get(word, Text(word, word))


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{name}={_words(below)}" for name, below in value.items() if below not in ("", [], 0)
        )
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
