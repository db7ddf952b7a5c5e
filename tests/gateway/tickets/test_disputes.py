"""Disputes at the gateway: who may raise and answer what, and that a correction reaches whom it concerns."""

import asyncio
from typing import Any

import pytest

from exchange import canonical
from exchange import errors as e
from exchange.statement import StatementSigner
from exchange.tickets import (
    ACKNOWLEDGE,
    ASSIGNED,
    CORRECT,
    CORRECTED,
    DECLINE,
    DECLINED,
    WITHDRAW,
    WITHDRAWN,
    read_event,
)
from exchange.v1 import audit_pb2, directory_pb2, ticket_pb2
from gateway.tickets import corrections as corrections_module
from gateway.tickets import recipients as recipients_module
from gateway.tickets import register as register_module
from tests.support.callers import by
from tests.support.region import CIVIL, HEALTH, POLICE, moment
from tests.support.review_region import refused
from tests.support.sealing import NOW_MS
from tests.support.tickets import (
    CHEN,
    FATHER,
    GATEWAY,
    HE,
    LI,
    MOTHER,
    SCHOOL,
    SUN,
    WANG,
    WU,
    ZHOU,
    TicketRegion,
    dispute,
    dying,
    event,
)


async def disputed(region: TicketRegion, *subjects: str, **said: Any) -> bytes:
    """Enter an exchange of HEALTH's and dispute it; return the ticket."""
    return await region.raised(CHEN, dispute(await region.exchange(*(subjects or (MOTHER,)), **said)))


async def test_a_dispute_is_with_the_provider_at_once_and_both_see_it(region: TicketRegion) -> None:
    ticket_id = await disputed(region)
    record = await region.get(CHEN, ticket_id)
    assert (record.state, record.waits_for, record.revision) == (ASSIGNED, POLICE, 0)
    assert record.due_at.ToMilliseconds() > NOW_MS
    for signer in (LI, SUN, WANG):
        assert (await region.get(signer, ticket_id)).ticket.body == record.ticket.body
        assert [one.ticket_id for one in (await region.listed(signer)).tickets] == [ticket_id]
    for signer in (WU, HE):
        assert isinstance(await refused(region.get(signer, ticket_id)), e.UnknownTicket)
        assert not (await region.listed(signer)).tickets
    assert isinstance(await refused(region.get(ZHOU, ticket_id)), e.RoleNotAllowed)


@pytest.mark.parametrize(
    "change",
    [{"suspended": True}, {"suspended": False, "action": directory_pb2.RESOURCE_ACTION_WITHDRAW}],
    ids=["suspended", "withdrawn"],
)
async def test_what_a_resource_brought_is_disputed_and_corrected_though_it_is_out_of_use_since(
    region: TicketRegion, change: dict[str, Any]
) -> None:
    region.tell_on()
    first = await region.exchange(MOTHER)
    civil = await region.exchange(MOTHER, consumer_organisation=CIVIL, fields=["address"])
    await region.suspend(LI, **change)
    ticket_id = await region.raised(CHEN, dispute(first))
    assert (await region.get(LI, ticket_id)).waits_for == POLICE
    await region.restart()
    region.tell_on()
    # A field that was not contested and that the resource had: others may have received it.
    await region.act(LI, ticket_id, CORRECT, fields=["name", "address"])
    await region.told_all(ticket_id)
    assert {one.recipient: list(one.exchange_ids) for one in region.told()} == {
        HEALTH: [first],
        CIVIL: [civil],
    }
    assert (await region.act(CHEN, ticket_id, ACKNOWLEDGE, 0)).state == CORRECTED
    # What never was in the catalogue is no more disputable than before, nor is another's exchange.
    for body, error in (
        (dispute(first, resource="970100/police/other"), e.UnknownResource),
        (dispute(civil), e.UnknownEntry),
    ):
        assert type(await refused(region.raised(CHEN, body))) is error


async def test_the_same_dispute_again_is_one_entry(region: TicketRegion) -> None:
    body = dispute(await region.exchange(MOTHER))
    ticket_id = await region.raised(CHEN, body)
    size = region.log.head.size
    assert await region.raised(CHEN, body) == ticket_id
    assert await region.raised(CHEN, body) == ticket_id
    held = region.state.tickets.one(ticket_id)
    assert region.log.head.size >= size and held.index < size
    assert len((await region.listed(SUN)).tickets) == 1


