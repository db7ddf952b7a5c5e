"""Roles per method, and refusals that must not fill the log."""

import pytest
from google.protobuf.descriptor import FileDescriptor

from exchange.errors import RoleNotAllowed, TooMany
from exchange.identity import Identity, Role
from exchange.v1 import (
    admin_pb2,
    audit_pb2,
    case_pb2,
    directory_pb2,
    exchange_pb2,
    grant_pb2,
    link_pb2,
    reason_pb2,
    report_pb2,
    review_pb2,
    risk_pb2,
    rules_pb2,
    stop_pb2,
    ticket_pb2,
)
from gateway.access.buckets import OTHERS
from gateway.access.call_rate import QUIET_MS, CallRate
from gateway.access.method_table import ANY, ROWS, MethodTable
from gateway.access.refusals import RefusalLimiter
from gateway.calls import CHANGES
from tests.support.region import DOMAIN
from tests.support.sealing import NOW_MS

SERVED = (
    admin_pb2,
    audit_pb2,
    case_pb2,
    directory_pb2,
    exchange_pb2,
    grant_pb2,
    link_pb2,
    report_pb2,
    review_pb2,
    risk_pb2,
    rules_pb2,
    stop_pb2,
    ticket_pb2,
)
DENIED, EXPIRED = reason_pb2.REASON_NO_GRANT, reason_pb2.REASON_GRANT_EXPIRED


def methods(file: FileDescriptor) -> set[str]:
    return {
        f"/{service.full_name}/{method.name}"
        for service in file.services_by_name.values()
        for method in service.methods
    }


def test_every_method_that_a_gateway_serves_has_a_row_and_no_row_is_left_over() -> None:
    served = set().union(*(methods(module.DESCRIPTOR) for module in SERVED))
    assert served == {row for row in ROWS if row.startswith("/exchange.v1.")}
    assert served >= CHANGES


def test_a_method_without_a_row_is_refused_to_everybody() -> None:
    for role in Role:
        with pytest.raises(RoleNotAllowed):
            MethodTable().check("/exchange.v1.AdminService/Nothing", role)


@pytest.mark.parametrize(
    ("method", "roles"),
    [
        ("/exchange.v1.LinkService/Link", {Role.AGENT}),
        ("/exchange.v1.AdminService/AddOrganisation", {Role.ADMIN}),
        ("/exchange.v1.GrantService/ApplyGrant", {Role.STEWARD}),
        ("/exchange.v1.DirectoryService/PublishBundle", {Role.AGENT}),
        ("/exchange.v1.AuditService/Tail", {Role.OFFICER, Role.AUDITOR}),
        ("/exchange.v1.AuditService/GetCheckpoint", set(ANY)),
        ("/exchange.v1.ReviewService/Draw", {Role.OFFICER, Role.AUDITOR}),
        ("/exchange.v1.ReviewService/Act", {Role.OFFICER, Role.AUDITOR, Role.STEWARD, Role.ADMIN}),
    ],
)
def test_a_method_is_open_to_its_roles_only(method: str, roles: set[Role]) -> None:
    table = MethodTable()
    for role in Role:
        if role in roles:
            table.check(method, role)
        else:
            with pytest.raises(RoleNotAllowed):
                table.check(method, role)


def person(name: str) -> Identity:
    return Identity(DOMAIN, "970100", Role.OFFICER, "", name)


def test_an_identity_gets_a_burst_of_entries_and_then_a_rate() -> None:
    limiter = RefusalLimiter(burst=3, per_second=1)
    assert [limiter.admit(person("a"), DENIED, NOW_MS) for _ in range(4)] == [True, True, True, False]
    assert limiter.admit(person("b"), DENIED, NOW_MS)
    assert limiter.admit(person("a"), DENIED, NOW_MS + 1000)
    assert not limiter.admit(person("a"), DENIED, NOW_MS + 1000)


def test_what_is_not_entered_is_counted_by_identity_and_reason() -> None:
    limiter = RefusalLimiter(burst=1, per_second=0.001)
    for reason in (DENIED, DENIED, EXPIRED, DENIED):
        limiter.admit(person("a"), reason, NOW_MS)
    counts = {(one.caller, one.reason): (one.count, one.since_ms) for one in limiter.drain(NOW_MS + 5)}
    uri = person("a").uri
    assert counts == {(uri, DENIED): (2, NOW_MS), (uri, EXPIRED): (1, NOW_MS)}
    assert limiter.drain(NOW_MS + 6) == []


def test_identities_beyond_the_bound_share_one_bucket() -> None:
    limiter = RefusalLimiter(burst=1, per_second=0.001, max_identities=2)
    for name in "abcdef":
        limiter.admit(person(name), DENIED, NOW_MS)
    assert [(one.caller, one.count) for one in limiter.drain(NOW_MS)] == [(OTHERS, 3)]
    assert len(limiter._buckets) == 3


def test_quiet_identities_are_forgotten() -> None:
    limiter = RefusalLimiter(burst=2, per_second=1)
    limiter.admit(person("a"), DENIED, NOW_MS)
    limiter.drain(NOW_MS + 2000)
    assert not limiter._buckets


def test_a_call_beyond_its_rate_is_refused_with_the_time_until_the_next() -> None:
    rate = CallRate("explain", burst=2, per_second=4)
    for _ in range(2):
        rate.admit(person("a"), NOW_MS)
    with pytest.raises(TooMany) as refused:
        rate.admit(person("a"), NOW_MS)
    assert refused.value.retry_after_ms == 250
    rate.admit(person("b"), NOW_MS)
    rate.admit(person("a"), NOW_MS + 250)
    rate.admit(person("c"), NOW_MS + QUIET_MS)
    assert len(rate._buckets) == 1, "who has been quiet is forgotten"


def test_callers_beyond_the_bound_share_one_rate() -> None:
    rate = CallRate("explain", burst=1, per_second=0.001, max_identities=2)
    for name in "abc":
        rate.admit(person(name), NOW_MS)
    with pytest.raises(TooMany):
        rate.admit(person("d"), NOW_MS)


def test_a_clock_that_goes_back_gives_no_tokens() -> None:
    limiter = RefusalLimiter(burst=1, per_second=1000)
    assert limiter.admit(person("a"), DENIED, NOW_MS)
    assert not limiter.admit(person("a"), DENIED, NOW_MS - 60_000)
