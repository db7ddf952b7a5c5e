"""Whom a correction is about is taken with the step that is entered, and with no other."""

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest

from exchange import canonical
from exchange import errors as e
from exchange.subject_tags import period_start_ms
from exchange.tickets import CORRECT, SUPPLEMENT
from exchange.v1 import audit_pb2
from gateway.tickets import corrections as corrections_module
from tests.gateway.tickets.test_corrected_quarters import (
    BEFORE,
    DISPUTED,
    correct,
    kept,
    mother,
    nothing_kept,
    searched,
    told,
)
from tests.support.region import CIVIL, HEALTH, moment
from tests.support.review_region import refused
from tests.support.sealing import NOW_MS
from tests.support.tickets import (
    CHEN,
    DAY_MS,
    FATHER,
    LI,
    MOTHER,
    SCHOOL,
    TicketRegion,
    dispute,
    event,
)


@dataclass
class Disputed:
    """A dispute of an exchange about two people, and who received each one's value the quarter before."""

    ticket_id: bytes
    disputed: bytes
    mothers: dict[str, list[bytes]]
    fathers: dict[str, list[bytes]]


async def raised(region: TicketRegion) -> Disputed:
    region.clock.ms = period_start_ms(BEFORE) + DAY_MS
    mothers = await region.exchange(MOTHER, consumer_organisation=SCHOOL)
    fathers = await region.exchange(FATHER, consumer_organisation=CIVIL)
    region.clock.ms = NOW_MS
    disputed = await region.exchange(MOTHER, FATHER, step=4)
    ticket_id = await region.raised(CHEN, dispute(disputed))
    return Disputed(ticket_id, disputed, {SCHOOL: [mothers]}, {CIVIL: [fathers]})


async def corrected(region: TicketRegion) -> Disputed:
    """Correct without naming anybody."""
    region.tell_on()
    it = await raised(region)
    await correct(region, it.ticket_id)
    await region.told_all(it.ticket_id)
    return it


async def supplement(region: TicketRegion, it: Disputed, person: str = MOTHER, **more: Any) -> Any:
    subjects = [mother(region, it.ticket_id, identifier=person)]
    return await region.act(LI, it.ticket_id, SUPPLEMENT, more.pop("revision", 2), subjects=subjects, **more)


def both_at_once(region: TicketRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two steps' tags read before either step is admitted."""
    barrier, disputed = asyncio.Barrier(2), region.corrections._recipients.disputed
    left = 2

    async def together(exchange_id: bytes) -> Any:
        nonlocal left
        if left:
            left -= 1
            await barrier.wait()
        return await disputed(exchange_id)

    monkeypatch.setattr(region.corrections._recipients, "disputed", together)


@pytest.mark.parametrize("people", [(MOTHER, FATHER), (FATHER, MOTHER)])
@pytest.mark.parametrize("action", [CORRECT, SUPPLEMENT])
async def test_of_two_steps_at_once_the_one_that_is_entered_decides_who_is_told(
    region: TicketRegion, monkeypatch: pytest.MonkeyPatch, action: int, people: tuple[str, str]
) -> None:
    if action == CORRECT:
        # Told once both are answered.
        it, revision = await raised(region), 1
        monkeypatch.setattr(corrections_module, "PATIENCE_S", 0.0)
    else:
        it, revision = await corrected(region), 2
    both_at_once(region, monkeypatch)
    answers = await asyncio.gather(
        *(
            region.act(
                LI, it.ticket_id, action, revision, subjects=[mother(region, it.ticket_id, identifier=one)]
            )
            for one in people
        ),
        return_exceptions=True,
    )
    entered = [one for one, answer in zip(people, answers, strict=True) if not _is_refused(answer)]
    assert len(entered) == 1
    if action == CORRECT:
        region.tell_on()
    await region.told_all(it.ticket_id)
    expected = it.mothers if entered == [MOTHER] else it.fathers
    assert told(region) == {HEALTH: [it.disputed]} | expected
    await nothing_kept(region)


def _is_refused(answer: Any) -> bool:
    return isinstance(answer, grpc.aio.AioRpcError)


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"revision": 9}, e.WrongState), ({"issued_at": moment(NOW_MS - DAY_MS)}, e.ClockSkew)],
)
@pytest.mark.parametrize("action", [CORRECT, SUPPLEMENT])
async def test_nothing_is_kept_of_a_step_that_is_refused(
    region: TicketRegion, action: int, changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    it = await (raised(region) if action == CORRECT else corrected(region))
    told = {"revision": 1 if action == CORRECT else 2} | changes
    step = region.act(LI, it.ticket_id, action, subjects=[mother(region, it.ticket_id)], **told)
    assert type(await refused(step)) is error
    assert kept(region) == []


async def test_nothing_is_kept_of_a_step_whose_signature_does_not_verify(region: TicketRegion) -> None:
    it = await corrected(region)
    body = event(it.ticket_id, SUPPLEMENT, 2)
    statement = LI.sign(canonical.TICKET, body.SerializeToString())
    assert isinstance(
        await refused(region.act_on(LI, statement, [mother(region, it.ticket_id)])), e.BadSignature
    )
    assert kept(region) == []


async def test_a_step_that_the_log_does_not_take_leaves_no_tags_and_one_in_doubt_keeps_them(
    region: TicketRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = await corrected(region)
    append, leaves = region.registrar._append, []

    def failing(error: e.ExchangeError) -> Any:
        async def fail(entry: audit_pb2.AuditEntry) -> int:
            leaves.append(entry)
            raise error

        return fail

    monkeypatch.setattr(region.registrar, "_append", failing(e.QueueFull("full")))
    assert isinstance(await refused(supplement(region, it)), e.QueueFull)
    assert kept(region) == []
    monkeypatch.setattr(region.registrar, "_append", failing(e.AuditUnavailable("in doubt")))
    assert isinstance(await refused(supplement(region, it)), e.AuditUnavailable)
    assert len(kept(region)) == 1
    # It turns out durable.
    monkeypatch.setattr(region.registrar, "_append", append)
    await region.registrar._append(leaves[-1])
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed]} | it.mothers


