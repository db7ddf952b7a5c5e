"""What stewards decide takes effect on the next exchange, through real processes."""

from collections.abc import Iterator

import pytest

from exchange.errors import ExchangeError, GrantPaused, GrantRevoked, NoGrant, StepNotGranted, Suspended
from exchange.v1 import grant_pb2
from shuqiao import regional
from shuqiao.client import Client
from shuqiao.demo import cast
from shuqiao.demo.cast import CIVIL, GRANTED, POLICE, RESOURCE
from shuqiao.demo.people import Person
from shuqiao.forms import Filler, RowFilterForm
from shuqiao.questions import Query, failure_of, request_of
from tests.support.real_region import CASE, Load, RealRegion, ask, until

pytestmark = [pytest.mark.system, pytest.mark.alone]


@pytest.fixture
def civil(world: RealRegion) -> Iterator[Client]:
    with world.client(CIVIL.agent) as client:
        yield client


def _decide(world: RealRegion, grant_id: bytes, action: "grant_pb2.GrantAction.ValueType") -> None:
    signer = world.world.held(POLICE.steward).statement_signer()
    with world.world.at_gateway(POLICE.steward) as channel:
        regional.decide_grant(
            channel, signer, grant_id, action, clock=world.stage.clock, random=lambda size: b"\7" * size
        )


def _outcome(world: RealRegion, client: Client, fields: tuple[str, ...]) -> type[ExchangeError] | None:
    try:
        ask(client, world.person, fields)
    except ExchangeError as error:
        return type(error)
    return None


def _by_grant(world: RealRegion, grant_id: bytes, fields: tuple[str, ...]) -> type[ExchangeError] | None:
    """Ask under a grant by its id, so that no other grant is chosen."""
    query = Query(
        resource=RESOURCE,
        fields=fields,
        parameters={"citizen_id": world.person.citizen_id},
        purpose=cast.PURPOSE,
        matter=cast.MATTER,
        case=CASE,
    )
    request = request_of(query, 1)
    request.grant_id = grant_id
    with world.stage.counter(CIVIL.agent) as counter:
        failure = failure_of(counter.ask(request))
    return type(failure) if failure else None


def test_unconditional_fields_are_granted_by_the_providers_agent_alone(
    world: RealRegion, civil: Client
) -> None:
    assert _outcome(world, civil, ("police_station",)) is NoGrant
    applied = world.stage.apply(CIVIL, ("police_station",))
    until(lambda: _outcome(world, civil, ("police_station",)) is None, "accepted")
    with world.world.at_gateway(CIVIL.steward) as channel:
        record = regional.get_grant(channel, applied.grant_id)
    assert record.state == grant_pb2.GRANT_STATE_ACTIVE
    assert len(record.events) == 1


def test_a_grant_is_paused_resumed_and_revoked(world: RealRegion, civil: Client) -> None:
    fields = ("household_number",)
    applied = world.stage.apply(CIVIL, fields)
    world.stage.accept(applied)
    until(lambda: _outcome(world, civil, fields) is None, "accepted")
    for action, due in (
        (grant_pb2.GRANT_ACTION_PAUSE, GrantPaused),
        (grant_pb2.GRANT_ACTION_RESUME, None),
        (grant_pb2.GRANT_ACTION_REVOKE, GrantRevoked),
    ):
        _decide(world, applied.grant_id, action)
        assert _by_grant(world, applied.grant_id, fields) is due


def test_a_grant_for_a_step_gives_the_rows_that_fit_until_the_consumer_gives_it_back(
    world: RealRegion,
) -> None:
    near = world.person
    far = next(one for one in world.stage.persons if one.police_station != near.police_station)
    stations = RowFilterForm(field="police_station", operator="in", values=[near.police_station])
    form = cast.grant(CIVIL, ("address",)).model_copy(
        update={"steps": [f"{cast.MATTER}/file"], "row_filters": [stations]}
    )
    steward = world.world.held(CIVIL.steward).statement_signer()
    with world.world.at_gateway(CIVIL.steward) as channel:
        filler = Filler(clock=world.stage.clock, random=lambda size: b"\4" * size, organisation="")
        applied = regional.apply_grant(channel, steward, filler.grant(form))
    world.stage.accept(applied)

    def found(person: Person, step: str) -> object:
        query = Query(
            resource=RESOURCE,
            fields=("address",),
            parameters={"citizen_id": person.citizen_id},
            purpose=cast.PURPOSE,
            matter=cast.MATTER,
            step=step,
            case=CASE,
        )
        request = request_of(query, 1)
        request.grant_id = applied.grant_id
        with world.stage.counter(CIVIL.agent) as counter:
            response = counter.ask(request)
        failure = failure_of(response)
        return type(failure) if failure else response.answer.records

    until(lambda: found(near, "file") == 1, "accepted")
    assert [found(far, "file"), found(near, "other"), found(near, "")] == [0, StepNotGranted, StepNotGranted]
    with world.world.at_gateway(CIVIL.steward) as channel:
        exit_ = grant_pb2.GRANT_ACTION_EXIT
        clock, random = world.stage.clock, lambda size: b"\3" * size
        regional.decide_grant(channel, steward, applied.grant_id, exit_, clock=clock, random=random)
        (record,) = regional.list_grants(channel, state=grant_pb2.GRANT_STATE_ENDED)
    assert (record.grant_id, record.clock) == (applied.grant_id, "")
    assert found(near, "file") is GrantRevoked


def test_a_suspended_resource_is_refused_until_it_is_resumed(world: RealRegion) -> None:
    signer = world.world.held(POLICE.steward).statement_signer()
    with world.world.at_gateway(POLICE.steward) as channel, world.client() as client:
        for suspended, due in ((True, Suspended), (False, None)):
            regional.set_resource_state(
                channel,
                signer,
                RESOURCE,
                suspended=suspended,
                clock=world.stage.clock,
                random=lambda size: b"\5" * size,
            )
            assert _outcome(world, client, GRANTED) is due


def test_a_new_version_of_a_catalogue_entry_disturbs_no_exchange(world: RealRegion) -> None:
    held = world.world.held(POLICE.steward)
    with world.world.at_gateway(POLICE.steward) as channel, Load(world, in_flight=32) as load:
        until(lambda: len(load.answers) > 100, "exchanges before")
        version = regional.next_version(channel, RESOURCE)
        filler = Filler(
            clock=world.stage.clock,
            random=lambda size: b"\6" * size,
            organisation=held.identity().organisation,
        )
        body = filler.resource(cast.resource(), version=version)
        regional.publish_resource(channel, held.statement_signer(), body)
        after = len(load.answers)
        until(lambda: len(load.answers) > after + 200, "exchanges after")
    assert [str(failure) for failure in load.failures] == []
