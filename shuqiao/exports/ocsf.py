"""Entries as OCSF 1.6 events: every entry an API Activity (6003), what people should look at also a Detection
Finding (2004).

`metadata.uid` is origin and index: a record that comes twice is recognised by it and its class.
Source: schema.ocsf.io, version 1.6.0.
"""

from collections.abc import Mapping
from typing import Any

from exchange.errors import BY_REASON, Broken
from exchange.sentences import SENTENCES
from shuqiao.exports.records import Record

VERSION = "1.6.0"
PRODUCT = {"name": "Shuqiao", "vendor_name": "Shuqiao", "lang": "zh"}
API_ACTIVITY, APPLICATION = 6003, 6
DETECTION_FINDING, FINDINGS = 2004, 2
CREATE, READ, UPDATE, OTHER = 1, 2, 3, 99
INFORMATIONAL, LOW, MEDIUM, HIGH, CRITICAL = 1, 2, 3, 4, 5
SUCCESS, FAILURE = 1, 2
SHA_256 = 3

SUSPICIOUS = frozenset(
    {cls().name for cls in BY_REASON.values() if issubclass(cls, Broken)}
    | {
        "REVOKED",
        "BAD_SIGNATURE",
        "BAD_TOKEN",
        "REPLAYED",
        "ROLE_NOT_ALLOWED",
        "WRONG_AUDIENCE",
        "PROVIDER_VETO",
    }
)
"""Reasons for which a refusal or failure is a finding too: somebody tries what no honest party does."""

_ACTIVITIES = {
    "organisation": CREATE,
    "resource": CREATE,
    "resource_state": UPDATE,
    "bundle": CREATE,
    "grant": CREATE,
    "grant_event": UPDATE,
    "case": UPDATE,
    "ticket": CREATE,
    "ticket_event": UPDATE,
    "correction": CREATE,
    "quality": CREATE,
    "read": READ,
    "stop": UPDATE,
    "stop_lifted": UPDATE,
}
_SEVERITIES = {"notice": LOW, "warning": MEDIUM, "critical": CRITICAL}
Event = dict[str, Any]


def events(record: Record) -> list[Event]:
    """Return the OCSF events of an entry: its activity, then its finding where it is one."""
    finding = _finding(record)
    return [_activity(record), *([finding] if finding is not None else [])]


def severity_of(record: Record) -> int:
    """Return the OCSF severity of an entry, 1 (informational) to 5 (critical)."""
    if record.finding is not None:
        return MEDIUM
    if record.view.get("act") in ("alert", "finding"):
        return _SEVERITIES.get(record.text("severity"), MEDIUM)
    if record.view.get("act") == "stop":
        return HIGH
    reason = record.text("reason")
    if not reason:
        return INFORMATIONAL
    if reason in SUSPICIOUS:
        return HIGH
    return MEDIUM if record.view["type"] == "refusals" else LOW


def _activity(record: Record) -> Event:
    exchange = record.view["type"] == "exchange"
    operation = record.text("kind") if exchange else record.text("act") or "refusals"
    activity = READ if exchange else _ACTIVITIES.get(operation, OTHER)
    event: Event = {
        **_base(record, API_ACTIVITY, APPLICATION, activity),
        "actor": _actor(record),
        "api": {"operation": operation, "service": {"name": "shuqiao"}, **_response(record)},
        "src_endpoint": _endpoint(record.text("consumer"), record.text("consumer_agent")) or _source(record),
        **_status(record),
    }
    if exchange:
        event["api"]["request"] = {"uid": record.text("exchange_id")}
        event["dst_endpoint"] = _endpoint(record.text("provider"), record.text("provider_agent")) or {
            "name": "unknown"
        }
        event["resources"] = [
            {
                "uid": record.text("resource") or "unknown",
                "type": "data resource",
                "labels": record.texts("fields"),
            }
        ]
    elif record.text("subject"):
        event["resources"] = [{"uid": record.text("subject"), "type": operation}]
    if record.number("count"):
        event["count"] = record.number("count")
    return event


