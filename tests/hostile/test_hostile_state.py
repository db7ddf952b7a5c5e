"""A hostile gateway that lies about the region: keys, trust lists, catalogue, grants and their events."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from exchange import canonical, grants
from exchange.identity import Role
from exchange.own_keys import SEALING_RENEWAL_MS
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2, link_pb2
from gateway.directory.catalogue_entry import Entry
from tests.support.hostile import Department, World, outcome, until
from tests.support.region import CIVIL, POLICE, RESOURCE, item

Statement = common_pb2.Statement


def forget(department: Department) -> None:
    """Have a consumer resolve its next question anew."""
    department.peers.forget(RESOURCE)


def instead(statement: Statement) -> Callable[[Any], Any]:
    """Return a hand that replaces the provider's bundle in the directory's replies."""

    def hand(reply: Any) -> Any:
        changed = type(reply).FromString(reply.SerializeToString())
        del changed.bundles[:]
        changed.bundles.append(statement)
        return changed

    return hand


def bundle_of(world: World, signer: StatementSigner, **changes: Any) -> Statement:
    """Return a well-formed bundle with the gateway's own keys, claiming to be public security's."""
    own = world.region.own_keys(signer)
    body = directory_pb2.KeyBundleBody.FromString(own.bundle.body)
    body.organisation, body.agent = POLICE, "police-1"
    for name, value in changes.items():
        setattr(body, name, value)
    return signer.sign(canonical.BUNDLE, body.SerializeToString())


# -- keys ------------------------------------------------------------------------------------------------


async def test_a_bundle_with_the_gateways_own_keys_is_refused(world: World) -> None:
    gateway = world.gateway_signer()
    civil = world.civil.signer
    for signer in (gateway, civil, world.region.police):
        world.health.replies["GetResource"] = instead(bundle_of(world, signer))
        forget(world.health)
        assert outcome(await world.ask()) == "ROLE_NOT_ALLOWED"
    assert not world.health.wire.sent[-1].items, "nothing was sealed to it"
    await world.still_works()


async def test_a_bundle_of_another_authority_is_refused(world: World) -> None:
    from tests.support.region import Authority

    enemy = Authority().person(Role.AGENT, "police-1", POLICE)
    world.health.replies["GetResource"] = instead(bundle_of(world, enemy))
    forget(world.health)
    assert outcome(await world.ask()) == "BAD_SIGNATURE"
    await world.still_works()


async def test_a_bundle_with_one_key_swapped_is_refused(world: World) -> None:
    body = directory_pb2.KeyBundleBody.FromString(world.police.keys.bundle.body)
    for key in body.keys:
        key.public_key = bytes(len(key.public_key))
    swapped = Statement.FromString(world.police.keys.bundle.SerializeToString())
    swapped.body = body.SerializeToString()
    world.health.replies["GetResource"] = instead(swapped)
    forget(world.health)
    assert outcome(await world.ask()) == "BAD_SIGNATURE"
    await world.still_works()


async def test_an_older_bundle_is_refused_once_a_newer_was_seen(world: World) -> None:
    old = world.police.keys.bundle
    assert outcome(await world.ask()) == "ANSWER"
    await rotate(world)
    forget(world.health)
    assert outcome(await world.ask()) == "ANSWER"
    world.health.replies["GetResource"] = instead(old)
    forget(world.health)
    assert outcome(await world.ask()) == "BUNDLE_ROLLBACK"
    await world.still_works()


async def test_a_forked_bundle_is_refused(world: World) -> None:
    """Two bundles of one sequence, both signed by the agent's certificate: its key was stolen."""
    assert outcome(await world.ask()) == "ANSWER"
    fork = world.region.own_keys(world.police.signer).bundle
    world.health.replies["GetResource"] = instead(fork)
    forget(world.health)
    assert outcome(await world.ask()) == "BUNDLE_ROLLBACK"
    await world.still_works()


async def test_a_gap_in_the_chain_of_bundles_is_fetched_or_refused(world: World) -> None:
    assert outcome(await world.ask()) == "ANSWER"
    await rotate(world)
    await rotate(world)
    world.health.replies["ListBundles"] = instead(world.police.keys.bundle)
    forget(world.health)
    assert outcome(await world.ask()) == "BUNDLE_ROLLBACK"
    await world.still_works()


