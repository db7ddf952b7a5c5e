"""Demands at the gateway: given to somebody by an administrator, answered by a resource, seen by all."""

from pathlib import Path
from typing import Any

import pytest

from exchange import errors as e
from exchange.tickets import ANSWER, ANSWERED, ASSIGN, ASSIGNED, CORRECT, DECLINE, OPEN, WITHDRAW
from gateway.clocks.escalation import Escalation
from tests.support.region import CIVIL, POLICE, RESOURCE, moment
from tests.support.review_region import refused
from tests.support.tickets import (
    CHEN,
    DAY_MS,
    HE,
    LI,
    SCHOOL,
    SUN,
    WANG,
    WU,
    TicketRegion,
    demand,
)


async def test_a_demand_waits_for_an_administrator_and_everybody_sees_it(region: TicketRegion) -> None:
    ticket_id = await region.raised(CHEN, demand())
    for signer in (CHEN, WU, HE, SUN, WANG):
        record = await region.get(signer, ticket_id)
        assert (record.state, record.waits_for) == (OPEN, "admin")
        assert [one.ticket_id for one in (await region.listed(signer, demands=True)).tickets] == [ticket_id]
    assert not (await region.listed(CHEN, disputes=True)).tickets


async def test_a_demand_that_is_addressed_is_with_that_organisation_at_once(region: TicketRegion) -> None:
    ticket_id = await region.raised(CHEN, demand(addressed_to=POLICE))
    assert (await region.get(HE, ticket_id)).waits_for == POLICE
    unknown = await refused(region.raised(CHEN, demand(addressed_to="11990000MB1A0001XD")))
    assert isinstance(unknown, e.ExchangeError)


async def test_an_assigned_demand_is_answered_by_a_resource_of_the_organisation_it_is_with(
    region: TicketRegion,
) -> None:
    ticket_id = await region.raised(CHEN, demand())
    early = await refused(region.act(LI, ticket_id, ANSWER, resource=RESOURCE))
    assert isinstance(early, e.WrongState)
    assert (await region.act(WANG, ticket_id, ASSIGN, assigned_to=SCHOOL)).state == ASSIGNED
    others = await refused(region.act(HE, ticket_id, ANSWER, 2, resource=RESOURCE))
    assert isinstance(others, e.RoleNotAllowed)
    assert (await region.act(WANG, ticket_id, ASSIGN, 2, assigned_to=POLICE)).state == ASSIGNED
    missing = await refused(region.act(LI, ticket_id, ANSWER, 3, resource="970100/police/other"))
    assert isinstance(missing, e.UnknownResource)
    assert (await region.act(LI, ticket_id, ANSWER, 3, resource=RESOURCE)).state == ANSWERED
    assert isinstance(await refused(region.act(CHEN, ticket_id, WITHDRAW, 4)), e.WrongState)


@pytest.mark.parametrize(
    ("signer", "action", "more", "error"),
    [
        (CHEN, ASSIGN, {"assigned_to": POLICE}, e.RoleNotAllowed),
        (SUN, ASSIGN, {"assigned_to": POLICE}, e.RoleNotAllowed),
        (WANG, ASSIGN, {"assigned_to": "11990000MB1A0001XD"}, e.ExchangeError),
        (WANG, ASSIGN, {"assigned_to": ""}, e.Malformed),
        (WANG, DECLINE, {}, e.RoleNotAllowed),
        (LI, DECLINE, {}, e.WrongState),
        (LI, WITHDRAW, {}, e.RoleNotAllowed),
        (LI, CORRECT, {}, e.WrongState),
        (WANG, ASSIGN, {"assigned_to": POLICE, "revision": 2}, e.WrongState),
        (WANG, ASSIGN, {"assigned_to": POLICE, "resource": RESOURCE}, e.Malformed),
    ],
)
async def test_other_steps_of_an_open_demand_are_refused(
    region: TicketRegion, signer: Any, action: int, more: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    ticket_id = await region.raised(CHEN, demand())
    assert isinstance(await refused(region.act(signer, ticket_id, action, **({"revision": 1} | more))), error)
    assert region.state.tickets.one(ticket_id).standing.state == OPEN


async def test_only_the_second_of_two_administrators_who_race_is_refused(region: TicketRegion) -> None:
    ticket_id = await region.raised(CHEN, demand())
    await region.act(WANG, ticket_id, ASSIGN, assigned_to=POLICE)
    late = await refused(region.act(WANG, ticket_id, ASSIGN, assigned_to=CIVIL))
    assert isinstance(late, e.WrongState)
    assert region.state.tickets.one(ticket_id).standing.waits_for == POLICE


async def test_a_clock_runs_in_working_days_from_when_somebody_has_it_and_is_escalated_once(
    region: TicketRegion, tmp_path: Path
) -> None:
    entered: list[str] = []

    async def enter(error: e.ExchangeError, *, since_ms: int) -> None:
        assert isinstance(error, e.ClockOverdue) and since_ms <= region.clock.ms
        entered.append(error.subject)

    def escalation() -> Escalation:
        path = tmp_path / "overdue.json"
        return Escalation(sources=(region.clocks.due,), enter=enter, path=path, clock=region.clock)

    ticket_id = await region.raised(CHEN, demand())
    name = ticket_id.hex()[:16]
    assert await escalation().turn() == 0
    due_ms = (await region.get(CHEN, ticket_id)).due_at.ToMilliseconds()
    assert 10 * DAY_MS < due_ms - region.clock.ms < 25 * DAY_MS
    region.clock.ms = due_ms
    assert await escalation().turn() == 1
    # Once, also after a restart.
    assert await escalation().turn() == 0
    assert entered == [f"demand {name} waits for admin"]
    assert [one.ticket_id for one in (await region.listed(SUN, overdue=True)).tickets] == [ticket_id]
    region.feed.offer(region.authority.trust_list(region.clock.ms))
    stamp = {"issued_at": moment(region.clock.ms)}
    await region.act(WANG, ticket_id, ASSIGN, assigned_to=POLICE, **stamp)
    assert not (await region.listed(SUN, overdue=True)).tickets
    running = escalation()
    assert await running.turn() == 0
    region.clock.ms = (await region.get(CHEN, ticket_id)).due_at.ToMilliseconds()
    assert await running.turn() == 1
    assert entered[1:] == [f"demand {name} waits for {POLICE}"]


async def test_an_alert_that_could_not_be_entered_is_entered_by_the_next_turn(
    region: TicketRegion, tmp_path: Path
) -> None:
    broken = True

    async def enter(error: e.ExchangeError, *, since_ms: int) -> None:
        if broken:
            raise e.AuditUnavailable("down")

    await region.raised(CHEN, demand())
    region.clock.ms += 40 * DAY_MS
    running = Escalation(
        sources=(region.clocks.due,), enter=enter, path=tmp_path / "overdue.json", clock=region.clock
    )
    with pytest.raises(e.AuditUnavailable):
        await running.turn()
    broken = False
    assert (await running.turn(), await running.turn()) == (1, 0)
