"""What nobody foresaw in one exchange refuses that one; the others of its batch and the link go on."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from exchange.v1 import agent_pb2, audit_pb2, exchange_pb2, link_pb2, reason_pb2
from gateway import path as path_module
from gateway.audit.entries.exchange_entry import exchange_leaf
from gateway.record import Exchange
from tests.support.hostile import World, error_of, outcome, until
from tests.support.hostile_requests import signed_request

SECRET = "欧阳测试"
BAD, GOOD = "C-13", ("C-12", "C-14")


class Defect(Exception):
    """What no code expects; its text must not be logged."""


def breaks(exchange: Exchange, *_: object) -> None:
    """A guard with a defect, in one case alone."""
    exchange.rule = "broken"
    if exchange.header.case_number == BAD:
        raise Defect(SECRET)


def use(world: World, **parts: Any) -> None:
    world.path._ = replace(world.path._, **parts)  # type: ignore[misc]


def unforeseen(world: World) -> float:
    return float(world.metrics.unforeseen._value.get())


async def asked(world: World) -> list[agent_pb2.AskResponse]:
    """Ask in three cases at once, the middle one of which is that of the defect."""
    cases = (GOOD[0], BAD, GOOD[1])
    return list(await asyncio.gather(*(world.ask(world.question(case_number=one)) for one in cases)))


def in_one_frame(world: World, count: int) -> None:
    """Have public security's answers held back until so many are there, and handed over in one frame."""
    held: list[link_pb2.LinkItem] = []

    def gather(frame: link_pb2.LinkRequest) -> Any:
        held.extend(frame.items)
        if len(held) < count:
            return None
        together = link_pb2.LinkRequest(items=held)
        held.clear()
        return together

    world.police.wire.up = gather


def entries(world: World, case: str) -> list[audit_pb2.ExchangeEntry]:
    return [one for one in world.entries() if one.case_number == case]


async def refused_alone(world: World, responses: Sequence[agent_pb2.AskResponse], rule: str) -> None:
    """Check that the middle one alone was refused, with an entry, and that everybody goes on."""
    assert [outcome(one) for one in responses] == ["ANSWER", "INTERNAL", "ANSWER"]
    entry = entries(world, BAD)[0]
    assert (entry.decision, entry.reason, entry.rule) == (
        audit_pb2.DECISION_FAILED,
        reason_pb2.REASON_INTERNAL,
        rule,
    )
    assert unforeseen(world) == 1
    assert world.police.linked and world.health.linked
    use(world, guards=[one for one in world.path._.guards if one is not breaks], release_guards=())
    await world.still_works()


async def test_a_guard_with_a_defect_refuses_one_request_of_its_batch(world: World) -> None:
    use(world, guards=(*world.path._.guards, breaks))
    caller = world.collector(world.health)
    cases = (GOOD[0], BAD, GOOD[1])
    world.path.admit(caller, [signed_request(world, case_number=one) for one in cases])
    await until(lambda: len(caller.outcomes) == 3)
    told = {one.header.case_number: error_of(one) for one, _, _ in caller.outcomes}
    assert told == {GOOD[0]: "", BAD: "INTERNAL", GOOD[1]: ""}
    assert caller.in_flight == 0 and unforeseen(world) == 1
    (entry,) = entries(world, BAD)
    assert (entry.reason, entry.rule) == (reason_pb2.REASON_INTERNAL, "broken")
    await world.still_works()


async def test_a_release_guard_with_a_defect_withholds_one_answer_and_its_provider_gets_its_receipt(
    world: World,
) -> None:
    use(world, release_guards=(breaks,))
    in_one_frame(world, 3)
    responses = await asked(world)
    world.path.expire()
    await until(lambda: len(entries(world, BAD)) == 2 and not world.police.journal.open_items)
    world.police.provider.watch()
    assert world.police.provider.fault is None
    assert [outcome(one) for one in responses] == ["ANSWER", "INTERNAL", "ANSWER"]
    assert unforeseen(world) == 1 and world.police.linked
    use(world, release_guards=())
    await world.still_works()


async def test_a_defect_in_the_look_at_an_answer_withholds_that_answer_alone(world: World) -> None:
    class Tags:
        def take(self, exchange: Exchange, *rest: Any) -> Any:
            breaks(exchange)
            return tags.take(exchange, *rest)

    tags = world.path._.tags
    use(world, tags=Tags())
    in_one_frame(world, 3)
    responses = await asked(world)
    use(world, tags=tags)
    await refused_alone(world, responses, "broken")


async def test_an_exchange_whose_entry_cannot_be_made_as_it_is_is_entered_as_refused(world: World) -> None:
    def spoils(exchange: Exchange, body: exchange_pb2.ResponseBody) -> None:
        if exchange.header.case_number == BAD:
            exchange.rule = None  # type: ignore[assignment]

    use(world, release_guards=(spoils,))
    in_one_frame(world, 3)
    await refused_alone(world, await asked(world), "append")
    world.path.expire()
    await until(lambda: len(entries(world, BAD)) == 2 and not world.police.journal.open_items)
    assert world.police.provider.fault is None


async def test_an_exchange_that_can_have_no_entry_at_all_is_refused_without_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(exchange: Exchange, **more: Any) -> bytes:
        if exchange.header.case_number == BAD:
            raise Defect(SECRET)
        return exchange_leaf(exchange, **more)

    monkeypatch.setattr(path_module, "exchange_leaf", never)
    in_one_frame(world, 3)
    responses = await asked(world)
    assert [outcome(one) for one in responses] == ["ANSWER", "INTERNAL", "ANSWER"]
    assert not responses[1].HasField("receipt") and not entries(world, BAD)
    assert [len(entries(world, case)) for case in GOOD] == [1, 1]
    assert world.police.linked and world.health.linked


