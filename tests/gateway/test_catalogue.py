"""The lifecycle of a catalogue entry: handed in, reviewed by another person, in force, replaced, gone."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from exchange import errors as e
from exchange.identity import Role
from exchange.statement import StatementSigner
from exchange.v1 import directory_pb2, grant_pb2, rules_pb2
from tests.support.catalogue import APPROVE, BREAKING, REJECT, WITHDRAW, ReviewRegion
from tests.support.region import (
    CIVIL,
    HEALTH,
    POLICE,
    RESOURCE,
    Authority,
    item,
)

AUTHORITY = Authority()
CIVIL_STEWARD = AUTHORITY.person(Role.STEWARD, "wang", CIVIL)
OTHER = "91970100MB1A0001X2"
IN_REVIEW = directory_pb2.RESOURCE_STANDING_IN_REVIEW
PUBLISHED = directory_pb2.RESOURCE_STANDING_PUBLISHED
SUPERSEDED = directory_pb2.RESOURCE_STANDING_SUPERSEDED
REJECTED = directory_pb2.RESOURCE_STANDING_REJECTED
WITHDRAWN = directory_pb2.RESOURCE_STANDING_WITHDRAWN


@pytest.fixture
async def region(tmp_path: Path) -> ReviewRegion:
    made = ReviewRegion(tmp_path, authority=AUTHORITY)
    for code, short in ((HEALTH, "health"), (POLICE, "police"), (CIVIL, "civil")):
        await made.add(code, short)
    return made


def standings(region: ReviewRegion) -> list[int]:
    entry = region.state.catalogue.entry(RESOURCE)
    return [entry.standing(number) for number in range(1, len(entry.indexes) + 1)]


async def test_without_rules_a_version_is_in_force_at_once(region: ReviewRegion) -> None:
    await region.publish()
    assert standings(region) == [PUBLISHED]
    await region.publish(version=2)
    assert standings(region) == [SUPERSEDED, PUBLISHED]


async def test_a_version_in_review_is_not_in_force_before_another_steward_approves_it(
    region: ReviewRegion,
) -> None:
    await region.set_rules()
    await region.publish()
    assert standings(region) == [IN_REVIEW]
    with pytest.raises(e.UnknownResource):
        region.state.resource(RESOURCE)
    with pytest.raises(e.UnknownResource):
        await region.apply()
    await region.act(region.second, APPROVE)
    assert region.state.resource(RESOURCE).version == 1
    assert standings(region) == [PUBLISHED]


async def test_nobody_approves_what_they_handed_in(region: ReviewRegion) -> None:
    await region.set_rules()
    await region.publish()
    with pytest.raises(e.SecondPersonRequired):
        await region.act(region.police, APPROVE)
    for stranger in (region.health, CIVIL_STEWARD, region.police_agent, region.admin):
        for action in (APPROVE, REJECT, WITHDRAW):
            with pytest.raises(e.RoleNotAllowed):
                await region.act(stranger, action)
    assert standings(region) == [IN_REVIEW]


async def test_the_version_in_force_stays_in_force_while_the_next_waits(region: ReviewRegion) -> None:
    await region.publish()
    await region.set_rules()
    await region.publish(version=2, title_en="Second")
    assert region.state.resource(RESOURCE).version == 1
    with pytest.raises(e.InReview):
        await region.publish(version=3)
    await region.suspend()
    await region.act(region.second, APPROVE, version=2, revision=2)
    assert region.state.resource(RESOURCE).version == 2
    assert region.state.resource(RESOURCE).suspended, "a suspension holds whatever is approved"


async def test_a_rejected_version_is_over_and_its_number_is_not_used_again(region: ReviewRegion) -> None:
    await region.set_rules()
    await region.publish()
    await region.act(region.second, REJECT)
    assert standings(region) == [REJECTED]
    with pytest.raises(e.WrongState):
        await region.act(region.second, APPROVE, revision=2)
    with pytest.raises(e.WrongState):
        await region.publish(title_en="Once more")
    await region.publish(version=2)
    await region.act(region.police, REJECT, version=2, revision=2)
    assert standings(region) == [REJECTED, REJECTED], "whoever handed it in may take it back"


async def test_of_two_stewards_who_race_one_decides(region: ReviewRegion) -> None:
    await region.set_rules()
    await region.publish()
    third = AUTHORITY.person(Role.STEWARD, "zhou", POLICE)
    results = await asyncio.gather(
        region.act(region.second, APPROVE), region.act(third, REJECT), return_exceptions=True
    )
    assert isinstance(results[0], int) and isinstance(results[1], e.WrongState)
    assert standings(region) == [PUBLISHED]


async def test_where_a_supervisor_is_named_its_stewards_review(region: ReviewRegion) -> None:
    named = rules_pb2.Supervision(provider=POLICE, supervisor=CIVIL, catalogue=True)
    await region.set_rules(catalogue_review=False, supervisions=[named])
    await region.publish()
    with pytest.raises(e.RoleNotAllowed):
        await region.act(region.second, APPROVE)
    await region.act(CIVIL_STEWARD, APPROVE)
    assert standings(region) == [PUBLISHED]
    with pytest.raises(e.RoleNotAllowed):
        await region.act(CIVIL_STEWARD, WITHDRAW, revision=2)


async def test_the_rule_of_the_moment_when_a_version_was_handed_in_holds_for_it(
    region: ReviewRegion,
) -> None:
    await region.set_rules()
    await region.publish()
    await region.set_rules(catalogue_review=False)
    assert standings(region) == [IN_REVIEW]
    await region.registrar.close()
    region.start()
    assert standings(region) == [IN_REVIEW], "also for a start that folds the log with newer rules"
    (region.folder / "state.db").unlink()
    await region.registrar.close()
    region.start()
    await region.act(region.second, APPROVE)
    await region.publish(version=2)
    assert standings(region) == [SUPERSEDED, PUBLISHED]


async def test_what_is_withdrawn_is_out_for_good_and_its_grants_stay_listed(region: ReviewRegion) -> None:
    await region.publish()
    grant_id = await region.apply()
    await region.act(region.police, WITHDRAW)
    assert standings(region) == [WITHDRAWN]
    for requested in (RESOURCE, "970102/police/household"):
        with pytest.raises(e.Withdrawn, match=RESOURCE):
            region.state.resource(requested)
    assert region.state.catalogue.once_in_force(RESOURCE).version == 1
    assert region.state.catalogue.index(RESOURCE) == region.state.catalogue.entry(RESOURCE).indexes[0]
    with pytest.raises(e.Withdrawn):
        await region.apply()
    with pytest.raises(e.Withdrawn):
        await region.decide(grant_id, grant_pb2.GRANT_ACTION_ACCEPT, 1)
    assert region.clocks.clock(region.state.grants.one(grant_id)) is None, "there is nothing to decide"
    for attempt in (
        region.publish(version=2),
        region.suspend(revision=2),
        region.act(region.police, WITHDRAW, revision=2),
    ):
        with pytest.raises(e.WrongState):
            await attempt
    assert region.state.grants.one(grant_id)
    await region.decide(grant_id, grant_pb2.GRANT_ACTION_REJECT, 1)


async def test_core_and_secret_data_cannot_be_published(region: ReviewRegion) -> None:
    for data_class in (directory_pb2.DATA_CLASS_CORE, directory_pb2.DATA_CLASS_SECRET):
        with pytest.raises(e.DataClassRefused):
            await region.publish(fields=[item("name"), item("plans", data_class=data_class)])
    assert RESOURCE not in region.state.catalogue.by_id
    await region.publish(fields=[item("name", data_class=directory_pb2.DATA_CLASS_IMPORTANT)])


async def test_one_provider_for_an_item_whatever_its_resources_are_called(region: ReviewRegion) -> None:
    await region.publish(item="A-100")
    taken: dict[str, Any] = {"id": "970100/civil/people", "provider": CIVIL, "item": "A-100"}
    with pytest.raises(e.NotAuthoritative):
        await region.publish(CIVIL_STEWARD, **taken)
    await region.publish(CIVIL_STEWARD, **(taken | {"id": "970102/civil/people"}))
    await region.publish(version=2, item="A-200")
    await region.publish(CIVIL_STEWARD, **taken)
    with pytest.raises(e.NotAuthoritative):
        await region.publish(version=3, item="A-100")


async def test_what_waits_for_review_holds_its_item_until_it_is_rejected(region: ReviewRegion) -> None:
    await region.set_rules()
    await region.publish(item="A-100")
    other: dict[str, Any] = {"id": "970100/civil/people", "provider": CIVIL, "item": "A-100"}
    with pytest.raises(e.NotAuthoritative):
        await region.publish(CIVIL_STEWARD, **other)
    await region.act(region.second, REJECT)
    await region.publish(CIVIL_STEWARD, **other)


async def test_a_breaking_version_needs_to_say_so(region: ReviewRegion) -> None:
    await region.publish()
    narrower = {"version": 2, "row_cap": 5}
    for said in (directory_pb2.COMPATIBILITY_UNSPECIFIED, directory_pb2.COMPATIBILITY_BACKWARD):
        with pytest.raises(e.Incompatible) as refused:
            await region.publish(**narrower, compatibility=said)
        assert "row_cap" in str(refused.value)
    await region.publish(**narrower, compatibility=BREAKING)
    assert region.state.resource(RESOURCE).row_cap == 5


async def test_a_schema_that_contradicts_the_fields_is_refused(region: ReviewRegion) -> None:
    with pytest.raises(e.Malformed):
        await region.publish(schema='{"type": "object", "properties": {"name": {"type": "integer"}}}')
    with pytest.raises(e.Malformed):
        await region.publish(schema='{"$ref": "https://example.com/schema"}')
    await region.publish(schema='{"type": "object", "properties": {"name": {"type": "string"}}}')


class Derived:
    """Health's register of newborns, made from public security's households."""

    id = "970100/health/newborns"

    def __init__(self, region: ReviewRegion) -> None:
        self.region = region

    async def publish(self) -> int:
        return await self.region.publish(
            self.region.health, id=self.id, provider=HEALTH, derived_from=[RESOURCE]
        )

    async def grant(self, signer: StatementSigner) -> bytes:
        return await self.region.apply(
            signer, consumer=signer.identity.organisation, provider=HEALTH, resource=self.id
        )


async def test_data_of_others_are_passed_on_only_as_far_as_their_grant_allows(region: ReviewRegion) -> None:
    await region.publish()
    derived = Derived(region)
    with pytest.raises(e.Redisclosure):
        await derived.publish()
    silent = await region.apply()
    await region.decide(silent, grant_pb2.GRANT_ACTION_ACCEPT, 1)
    with pytest.raises(e.Redisclosure):
        await derived.publish()
    allowing = await region.apply(redisclosure_to=[CIVIL])
    with pytest.raises(e.Redisclosure):
        await derived.publish()
    await region.decide(allowing, grant_pb2.GRANT_ACTION_ACCEPT, 1)
    await derived.publish()
    await region.add(OTHER, "bank")
    with pytest.raises(e.Redisclosure):
        await derived.grant(AUTHORITY.person(Role.STEWARD, "xu", OTHER))
    passed_on = await derived.grant(CIVIL_STEWARD)
    await region.decide(allowing, grant_pb2.GRANT_ACTION_PAUSE, 2)
    with pytest.raises(e.Redisclosure):
        await region.decide(passed_on, grant_pb2.GRANT_ACTION_ACCEPT, 1, region.health)
    await region.decide(allowing, grant_pb2.GRANT_ACTION_RESUME, 3)
    await region.decide(passed_on, grant_pb2.GRANT_ACTION_ACCEPT, 1, region.health)
    await region.decide(allowing, grant_pb2.GRANT_ACTION_REVOKE, 4)
    with pytest.raises(e.Redisclosure):
        await derived.grant(CIVIL_STEWARD)


async def test_what_passed_through_several_hands_is_still_its_first_providers(region: ReviewRegion) -> None:
    await region.publish()
    allowing = await region.apply(redisclosure_to=[CIVIL])
    await region.decide(allowing, grant_pb2.GRANT_ACTION_ACCEPT, 1)
    await Derived(region).publish()
    onward = {"id": "970100/health/statistics", "provider": HEALTH, "derived_from": [Derived.id]}
    await region.publish(region.health, **onward)
    with pytest.raises(e.UnknownResource):
        await region.publish(
            region.health, id="970100/health/x", provider=HEALTH, derived_from=["970100/no/such"]
        )
    third = await region.apply(
        CIVIL_STEWARD, consumer=CIVIL, provider=HEALTH, resource="970100/health/statistics"
    )
    assert third
    await region.decide(allowing, grant_pb2.GRANT_ACTION_REVOKE, 2)
    with pytest.raises(e.Redisclosure):
        await region.apply(
            CIVIL_STEWARD, consumer=CIVIL, provider=HEALTH, resource="970100/health/statistics"
        )


async def test_a_kind_of_organisation_is_said_once(region: ReviewRegion) -> None:
    assert region.state.organisations.get(CIVIL).government
    region.clock.ms += 1000
    await region.add(CIVIL, "civil", kind=directory_pb2.ORGANISATION_KIND_OTHER)
    assert not region.state.organisations.get(CIVIL).government
    region.clock.ms += 1000
    for kind in (directory_pb2.ORGANISATION_KIND_GOVERNMENT, directory_pb2.ORGANISATION_KIND_UNSPECIFIED):
        with pytest.raises(e.WrongState):
            await region.add(CIVIL, "civil", kind=kind)
    with pytest.raises(e.Malformed):
        await region.add(POLICE, "police", kind=9)
