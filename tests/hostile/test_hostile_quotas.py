"""Whoever uses up a quota is refused at the gateway, and every way an exchange ends is counted right."""

import asyncio
from dataclasses import replace

import pytest

from exchange.errors import AuditUnavailable
from exchange.identity import Role
from exchange.v1 import audit_pb2, common_pb2, grant_pb2, link_pb2, reason_pb2
from gateway.access.quota import Quotas
from tests.support.hostile import CIVIL, World, outcome, until
from tests.support.region import POLICE

LIMIT = 3


@pytest.fixture
async def limited(world: World) -> bytes:
    """Return the civil affairs department's grant of three exchanges a day, guarded."""
    world.quotas = Quotas(state=world.region.state, used=world.sequencer.used)  # type: ignore[attr-defined]
    parts = world.path._
    world.path._ = replace(parts, guards=(*parts.guards, world.quotas))  # type: ignore[attr-defined]
    steward = world.authority.person(Role.STEWARD, "wang", CIVIL)
    quotas = [grant_pb2.Quota(period=grant_pb2.QUOTA_PERIOD_DAY, exchanges=LIMIT)]
    kinds = [common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY]
    grant_id = await world.region.apply(signer=steward, consumer=CIVIL, kinds=kinds, quotas=quotas)
    await world.region.decide(grant_id, grant_pb2.GRANT_ACTION_ACCEPT, 1)
    index = world.region.registrar.next_index
    await until(lambda: world.civil.view.cursor >= index and world.police.view.cursor >= index)
    return grant_id


def taken(world: World, grant_id: bytes) -> list[int]:
    quotas: Quotas = world.quotas  # type: ignore[attr-defined]
    return quotas.taken(world.region.state.grants.one(grant_id), world.clock.now_ms())


def released(world: World, grant_id: bytes) -> int:
    entries = [one for one in world.entries() if one.grant_id == grant_id]
    return sum(one.decision == audit_pb2.DECISION_RELEASED for one in entries)


async def test_a_used_up_quota_is_refused_with_an_entry_and_only_for_its_own_grant(
    world: World, limited: bytes
) -> None:
    for place in range(LIMIT):
        assert outcome(await world.ask(who=world.civil)) == "ANSWER"
        assert taken(world, limited) == [place + 1]
    refused = await world.ask(who=world.civil)
    assert outcome(refused) == "QUOTA_EXCEEDED"
    assert 0 < refused.failure.retry_after_ms <= 86_400_000
    last = world.entries()[-1]
    assert (last.rule, last.reason) == ("quota", reason_pb2.REASON_QUOTA_EXCEEDED)
    assert released(world, limited) == LIMIT == taken(world, limited)[0]
    await world.still_works()


async def test_of_many_at_once_as_many_are_released_as_the_quota_allows(world: World, limited: bytes) -> None:
    answers = await asyncio.gather(*(world.ask(who=world.civil) for _ in range(LIMIT + 9)))
    outcomes = [outcome(answer) for answer in answers]
    assert outcomes.count("ANSWER") == LIMIT
    assert outcomes.count("QUOTA_EXCEEDED") == 9
    assert released(world, limited) == LIMIT == taken(world, limited)[0]


async def test_what_the_provider_refuses_or_never_answers_gives_its_place_back(
    world: World, limited: bytes
) -> None:
    no_such = world.question(purpose="another")
    assert outcome(await world.ask(no_such, who=world.civil)) != "ANSWER"
    assert taken(world, limited) == [0], "refused before a place was taken"

    def swallow(frame: link_pb2.LinkRequest) -> link_pb2.LinkRequest:
        del frame.items[:]
        return frame

    world.police.wire.up = swallow
    asking = [asyncio.create_task(world.ask(who=world.civil)) for _ in range(LIMIT)]
    await until(lambda: taken(world, limited) == [LIMIT])
    world.clock.ms += 11_000
    world.path.expire()
    await until(lambda: taken(world, limited) == [0])
    world.civil.consumer.expire()
    assert {outcome(await one) for one in asking} == {"DEADLINE_PASSED"}
    assert released(world, limited) == 0


async def test_an_answer_that_comes_too_late_is_entered_and_does_not_count(
    world: World, limited: bytes
) -> None:
    held: list[link_pb2.LinkItem] = []

    def hold(frame: link_pb2.LinkRequest) -> link_pb2.LinkRequest:
        held.extend(link_pb2.LinkItem.FromString(item.SerializeToString()) for item in frame.items)
        del frame.items[:]
        return frame

    world.police.wire.up = hold
    asking = asyncio.create_task(world.ask(who=world.civil))
    await until(lambda: bool(held))
    assert taken(world, limited) == [1]
    world.clock.ms += 11_000
    world.path.expire()
    link = world.links.newest(POLICE, "police-1")
    world.path.complete(link, held)
    await until(lambda: sum(one.grant_id == limited for one in world.entries()) == 2)
    world.civil.consumer.expire()
    assert outcome(await asking) == "DEADLINE_PASSED"
    late = world.entries()[-1]
    assert late.response_digest and late.decision == audit_pb2.DECISION_FAILED
    assert taken(world, limited) == [0] and released(world, limited) == 0


async def test_a_link_that_breaks_gives_the_places_of_what_it_owed_back(world: World, limited: bytes) -> None:
    def swallow(frame: link_pb2.LinkRequest) -> link_pb2.LinkRequest:
        del frame.items[:]
        return frame

    world.police.wire.up = swallow
    asking = asyncio.create_task(world.ask(who=world.civil))
    await until(lambda: taken(world, limited) == [1])
    await world.police.hang_up()
    assert outcome(await asking) == "LINK_LOST"
    assert taken(world, limited) == [0] and released(world, limited) == 0


async def test_an_answer_withheld_because_the_log_is_down_does_not_count(
    world: World, limited: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise AuditUnavailable("test")

    with monkeypatch.context() as patch:
        patch.setattr(world.sequencer, "submit", down)
        assert outcome(await world.ask(who=world.civil)) == "AUDIT_UNAVAILABLE"
    assert taken(world, limited) == [0]
    world.path.expire()
    await until(lambda: any(one.grant_id == limited for one in world.entries()))
    assert taken(world, limited) == [0] and released(world, limited) == 0, "what is owed is no release"
    for _ in range(LIMIT):
        assert outcome(await world.ask(who=world.civil)) == "ANSWER"
    assert taken(world, limited) == [LIMIT]
