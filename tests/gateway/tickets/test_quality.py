"""Quality at the gateway: who may report, that nothing counts twice, and what the sums say."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exchange import errors as e
from exchange.identity import Role
from exchange.tickets import CORRECT, DECLINE
from exchange.v1 import audit_pb2, ticket_pb2
from gateway.tickets.quality import KEPT_DAYS
from tests.support.callers import by
from tests.support.region import CIVIL, HEALTH, RESOURCE, moment
from tests.support.review_region import refused
from tests.support.sealing import NOW_MS
from tests.support.tickets import (
    AUTHORITY,
    CHEN,
    DAY_MS,
    HEALTH_AGENT,
    LI,
    MOTHER,
    SUN,
    TicketRegion,
    dispute,
    quality,
    ticket_region,
)

OTHER_AGENT = AUTHORITY.person(Role.AGENT, "health-2", HEALTH)


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[TicketRegion]:
    async with ticket_region(tmp_path) as made:
        await made.apply(CHEN)
        yield made


async def sums(region: TicketRegion, **asked: Any) -> list[ticket_pb2.ResourceQuality]:
    answer = await region.stub.ListQuality(ticket_pb2.ListQualityRequest(**asked), metadata=by(SUN))
    return list(answer.resources)


async def test_reports_and_disputes_are_summed_per_resource(region: TicketRegion) -> None:
    region.tell_on()
    await region.report(quality(dated=8, stale=2))
    await region.report(quality(agent="health-2", exchanges=90, dated=2), OTHER_AGENT)
    for action in (CORRECT, DECLINE):
        ticket_id = await region.raised(CHEN, dispute(await region.exchange(MOTHER)))
        await region.act(LI, ticket_id, action)
    (found,) = await sums(region)
    assert (found.resource, found.reports, found.exchanges) == (RESOURCE, 2, 100)
    assert (found.complete_permille, found.valid_permille) == (800, 875)
    assert (found.timely_permille, found.accurate_permille) == (800, 990)
    assert (found.disputes, found.upheld) == (2, 1)
    assert [(one.name, one.values, one.missing, one.invalid) for one in found.fields] == [("name", 20, 4, 2)]


async def test_where_nothing_is_dated_or_reported_nothing_is_held_against_a_resource(
    region: TicketRegion,
) -> None:
    assert await sums(region) == []
    await region.report(quality(fields=[], records=0))
    (found,) = await sums(region)
    assert (found.complete_permille, found.valid_permille, found.timely_permille) == (1000, 1000, 1000)
    assert await sums(region, resource="970100/police/other") == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"consumer": CIVIL}, e.RoleNotAllowed),
        ({"agent": "health-2"}, e.RoleNotAllowed),
        ({"resource": "970100/police/other"}, e.UnknownResource),
        ({"since": moment(NOW_MS)}, e.Malformed),
        ({"since": moment(NOW_MS - 40 * DAY_MS)}, e.Malformed),
        ({"until": moment(NOW_MS + DAY_MS)}, e.ClockSkew),
        ({"exchanges": 0}, e.Malformed),
        ({"dated": 11}, e.Malformed),
        ({"dated": 1, "stale": 2}, e.Malformed),
        ({"fields": [ticket_pb2.FieldQuality(name="name", values=1, missing=2)]}, e.Malformed),
        ({"fields": [ticket_pb2.FieldQuality(name="970102199001010011", values=1)]}, e.BadIdentifier),
        ({"version": 0}, e.Malformed),
        ({"issued_at": moment(NOW_MS - 10 * 60_000)}, e.ClockSkew),
    ],
)
async def test_a_report_that_breaks_a_rule_is_refused(
    region: TicketRegion, changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    assert type(await refused(region.report(quality(**changes)))) is error
    assert await sums(region) == []


async def test_a_report_needs_a_grant_and_an_agent(region: TicketRegion) -> None:
    civil = AUTHORITY.person(Role.AGENT, "civil-1", CIVIL)
    report = quality(consumer=CIVIL, agent="civil-1")
    assert isinstance(await refused(region.report(report, civil)), e.NoGrant)
    assert isinstance(await refused(region.report(quality(), CHEN)), e.RoleNotAllowed)


async def test_a_period_counts_once_also_after_a_restart(region: TicketRegion) -> None:
    body = quality()
    index = await region.report(body)
    assert await region.report(body) == index
    assert isinstance(await refused(region.report(quality())), e.WrongState)
    before = await sums(region)
    await region.restart()
    assert await sums(region) == before
    assert isinstance(await refused(region.report(quality())), e.WrongState)
    await region.report(quality(agent="health-2"), OTHER_AGENT)


async def test_sums_of_days_long_past_are_let_go(region: TicketRegion) -> None:
    await region.report(quality())
    later = NOW_MS + KEPT_DAYS * DAY_MS
    entry = audit_pb2.AuditEntry()
    entry.administrative.act = audit_pb2.ACT_QUALITY
    body = quality(since=moment(later - DAY_MS), until=moment(later))
    entry.administrative.statement.body = body.SerializeToString()
    region.state.quality.apply(99, entry)
    assert region.state.quality.summed(RESOURCE, NOW_MS - DAY_MS, NOW_MS).reports == 0
    assert region.state.quality.summed(RESOURCE, later - DAY_MS, later).reports == 1


async def test_a_span_that_is_longer_than_what_is_kept_is_refused(region: TicketRegion) -> None:
    assert await sums(region, since=moment(NOW_MS - DAY_MS)) == []
    found = await refused(sums(region, since=moment(NOW_MS - 500 * DAY_MS)))
    assert isinstance(found, e.Malformed)
    denied = await refused(
        region.stub.ListQuality(ticket_pb2.ListQualityRequest(), metadata=by(HEALTH_AGENT))
    )
    assert isinstance(denied, e.RoleNotAllowed)
