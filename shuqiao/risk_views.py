"""Findings of the risk rules in words: as the log has them, and as the gateway lists them."""

from google.protobuf.message import DecodeError

from exchange.v1 import audit_pb2, risk_pb2
from shuqiao.moments import exchange_id, moment, unix_ms

View = dict[str, object]


def verdict(number: "risk_pb2.FindingVerdict.ValueType") -> str:
    """Return for example "approve"."""
    return risk_pb2.FindingVerdict.Name(number).removeprefix("FINDING_VERDICT_").lower()


def act(told: audit_pb2.AdministrativeEntry) -> View:
    """Return what the entry of a finding or of a decision on one says; nothing for other acts.

    The names begin with "finding_", so that they stand beside those of every entry.
    """
    if told.HasField("finding"):
        said = finding(told.finding)
        severity = said.pop("severity")
        return {"severity": severity} | _prefixed(said)
    if told.act == audit_pb2.ACT_FINDING_DECISION:
        try:
            return _prefixed(decision(risk_pb2.FindingDecisionBody.FromString(told.statement.body)))
        except DecodeError:
            return {}
    return {}


def finding(record: audit_pb2.FindingRecord) -> View:
    """Return what a rule found."""
    return {
        "id": record.finding_id.hex(),
        "rule": record.rule,
        "severity": record.severity,
        "action": record.action,
        "consumer": record.consumer,
        "agent": record.agent,
        "operator": record.operator,
        "resources": list(record.resources),
        "count": record.count,
        "window_s": record.window_s,
        "from_tags": record.from_tags,
        "exchange_ids": [exchange_id(one) for one in record.exchange_ids],
        "since": unix_ms(record.since_ms),
        "until": unix_ms(record.until_ms) if record.until_ms else "",
    }


def decision(body: risk_pb2.FindingDecisionBody) -> View:
    """Return what a person decided."""
    return {
        "id": body.finding_id.hex(),
        "verdict": verdict(body.verdict),
        "until": moment(body.until),
        "note": body.note,
    }


def row(told: risk_pb2.FindingRow) -> View:
    """Return a finding as the gateway lists it, with what was decided."""
    decisions = []
    for statement in told.decisions:
        body = risk_pb2.FindingDecisionBody.FromString(statement.body)
        said = decision(body)
        del said["id"]
        decisions.append(said | {"issued_at": moment(body.issued_at)})
    return {"index": told.index, **finding(told.finding), "holds": told.holds, "decisions": decisions}


def _prefixed(said: View) -> View:
    return {f"finding_{name}": value for name, value in said.items()}
