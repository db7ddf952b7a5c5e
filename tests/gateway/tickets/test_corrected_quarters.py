"""A correction reaches the recipients of every quarter of the log, and tells which it could not search."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from exchange import errors as e
from exchange.subject_tags import inner_tag, period_end_ms, period_start_ms
from exchange.tickets import ACKNOWLEDGE, ASSIGNED, CORRECT, CORRECTED, DECLINE, SUPPLEMENT
from exchange.v1 import audit_pb2, ticket_pb2
from gateway.tickets import corrections as corrections_module
from gateway.tickets import recipients as recipients_module
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
    SUN,
    WU,
    ZHOU,
    TicketRegion,
    dispute,
    dying,
    providers_key,
    subject_tags,
)

BEFORE, DISPUTED, AFTER = "2026Q2", "2026Q3", "2026Q4"
ALL = (BEFORE, DISPUTED, AFTER)


@dataclass
class Quarters:
    """A dispute in one quarter that is answered in the next, and who received the value in each."""

    ticket_id: bytes
    before: bytes
    disputed: bytes
    after: bytes


async def quarters(region: TicketRegion) -> Quarters:
    region.clock.ms = period_start_ms(BEFORE) + DAY_MS
    before = await region.exchange(MOTHER, consumer_organisation=SCHOOL)
    await region.exchange(FATHER, consumer_organisation=CIVIL)
    await region.exchange(MOTHER, consumer_organisation=CIVIL, resource="970100/police/other")
    await region.exchange(MOTHER, consumer_organisation=CIVIL, fields=["address"])
    region.clock.ms = NOW_MS
    disputed = await region.exchange(MOTHER)
    ticket_id = await region.raised(CHEN, dispute(disputed))
    region.clock.ms = period_end_ms(DISPUTED) + DAY_MS
    after = await region.exchange(MOTHER, FATHER, step=4, consumer_organisation=CIVIL)
    await region.exchange(FATHER, consumer_organisation=SCHOOL)
    return Quarters(ticket_id, before, disputed, after)


async def correct(region: TicketRegion, ticket_id: bytes, *subjects: Any, signer: Any = LI) -> Any:
    return await region.act(signer, ticket_id, CORRECT, subjects=subjects)


def mother(region: TicketRegion, ticket_id: bytes, *periods: str, **changes: Any) -> Any:
    told = {"issued_at": moment(region.clock.ms)} | changes
    return subject_tags(ticket_id, told.pop("identifier", MOTHER), periods or ALL, **told)


def told(region: TicketRegion) -> dict[str, list[bytes]]:
    return {one.recipient: list(one.exchange_ids) for one in region.told()}


def kept(region: TicketRegion) -> list[str]:
    return [name for name in region.keystore.names() if name.startswith("correction-")]


async def nothing_kept(region: TicketRegion) -> None:
    """Wait until no tags are kept."""
    async with asyncio.timeout(10):
        while kept(region):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def searched(record: ticket_pb2.TicketRecord) -> tuple[list[str], list[str], list[str]]:
    return list(record.told_periods), list(record.erased_periods), list(record.unsearched_periods)


async def test_recipients_of_the_quarter_before_and_of_the_quarter_after_are_told_and_nobody_else(
    region: TicketRegion,
) -> None:
    region.tell_on()
    it = await quarters(region)
    answer = await correct(region, it.ticket_id, mother(region, it.ticket_id))
    await region.told_all(it.ticket_id)
    assert answer.told == 3
    assert told(region) == {SCHOOL: [it.before], HEALTH: [it.disputed], CIVIL: [it.after]}
    for signer in (SUN, LI):
        record = await region.get(signer, it.ticket_id)
        assert searched(record) == (list(ALL), [], [])
        assert (record.told_period, record.untraceable) == (DISPUTED, False)


async def test_no_tag_that_the_provider_supplied_is_in_the_log_or_kept_once_everybody_is_told(
    region: TicketRegion,
) -> None:
    region.tell_on()
    it = await quarters(region)
    await correct(region, it.ticket_id, mother(region, it.ticket_id))
    await region.told_all(it.ticket_id)
    await nothing_kept(region)
    leaves = b"".join(region.log.leaves(0, region.log.head.size))
    for period in ALL:
        inner = inner_tag(providers_key(period), "citizen_id", MOTHER)
        outer = region.keys.outer(period, inner)
        assert outer is not None and inner not in leaves and outer not in leaves


async def test_where_the_provider_names_nobody_the_ticket_says_which_quarters_were_not_searched(
    region: TicketRegion,
) -> None:
    region.tell_on()
    it = await quarters(region)
    await correct(region, it.ticket_id)
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed]}
    for signer in (SUN, LI, CHEN):
        assert searched(await region.get(signer, it.ticket_id)) == ([DISPUTED], [], [BEFORE, AFTER])


async def test_a_quarter_whose_key_the_authority_erased_is_named_and_the_others_are_searched(
    region: TicketRegion,
) -> None:
    region.tell_on()
    it = await quarters(region)
    await correct(region, it.ticket_id, mother(region, it.ticket_id, DISPUTED, AFTER))
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed], CIVIL: [it.after]}
    assert searched(await region.get(LI, it.ticket_id)) == ([DISPUTED, AFTER], [BEFORE], [])


async def test_a_quarter_whose_key_the_gateway_erased_is_named_and_the_others_are_searched(
    region: TicketRegion,
) -> None:
    region.tell_on()
    it = await quarters(region)
    await region.erase_tags(BEFORE)
    await correct(region, it.ticket_id, mother(region, it.ticket_id))
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed], CIVIL: [it.after]}
    assert searched(await region.get(SUN, it.ticket_id)) == ([DISPUTED, AFTER], [BEFORE], [])


async def test_tags_that_the_disputed_quarter_cannot_vouch_for_find_nobody(region: TicketRegion) -> None:
    region.tell_on()
    it = await quarters(region)
    await correct(region, it.ticket_id, mother(region, it.ticket_id, BEFORE, AFTER))
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed]}
    assert searched(await region.get(SUN, it.ticket_id)) == ([DISPUTED], [BEFORE, AFTER], [])


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"identifier": FATHER}, e.Malformed),
        ({"ticket_id": b"\7" * 32}, e.Malformed),
        ({"organisation": CIVIL}, e.RoleNotAllowed),
        ({"signer": LI}, e.RoleNotAllowed),
        ({"issued_at": moment(NOW_MS)}, e.ClockSkew),
    ],
)
async def test_tags_of_somebody_else_or_not_of_the_authority_for_this_dispute_are_refused(
    region: TicketRegion, changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    it = await quarters(region)
    supplied = {"ticket_id": it.ticket_id} | changes
    statement = mother(region, supplied.pop("ticket_id"), **supplied)
    assert type(await refused(correct(region, it.ticket_id, statement))) is error
    assert region.state.tickets.one(it.ticket_id).standing.state == ASSIGNED
    assert kept(region) == [] and not region.told()


async def test_an_altered_statement_too_many_or_one_beside_another_step_are_refused(
    region: TicketRegion,
) -> None:
    it = await quarters(region)
    statement = mother(region, it.ticket_id)
    altered = type(statement).FromString(statement.SerializeToString())
    altered.body = mother(region, it.ticket_id, BEFORE, DISPUTED).body
    assert isinstance(await refused(correct(region, it.ticket_id, altered)), e.BadSignature)
    assert isinstance(await refused(correct(region, it.ticket_id, *[statement] * 9)), e.Malformed)
    declined = region.act(LI, it.ticket_id, DECLINE, subjects=[statement])
    assert isinstance(await refused(declined), e.Malformed)
    assert kept(region) == []


async def test_nobody_but_the_provider_s_steward_can_have_somebody_looked_for(region: TicketRegion) -> None:
    it = await quarters(region)
    for signer, organisation, error in (
        (CHEN, HEALTH, e.RoleNotAllowed),
        (WU, CIVIL, e.UnknownTicket),
        (ZHOU, "", e.RoleNotAllowed),
    ):
        statement = mother(region, it.ticket_id, organisation=organisation)
        assert type(await refused(correct(region, it.ticket_id, statement, signer=signer))) is error
    assert kept(region) == []


async def test_an_exchange_without_tags_is_about_nobody_who_could_be_looked_for(region: TicketRegion) -> None:
    region.tell_on()
    await region.exchange(MOTHER, consumer_organisation=CIVIL)
    ticket_id = await region.raised(CHEN, dispute(await region.exchange()))
    supplied = correct(region, ticket_id, mother(region, ticket_id))
    assert isinstance(await refused(supplied), e.Malformed)
    await correct(region, ticket_id)
    await region.told_all(ticket_id)
    record = await region.get(SUN, ticket_id)
    assert (record.untraceable, searched(record)) == (True, ([], [], [DISPUTED]))


async def test_of_an_exchange_about_several_each_who_is_named_is_looked_for_in_every_quarter(
    region: TicketRegion,
) -> None:
    region.tell_on()
    region.clock.ms = period_start_ms(BEFORE)
    first = await region.exchange(MOTHER, consumer_organisation=CIVIL)
    second = await region.exchange(FATHER, consumer_organisation=SCHOOL)
    region.clock.ms = NOW_MS
    both = await region.exchange(MOTHER, FATHER, step=4)
    ticket_id = await region.raised(CHEN, dispute(both))
    people = [mother(region, ticket_id, identifier=one) for one in (MOTHER, FATHER)]
    await correct(region, ticket_id, *people)
    await region.told_all(ticket_id)
    assert told(region) == {HEALTH: [both], CIVIL: [first], SCHOOL: [second]}


@pytest.mark.parametrize("done", [0, 1, 2])
async def test_a_crash_at_any_entry_tells_every_quarter_after_the_next_start_and_nobody_twice(
    region: TicketRegion, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    it = await quarters(region)
    monkeypatch.setattr(corrections_module, "PATIENCE_S", 0.0)
    await correct(region, it.ticket_id, mother(region, it.ticket_id))
    monkeypatch.setattr(region.registrar, "record_made", dying(region.registrar.record_made, done))
    with pytest.raises(e.AuditUnavailable):
        await region.corrections.tell(region.state.tickets.one(it.ticket_id))
    assert len(region.told()) == done and len(kept(region)) == 1
    await region.restart()
    region.tell_on()
    await region.told_all(it.ticket_id)
    assert told(region) == {SCHOOL: [it.before], HEALTH: [it.disputed], CIVIL: [it.after]}
    before = (await region.get(SUN, it.ticket_id)).SerializeToString(deterministic=True)
    await region.restart()
    assert (await region.get(SUN, it.ticket_id)).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("answer", [0, DECLINE])
async def test_what_a_crash_before_the_step_left_is_erased_by_the_next_start(
    region: TicketRegion, answer: int
) -> None:
    it = await quarters(region)
    if answer:
        await region.act(LI, it.ticket_id, answer)
    for ticket_id in (it.ticket_id, b"\xab" * 32):
        region.keystore.put(f"correction-{ticket_id.hex()}", b"")
    await region.restart()
    region.tell_on()
    await nothing_kept(region)


async def test_many_recipients_are_found_in_slices_between_which_others_have_their_turn(
    region: TicketRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipients_module, "PAGE", 2)
    it = await quarters(region)
    region.clock.ms = period_end_ms(DISPUTED) + DAY_MS
    more = [await region.exchange(MOTHER, consumer_organisation=CIVIL) for _ in range(5)]
    turns, query = 0, region.tagged.query

    async def counted(question: Any) -> Any:
        nonlocal turns
        turns += 1
        return await query(question)

    monkeypatch.setattr(region.tagged, "query", counted)
    region.tell_on()
    await correct(region, it.ticket_id, mother(region, it.ticket_id))
    await region.told_all(it.ticket_id)
    assert told(region)[CIVIL] == [it.after, *more]
    # What is erased is one question; three entries of hers in the quarter before are two, then one, then six.
    assert turns == 1 + 2 + 1 + 3


async def test_a_log_from_before_quarters_were_told_apart_still_says_which_was_searched(
    region: TicketRegion,
) -> None:
    ticket_id = await region.raised(CHEN, dispute(await region.exchange(MOTHER)))
    held = region.state.tickets.one(ticket_id)
    held.end_telling(audit_pb2.CorrectionRecord(ticket_id=ticket_id, tag_period=DISPUTED, ends=True))
    assert (held.told_all, held.told_periods) == (True, (DISPUTED,))


async def unnamed(region: TicketRegion) -> Quarters:
    """Correct without naming anybody; one recipient of the disputed quarter is told."""
    region.tell_on()
    it = await quarters(region)
    await correct(region, it.ticket_id)
    await region.told_all(it.ticket_id)
    return it


async def supplement(
    region: TicketRegion, ticket_id: bytes, *subjects: Any, signer: Any = LI, **more: Any
) -> Any:
    return await region.act(signer, ticket_id, SUPPLEMENT, 2, subjects=subjects, **more)


async def test_whom_the_provider_names_afterwards_is_looked_for_in_the_quarters_that_are_left(
    region: TicketRegion,
) -> None:
    beside = await region.exchange(MOTHER)
    it = await unnamed(region)
    await region.act(CHEN, it.ticket_id, ACKNOWLEDGE, 0)
    later = await region.exchange(MOTHER, consumer_organisation=CIVIL)
    answer = await supplement(region, it.ticket_id, mother(region, it.ticket_id), text="补充")
    await region.told_all(it.ticket_id)
    assert (answer.state, answer.told) == (CORRECTED, 3)
    # Nobody is told twice, and nobody of what came after the correction.
    assert told(region) == {HEALTH: [it.disputed, beside], SCHOOL: [it.before], CIVIL: [it.after]}
    assert len(region.told()) == 3 and later not in region.told()[-1].exchange_ids
    record = await region.get(SUN, it.ticket_id)
    assert searched(record) == (list(ALL), [], [])
    assert (record.told_period, record.untraceable, record.told_all) == (DISPUTED, False, True)
    assert (list(record.acknowledged), record.revision) == ([HEALTH], 2)
    await region.act(WU, it.ticket_id, ACKNOWLEDGE, 0)
    again = await refused(
        region.act(LI, it.ticket_id, SUPPLEMENT, 3, subjects=[mother(region, it.ticket_id)])
    )
    assert isinstance(again, e.WrongState), "nothing is left to be searched"
    before = (await region.get(SUN, it.ticket_id)).SerializeToString(deterministic=True)
    await region.restart()
    assert (await region.get(SUN, it.ticket_id)).SerializeToString(deterministic=True) == before
    assert kept(region) == []


async def test_who_is_told_of_more_by_a_supplement_acknowledges_again(region: TicketRegion) -> None:
    region.clock.ms = period_start_ms(BEFORE) + DAY_MS
    before = await region.exchange(MOTHER)
    it = await unnamed(region)
    await region.act(CHEN, it.ticket_id, ACKNOWLEDGE, 0)
    await supplement(region, it.ticket_id, mother(region, it.ticket_id))
    await region.told_all(it.ticket_id)
    assert [one.exchange_ids[0] for one in region.told() if one.recipient == HEALTH] == [it.disputed, before]
    assert not (await region.get(SUN, it.ticket_id)).acknowledged
    await region.act(CHEN, it.ticket_id, ACKNOWLEDGE, 0)
    assert list((await region.get(SUN, it.ticket_id)).acknowledged) == [HEALTH]


async def test_a_supplement_is_the_provider_s_names_whom_the_exchange_is_about_and_comes_once_all_are_told(
    region: TicketRegion,
) -> None:
    it = await quarters(region)
    early = supplement(region, it.ticket_id, mother(region, it.ticket_id))
    assert isinstance(await refused(early), e.WrongState), "it is not corrected yet"
    region.tell_on()
    await correct(region, it.ticket_id)
    await region.told_all(it.ticket_id)
    size = region.log.head.size
    for subjects, signer, error in (
        ([], LI, e.Malformed),
        ([mother(region, it.ticket_id, identifier=FATHER)], LI, e.Malformed),
        ([mother(region, it.ticket_id, organisation=HEALTH)], CHEN, e.RoleNotAllowed),
        ([mother(region, it.ticket_id, organisation=CIVIL)], WU, e.UnknownTicket),
    ):
        assert type(await refused(supplement(region, it.ticket_id, *subjects, signer=signer))) is error
    assert len(region.told()) == 1 and kept(region) == []
    assert searched(await region.get(SUN, it.ticket_id)) == ([DISPUTED], [], [BEFORE, AFTER])
    # Refusals are entries, and nothing else is.
    entries = [audit_pb2.AuditEntry.FromString(one) for one in region.log.leaves(size, 100)]
    assert not [one for one in entries if one.administrative.act == audit_pb2.ACT_TICKET_EVENT]


async def test_where_tags_tell_nothing_of_the_disputed_exchange_there_is_nothing_to_supplement(
    region: TicketRegion,
) -> None:
    region.tell_on()
    ticket_id = await region.raised(CHEN, dispute(await region.exchange()))
    await correct(region, ticket_id)
    await region.told_all(ticket_id)
    assert isinstance(await refused(supplement(region, ticket_id, mother(region, ticket_id))), e.WrongState)


@pytest.mark.parametrize("done", [0, 1, 2])
async def test_a_crash_at_any_entry_of_a_supplement_is_made_good_by_the_next_start(
    region: TicketRegion, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    it = await unnamed(region)
    assert region.telling is not None
    region.telling.cancel()
    monkeypatch.setattr(corrections_module, "PATIENCE_S", 0.0)
    await supplement(region, it.ticket_id, mother(region, it.ticket_id))
    monkeypatch.setattr(region.registrar, "record_made", dying(region.registrar.record_made, done))
    with pytest.raises(e.AuditUnavailable):
        await region.corrections.tell(region.state.tickets.one(it.ticket_id))
    assert len(region.told()) == 1 + done and len(kept(region)) == 1
    await region.restart()
    region.tell_on()
    await region.told_all(it.ticket_id)
    assert told(region) == {HEALTH: [it.disputed], SCHOOL: [it.before], CIVIL: [it.after]}
    assert len(region.told()) == 3
