"""What nobody foresaw in one exchange at an agent fails that one; the others of its frame are answered."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.consumer import outcome as consumer_outcome
from agent.provider import answer as answer_module
from agent.provider import inspection
from exchange.v1 import link_pb2
from tests.support.hostile import World, outcome, until

BAD, GOOD = "C-13", ("C-12", "C-14")
SECRET = "欧阳测试"


class Defect(Exception):
    """What no code expects; its text must not be logged."""


def broken(work: Callable[..., Any], case_of: Callable[..., str]) -> Callable[..., Any]:
    """Return a step that has a defect in one case."""

    def step(*arguments: Any, **named: Any) -> Any:
        if case_of(*arguments) == BAD:
            raise Defect(SECRET)
        return work(*arguments, **named)

    return step


def of_job(job: Any, *_: Any) -> str:
    return str(job.header.case_number)


async def alone(world: World, *, entered: int = 3) -> None:
    """Ask in three cases that come in one frame; the middle one alone fails, and nobody is held up."""
    held: list[link_pb2.Delivery] = []

    def gather(frame: link_pb2.LinkResponse) -> Any:
        held.extend(item for item in frame.items if item.HasField("request"))
        kept = link_pb2.LinkResponse.FromString(frame.SerializeToString())
        del kept.items[:]
        kept.items.extend(item for item in frame.items if not item.HasField("request"))
        if len(held) == 3:
            kept.items.extend(held)
            held.clear()
        return kept

    before = len(world.entries())
    world.police.wire.down = gather
    cases = (GOOD[0], BAD, GOOD[1])
    with capture_logs() as logged:
        asked = [world.ask(world.question(case_number=one)) for one in cases]
        responses = await asyncio.gather(*asked)
    assert [outcome(one) for one in responses] == ["ANSWER", "INTERNAL", "ANSWER"]
    told = [one for one in logged if one["event"] == "exchange failed unforeseen"]
    assert told and {(one["log_level"], one["error"]) for one in told} == {("critical", "Defect")}
    assert SECRET not in str(logged)
    assert len(world.entries()) - before == entered
    await until(lambda: not world.police.journal.open_items and not world.police.provider._in_hand)
    world.police.provider.watch()
    assert world.police.provider.fault is None and world.police.linked and world.health.linked


async def test_a_request_that_cannot_be_read_for_a_defect_fails_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def parse(signed: Any) -> Any:
        job = inspection.parse(signed)
        calls.append(job.header.case_number)
        if job.header.case_number == BAD and calls.count(BAD) == 1:
            raise Defect(SECRET)
        return job

    monkeypatch.setattr(answer_module, "parse", parse)
    await alone(world)


async def test_a_check_with_a_defect_fails_one_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    step = broken(world.police.inspector.inspect, of_job)
    monkeypatch.setattr(world.police.inspector, "inspect", step)
    await alone(world)


async def test_an_answer_that_cannot_be_made_for_a_defect_fails_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    responder = world.police.provider._.responder
    monkeypatch.setattr(responder, "query", broken(responder.query, of_job))
    await alone(world)


async def test_where_even_the_failure_cannot_be_signed_it_is_told_unsigned(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    responder = world.police.provider._.responder
    monkeypatch.setattr(responder, "query", broken(responder.query, of_job))
    monkeypatch.setattr(responder, "failure", broken(responder.failure, of_job))
    await alone(world)


async def test_a_look_at_the_stops_with_a_defect_lets_that_answer_not_leave(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = world.police.provider
    looked: list[str] = []
    check = provider._check_stopped

    def second(job: Any, now_ms: int) -> None:
        looked.append(of_job(job))
        if of_job(job) == BAD and looked.count(BAD) == 2:
            raise Defect(SECRET)
        check(job, now_ms)

    monkeypatch.setattr(provider, "_check_stopped", second)
    await alone(world)


async def test_a_source_that_returns_too_few_outcomes_answers_nobody_wrongly(world: World) -> None:
    read = world.table.read

    async def short(keys: Any, *, timeout_s: float) -> Any:
        return (await read(keys, timeout_s=timeout_s))[:-1]

    world.table.read = short  # type: ignore[method-assign]
    assert outcome(await world.ask()) == "INTERNAL"
    world.table.read = read  # type: ignore[method-assign]
    await world.still_works()


async def test_a_journal_that_fails_unforeseen_lets_nothing_leave(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answered(rows: Any) -> None:
        raise Defect(SECRET)

    monkeypatch.setattr(world.police.journal, "answered", answered)
    assert outcome(await world.ask()) == "INTERNAL"
    monkeypatch.undo()
    assert world.police.linked


async def test_a_receipt_that_cannot_be_looked_at_for_a_defect_ends_no_link_and_is_overdue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(*_: Any) -> None:
        raise Defect(SECRET)

    monkeypatch.setattr(answer_module, "check_repeated", check)
    assert outcome(await world.ask()) == "ANSWER"
    await until(lambda: not any(world.police.provider._sent.values()))
    monkeypatch.setattr(answer_module, "check_repeated", lambda *_: None)
    assert world.police.linked and world.police.journal.open_items
    world.clock.ms += 31_000
    world.police.provider.watch()
    assert world.police.provider.fault is not None and world.police.provider.fault.name == "RECEIPT_OVERDUE"


async def test_an_outcome_with_a_defect_fails_one_question_of_the_consumer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = broken(consumer_outcome.check_receipt, lambda pending, *_: pending.question.case_number)
    monkeypatch.setattr(consumer_outcome, "check_receipt", step)
    await alone(world)