def _finding(record: Record) -> Event | None:
    found = _found(record)
    if found is None:
        return None
    title, description = found
    event: Event = {
        **_base(record, DETECTION_FINDING, FINDINGS, CREATE),
        "finding_info": {
            "uid": record.uid,
            "title": title,
            "desc": description,
            "created_time": record.time_ms,
            "types": [record.text("reason") or record.text("act")],
            "analytic": {"name": "audit log", "type": "Rule", "type_id": 1},
        },
        "evidences": [{"uid": record.uid, "actor": _actor(record)}],
        "is_alert": severity_of(record) >= MEDIUM,
    }
    if record.view.get("act") == "finding":
        event["finding_info"]["analytic"]["name"] = record.text("finding_rule")
        event["finding_info"]["related_events"] = [
            {"uid": uid, "type": "exchange"} for uid in record.texts("finding_exchange_ids")
        ]
        event["count"] = record.number("finding_count")
    if record.finding is not None:
        event["finding_info"]["related_events"] = [{"uid": f"{record.origin}#{record.finding.item}"}]
    said = SENTENCES.get(record.text("reason"))
    if said is not None:
        event["remediation"] = {"desc": f"{said.remedy_zh} | {said.remedy_en}"}
    if record.number("count"):
        event["count"] = record.number("count")
    return event


def _found(record: Record) -> tuple[str, str] | None:
    """Return title and description of what people should look at; None where there is nothing."""
    kind, reason = record.view["type"], record.text("reason")
    said = SENTENCES.get(reason)
    words = f"{said.zh} | {said.en}" if said else ""
    if record.finding is not None:
        return f"抽查发现问题 | Found in a review: entry {record.finding.item}", record.finding.text
    if record.view.get("act") == "alert":
        return f"告警 | Alert: {reason}", words or record.text("subject")
    if record.view.get("act") == "finding":
        rule = record.text("finding_rule")
        return f"风险规则触发 | Risk rule: {rule}", _what_a_rule_found(record)
    if kind == "refusals":
        return (
            f"大量拒绝 | Many refusals: {reason}",
            f"{record.text('caller')}: {record.number('count')}. {words}",
        )
    if reason in SUSPICIOUS:
        return f"可疑的请求 | Suspicious request: {reason}", words
    return None


def _what_a_rule_found(record: Record) -> str:
    who = " ".join(
        filter(None, (record.text(f"finding_{part}") for part in ("consumer", "agent", "operator")))
    )
    about = ", ".join(record.texts("finding_resources"))
    counted = f"{record.number('finding_count')} / {record.number('finding_window_s')} s"
    return f"{who}; {about}; {counted}; {record.text('finding_action')}"


def _base(record: Record, class_uid: int, category_uid: int, activity_id: int) -> Event:
    case = record.text("case_number")
    metadata: Event = {
        "version": VERSION,
        "product": PRODUCT,
        "uid": record.uid,
        "sequence": record.index,
        "log_name": record.origin,
        "event_code": record.text("act") or record.text("type"),
    }
    if case:
        metadata["correlation_uid"] = case
    return {
        "class_uid": class_uid,
        "category_uid": category_uid,
        "activity_id": activity_id,
        "type_uid": class_uid * 100 + activity_id,
        "time": record.time_ms,
        "severity_id": severity_of(record),
        "metadata": metadata,
        "raw_data_hash": {"algorithm_id": SHA_256, "algorithm": "SHA-256", "value": record.hash.hex()},
        "unmapped": {name: value for name, value in record.view.items() if value not in ("", 0, [], None)},
    }


def _status(record: Record) -> Event:
    reason = record.text("reason")
    if not reason:
        return {"status_id": SUCCESS, "status": "Success"}
    said = SENTENCES.get(reason)
    return {
        "status_id": FAILURE,
        "status": "Failure",
        "status_code": reason,
        "status_detail": f"{said.zh} | {said.en}" if said else reason,
    }


def _response(record: Record) -> Event:
    reason = record.text("reason")
    return {"response": {"error": reason}} if reason else {}


def _actor(record: Record) -> Mapping[str, Any]:
    organisation = record.text("consumer")
    if organisation:
        uid = record.text("operator") or record.text("consumer_agent") or organisation
        return {"user": {"uid": uid, "org": {"uid": organisation}}, "app_uid": record.text("consumer_agent")}
    return {"user": {"uid": record.text("actor") or record.text("caller") or record.origin}}


def _endpoint(organisation: str, agent: str) -> Event | None:
    return {"uid": f"{organisation}/{agent}", "name": agent or organisation} if organisation else None


def _source(record: Record) -> Event:
    return {"uid": record.text("actor") or record.text("caller") or record.origin}
