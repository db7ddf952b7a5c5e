"""Emergency stops over real links: nothing of a stopped thing is released, whoever else errs."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from agent.stops import AgentStops
from exchange.errors import AuditUnavailable
from exchange.identity import Role
from exchange.stops import read_stop
from exchange.v1 import audit_pb2, common_pb2, link_pb2, stop_pb2
from tests.support.hostile import World, outcome, until
from tests.support.region import DIVISION, HEALTH, POLICE, RESOURCE
from tests.support.stopping import lift_body, lifted, stop_body, stopped

OF_RESOURCE, REGION = stop_pb2.STOP_SCOPE_RESOURCE, stop_pb2.STOP_SCOPE_REGION
Statements = Sequence[common_pb2.Statement]


class Slow:
    """Holds the source's reads until it is told to let them go."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.reading = asyncio.Event(), 0
        read = world.table.read

        async def held(keys: Sequence[Mapping[str, str]], *, timeout_s: float) -> list[Any]:
            self.reading += 1
            await self.go.wait()
            return await read(keys, timeout_s=timeout_s)

        monkeypatch.setattr(world.table, "read", held)


@pytest.fixture
def officers(world: World) -> list[Any]:
    return [world.authority.person(Role.OFFICER, name) for name in ("officer-1", "officer-2")]


def signed(world: World, officers: Sequence[Any], scope: int, target: str, **changes: Any) -> Statements:
    return stopped(stop_body(world.clock.ms, scope, target, **changes), *officers)


def a_notice(statements: Statements, *, is_lift: bool = False) -> link_pb2.LinkResponse:
    stop = link_pb2.StopNotice(statements=statements, lifted=is_lift)
    return link_pb2.LinkResponse(notices=[link_pb2.Notice(stop=stop)])


def released(world: World) -> int:
    return sum(entry.decision == audit_pb2.DECISION_RELEASED for entry in world.entries())


@pytest.mark.parametrize(
    ("scope", "target", "people"),
    [
        (stop_pb2.STOP_SCOPE_FIELD, f"{RESOURCE}#address", 1),
        (OF_RESOURCE, RESOURCE, 1),
        (stop_pb2.STOP_SCOPE_AGENT, f"{HEALTH}/health-1", 1),
        (stop_pb2.STOP_SCOPE_ORGANISATION, POLICE, 2),
        (REGION, DIVISION, 2),
    ],
)
async def test_what_is_stopped_is_refused_with_an_entry_that_names_the_stop(
    world: World, officers: list[Any], scope: int, target: str, people: int
) -> None:
    assert outcome(await world.ask()) == "ANSWER"
    one = officers[0].identity
    done = await world.stops.order(one, signed(world, officers[:people], scope, target))
    assert done.index is not None and done.told == 3
    assert outcome(await world.ask()) == "STOPPED"
    entry = world.entries()[-1]
    assert (entry.decision, entry.rule) == (audit_pb2.DECISION_REFUSED, done.stop.rule)
    assert world.region.state.stops.force.caught(done.stop.stop_id) == 1
    lift = lifted(lift_body(world.clock.ms, done.stop.stop_id), *officers[:people])
    assert await world.stops.lift(one, lift) > done.index
    await until(lambda: world.police.stops.force.quiet and world.health.stops.force.quiet)
    await world.still_works()


async def test_a_grant_is_stopped_by_its_id_and_other_grants_go_on(world: World, officers: list[Any]) -> None:
    stop = signed(world, officers[:1], stop_pb2.STOP_SCOPE_GRANT, world.grant.hex())
    await world.stops.order(officers[0].identity, stop)
    assert outcome(await world.ask()) == "STOPPED"
    assert outcome(await world.ask(world.open_question())) == "ANSWER"


