"""What makes an entry of the log worth a look: rules with weights, by what the entry says alone.

Deterministic, so that whoever holds the entries of a range computes the same (`exchange.population` adds the
rules that only a whole range shows). Integers, no calendar: public holidays count as working days.
"""

from collections.abc import Mapping

from google.protobuf.message import DecodeError

from exchange.clock import BEIJING_MS
from exchange.v1 import audit_pb2, directory_pb2, grant_pb2
from exchange.v1 import reason_pb2 as r
from exchange.v1 import review_pb2 as v

WEIGHTS: Mapping["v.ReviewRule.ValueType", int] = {
    v.REVIEW_RULE_SUSPICIOUS_REFUSAL: 6,
    v.REVIEW_RULE_BROKEN: 12,
    v.REVIEW_RULE_NO_CASE: 2,
    v.REVIEW_RULE_OUT_OF_HOURS: 3,
    v.REVIEW_RULE_BUSY_OPERATOR: 6,
    v.REVIEW_RULE_BUSY_CONSUMER: 3,
    v.REVIEW_RULE_MANY_FIELDS: 2,
    v.REVIEW_RULE_ENUMERATION: 10,
    v.REVIEW_RULE_ADMINISTRATIVE: 4,
    v.REVIEW_RULE_REVOCATION: 6,
    v.REVIEW_RULE_REFUSED_CALL: 6,
    v.REVIEW_RULE_BUSY_READER: 6,
    v.REVIEW_RULE_ALERT: 8,
}
"""What each rule adds to an entry's weight; an entry that fits none is not drawn by risk."""

SUSPICIOUS = frozenset(
    {
        r.REASON_ROLE_NOT_ALLOWED,
        r.REASON_NO_GRANT,
        r.REASON_GRANT_FOREIGN,
        r.REASON_GRANT_EXPIRED,
        r.REASON_GRANT_REVOKED,
        r.REASON_GRANT_PAUSED,
        r.REASON_FIELD_NOT_GRANTED,
        r.REASON_PURPOSE_NOT_GRANTED,
        r.REASON_MATTER_NOT_GRANTED,
        r.REASON_STEP_NOT_GRANTED,
        r.REASON_NON_GOVERNMENT,
        r.REASON_REDISCLOSURE,
        r.REASON_KIND_NOT_GRANTED,
        r.REASON_CASE_REQUIRED,
        r.REASON_NOT_SHARED,
        r.REASON_PROVIDER_VETO,
        r.REASON_REVOKED,
        r.REASON_BAD_SIGNATURE,
        r.REASON_REPLAYED,
        r.REASON_ROW_CAP,
        r.REASON_TOO_MANY,
    }
)
BROKEN = frozenset(
    {
        r.REASON_SEAL_BROKEN,
        r.REASON_RESPONSE_SIGNATURE,
        r.REASON_RESPONSE_MISMATCH,
        r.REASON_RECEIPT_BROKEN,
        r.REASON_LOG_FORKED,
        r.REASON_BUNDLE_ROLLBACK,
        r.REASON_TRUST_ROLLBACK,
    }
)
MANY_FIELDS = 16
_HOUR_MS = 3600 * 1000
_DAY_MS = 24 * _HOUR_MS
_OPEN_MS, _SHUT_MS = 8 * _HOUR_MS, 18 * _HOUR_MS
_FIRST_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0.