async def test_a_directory_that_repeats_itself_ends_the_question(world: World) -> None:
    """Served the bundle it holds for ever, an agent does not ask for ever."""
    assert outcome(await world.ask()) == "ANSWER"
    world.health.replies["ListBundles"] = instead(world.police.keys.bundle)
    from exchange.errors import ResponseMismatch

    with pytest.raises(ResponseMismatch):
        async with asyncio.timeout(20):
            await world.health.peers.newest(POLICE, "police-1")
    await world.still_works()


async def test_bytes_that_are_no_bundle_fail_the_question_at_once(world: World) -> None:
    world.health.replies["GetResource"] = instead(Statement(body=b"\xff\xff\xff"))
    forget(world.health)
    assert outcome(await world.ask()) == "MALFORMED"
    world.health.replies["ListBundles"] = instead(Statement(body=b"\xff\xff\xff"))
    await world.still_works()


async def test_bytes_that_are_no_bundle_of_ours_are_an_error_of_its_class(world: World) -> None:
    from exchange.errors import Malformed

    world.clock.ms += SEALING_RENEWAL_MS
    world.tell_trust()
    world.health.replies["ListBundles"] = instead(Statement(body=b"\xff\xff\xff"))
    duties = world.health.link._parts.roles
    with pytest.raises(Malformed):
        await duties.publish_keys()  # type: ignore[attr-defined]


async def test_a_key_that_the_trust_list_revokes_is_not_sealed_to_nor_believed(world: World) -> None:
    assert outcome(await world.ask()) == "ANSWER"
    for kid in (world.police.keys.signing_kid, *world.police.inspector._.keys._sealing):
        world.health.feed.offer(
            world.authority.trust_list(world.clock.ms, gateways=world.declared, revoked_kids=[kid])
        )
        held = world.health.peers.known(RESOURCE)
        assert held is None or (kid not in held.keys.signing and kid not in held.keys.sealing)
        reads = world.table.reads
        response = await world.ask()
        assert outcome(response) in ("RESPONSE_SIGNATURE", "BUNDLE_STALE")
        assert world.table.reads <= reads + 1


async def test_keys_that_have_ended_are_fetched_anew_before_a_question_fails(world: World) -> None:
    assert outcome(await world.ask()) == "ANSWER"
    held = world.health.peers.known(RESOURCE)
    assert held is not None
    ended = replace(held.keys, sealing={})
    world.health.book._by_digest[held.keys.digest] = ended
    world.health.consumer.forget_plans()
    assert world.health.peers.known(RESOURCE) != held
    assert outcome(await world.ask()) == "ANSWER"


async def test_a_revoked_department_is_no_longer_sealed_to(world: World) -> None:
    """The gateway withholds it; the authority tells the agent itself."""
    assert outcome(await world.ask()) == "ANSWER"
    serial = world.verified(world.police.signer).serial.to_bytes(20).lstrip(b"\0")
    world.health.feed.offer(
        world.authority.trust_list(world.clock.ms, gateways=world.declared, revoked_serials=[serial])
    )
    assert world.health.peers.known(RESOURCE) is None
    sent = len(world.health.wire.sent)
    assert outcome(await world.ask()) == "REVOKED"
    assert all(not frame.items for frame in world.health.wire.sent[sent:])


async def rotate(world: World) -> None:
    """Have public security make and publish new keys, half a day later."""
    world.clock.ms += SEALING_RENEWAL_MS + 1
    world.tell_trust()
    await until(lambda: all(d.feed.current == world.trust for d in world.departments.values()))
    for department in world.departments.values():
        await department.link._parts.roles.publish_keys()  # type: ignore[attr-defined]


# -- trust lists -------------------------------------------------------------------------------------------


def notice(statement: Statement) -> link_pb2.LinkResponse:
    return link_pb2.LinkResponse(notices=[link_pb2.Notice(trust_list=statement)])


async def test_an_older_trust_list_is_left_out(world: World) -> None:
    old = world.trust.statement
    world.tell_trust(revoked_kids=[b"k" * 16])
    await until(lambda: world.health.feed.current == world.trust)
    world.health.wire.push(notice(old))
    await world.still_works()
    assert world.health.feed.current is not None
    assert world.health.feed.current.revoked_kids == {b"k" * 16}


