"""Messages of the contract as plain values for JSON and tables: bytes as hexadecimal, times as RFC 3339."""

from collections.abc import Mapping
from itertools import zip_longest

from cryptography.x509 import load_der_x509_certificate
from google.protobuf.message import DecodeError

from exchange.errors import NoIdentity, ReceiptBroken
from exchange.identity import identity_of
from exchange.v1 import (
    agent_pb2,
    audit_pb2,
    common_pb2,
    directory_pb2,
    grant_pb2,
    reason_pb2,
    stop_pb2,
    trust_pb2,
)
from shuqiao import resource_views, review_views, risk_views, ticket_acts
from shuqiao.moments import exchange_id as exchange_id
from shuqiao.moments import moment as moment
from shuqiao.moments import unix_ms as unix_ms
from shuqiao.review_views import Finding as Finding
from shuqiao.review_views import finding as finding

View = dict[str, object]


def kind(number: "common_pb2.Kind.ValueType") -> str:
    """Return "query" or "verify"."""
    return common_pb2.Kind.Name(number).removeprefix("KIND_").lower()


def organisation(body: directory_pb2.OrganisationBody) -> View:
    """Return an organisation."""
    return {
        "credit_code": body.credit_code,
        "alias": body.alias,
        "division": body.division,
        "name_zh": body.name_zh,
        "name_en": body.name_en,
        "kind": resource_views.word(directory_pb2.OrganisationKind.Name(body.kind), "ORGANISATION_KIND_"),
    }


def resource(body: directory_pb2.ResourceBody, *, suspended: bool) -> View:
    """Return a catalogue entry."""
    return {**resource_views.entry(body), "suspended": suspended, "issued_at": moment(body.issued_at)}


def grant(record: grant_pb2.GrantRecord) -> View:
    """Return a grant with its history."""
    body = grant_pb2.GrantBody.FromString(record.grant.body)
    return {
        "grant_id": record.grant_id.hex(),
        "state": grant_state(record.state),
        "revision": record.revision,
        "consumer": body.consumer,
        "provider": body.provider,
        "resource": body.resource,
        "fields": list(body.fields),
        "kinds": [kind(number) for number in body.kinds],
        "purposes": list(body.purposes),
        "matters": list(body.matters),
        "case_required": body.case_required,
        "not_before": moment(body.not_before),
        "not_after": moment(record.not_after if record.HasField("not_after") else body.not_after),
        "extended_to": moment(record.extended_to),
        "supervisor": record.supervisor,
        "resource_standing": resource_views.standing(record.resource_standing),
        "applied_by": signed_by(record.grant),
        "justification": body.justification,
        "scope": _scope(body),
        "domains": list(body.domains),
        "steps": list(body.steps),
        "row_filters": [
            {
                "field": item.field,
                "operator": _word(grant_pb2.FilterOperator.Name(item.operator), "FILTER_OPERATOR_"),
                "values": list(item.values),
            }
            for item in body.row_filters
        ],
        "quotas": [
            {
                "period": _word(grant_pb2.QuotaPeriod.Name(item.period), "QUOTA_PERIOD_"),
                "exchanges": item.exchanges,
                "used": used,
            }
            for item, used in zip_longest(body.quotas, record.used[: len(body.quotas)])
        ],
        "fetch_modes": [_word(directory_pb2.FetchMode.Name(mode), "FETCH_MODE_") for mode in body.fetch_modes]
        or ["on_demand"],
        "data_life_days": body.data_life_days,
        "redisclosure_to": list(body.redisclosure_to),
        "applied_at": moment(record.applied_at),
        "clock": record.clock,
        "due_at": moment(record.due_at),
        "waits_for": record.waits_for,
        "events": [_grant_event(event) for event in record.events],
    }


def signed_by(statement: common_pb2.Statement) -> str:
    """Return the SPIFFE id in a statement's certificate, empty where there is none; it is not verified here.

    Raises:
        NoIdentity, TwoRoles: the certificate names nobody.
    """
    if not statement.chain:
        return ""
    try:
        return identity_of(load_der_x509_certificate(statement.chain[0])).uri
    except ValueError:
        raise NoIdentity("certificate") from None


def _scope(body: grant_pb2.GrantBody) -> str:
    """Return the scope as it counts: one that is not set follows from whether matters are named."""
    if not body.scope:
        return "scenario" if body.matters else "whole"
    return _word(grant_pb2.GrantScope.Name(body.scope), "GRANT_SCOPE_")


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def grant_state(number: "grant_pb2.GrantState.ValueType") -> str:
    """Return for example "active"."""
    return grant_pb2.GrantState.Name(number).removeprefix("GRANT_STATE_").lower()


def certificate(record: trust_pb2.CertificateRecord) -> View:
    """Return a certificate that the authority issued."""
    return {
        "serial": record.serial,
        "spiffe_id": record.spiffe_id,
        "not_after": moment(record.not_after),
        "revoked": record.revoked,
    }


def token(record: trust_pb2.TokenRecord) -> View:
    """Return a token that waits to be used."""
    who = record.enrolment
    return {
        "token_id": record.token_id,
        "role": trust_pb2.Role.Name(who.role).removeprefix("ROLE_").lower(),
        "organisation": who.organisation,
        "name": who.name,
        "hosts": list(who.hosts),
        "created_by": record.created_by,
        "expires_at": moment(record.expires_at),
        "needs": record.needs,
    }


