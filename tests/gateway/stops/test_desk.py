"""The desk that takes emergency stops: what it refuses, what it keeps, and what a restart leaves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from exchange import errors as e
from exchange.clock import system_random
from exchange.identity import Identity, Role
from exchange.stops import MAX_ALONE_MS
from exchange.v1 import audit_pb2, common_pb2, exchange_pb2, stop_pb2
from gateway.audit.log.logged import Logged
from gateway.record import Exchange
from gateway.routing.links import AgentLink, Links, Parcel
from gateway.stop_service import StopService
from gateway.stops.desk import DeskParts, Outcome, StopDesk
from gateway.stops.guard import NotStopped
from gateway.stops.pending_file import PendingFile
from tests.support.region import DIVISION, DOMAIN, HEALTH, RESOURCE, Authority, Region
from tests.support.stopping import lift_body, lifted, stop_body, stopped

OF_RESOURCE, REGION = stop_pb2.STOP_SCOPE_RESOURCE, stop_pb2.STOP_SCOPE_REGION
ORGANISATION, FIELD = stop_pb2.STOP_SCOPE_ORGANISATION, stop_pb2.STOP_SCOPE_FIELD
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


class Office:
    """A region with two officers and a desk."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.region = Region(folder, authority=authority)
        self.one, self.two = (authority.person(Role.OFFICER, name) for name in ("one", "two"))
        self.links, self.concluded = Links(), list[Exchange]()
        self.file = PendingFile(folder / "stops.pb")
        self.open()

    def open(self) -> None:
        region = self.region
        self.desk = StopDesk(
            DeskParts(
                register=region.state.stops,
                registrar=region.registrar,
                links=self.links,
                conclude=self.concluded.extend,
                anchor=region.anchor,
                trust_feed=region.feed,
                file=self.file,
                clock=region.clock,
                hop="gateway/gateway-1",
            )
        )
        self.desk.open()

    async def restart(self) -> None:
        await self.region.registrar.close()
        self.region.start()
        self.open()

    def signed(
        self, scope: int, target: str, *, by: Sequence[Any] = (), **changes: Any
    ) -> Sequence[common_pb2.Statement]:
        return stopped(stop_body(self.region.clock.ms, scope, target, **changes), *(by or [self.one]))

    async def stop(self, scope: int, target: str, **changes: Any) -> Outcome:
        return await self.desk.order(self.one.identity, self.signed(scope, target, **changes))

    async def lift(self, stop_id: bytes, *by: Any) -> int:
        body = lift_body(self.region.clock.ms, stop_id)
        return await self.desk.lift(self.one.identity, lifted(body, *(by or [self.one])))

    @property
    def holds(self) -> bool:
        found = self.region.state.stops.force.find(
            exchange_pb2.RequestHeader(), RESOURCE, self.region.clock.ms
        )
        return found is not None


@pytest.fixture
async def office(tmp_path: Path, authority: Authority) -> Office:
    made = Office(tmp_path, authority)
    await made.region.settled()
    return made


@pytest.mark.parametrize(
    ("scope", "target", "reason"),
    [
        (OF_RESOURCE, "970100/police/nothing", e.UnknownResource),
        (FIELD, f"{RESOURCE}#nothing", e.UnknownField),
        (stop_pb2.STOP_SCOPE_GRANT, "ab" * 32, e.UnknownGrant),
        (ORGANISATION, "11980000MB1A0001X9", e.UnknownOrganisation),
        (stop_pb2.STOP_SCOPE_AGENT, "11980000MB1A0001X9/agent", e.UnknownOrganisation),
        (REGION, "980100", e.Malformed),
    ],
)
async def test_what_a_stop_names_must_exist(
    office: Office, scope: int, target: str, reason: type[e.ExchangeError]
) -> None:
    with pytest.raises(reason):
        await office.stop(scope, target, minutes=30)
    assert office.region.state.stops.force.quiet


async def test_a_stop_is_refused_that_is_old_over_or_of_somebody_else(office: Office) -> None:
    old = office.signed(OF_RESOURCE, RESOURCE)
    short = office.signed(OF_RESOURCE, RESOURCE, minutes=1)
    office.region.clock.ms += 2 * MINUTE_MS
    with pytest.raises(e.WrongState):
        await office.desk.order(office.one.identity, short)
    office.region.clock.ms += 4 * MINUTE_MS
    with pytest.raises(e.ClockSkew):
        await office.desk.order(office.one.identity, old)
    with pytest.raises(e.RoleNotAllowed):
        await office.desk.order(office.two.identity, office.signed(OF_RESOURCE, RESOURCE))
    with pytest.raises(e.RoleNotAllowed):
        admin = office.region.admin
        await office.desk.order(admin.identity, office.signed(OF_RESOURCE, RESOURCE, by=[admin]))
    with pytest.raises(e.BadSignature):
        first, second = office.signed(REGION, DIVISION), office.signed(REGION, DIVISION, by=[office.two])
        await office.desk.order(office.one.identity, [*first, *second])
    with pytest.raises(e.Malformed):
        await office.desk.order(office.one.identity, [])
    assert office.region.state.stops.force.quiet


