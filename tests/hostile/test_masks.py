"""What the signed catalogue hides never leaves the provider, whatever anybody configures or asks."""

from typing import Any

from exchange.v1 import common_pb2, directory_pb2
from tests.support.hostile import ADDRESS, NAME, PERSON, World, outcome, until
from tests.support.region import RESOURCE, item

KEEP, PSEUDONYM = directory_pb2.MASK_KIND_KEEP, directory_pb2.MASK_KIND_PSEUDONYM


async def publish(world: World, **masks: directory_pb2.Mask) -> None:
    """Publish the next version of the entry, with masks; return once both agents have it."""
    fields = [item(name, mask=masks.get(name)) for name in ("name", "address", "station")]
    await world.region.publish(version=2, fields=fields, compatibility=directory_pb2.COMPATIBILITY_BREAKING)
    views = (world.health.view, world.police.view)
    await until(lambda: all(view.resource(RESOURCE).version == 2 for view in views))


def values(response: Any) -> list[str]:
    assert outcome(response) == "ANSWER"
    return [column.values[0] for column in response.answer.columns]


async def test_a_mask_of_the_catalogue_holds_from_its_version_on_and_needs_no_configuration(
    world: World,
) -> None:
    assert values(await world.ask()) == [NAME, ADDRESS]
    await publish(world, name=directory_pb2.Mask(kind=KEEP, first=1))
    assert values(await world.ask()) == [NAME[0] + "*" * (len(NAME) - 1), ADDRESS]


async def test_a_pseudonym_is_stable_within_a_purpose_and_cannot_be_verified(world: World) -> None:
    await publish(world, name=directory_pb2.Mask(kind=PSEUDONYM))
    one, again = values(await world.ask()), values(await world.ask())
    assert one == again and len(one[0]) == 32 and one[1] == ADDRESS
    claim = {"kind": common_pb2.KIND_VERIFY, "fields": ["name"]}
    question = world.question(**claim)
    question.claims.add(name="name", value=NAME)
    response = await world.ask(question)
    assert outcome(response) == "ANSWER" and list(response.answer.columns[0].nulls) == [0]
    assert PERSON not in str(response)