def read_entry(index: int, leaf: bytes) -> audit_pb2.AuditEntry:
    """Return what a leaf of a log that somebody else keeps says.

    Raises:
        ReceiptBroken: it is no entry.
    """
    try:
        return audit_pb2.AuditEntry.FromString(leaf)
    except DecodeError as error:
        raise ReceiptBroken(f"entry {index}") from error


def entry(index: int, leaf: bytes) -> View:
    """Return an entry of the log: what happened, to what, by whom, how it ended.

    Raises:
        ReceiptBroken: the leaf is no entry.
    """
    told = read_entry(index, leaf)
    view: View = {"index": index, "time": unix_ms(told.time_ms), "gateway": told.gateway}
    which = told.WhichOneof("subject")
    if which == "exchange":
        view |= {"type": "exchange", **_exchange(told.exchange)}
    elif which == "administrative":
        view |= {"type": "administrative", **_administrative(told.administrative)}
    elif which == "refusals":
        count = told.refusals
        view |= {
            "type": "refusals",
            "caller": count.caller,
            "reason": reason(count.reason),
            "count": count.count,
            "since": unix_ms(count.since_ms),
        }
    return view


def reason(number: "reason_pb2.Reason.ValueType") -> str:
    """Return the stable code, empty for none; a code this version does not know as its number."""
    if not number:
        return ""
    try:
        return reason_pb2.Reason.Name(number).removeprefix("REASON_")
    except ValueError:
        return str(int(number))


def case_standing(number: "audit_pb2.CaseStanding.ValueType") -> str:
    """Return for example "open"; empty where no case was named."""
    if not number:
        return ""
    return audit_pb2.CaseStanding.Name(number).removeprefix("CASE_STANDING_").lower()


def records(answer: agent_pb2.Answer) -> list[dict[str, str | None]]:
    """Return the records of an answer, one mapping from field to text each."""
    columns: Mapping[str, tuple[list[str], frozenset[int]]] = {
        column.name: (list(column.values), frozenset(column.nulls)) for column in answer.columns
    }
    return [
        {name: None if row in nulls else values[row] for name, (values, nulls) in columns.items()}
        for row in range(answer.records)
    ]


def _exchange(told: audit_pb2.ExchangeEntry) -> View:
    return {
        "exchange_id": exchange_id(told.exchange_id),
        "decision": audit_pb2.Decision.Name(told.decision).removeprefix("DECISION_").lower(),
        "reason": reason(told.reason),
        "rule": told.rule,
        "hop": told.hop,
        "consumer": told.consumer_organisation,
        "consumer_agent": told.consumer_agent,
        "provider": told.provider_organisation,
        "provider_agent": told.provider_agent,
        "operator": told.operator,
        "resource": told.resource,
        "kind": kind(told.kind),
        "fields": list(told.fields),
        "purpose": told.purpose,
        "matter": told.matter,
        "case_number": told.case_number,
        "case_standing": case_standing(told.case_standing),
        "application": told.application,
        "grant_id": told.grant_id.hex(),
        "grant_revision": told.grant_revision,
        "request_digest": told.request_digest.hex(),
        "response_digest": told.response_digest.hex(),
        "request_bytes": told.request_bytes,
        "response_bytes": told.response_bytes,
        "admit_us": told.admit_us,
        "provider_us": told.provider_us,
        "tag_period": told.tag_period,
        "tag_count": told.tag_count,
    }


def _administrative(told: audit_pb2.AdministrativeEntry) -> View:
    return {
        "act": audit_pb2.Act.Name(told.act).removeprefix("ACT_").lower(),
        "actor": told.actor,
        "subject": told.subject,
        "reason": reason(told.reason or told.alert.reason),
        **_detail(told),
        **review_views.act(told),
        **risk_views.act(told),
        **resource_views.act(told),
        **ticket_acts.act(told),
    }


def _detail(told: audit_pb2.AdministrativeEntry) -> View:
    """Return what else belongs to an act: of an alert, a segment, a stop."""
    if told.HasField("alert"):
        since = {"since": unix_ms(told.alert.since_ms)} if told.alert.since_ms else {}
        return {"severity": told.alert.severity, **since}
    if told.HasField("segment"):
        return {"segment_first": told.segment.first, "segment_end": told.segment.end}
    if told.act == audit_pb2.ACT_STOP:
        stop = stop_pb2.StopBody.FromString(told.statement.body)
        scope = stop_pb2.StopScope.Name(stop.scope).removeprefix("STOP_SCOPE_").lower()
        return {"scope": scope, "target": stop.target, "rehearsal": stop.rehearsal, "note": stop.note}
    return {}


def _grant_event(statement: common_pb2.Statement) -> View:
    event = grant_pb2.GrantEventBody.FromString(statement.body)
    return {
        "revision": event.revision,
        "action": grant_pb2.GrantAction.Name(event.action).removeprefix("GRANT_ACTION_").lower(),
        "issued_at": moment(event.issued_at),
        "signed_by": signed_by(statement),
        "note": event.note,
        "not_after": moment(event.not_after),
        "deleted_before": moment(event.deleted_before),
    }