async def test_a_trust_list_of_the_gateways_own_is_left_out(world: World) -> None:
    held = world.health.feed.current
    assert held is not None
    for signer in (world.gateway_signer(), world.region.admin):
        world.health.wire.push(notice(signer.sign(canonical.TRUST_LIST, held.statement.body)))
    await world.still_works()
    assert world.health.feed.current == held


async def test_where_revocations_are_withheld_sealed_data_stops_after_max_age(world: World) -> None:
    """The gateway's own list is fresh; the provider's is as old as the gateway wants."""

    def withhold(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        kept = [n for n in frame.notices if not n.HasField("trust_list")]
        del frame.notices[:]
        frame.notices.extend(kept)
        return frame

    world.police.wire.down = withhold
    world.clock.ms += 301_000
    world.tell_trust()
    await until(lambda: world.health.feed.current == world.trust)
    response = await world.ask()
    assert outcome(response) == "TRUST_STALE"
    assert response.failure.hop.startswith("provider/")
    assert world.table.reads == 0
    assert outcome(await world.ask(world.open_question())) == "ANSWER", "L1 and L2 go on"
    world.police.feed.offer(world.trust.statement)
    await world.still_works()


# -- grants and the catalogue ------------------------------------------------------------------------------


def event(index: int, act: int, statement: Statement, time_ms: int) -> link_pb2.LinkResponse:
    """Return a frame that tells an event as if it were in the log."""
    entry = audit_pb2.AuditEntry(version=1, time_ms=time_ms)
    entry.administrative.act = act  # type: ignore[assignment]
    entry.administrative.statement.CopyFrom(statement)
    told = directory_pb2.Event(index=index, leaf=entry.SerializeToString())
    return link_pb2.LinkResponse(notices=[link_pb2.Notice(event=told)])


async def tell(world: World, department: Department, act: int, statement: Statement) -> None:
    """Have the gateway tell an event that no registrar admitted; return when it was looked at."""
    frame = event(0, act, statement, world.clock.ms)
    department.wire.push(frame)
    await until(lambda: not department.wire._to_agent.qsize())
    assert outcome(await world.ask(world.open_question(), who=world.health)) == "ANSWER"


async def test_a_grant_event_with_a_forged_signature_changes_nothing(world: World) -> None:
    gateway = world.gateway_signer()
    stewards = [gateway, world.region.admin, world.civil.signer, world.region.health]
    await world.region.decide(world.grant, grant_pb2.GRANT_ACTION_PAUSE, 2)
    await until(lambda: held(world).state == grants.PAUSED)
    for signer in stewards:
        forged = world.region.event(world.grant, grant_pb2.GRANT_ACTION_RESUME, 3, signer)
        await tell(world, world.police, audit_pb2.ACT_GRANT_EVENT, forged)
    altered = world.region.event(world.grant, grant_pb2.GRANT_ACTION_PAUSE, 3)
    body = grant_pb2.GrantEventBody.FromString(altered.body)
    body.action = grant_pb2.GRANT_ACTION_RESUME
    altered.body = body.SerializeToString()
    await tell(world, world.police, audit_pb2.ACT_GRANT_EVENT, altered)
    assert held(world).state == grants.PAUSED
    await resume(world, 3)


async def test_a_grant_event_out_of_order_or_repeated_changes_nothing(world: World) -> None:
    ahead = world.region.event(world.grant, grant_pb2.GRANT_ACTION_PAUSE, 5)
    await tell(world, world.police, audit_pb2.ACT_GRANT_EVENT, ahead)
    assert (held(world).state, held(world).revision) == (grants.ACTIVE, 1)
    await world.region.decide(world.grant, grant_pb2.GRANT_ACTION_PAUSE, 2)
    await until(lambda: held(world).revision == 2)
    accept = held(world).record.events[0]
    await tell(world, world.police, audit_pb2.ACT_GRANT_EVENT, accept)
    rival = world.region.event(world.grant, grant_pb2.GRANT_ACTION_RESUME, 2)
    await tell(world, world.police, audit_pb2.ACT_GRANT_EVENT, rival)
    assert (held(world).state, held(world).revision) == (grants.PAUSED, 2)
    await resume(world, 3)


async def test_a_gateway_that_lets_pass_what_was_revoked_is_stopped_by_the_provider(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.region.decide(world.grant, grant_pb2.GRANT_ACTION_PAUSE, 2)
    await until(lambda: held(world).state == grants.PAUSED)
    with monkeypatch.context() as patch:
        patch.setattr("gateway.access.guards.GrantCovers.__call__", lambda *_: None)
        response = await world.ask()
    assert outcome(response) == "GRANT_PAUSED"
    assert world.table.reads == 0
    await resume(world, 3)


async def test_a_revocation_withheld_and_a_restart_do_not_bring_a_grant_back(world: World) -> None:
    """What the provider's agent has seen revoked stays revoked, whatever the backlog tells."""
    await world.region.decide(world.grant, grant_pb2.GRANT_ACTION_REVOKE, 2)
    await until(lambda: held(world).state == grants.REVOKED)

    def hide(reply: Any) -> Any:
        changed = type(reply).FromString(reply.SerializeToString())
        del changed.events[2:]
        return changed

    world.police.replies["ListEvents"] = hide
    world.police.view.cursor = 0
    assert await world.police.redial()
    assert held(world).state == grants.REVOKED
    from agent.region import RegionView

    again = RegionView(
        path=world.folder / "police-1" / "region.db",
        origin=world.police.view._origin,
        anchor=world.region.anchor,
        trust=world.police.trust,
        clock=world.clock,
    )
    found = again.grant(world.grant)
    again.close()
    assert found is not None and found.state == grants.REVOKED


async def test_events_beyond_the_proven_log_cannot_move_the_cursor(world: World) -> None:
    cursor = world.police.view.cursor
    for index in (world.sequencer.head.size, 1 << 62, (1 << 64) - 1):
        suspend = world.region.resource()
        world.police.wire.push(event(index, audit_pb2.ACT_RESOURCE, suspend, world.clock.ms))
        assert await world.police.fault() == "MALFORMED"
        assert world.police.view.cursor == cursor
        assert await world.police.redial()
    await world.still_works()


async def test_events_beyond_the_proven_log_are_not_taken_from_the_backlog(world: World) -> None:
    def far(reply: Any) -> Any:
        changed = type(reply).FromString(reply.SerializeToString())
        changed.events.add(index=1 << 40, leaf=b"")
        return changed

    world.police.view.cursor = 0
    world.police.replies["ListEvents"] = far
    assert not await world.police.redial()
    assert world.police.view.cursor < 1 << 40
    await world.still_works()


async def test_a_welcome_that_promises_more_than_its_head_is_refused(world: World) -> None:
    await world.police.hang_up()

    def far(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        frame.welcome.cursor = 1 << 40
        return frame

    world.police.wire.down = far
    assert not await world.police.dial()
    await world.still_works()


@pytest.mark.parametrize("time_ms", [-(1 << 63), (1 << 63) - 1, 0])
async def test_an_event_of_an_impossible_time_is_left_out(world: World, time_ms: int) -> None:
    forged = world.region.event(world.grant, grant_pb2.GRANT_ACTION_PAUSE, 2)
    frame = event(0, audit_pb2.ACT_GRANT_EVENT, forged, time_ms)
    world.police.wire.push(frame)
    await until(lambda: not world.police.wire._to_agent.qsize())
    response = await world.ask(world.open_question())
    assert outcome(response) == "ANSWER"


async def test_a_resource_signed_by_a_steward_of_another_department_is_left_out(world: World) -> None:
    """Also where that steward claims the id as its own department's: the alias is not."""
    civil = world.authority.person(Role.STEWARD, "wu", CIVIL)
    fresh = "970100/police/fresh"
    for changes in (
        {"version": 2},
        {"version": 2, "provider": CIVIL},
        {"id": fresh, "provider": POLICE},
        {"id": fresh, "provider": CIVIL},
    ):
        forged = world.region.resource(civil, **changes)
        await tell(world, world.police, audit_pb2.ACT_RESOURCE, forged)
        await tell(world, world.health, audit_pb2.ACT_RESOURCE, forged)
    for department in (world.police, world.health):
        assert department.view.resource(RESOURCE).provider == POLICE
        assert fresh not in {resource.id for resource in department.view.resources()}
    await world.still_works()


async def test_a_question_is_not_sealed_to_a_department_that_took_anothers_alias(world: World) -> None:
    """A gateway in league with civil affairs hands out its entry for public security's resource."""
    civil = world.authority.person(Role.STEWARD, "wu", CIVIL)
    forged = world.region.resource(civil, id="970100/police/fresh", provider=CIVIL)

    def hand(reply: Any) -> Any:
        changed = type(reply)(resource=forged, bundles=[world.civil.keys.bundle])
        return changed

    name = "970100/police/fresh"
    made_up = Entry(id=name, provider=POLICE, kept=world.health.view.resource(RESOURCE))
    world.services["DirectoryService"]._state.catalogue._entries[name] = made_up
    world.health.replies["GetResource"] = hand
    sent = len(world.health.wire.sent)
    assert outcome(await world.ask(world.question(resource="970100/police/fresh"))) == "BAD_IDENTIFIER"
    assert all(not frame.items for frame in world.health.wire.sent[sent:])
    await world.still_works()


async def test_a_name_that_no_administrator_gave_is_left_out(world: World) -> None:
    civil = world.authority.person(Role.STEWARD, "wu", CIVIL)
    gateway = world.gateway_signer()
    for signer in (civil, gateway):
        taken = world.region.organisation(CIVIL, "police", signer)
        await tell(world, world.health, audit_pb2.ACT_ORGANISATION, taken)
    renamed = world.region.organisation(CIVIL, "police")
    await tell(world, world.health, audit_pb2.ACT_ORGANISATION, renamed)
    forged = world.region.resource(civil, id="970100/police/fresh", provider=CIVIL)
    await tell(world, world.health, audit_pb2.ACT_RESOURCE, forged)
    assert "970100/police/fresh" not in {resource.id for resource in world.health.view.resources()}


async def test_a_grant_of_another_department_opens_no_source_of_this_one(world: World) -> None:
    """Even where the agent had taken the other's entry for its own resource's id."""
    other = RESOURCE
    civil = world.authority.person(Role.STEWARD, "wu", CIVIL)
    forged = world.region.resource(civil, provider=CIVIL, fields=[item("name", 1, 1)])
    from exchange.resources import parse_resource

    world.police.view._shelf._resources[other] = parse_resource(forged)
    grant = world.region.grant(provider=CIVIL, fields=["name"])
    accept_id = canonical.digest(canonical.GRANT, grant.body)
    await tell(world, world.police, audit_pb2.ACT_GRANT, grant)
    accept = world.region.event(accept_id, grants.ACCEPT, 1, civil)
    await tell(world, world.police, audit_pb2.ACT_GRANT_EVENT, accept)
    found = world.police.view.grant(accept_id)
    assert found is not None and found.state == grants.ACTIVE
    from tests.support.hostile_requests import provider_reason, signed_request

    header: dict[str, Any] = {
        "grant_id": accept_id,
        "fields": ["name"],
        "resource_digest": world.police.view.resource(other).digest,
    }
    reads = world.table.reads
    assert await provider_reason(world, signed_request(world, **header)) == "NO_GRANT"
    assert world.table.reads == reads


async def test_a_wider_catalogue_entry_does_not_widen_a_grant(world: World) -> None:
    unconditional = world.region.resource(
        version=2, fields=[item("name", 1, 1), item("address", 1, 1), item("station", 1, 1)]
    )
    await tell(world, world.police, audit_pb2.ACT_RESOURCE, unconditional)
    assert world.police.view.resource(RESOURCE).version == 2
    reads = world.table.reads
    asked = await world.ask(world.question(fields=["name", "station"]))
    assert outcome(asked) in ("FIELD_NOT_GRANTED", "BUNDLE_STALE")
    assert world.table.reads == reads


def held(world: World) -> Any:
    found = world.police.view.grant(world.grant)
    assert found is not None
    return found


async def resume(world: World, revision: int) -> None:
    await world.region.decide(world.grant, grant_pb2.GRANT_ACTION_RESUME, revision)
    await until(lambda: held(world).state == grants.ACTIVE)
    await world.still_works()
