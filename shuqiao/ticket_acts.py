"""Disputes, demands, corrections and reports of quality in words: what their entries of the log say."""

from uuid import UUID

from google.protobuf.message import DecodeError

from exchange.v1 import audit_pb2, common_pb2, ticket_pb2

View = dict[str, object]


def act(told: audit_pb2.AdministrativeEntry) -> View:
    """Return what the entry of a ticket says; nothing for other acts and for what cannot be read.

    The names begin with "ticket_" or "quality_", so that they stand beside those of every entry.
    """
    read = {
        audit_pb2.ACT_TICKET: _ticket,
        audit_pb2.ACT_TICKET_EVENT: _event,
        audit_pb2.ACT_QUALITY: _quality,
    }.get(told.act)
    if read is not None:
        try:
            return read(told.statement)
        except DecodeError:
            return {}
    return _correction(told.correction) if told.HasField("correction") else {}


def _ticket(statement: common_pb2.Statement) -> View:
    body = ticket_pb2.TicketBody.FromString(statement.body)
    view: View = {"ticket_raised_by": body.raised_by, "ticket_text": body.text}
    if body.HasField("dispute"):
        return view | {
            "ticket_kind": "dispute",
            "ticket_resource": body.dispute.resource,
            "ticket_provider": body.dispute.provider,
            "ticket_exchange": _uuid(body.dispute.exchange_id),
            "ticket_fields": list(body.dispute.fields),
        }
    return view | {"ticket_kind": "demand", "ticket_title": body.demand.title}


def _event(statement: common_pb2.Statement) -> View:
    body = ticket_pb2.TicketEventBody.FromString(statement.body)
    known = body.action in ticket_pb2.TicketAction.values()
    name = ticket_pb2.TicketAction.Name(body.action) if known else str(int(body.action))
    return {
        "ticket_action": name.removeprefix("TICKET_ACTION_").lower(),
        "ticket_text": body.text,
        "ticket_assigned_to": body.assigned_to,
        "ticket_resource": body.resource,
        "ticket_fields": list(body.fields),
    }


def _correction(told: audit_pb2.CorrectionRecord) -> View:
    """Return whom a correction is told to, or that everybody was told."""
    if told.ends:
        return {
            "ticket_told_period": told.tag_period,
            "ticket_untraceable": told.erased,
            "ticket_told_periods": list(told.searched_periods),
            "ticket_erased_periods": list(told.erased_periods),
            "ticket_unsearched_periods": list(told.unsearched_periods),
        }
    return {
        "ticket_recipient": told.recipient,
        "ticket_resource": told.resource,
        "ticket_fields": list(told.fields),
        "ticket_exchanges": [_uuid(one) for one in told.exchange_ids],
    }


def _quality(statement: common_pb2.Statement) -> View:
    body = ticket_pb2.QualityReportBody.FromString(statement.body)
    return {
        "quality_consumer": body.consumer,
        "quality_agent": body.agent,
        "quality_exchanges": body.exchanges,
        "quality_records": body.records,
        "quality_dated": body.dated,
        "quality_stale": body.stale,
    }


def _uuid(raw: bytes) -> str:
    return str(UUID(bytes=raw)) if len(raw) == 16 else raw.hex()