async def test_a_quota_that_cannot_be_charged_refuses_that_exchange_and_counts_nothing(world: World) -> None:
    ended: list[str] = []

    class Place:
        def __init__(self, case: str) -> None:
            self._case = case

        def charge(self, now_ms: int) -> Sequence[Any]:
            if self._case == BAD:
                raise Defect(SECRET)
            return ()

        def end(self) -> None:
            ended.append(self._case)
            if self._case == GOOD[1]:
                raise Defect(SECRET)

    def reserves(exchange: Exchange, *_: object) -> None:
        exchange.reservation = Place(exchange.header.case_number)

    use(world, guards=(*world.path._.guards, reserves))
    in_one_frame(world, 3)
    responses = await asked(world)
    assert [outcome(one) for one in responses] == ["ANSWER", "INTERNAL", "ANSWER"]
    assert [one.decision for one in entries(world, BAD)] == [audit_pb2.DECISION_FAILED]
    assert BAD in ended and world.police.linked
    world.path.expire()
    await until(lambda: not world.police.journal.open_items)
    assert world.police.provider.fault is None


async def test_a_caller_that_cannot_be_told_keeps_nobody_else_from_their_outcome(world: World) -> None:
    caller, broken = world.collector(world.health), world.collector(world.health)

    def settle(*_: object) -> None:
        raise Defect(SECRET)

    broken.settle = settle  # type: ignore[method-assign]
    in_one_frame(world, 2)
    for one in (broken, caller):
        world.path.admit(one, [signed_request(world)])
    await until(lambda: len(caller.outcomes) == 1)
    await until(lambda: not world.police.journal.open_items)
    assert error_of(caller.outcomes[0][0]) == "" and unforeseen(world) == 1


async def test_a_receipt_or_a_count_with_a_defect_keeps_nobody_from_their_answer(world: World) -> None:
    def counts(exchanges: Sequence[Exchange]) -> None:
        raise Defect(SECRET)

    use(world, concluded=counts)
    in_one_frame(world, 3)
    assert [outcome(one) for one in await asked(world)] == ["ANSWER"] * 3
    (link,) = [one for one in world.links if one.identity.name == "police-1"]
    receipt: Callable[..., None] = link.receipt

    def once(exchange: Exchange, *rest: Any) -> None:
        if exchange.header.case_number == BAD:
            raise Defect(SECRET)
        receipt(exchange, *rest)

    link.receipt = once  # type: ignore[method-assign]
    assert [outcome(one) for one in await asked(world)] == ["ANSWER"] * 3
    assert world.police.linked and unforeseen(world) >= 2


async def test_a_log_that_fails_unforeseen_releases_nothing_and_keeps_the_link(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(*_: object) -> None:
        raise Defect(SECRET)

    monkeypatch.setattr(world.sequencer, "submit", submit)
    assert outcome(await world.ask()) == "AUDIT_UNAVAILABLE"
    monkeypatch.undo()
    assert world.police.linked and world.health.linked and unforeseen(world) == 1


async def test_the_type_and_the_step_are_logged_once_a_second_and_never_the_text(world: World) -> None:
    use(world, guards=(*world.path._.guards, breaks))
    with capture_logs() as logged:
        for _ in range(3):
            assert outcome(await world.ask(world.question(case_number=BAD))) == "INTERNAL"
        world.clock.ms += 1000
        assert outcome(await world.ask(world.question(case_number=BAD))) == "INTERNAL"
    told = [one for one in logged if one["event"] == "exchange failed unforeseen"]
    assert [(one["log_level"], one["error"], one["subject"]) for one in told] == [
        ("critical", "Defect", "broken")
    ] * 2
    assert SECRET not in str(logged) and unforeseen(world) == 4


async def test_a_look_at_the_stops_with_a_defect_releases_nothing_of_that_exchange(world: World) -> None:
    force = world.region.state.stops.force
    looked: list[str] = []

    def find(header: exchange_pb2.RequestHeader, resource: str, now_ms: int) -> None:
        looked.append(header.case_number)
        # The first look is at admission; the second when the entry is durable.
        if header.case_number == BAD and looked.count(BAD) == 2:
            raise Defect(SECRET)

    force.quiet, force.find = False, find  # type: ignore[method-assign,assignment]
    in_one_frame(world, 3)
    responses = await asked(world)
    assert [outcome(one) for one in responses] == ["ANSWER", "INTERNAL", "ANSWER"]
    assert unforeseen(world) == 1 and world.police.linked
    await until(lambda: not world.police.journal.open_items)


async def test_a_late_answer_with_a_defect_is_dropped_and_the_link_stays(world: World) -> None:
    class Tags:
        def take(self, *_: Any) -> Any:
            raise Defect(SECRET)

    held: list[Any] = []

    def hold(frame: link_pb2.LinkRequest) -> Any:
        if any(item.HasField("response") for item in frame.items):
            held.append(frame)
            return None
        return frame

    world.police.wire.up = hold
    asking = asyncio.create_task(world.ask())
    await until(lambda: bool(held))
    world.clock.ms += 10_001
    world.path.expire()
    assert outcome(await asking) == "DEADLINE_PASSED"
    tags = world.path._.tags
    use(world, tags=Tags())
    world.police.wire._to_gateway.put_nowait(held[0])
    await until(lambda: unforeseen(world) == 1)
    use(world, tags=tags)
    assert world.police.linked
    await world.still_works()