async def test_an_exchange_that_waits_for_a_slow_source_is_refused_at_once_and_its_answer_never_leaves(
    world: World, officers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(world, monkeypatch)
    asking = [asyncio.create_task(world.ask()) for _ in range(3)]
    await until(lambda: slow.reading >= 1 and len(next(iter_police(world)).pending) == 3)
    done = await world.stops.order(officers[0].identity, signed(world, officers[:1], OF_RESOURCE, RESOURCE))
    assert done.caught == 3
    assert [outcome(await each) for each in asking] == ["STOPPED"] * 3
    slow.go.set()
    # The answers in hand became failures: they are entered, and the provider has its receipts.
    await until(lambda: not world.police.provider._tasks and not world.police.journal.open_items)
    await until(lambda: len(world.entries()) == 6)
    assert released(world) == 0
    assert all(entry.rule == done.stop.rule for entry in world.entries())
    assert world.police.provider.fault is None


def iter_police(world: World) -> Any:
    return (link for link in world.links if link.identity.organisation == POLICE)


async def test_an_answer_that_is_being_made_durable_is_not_released_once_it_is_stopped(
    world: World, officers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, held = world.sequencer.submit, []

    def later(leaves: Any, done: Any, beside: Any = (), charges: Any = ()) -> None:
        def outcomes(result: Any) -> None:
            held.append(lambda: done(result))

        submit(leaves, outcomes, beside, charges)

    monkeypatch.setattr(world.sequencer, "submit", later)
    asking = asyncio.create_task(world.ask())
    await until(lambda: bool(held))
    monkeypatch.setattr(world.sequencer, "submit", submit)
    monkeypatch.setattr(world.health.stops, "notice", lambda notice: None)  # it would fail its own question
    done = await world.stops.order(officers[0].identity, signed(world, officers[:1], OF_RESOURCE, RESOURCE))
    held[0]()
    response = await asking
    assert outcome(response) == "STOPPED" and not response.HasField("receipt")
    assert released(world) == 1, "durable before it was stopped: an entry without a release"
    assert world.region.state.stops.force.caught(done.stop.stop_id) == 1
    await until(lambda: not world.police.journal.open_items)
    assert world.police.provider.fault is None


async def test_a_provider_refuses_what_a_gateway_lets_pass_that_only_told_of_the_stop(
    world: World, officers: list[Any]
) -> None:
    world.police.wire.push(a_notice(signed(world, officers[:1], OF_RESOURCE, RESOURCE)))
    await until(lambda: not world.police.stops.force.quiet)
    reads = world.table.reads
    assert outcome(await world.ask()) == "STOPPED"
    assert world.table.reads == reads
    assert world.entries()[-1].rule == "provider"


async def test_an_answer_in_hand_is_dropped_by_the_provider_itself(
    world: World, officers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(world, monkeypatch)
    asking = asyncio.create_task(world.ask())
    await until(lambda: slow.reading == 1)
    world.police.wire.push(a_notice(signed(world, officers[:1], OF_RESOURCE, RESOURCE)))
    await until(lambda: not world.police.stops.force.quiet)
    slow.go.set()
    assert outcome(await asking) == "STOPPED"
    assert released(world) == 0


async def test_an_answer_that_is_journalled_and_then_stopped_is_dropped_too(
    world: World, officers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = world.police.journal.answered

    async def stopped_meanwhile(rows: Any) -> None:
        await answered(rows)
        world.police.stops.notice(
            link_pb2.StopNotice(statements=signed(world, officers[:1], OF_RESOURCE, RESOURCE))
        )

    monkeypatch.setattr(world.police.journal, "answered", stopped_meanwhile)
    assert outcome(await world.ask()) == "STOPPED"
    await until(lambda: not world.police.journal.open_items)
    assert released(world) == 0


async def test_forged_stops_and_those_that_lack_an_officer_are_left_out(
    world: World, officers: list[Any]
) -> None:
    altered = signed(world, officers[:1], OF_RESOURCE, RESOURCE)
    altered[0].signature = altered[0].signature[:-1] + bytes([altered[0].signature[-1] ^ 1])
    elsewhere = world.authority.person(Role.ADMIN, "admin-9")
    forged = (
        altered,
        signed(world, [elsewhere], OF_RESOURCE, RESOURCE),
        signed(world, officers[:1], REGION, DIVISION),
        signed(world, officers[:1] * 2, REGION, DIVISION),
        signed(world, officers[:1], stop_pb2.STOP_SCOPE_ORGANISATION, POLICE, minutes=61),
        signed(world, officers, REGION, "980100"),
        [],
    )
    for statements in forged:
        world.police.wire.push(a_notice(statements))
        world.health.wire.push(a_notice(statements))
    await world.still_works()
    assert world.police.stops.force.quiet and world.health.stops.force.quiet


async def test_a_lift_that_the_gateway_withholds_or_one_officer_alone_signed_keeps_it_stopped(
    world: World, officers: list[Any]
) -> None:
    one = officers[0].identity
    done = await world.stops.order(one, signed(world, officers, REGION, DIVISION))
    await until(lambda: not world.police.stops.force.quiet)

    def without_notices(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        del frame.notices[:]
        return frame

    alone = lifted(lift_body(world.clock.ms, done.stop.stop_id), officers[0])
    world.police.wire.push(a_notice(alone, is_lift=True))
    world.police.wire.down = without_notices
    await world.stops.lift(one, lifted(lift_body(world.clock.ms, done.stop.stop_id), *officers))
    assert world.region.state.stops.force.quiet
    assert outcome(await world.ask()) == "STOPPED"
    assert not world.police.stops.force.quiet
    world.police.wire.honest()
    assert await world.police.redial()
    await world.still_works()
    # A stop that was lifted is not taken again, however often a gateway repeats it.
    world.police.wire.push(a_notice(signed_again(world, done.stop.stop_id)))
    await world.still_works()


def signed_again(world: World, stop_id: bytes) -> Statements:
    ordered = world.region.state.stops.get(stop_id)
    assert ordered is not None
    return ordered.statements


async def test_a_rehearsal_is_told_and_counted_and_refuses_nothing(world: World, officers: list[Any]) -> None:
    done = await world.stops.order(
        officers[0].identity, signed(world, officers[:1], OF_RESOURCE, RESOURCE, rehearsal=True)
    )
    assert done.told == 3
    await until(lambda: not world.police.stops.force.quiet)
    for _ in range(2):
        assert outcome(await world.ask()) == "ANSWER"
    for force in (world.region.state.stops.force, world.police.stops.force):
        assert force.caught(done.stop.stop_id) == 2


async def test_an_agent_keeps_a_stop_over_its_restart_and_forgets_it_when_its_time_is_over(
    world: World, officers: list[Any]
) -> None:
    stop = signed(world, officers[:1], REGION, DIVISION, minutes=30)
    world.police.stops.notice(link_pb2.StopNotice(statements=stop))
    again = AgentStops(region=world.police.view, division=DIVISION, clock=world.clock)
    assert again.force.get(read_stop(stop[0].body).stop_id) is not None
    world.clock.ms += 31 * 60_000
    again.sweep()
    assert again.force.quiet
    assert AgentStops(region=world.police.view, division=DIVISION, clock=world.clock).force.quiet


async def test_while_the_log_fails_a_stop_holds_and_is_told_to_new_links_and_logged_once_it_is_back(
    world: World, officers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(leaf: bytes) -> None:
        raise AuditUnavailable("test")

    with monkeypatch.context() as patch:
        patch.setattr(world.sequencer, "append", fails)
        await world.civil.hang_up()
        done = await world.stops.order(
            officers[0].identity, signed(world, officers[:1], OF_RESOURCE, RESOURCE)
        )
        assert (done.index, done.told) == (None, 2)
        assert outcome(await world.ask()) == "STOPPED"
        assert await world.civil.dial()
        assert not world.civil.stops.force.quiet
        with pytest.raises(AuditUnavailable):
            lift = lifted(lift_body(world.clock.ms, done.stop.stop_id), officers[0])
            await world.stops.lift(officers[0].identity, lift)
        assert outcome(await world.ask()) == "STOPPED"
    again = await world.stops.order(officers[0].identity, signed_again(world, done.stop.stop_id))
    assert again.index is not None and (again.told, again.caught) == (0, 0)
    assert world.stops.notices() == []
