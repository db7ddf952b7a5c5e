"""Disputes, demands and quality as plain values for JSON and tables."""

from uuid import UUID

from exchange.v1 import common_pb2, ticket_pb2
from shuqiao.views import View, moment


def ticket(record: ticket_pb2.TicketRecord) -> View:
    """Return a ticket; of one that the caller was only told a correction of, what that step says."""
    view: View = {
        "ticket_id": record.ticket_id.hex(),
        "state": state(record.state),
        "revision": record.revision,
        "waits_for": record.waits_for,
        "due_at": moment(record.due_at),
        "told": list(record.told),
        "acknowledged": list(record.acknowledged),
        "told_all": record.told_all,
        "told_period": record.told_period,
        "untraceable": record.untraceable,
    } | quarters(record)
    if record.HasField("ticket"):
        body = ticket_pb2.TicketBody.FromString(record.ticket.body)
        view |= {"raised_by": body.raised_by, "issued_at": moment(body.issued_at), "text": body.text}
        view |= dispute(body.dispute) if body.HasField("dispute") else demand(body.demand)
    return view | {"events": [event(one) for one in record.events]}


def quarters(record: ticket_pb2.TicketRecord) -> View:
    """Return in which quarters past recipients were looked for, and in which they were not."""
    return {
        "told_periods": list(record.told_periods),
        "erased_periods": list(record.erased_periods),
        "unsearched_periods": list(record.unsearched_periods),
    }


def dispute(body: ticket_pb2.Dispute) -> View:
    """Return what is disputed; what is sealed stays sealed."""
    return {
        "resource": body.resource,
        "provider": body.provider,
        "exchange_id": str(UUID(bytes=body.exchange_id)),
        "fields": list(body.fields),
        "sealed_to": body.sealed.agent,
    }


def demand(body: ticket_pb2.Demand) -> View:
    """Return what is wanted."""
    return {
        "title": body.title,
        "wanted": list(body.wanted),
        "division": body.division,
        "purpose": body.purpose,
        "matter": body.matter,
        "addressed_to": body.addressed_to,
    }


def event(statement: common_pb2.Statement) -> View:
    """Return a step."""
    body = ticket_pb2.TicketEventBody.FromString(statement.body)
    return {
        "revision": body.revision,
        "action": action(body.action),
        "issued_at": moment(body.issued_at),
        "text": body.text,
        "assigned_to": body.assigned_to,
        "resource": body.resource,
        "fields": list(body.fields),
    }


def state(number: "ticket_pb2.TicketState.ValueType") -> str:
    """Return for example "assigned"."""
    return ticket_pb2.TicketState.Name(number).removeprefix("TICKET_STATE_").lower()


def action(number: "ticket_pb2.TicketAction.ValueType") -> str:
    """Return for example "decline"; a number that this version does not know as itself."""
    try:
        return ticket_pb2.TicketAction.Name(number).removeprefix("TICKET_ACTION_").lower()
    except ValueError:
        return str(int(number))


def quality(told: ticket_pb2.ResourceQuality) -> View:
    """Return the quality of a resource, in thousandths."""
    return {
        "resource": told.resource,
        "reports": told.reports,
        "exchanges": told.exchanges,
        "complete_permille": told.complete_permille,
        "valid_permille": told.valid_permille,
        "timely_permille": told.timely_permille,
        "accurate_permille": told.accurate_permille,
        "disputes": told.disputes,
        "upheld": told.upheld,
        "fields": [
            {"name": one.name, "values": one.values, "missing": one.missing, "invalid": one.invalid}
            for one in told.fields
        ],
    }