@pytest.mark.parametrize(
    ("said", "changes", "error"),
    [
        ({"consumer_organisation": CIVIL}, {}, e.UnknownEntry),
        ({"decision": audit_pb2.DECISION_REFUSED}, {}, e.UnknownEntry),
        ({"decision": audit_pb2.DECISION_FAILED}, {}, e.UnknownEntry),
        ({}, {"exchange_id": b"\7" * 16}, e.UnknownEntry),
        ({}, {"fields": ["address"]}, e.UnknownField),
        ({}, {"fields": []}, e.Malformed),
        ({}, {"fields": ["name", "name"]}, e.Malformed),
        ({}, {"provider": CIVIL}, e.UnknownResource),
        ({}, {"resource": "970100/police/other"}, e.UnknownResource),
        ({"resource": "970100/police/other"}, {}, e.UnknownResource),
        ({}, {"raised_by": CIVIL}, e.RoleNotAllowed),
        ({}, {"text": "王某 970102199001010011 的姓名有误"}, e.Malformed),
        ({}, {"text": ""}, e.Malformed),
        ({}, {"issued_at": moment(NOW_MS - 6 * 60_000)}, e.ClockSkew),
    ],
)
async def test_a_dispute_that_is_not_about_a_released_exchange_of_one_s_own_is_refused(
    region: TicketRegion, said: dict[str, Any], changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    exchange_id = await region.exchange(MOTHER, **said)
    body = dispute(changes.pop("exchange_id", exchange_id), **changes)
    assert type(await refused(region.raised(CHEN, body))) is error
    assert not list(region.state.tickets.page(SUN.identity, -1))


async def test_a_dispute_cannot_be_handed_in_past_the_look_into_the_log(region: TicketRegion) -> None:
    body = dispute(await region.exchange(MOTHER))
    statement = CHEN.sign(canonical.TICKET, body.SerializeToString())
    with pytest.raises(e.UnknownEntry):
        await region.enter(audit_pb2.ACT_TICKET, CHEN, statement)


async def test_more_open_tickets_of_an_organisation_than_allowed_are_refused(
    region: TicketRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_module, "MAX_OPEN", 1)
    ticket_id = await disputed(region)
    assert isinstance(await refused(disputed(region)), e.TooMany)
    await region.act(CHEN, ticket_id, WITHDRAW)
    await disputed(region)


@pytest.mark.parametrize(
    ("signer", "action", "error"),
    [
        (CHEN, CORRECT, e.RoleNotAllowed),
        (CHEN, DECLINE, e.RoleNotAllowed),
        (LI, WITHDRAW, e.RoleNotAllowed),
        (WANG, CORRECT, e.RoleNotAllowed),
        (WU, CORRECT, e.UnknownTicket),
        (WU, ACKNOWLEDGE, e.UnknownTicket),
        (CHEN, ACKNOWLEDGE, e.WrongState),
        (LI, ticket_pb2.TICKET_ACTION_ANSWER, e.WrongState),
    ],
)
async def test_a_step_by_somebody_else_or_of_another_kind_is_refused(
    region: TicketRegion, signer: StatementSigner, action: int, error: type[e.ExchangeError]
) -> None:
    ticket_id = await disputed(region)
    more: dict[str, Any] = {"revision": 0 if action == ACKNOWLEDGE else 1}
    if action == ticket_pb2.TICKET_ACTION_ANSWER:
        more["resource"] = "970100/police/household"
    assert type(await refused(region.act(signer, ticket_id, action, **more))) is error
    assert region.state.tickets.one(ticket_id).standing.state == ASSIGNED


@pytest.mark.parametrize(
    ("signer", "action", "state"),
    [(LI, DECLINE, DECLINED), (CHEN, WITHDRAW, WITHDRAWN), (LI, CORRECT, CORRECTED)],
)
async def test_a_dispute_ends_once(
    region: TicketRegion, signer: StatementSigner, action: int, state: int
) -> None:
    region.tell_on()
    ticket_id = await disputed(region)
    answer = await region.act(signer, ticket_id, action)
    assert answer.state == state
    record = await region.get(SUN, ticket_id)
    assert (record.waits_for, record.HasField("due_at")) == ("", False)
    for again in (WITHDRAW, DECLINE, CORRECT):
        who = CHEN if again == WITHDRAW else LI
        assert isinstance(await refused(region.act(who, ticket_id, again, 2)), e.WrongState)
    assert region.state.tickets.one(ticket_id).standing.state == state


async def test_of_two_who_race_one_is_first_and_a_replay_changes_nothing(region: TicketRegion) -> None:
    ticket_id = await disputed(region)
    steps = [
        region.act(LI, ticket_id, DECLINE),
        region.act(CHEN, ticket_id, WITHDRAW),
    ]
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    assert sum(isinstance(one, Exception) for one in outcomes) == 1
    other = await disputed(region)
    statement = LI.sign(canonical.TICKET_EVENT, event(other, DECLINE, 1).SerializeToString())
    first = await region.act_on(LI, statement)
    size = region.log.head.size
    assert await region.act_on(LI, statement) == first
    assert region.log.head.size == size
    # Signed by another, the same words are another's.
    stolen = await refused(
        region.stub.ActOnTicket(ticket_pb2.ActOnTicketRequest(event=statement), metadata=by(CHEN))
    )
    assert isinstance(stolen, e.RoleNotAllowed)


async def test_fields_that_the_resource_does_not_have_cannot_be_corrected(region: TicketRegion) -> None:
    ticket_id = await disputed(region)
    found = await refused(region.act(LI, ticket_id, CORRECT, fields=["salary"]))
    assert isinstance(found, e.UnknownField)


async def test_a_correction_reaches_every_past_recipient_and_only_these(region: TicketRegion) -> None:
    region.tell_on()
    first = await region.exchange(MOTHER)
    again = await region.exchange(MOTHER, fields=["name", "address"])
    civil = await region.exchange(MOTHER, FATHER, step=4, consumer_organisation=CIVIL)
    for others in (
        {"consumer_organisation": SCHOOL, "fields": ["address"]},
        {"consumer_organisation": SCHOOL, "decision": audit_pb2.DECISION_REFUSED},
        {"consumer_organisation": SCHOOL, "resource": "970100/police/other"},
    ):
        await region.exchange(MOTHER, **others)
    await region.exchange(FATHER, consumer_organisation=SCHOOL)
    ticket_id = await region.raised(CHEN, dispute(first))
    answer = await region.act(LI, ticket_id, CORRECT)
    later = await region.exchange(MOTHER, consumer_organisation=SCHOOL)
    await region.told_all(ticket_id)
    assert answer.told == 2
    assert {one.recipient: set(one.exchange_ids) for one in region.told()} == {
        HEALTH: {first, again},
        CIVIL: {civil},
    }
    assert all(later not in one.exchange_ids for one in region.told())
    record = await region.get(LI, ticket_id)
    assert (list(record.told), record.told_all) == (sorted([HEALTH, CIVIL]), True)
    assert (record.told_period, record.untraceable) == ("2026Q3", False)


async def test_a_recipient_is_told_by_an_event_of_its_own_that_carries_the_provider_s_step(
    region: TicketRegion,
) -> None:
    region.tell_on()
    first = await region.exchange(MOTHER)
    await region.exchange(MOTHER, consumer_organisation=CIVIL)
    ticket_id = await region.raised(CHEN, dispute(first))
    await region.act(LI, ticket_id, CORRECT, text="户籍登记有误，已更正")
    await region.told_all(ticket_id)

    def corrections(organisation: str) -> list[audit_pb2.AdministrativeEntry]:
        events = region.registrar.events(0, 500, organisation).events
        acts = [audit_pb2.AuditEntry.FromString(one.leaf).administrative for one in events]
        return [one for one in acts if one.act == audit_pb2.ACT_CORRECTION]

    (told,) = corrections(CIVIL)
    assert (told.actor, told.correction.recipient) == (GATEWAY.identity.uri, CIVIL)
    step = read_event(told.statement)
    assert (step.action, step.ticket_id, step.text) == (CORRECT, ticket_id, "户籍登记有误，已更正")
    assert not corrections(SCHOOL)
    # Who was only told sees the step, and neither who raised the dispute nor why.
    record = await region.get(WU, ticket_id)
    assert not record.HasField("ticket") and list(record.told) == [CIVIL]
    assert HEALTH not in str(record) and [read_event(one).action for one in record.events] == [CORRECT]
    assert [one.ticket_id for one in (await region.listed(WU)).tickets] == [ticket_id]


async def test_recipients_acknowledge_in_any_order_once_each_and_nobody_else(region: TicketRegion) -> None:
    region.tell_on()
    first = await region.exchange(MOTHER)
    await region.exchange(MOTHER, consumer_organisation=CIVIL)
    ticket_id = await region.raised(CHEN, dispute(first))
    await region.act(LI, ticket_id, CORRECT)
    await region.told_all(ticket_id)
    for signer in (WU, CHEN):
        answer = await region.act(signer, ticket_id, ACKNOWLEDGE, 0)
        assert answer.state == CORRECTED
        again = await refused(region.act(signer, ticket_id, ACKNOWLEDGE, 0))
        assert isinstance(again, e.WrongState)
    assert isinstance(await refused(region.act(LI, ticket_id, ACKNOWLEDGE, 0)), e.WrongState)
    assert isinstance(await refused(region.act(HE, ticket_id, ACKNOWLEDGE, 0)), e.UnknownTicket)
    assert list((await region.get(SUN, ticket_id)).acknowledged) == sorted([HEALTH, CIVIL])


async def test_many_exchanges_are_told_in_several_entries_each_once(
    region: TicketRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corrections_module, "MOST_IDS", 4)
    monkeypatch.setattr(recipients_module, "PAGE", 3)
    region.tell_on()
    ids = [await region.exchange(MOTHER) for _ in range(10)]
    ticket_id = await region.raised(CHEN, dispute(ids[5]))
    await region.act(LI, ticket_id, CORRECT)
    await region.told_all(ticket_id)
    told = [one for record in region.told() for one in record.exchange_ids]
    assert sorted(told) == sorted(ids) and [len(one.exchange_ids) for one in region.told()] == [4, 4, 2]


@pytest.mark.parametrize("done", [0, 1, 2])
async def test_a_crash_between_the_correction_and_its_entries_is_made_good_by_the_next_start(
    region: TicketRegion, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    monkeypatch.setattr(corrections_module, "MOST_IDS", 2)
    ids = [await region.exchange(MOTHER) for _ in range(4)]
    civil = await region.exchange(MOTHER, consumer_organisation=CIVIL)
    ticket_id = await region.raised(CHEN, dispute(ids[0]))
    monkeypatch.setattr(corrections_module, "PATIENCE_S", 0.0)
    await region.act(LI, ticket_id, CORRECT)
    monkeypatch.setattr(region.registrar, "record_made", dying(region.registrar.record_made, done))
    with pytest.raises(e.AuditUnavailable):
        await region.corrections.tell(region.state.tickets.one(ticket_id))
    assert len(region.told()) == done
    await region.restart()
    assert not region.state.tickets.one(ticket_id).told_all
    region.tell_on()
    await region.told_all(ticket_id)
    told = [one for record in region.told() for one in record.exchange_ids]
    assert sorted(told) == sorted([*ids, civil])
    await region.restart()
    assert region.state.tickets.telling() == []
    assert list((await region.get(SUN, ticket_id)).told) == sorted([HEALTH, CIVIL])


async def test_where_the_tags_were_erased_only_who_disputed_is_told_and_the_ticket_says_so(
    region: TicketRegion,
) -> None:
    region.tell_on()
    first = await region.exchange(MOTHER)
    await region.exchange(MOTHER, consumer_organisation=CIVIL)
    await region.erase_tags()
    ticket_id = await region.raised(CHEN, dispute(first))
    await region.act(LI, ticket_id, CORRECT)
    await region.told_all(ticket_id)
    assert [(one.recipient, list(one.exchange_ids)) for one in region.told()] == [(HEALTH, [first])]
    record = await region.get(SUN, ticket_id)
    assert (record.untraceable, record.told_period, list(record.told)) == (True, "", [HEALTH])


async def test_an_exchange_without_tags_is_corrected_for_who_disputed_it(region: TicketRegion) -> None:
    region.tell_on()
    first = await region.exchange()
    ticket_id = await region.raised(CHEN, dispute(first))
    assert (await region.act(LI, ticket_id, CORRECT)).told == 1
    assert (await region.get(CHEN, ticket_id)).untraceable


async def test_an_exchange_about_several_subjects_tells_the_recipients_of_all_of_them(
    region: TicketRegion,
) -> None:
    region.tell_on()
    both = await region.exchange(MOTHER, FATHER, step=4)
    mother = await region.exchange(MOTHER, consumer_organisation=CIVIL)
    father = await region.exchange(FATHER, consumer_organisation=SCHOOL)
    ticket_id = await region.raised(CHEN, dispute(both))
    await region.act(LI, ticket_id, CORRECT)
    await region.told_all(ticket_id)
    told = {one.recipient: list(one.exchange_ids) for one in region.told()}
    assert told == {HEALTH: [both], CIVIL: [mother], SCHOOL: [father]}


async def test_what_is_folded_again_is_the_same(region: TicketRegion) -> None:
    region.tell_on()
    ids = [await disputed(region) for _ in range(3)]
    await region.act(LI, ids[0], CORRECT)
    await region.told_all(ids[0])
    await region.act(CHEN, ids[1], WITHDRAW)
    before = (await region.listed(SUN)).SerializeToString(deterministic=True)
    await region.restart()
    assert (await region.listed(SUN)).SerializeToString(deterministic=True) == before
    (region.folder / "state.db").unlink()
    await region.restart()
    assert (await region.listed(SUN)).SerializeToString(deterministic=True) == before


async def test_pages_follow_each_other_and_filters_fit(region: TicketRegion) -> None:
    ids = [await disputed(region) for _ in range(5)]
    await region.act(LI, ids[2], DECLINE)
    found: list[bytes] = []
    token = ""
    while True:
        page = await region.listed(CHEN, page_size=2, page_token=token)
        found += [one.ticket_id for one in page.tickets]
        token = page.next_page_token
        if not token:
            break
    assert found == ids
    declined = await region.listed(CHEN, state=DECLINED)
    assert [one.ticket_id for one in declined.tickets] == [ids[2]]
    assert not (await region.listed(CHEN, demands=True)).tickets
    assert len((await region.listed(CHEN, disputes=True)).tickets) == 5
    assert isinstance(await refused(region.listed(CHEN, page_token="x")), e.Malformed)