async def test_while_a_step_is_in_doubt_no_other_takes_the_place_of_its_tags(region: TicketRegion) -> None:
    it = await corrected(region)
    store = region.log._store
    store.commit_fault, store.open_fault = "kept", True
    assert isinstance(await refused(supplement(region, it, MOTHER)), e.AuditUnavailable)
    assert isinstance(await refused(supplement(region, it, FATHER)), e.AuditUnavailable)
    folded = asyncio.Event()
    region.registrar.subscribe(lambda *_: folded.set())
    # The log is read back, and the first is in it.
    store.commit_fault, store.open_fault = "", False
    await folded.wait()
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed]} | it.mothers


async def test_a_step_that_was_in_doubt_and_is_not_in_the_log_keeps_nobody_from_another(
    region: TicketRegion,
) -> None:
    it = await corrected(region)
    region.log._store.commit_fault = "lost"
    assert isinstance(await refused(supplement(region, it, MOTHER)), e.AuditUnavailable)
    region.log._store.commit_fault = ""
    await supplement(region, it, FATHER)
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed]} | it.fathers


async def test_who_names_nobody_has_nobody_looked_for_whom_a_step_in_doubt_has_named(
    region: TicketRegion,
) -> None:
    region.tell_on()
    it = await raised(region)
    inner = region.corrections._subjects.read(it.ticket_id, [mother(region, it.ticket_id)], LI.identity)
    own = await region.corrections._recipients.disputed(it.disputed)
    assert own is not None
    region.corrections._subjects.keep(it.ticket_id, region.corrections._subjects.vouched(inner, *own))
    await correct(region, it.ticket_id)
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed]}
    assert searched(await region.get(LI, it.ticket_id)) == ([DISPUTED], [], [BEFORE])


async def test_a_step_handed_in_again_is_answered_and_its_tags_are_not_read_again(
    region: TicketRegion,
) -> None:
    it = await corrected(region)
    statement = LI.sign(canonical.TICKET_EVENT, event(it.ticket_id, SUPPLEMENT, 2).SerializeToString())
    subjects = [mother(region, it.ticket_id)]
    first = await region.act_on(LI, statement, subjects)
    await region.told_all(it.ticket_id)
    region.clock.ms += DAY_MS
    assert (await region.act_on(LI, statement, subjects)).index == first.index
    assert kept(region) == []


async def test_a_supplement_that_comes_while_the_end_of_the_telling_is_entered_is_not_taken_without_its_tags(
    region: TicketRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = await raised(region)
    append, record = region.registrar._append, region.registrar.record
    ending, handed_in = asyncio.Event(), asyncio.Event()

    async def slow(entry: audit_pb2.AuditEntry) -> int:
        if entry.administrative.correction.ends and not ending.is_set():
            ending.set()
            await handed_in.wait()
        return await append(entry)

    async def told_of(*args: Any, **more: Any) -> int:
        if ending.is_set():
            handed_in.set()
        return await record(*args, **more)

    monkeypatch.setattr(region.registrar, "_append", slow)
    monkeypatch.setattr(region.registrar, "record", told_of)
    region.tell_on()
    first = asyncio.create_task(correct(region, it.ticket_id))
    await ending.wait()
    assert isinstance(await refused(supplement(region, it)), e.WrongState)
    await first
    assert kept(region) == []
    await supplement(region, it)
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed]} | it.mothers


async def test_the_end_of_a_telling_does_not_erase_the_tags_of_a_supplement_that_comes_at_once(
    region: TicketRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = await raised(region)
    record_made, ended, entered = region.registrar.record_made, asyncio.Event(), asyncio.Event()

    async def slow(make: Any) -> int | None:
        index = await record_made(make)
        if region.state.tickets.one(it.ticket_id).told_all and not ended.is_set():
            ended.set()
            await entered.wait()
        return index

    monkeypatch.setattr(region.registrar, "record_made", slow)
    monkeypatch.setattr(corrections_module, "PATIENCE_S", 0.0)
    region.tell_on()
    await correct(region, it.ticket_id)
    await ended.wait()
    await supplement(region, it)
    entered.set()
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed]} | it.mothers
    await nothing_kept(region)


async def test_what_fails_behind_the_end_of_a_telling_keeps_no_supplement_from_being_told(
    region: TicketRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = await raised(region)
    subjects, failed = region.corrections._subjects, asyncio.Event()
    forget = subjects.forget

    def failing(ticket_id: bytes) -> None:
        if region.state.tickets.one(ticket_id).told_all and not failed.is_set():
            failed.set()
            raise RuntimeError("unexpected")
        forget(ticket_id)

    monkeypatch.setattr(subjects, "forget", failing)
    region.tell_on()
    await correct(region, it.ticket_id)
    await failed.wait()
    await supplement(region, it)
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed]} | it.mothers
