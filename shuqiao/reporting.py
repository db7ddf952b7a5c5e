"""The gateway's reports, as calls and as plain lines for tables, JSON and spreadsheets.

Times are Unix milliseconds, 0 for the report's own beginning or end.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from exchange.timestamps import timestamp
from exchange.v1 import grant_pb2, report_pb2, report_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, calling
from shuqiao.views import grant_state, moment

PAGE = 500
Line = Mapping[str, object]
GROUPS = ("consumer", "resource", "region", "consumer-resource", "day", "application")


def disclosures(channel: grpc.Channel, *, ended_too: bool = False) -> Iterator[Line]:
    """Yield grants as they are disclosed, oldest first."""
    stub, token = report_pb2_grpc.ReportServiceStub(channel), ""
    while True:
        request = report_pb2.ListDisclosuresRequest(page_size=PAGE, page_token=token, all=ended_too)
        with calling():
            page = stub.ListDisclosures(request, timeout=CALL_TIMEOUT_S)
        yield from map(_disclosure, page.disclosures)
        token = page.next_page_token
        if not token:
            return


def usage(channel: grpc.Channel, group: str, since_ms: int, until_ms: int) -> list[Line]:
    """Return usage, summed by one of GROUPS."""
    number = report_pb2.UsageGroup.Value(f"USAGE_GROUP_{group.upper().replace('-', '_')}")
    request = report_pb2.GetUsageRequest(group=number, since=_stamp(since_ms), until=_stamp(until_ms))
    with calling():
        found = report_pb2_grpc.ReportServiceStub(channel).GetUsage(request, timeout=CALL_TIMEOUT_S)
    return [_plain(row) for row in found.rows]


def responsibilities(
    channel: grpc.Channel,
    since_ms: int,
    until_ms: int,
    *,
    resource: str = "",
    breaches: bool = False,
) -> list[Line]:
    """Return the responsibility list with what was measured."""
    request = report_pb2.GetResponsibilitiesRequest(
        since=_stamp(since_ms), until=_stamp(until_ms), resource=resource, breaches=breaches
    )
    with calling():
        found = report_pb2_grpc.ReportServiceStub(channel).GetResponsibilities(
            request, timeout=CALL_TIMEOUT_S
        )
    return [_plain(row) for row in found.rows]


def performance(channel: grpc.Channel, since_ms: int, until_ms: int) -> list[Line]:
    """Return figures for evaluation, one line for each organisation."""
    request = report_pb2.GetPerformanceRequest(since=_stamp(since_ms), until=_stamp(until_ms))
    with calling():
        found = report_pb2_grpc.ReportServiceStub(channel).GetPerformance(request, timeout=CALL_TIMEOUT_S)
    return [_plain(row) for row in found.rows]


def _stamp(time_ms: int) -> Timestamp | None:
    return timestamp(time_ms) if time_ms else None


def _disclosure(told: report_pb2.Disclosure) -> Line:
    return {
        "grant_id": told.grant_id.hex(),
        "consumer": told.consumer,
        "consumer_name": told.consumer_name,
        "provider": told.provider,
        "provider_name": told.provider_name,
        "resource": told.resource,
        "resource_title": told.resource_title,
        "fields": list(told.fields),
        "purposes": list(told.purposes),
        "legal_bases": list(told.legal_bases),
        "scope": grant_pb2.GrantScope.Name(told.scope).removeprefix("GRANT_SCOPE_").lower(),
        "matters": list(told.matters),
        "not_before": moment(told.not_before),
        "not_after": moment(told.not_after),
        "state": grant_state(told.state),
    }


_Row = report_pb2.UsageRow | report_pb2.ResponsibilityRow | report_pb2.PerformanceRow
_SPECIAL: Mapping[str, Callable[[Sequence["report_pb2.Breach.ValueType"]], object]] = {
    "breaches": lambda found: [
        report_pb2.Breach.Name(number).removeprefix("BREACH_").lower() for number in found
    ]
}


def _plain(row: _Row) -> Line:
    """Return a row with every field, also those that are 0 or empty."""
    line: dict[str, object] = {}
    for field in row.DESCRIPTOR.fields:
        value = getattr(row, field.name)
        special = _SPECIAL.get(field.name) if not isinstance(value, int) else None
        line[field.name] = special(value) if special is not None else value
    return line