async def test_the_second_officer_has_an_hour_to_sign(office: Office) -> None:
    both = [office.one, office.two]
    late, later = (office.signed(REGION, DIVISION, by=both) for _ in range(2))
    office.region.clock.ms += 59 * MINUTE_MS
    assert (await office.desk.order(office.one.identity, late)).index is not None
    office.region.clock.ms += 2 * MINUTE_MS
    with pytest.raises(e.ClockSkew):
        await office.desk.order(office.one.identity, later)


async def test_one_officer_alone_stops_the_region_for_an_hour_by_the_gateways_clock_and_once_a_day(
    office: Office,
) -> None:
    body = stop_body(office.region.clock.ms + 4 * MINUTE_MS, REGION, DIVISION, minutes=60)
    first = await office.desk.order(office.one.identity, stopped(body, office.one))
    office.region.clock.ms += MAX_ALONE_MS
    assert not office.holds
    with pytest.raises(e.SecondPersonRequired):
        await office.stop(REGION, DIVISION, minutes=60)
    assert (await office.stop(REGION, DIVISION, minutes=60, rehearsal=True)).index is not None
    assert (await office.stop(ORGANISATION, HEALTH, minutes=60)).index is not None
    await office.stop(REGION, DIVISION, by=[office.one, office.two])
    assert office.holds
    with pytest.raises(e.WrongState):
        await office.lift(first.stop.stop_id, office.one, office.two)


async def test_the_same_body_again_is_no_second_stop(office: Office) -> None:
    statements = office.signed(OF_RESOURCE, RESOURCE)
    first = await office.desk.order(office.one.identity, statements)
    office.region.clock.ms += 10 * MINUTE_MS
    again = await office.desk.order(office.one.identity, statements)
    assert (again.index, again.stop) == (first.index, first.stop)
    assert len([act for act in office.region.log.acts() if act.act == audit_pb2.ACT_STOP]) == 1


async def test_a_lift_holds_once_it_is_logged_and_needs_as_many_people(office: Office) -> None:
    done = await office.stop(REGION, DIVISION, by=[office.one, office.two])
    with pytest.raises(e.SecondPersonRequired):
        await office.lift(done.stop.stop_id)
    with pytest.raises(e.UnknownStop):
        await office.lift(bytes(32))
    office.region.log.fails = e.AuditUnavailable()
    with pytest.raises(e.AuditUnavailable):
        await office.lift(done.stop.stop_id, office.one, office.two)
    assert office.holds
    office.region.log.fails = None
    await office.lift(done.stop.stop_id, office.one, office.two)
    assert not office.holds
    with pytest.raises(e.WrongState):
        await office.lift(done.stop.stop_id, office.one, office.two)


async def test_a_restart_folds_stops_and_lifts_from_the_log(office: Office) -> None:
    kept = await office.stop(OF_RESOURCE, RESOURCE)
    lifted_one = await office.stop(FIELD, f"{RESOURCE}#name")
    await office.lift(lifted_one.stop.stop_id)
    await office.restart()
    assert office.holds
    ordered = {one.stop.name: one for one in office.region.state.stops}
    assert ordered[kept.stop.name].index == kept.index
    assert ordered[lifted_one.stop.name].lift
    assert office.region.state.stops.force.get(lifted_one.stop.stop_id) is None


async def test_a_stop_that_could_not_be_logged_survives_a_restart_and_is_logged_then(office: Office) -> None:
    office.region.log.fails = e.AuditUnavailable()
    done = await office.stop(OF_RESOURCE, RESOURCE)
    assert done.index is None and office.holds
    office.region.clock.ms += 60 * MINUTE_MS
    await office.restart()
    assert office.holds
    assert [list(notice.statements) for notice in office.desk.notices()] == office.file.read()
    office.region.log.fails = None
    again = await office.desk.order(office.one.identity, office.file.read()[0])
    assert again.index is not None
    assert office.file.read() == [] and office.desk.notices() == []
    await office.restart()
    assert office.holds