OF_RESOURCES = frozenset({audit_pb2.ACT_RESOURCE, audit_pb2.ACT_RESOURCE_STATE})
_ADMINISTRATIVE = OF_RESOURCES | {
    audit_pb2.ACT_ORGANISATION,
    audit_pb2.ACT_GRANT,
    audit_pb2.ACT_GRANT_EVENT,
    audit_pb2.ACT_RULES,
    audit_pb2.ACT_FINDING_DECISION,
}
_ALERTS = frozenset({audit_pb2.ACT_ALERT, audit_pb2.ACT_FINDING})
_ENDING = frozenset(
    {
        audit_pb2.ACT_TRUST_LIST,
        audit_pb2.ACT_LOG_KEY,
        audit_pb2.ACT_LOG_EPOCH,
        audit_pb2.ACT_SEGMENT_ERASED,
        audit_pb2.ACT_TAG_KEY_ERASED,
    }
)
_ENDING_GRANTS = frozenset(
    {
        grant_pb2.GRANT_ACTION_REJECT,
        grant_pb2.GRANT_ACTION_PAUSE,
        grant_pb2.GRANT_ACTION_REVOKE,
        grant_pb2.GRANT_ACTION_OVERRULE,
        grant_pb2.GRANT_ACTION_EXIT,
    }
)
_ENDING_RESOURCES = frozenset({directory_pb2.RESOURCE_ACTION_REJECT, directory_pb2.RESOURCE_ACTION_WITHDRAW})


def out_of_hours(time_ms: int) -> bool:
    """Return whether a moment (Unix milliseconds) is outside Monday to Friday, 08:00 to 18:00, UTC+8."""
    days, of_day = divmod(time_ms + BEIJING_MS, _DAY_MS)
    return (days + _FIRST_WEEKDAY) % 7 >= 5 or not _OPEN_MS <= of_day < _SHUT_MS


def shown(entry: audit_pb2.AuditEntry, *, by_person: bool) -> int:
    """Return the rules that an entry fits by itself, bit n for ReviewRule n.

    Args:
        entry: of the log.
        by_person: whether the actor of an administrative entry is a person.
    """
    which = entry.WhichOneof("subject")
    if which == "exchange":
        return _of_exchange(entry.exchange) | _of_time(entry.time_ms)
    if which == "refusals":
        return 1 << v.REVIEW_RULE_REFUSED_CALL
    return _of_act(entry.administrative, by_person) | (_of_time(entry.time_ms) if by_person else 0)


def _of_exchange(told: audit_pb2.ExchangeEntry) -> int:
    flags = 0
    if told.reason in BROKEN:
        flags |= 1 << v.REVIEW_RULE_BROKEN
    elif told.reason in SUSPICIOUS:
        flags |= 1 << v.REVIEW_RULE_SUSPICIOUS_REFUSAL
    if told.decision == audit_pb2.DECISION_RELEASED and not told.case_number.strip():
        flags |= 1 << v.REVIEW_RULE_NO_CASE
    if len(told.fields) >= MANY_FIELDS:
        flags |= 1 << v.REVIEW_RULE_MANY_FIELDS
    return flags


def _of_act(told: audit_pb2.AdministrativeEntry, by_person: bool) -> int:
    flags = 0
    if told.act in _ADMINISTRATIVE and by_person:
        flags |= 1 << v.REVIEW_RULE_ADMINISTRATIVE
    if told.act in _ENDING or _ends(told):
        flags |= 1 << v.REVIEW_RULE_REVOCATION
    if told.act == audit_pb2.ACT_REFUSED:
        flags |= 1 << v.REVIEW_RULE_REFUSED_CALL
    if told.act in _ALERTS:
        flags |= 1 << v.REVIEW_RULE_ALERT
    return flags


def _ends(told: audit_pb2.AdministrativeEntry) -> bool:
    try:
        if told.act == audit_pb2.ACT_GRANT_EVENT:
            return grant_pb2.GrantEventBody.FromString(told.statement.body).action in _ENDING_GRANTS
        if told.act == audit_pb2.ACT_RESOURCE_STATE:
            change = directory_pb2.ResourceStateBody.FromString(told.statement.body)
            return change.suspended or change.action in _ENDING_RESOURCES
    except DecodeError:
        return False
    return False


def _of_time(time_ms: int) -> int:
    return 1 << v.REVIEW_RULE_OUT_OF_HOURS if out_of_hours(time_ms) else 0
