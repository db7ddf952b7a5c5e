"""A consumer that tries citizen ids and values through verify is refused with its own reason and an entry."""

from typing import Any

from exchange.codes import citizen_id_check
from exchange.v1 import agent_pb2, audit_pb2, common_pb2, reason_pb2
from tests.support.hostile import NAME, World, outcome

LIMIT_OF_SUBJECTS, LIMIT_OF_A_SUBJECT = 30, 5
"""Of a region that set no others."""


def person(number: int) -> str:
    """Return a citizen id of the reserved division, with its check digit."""
    first = f"97010219900101{number:03d}"
    return first + citizen_id_check(first)


async def verify(world: World, citizen: str, name: str = NAME) -> Any:
    return await world.ask(
        world.question(
            kind=common_pb2.KIND_VERIFY,
            fields=["name"],
            parameters=[agent_pb2.NamedValue(name="id", value=citizen)],
            claims=[agent_pb2.NamedValue(name="name", value=name)],
        )
    )


def verdict(response: Any) -> str:
    return str(response.answer.columns[0].values[0]) if response.HasField("answer") else outcome(response)


async def test_trying_citizen_ids_is_refused_for_the_hour_with_an_entry_and_other_questions_go_on(
    world: World,
) -> None:
    world.table.records = []
    told = [outcome(await verify(world, person(number))) for number in range(LIMIT_OF_SUBJECTS + 2)]
    assert told == ["ANSWER"] * LIMIT_OF_SUBJECTS + ["VERIFY_LIMIT"] * 2
    entry = world.entries()[-1]
    assert (entry.decision, entry.rule, entry.reason) == (
        audit_pb2.DECISION_REFUSED,
        "provider",
        reason_pb2.REASON_VERIFY_LIMIT,
    )
    reads = world.table.reads
    assert outcome(await verify(world, person(999))) == "VERIFY_LIMIT"
    assert world.table.reads == reads, "the source is not asked"
    assert outcome(await world.ask()) == "ANSWER"


async def test_trying_values_ends_after_a_few_and_a_right_one_is_not_told_then(world: World) -> None:
    told = [verdict(await verify(world, person(1), f"name {n}")) for n in range(LIMIT_OF_A_SUBJECT)]
    assert told == ["false"] * LIMIT_OF_A_SUBJECT
    assert verdict(await verify(world, person(1))) == "VERIFY_LIMIT"
    assert verdict(await verify(world, person(2))) == "true"


async def test_a_lawful_caller_is_not_hindered(world: World) -> None:
    for number in range(2 * LIMIT_OF_SUBJECTS):
        assert verdict(await verify(world, person(number))) == "true"
    assert [verdict(await verify(world, person(1))) for _ in range(10)] == ["true"] * 10


async def test_answers_that_say_true_false_and_unknown_have_one_size(world: World) -> None:
    sizes: set[int] = set()

    def watch(frame: Any) -> Any:
        sizes.update(len(item.response.body) for item in frame.items if item.HasField("response"))
        return frame

    world.police.wire.up = watch
    assert verdict(await verify(world, person(1))) == "true"
    assert verdict(await verify(world, person(1), "other")) == "false"
    world.table.records = []
    assert outcome(await verify(world, person(1))) == "ANSWER"
    assert len(sizes) == 1