async def test_a_stop_that_neither_log_nor_file_takes_holds_in_memory(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(stops: object) -> None:
        raise OSError(5, "test")

    office.region.log.fails = e.AuditUnavailable()
    with monkeypatch.context() as patch:
        patch.setattr(office.file, "write", fails)
        assert (await office.stop(OF_RESOURCE, RESOURCE)).index is None
        assert office.holds and office.file.read() == []
    # Once the file can be written, the next attempt writes it, though the log still fails.
    again = office.desk.notices()[0].statements
    assert (await office.desk.order(office.one.identity, list(again))).index is None
    assert len(office.file.read()) == 1


async def test_a_stop_that_was_never_logged_can_be_lifted_and_does_not_come_back(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.region.log.fails = e.AuditUnavailable()
    done = await office.stop(OF_RESOURCE, RESOURCE)
    content = office.file.read()
    office.region.log.fails = None
    await office.lift(done.stop.stop_id)
    assert not office.holds and office.desk.notices() == []
    office.file.write(content)  # as if a crash had come before the file was written anew
    await office.restart()
    assert not office.holds


async def test_a_damaged_file_keeps_the_gateway_from_starting(office: Office, tmp_path: Path) -> None:
    (tmp_path / "stops.pb").write_bytes(b"\xff\xff")
    with pytest.raises(e.StoreDamaged):
        await office.restart()


async def test_answers_that_wait_to_be_written_are_taken_back_and_others_are_not(office: Office) -> None:
    frames: list[Parcel] = []

    async def write(link: AgentLink, parcels: list[Parcel]) -> None:
        frames.extend(parcels)

    asker = Identity(DOMAIN, DIVISION, Role.AGENT, HEALTH, "health-1")
    link = AgentLink(
        identity=asker, serial=1, not_after_ms=1 << 50, provider_window=8, consumer_window=8, write=write
    )
    office.links.add(link)
    resource = office.region.state.resource(RESOURCE)
    for fields in (["name"], ["address"]):
        exchange = Exchange(link, common_pb2.Signed(), 0)
        exchange.header.fields.extend(fields)
        exchange.exchange_id, exchange.resource = system_random(16), resource
        exchange.answer = common_pb2.Signed(body=b"answer")
        link.settle(exchange, b"leaf", Logged(0, b"", "checkpoint"))
    done = await office.stop(FIELD, f"{RESOURCE}#name")
    assert (done.told, done.caught) == (1, 1)
    await link.outbox._write(link.outbox._take())
    assert [parcel.answer is None for parcel in frames] == [True, False]
    assert frames[0].failure is not None and frames[0].failure.reason == e.Stopped.reason
    assert link.take_notices()[0].HasField("stop")


async def test_the_list_shows_what_holds_the_newest_first_and_all_where_it_is_asked_for(
    office: Office,
) -> None:
    first = await office.stop(OF_RESOURCE, RESOURCE)
    second = await office.stop(FIELD, f"{RESOURCE}#name", minutes=5)
    await office.lift(first.stop.stop_id)
    service = StopService(
        desk=office.desk,
        stops=office.region.state.stops,
        calls=None,  # type: ignore[arg-type]
        clock=office.region.clock,
    )

    async def told(*, everything: bool) -> Sequence[stop_pb2.StopRecord]:
        request = stop_pb2.ListStopsRequest(all=everything)
        return (await service._list(request, office.one.identity)).stops

    assert [record.stop_id for record in await told(everything=False)] == [second.stop.stop_id]
    both = await told(everything=True)
    assert [(record.stop_id, record.holds, record.logged) for record in both] == [
        (second.stop.stop_id, True, True),
        (first.stop.stop_id, False, True),
    ]
    assert len(both[1].lift) == 1
    office.region.clock.ms += 5 * MINUTE_MS
    assert not await told(everything=False)


async def test_whoever_only_asks_what_would_happen_is_told_and_counted_for_nothing(office: Office) -> None:
    guard = NotStopped(stops=office.region.state.stops.force)
    rehearsed = await office.stop(OF_RESOURCE, RESOURCE, rehearsal=True)
    asker = Identity(DOMAIN, DIVISION, Role.AGENT, HEALTH, "health-1")
    link = AgentLink(
        identity=asker, serial=1, not_after_ms=1, provider_window=1, consumer_window=1, write=AsyncMock()
    )
    exchange = Exchange(link, common_pb2.Signed(), 0)
    exchange.resource = office.region.state.resource(RESOURCE)
    guard.peek(exchange, None, office.region.clock.ms)
    assert exchange.rule == "stop"
    done = await office.stop(OF_RESOURCE, RESOURCE)
    with pytest.raises(e.Stopped):
        guard.peek(exchange, None, office.region.clock.ms)
    assert exchange.rule == done.stop.rule
    force = office.region.state.stops.force
    assert force.caught(done.stop.stop_id) == force.caught(rehearsed.stop.stop_id) == 0
