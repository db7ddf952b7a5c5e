"""Cases at the gateway: who opens and closes them, how long they are remembered, and what they cover."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exchange import canonical
from exchange import errors as e
from exchange.cases import CHANGE, DAY_MS
from exchange.identity import Role
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2, exchange_pb2
from gateway.audit.keeping.terms import stays
from gateway.cases import register
from gateway.cases.guard import CaseIsOpen
from tests.support.casework import CASE, MATTER, closing, rules_body, step
from tests.support.region import CIVIL, HEALTH, POLICE, Authority, Region, moment

ACT = audit_pb2.ACT_CASE


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def region(tmp_path: Path, authority: Authority) -> Region:
    made = Region(tmp_path, authority=authority)
    await made.settled()
    return made


async def _rules(region: Region, version: int = 1, **changes: Any) -> None:
    body = rules_body(region.clock.ms, version, **changes)
    second = region.authority.person(Role.ADMIN, "admin-2")
    await region.registrar.record(
        audit_pb2.ACT_RULES,
        region.admin.identity,
        region.admin.sign(canonical.RULES, body),
        countersignatures=[second.sign(canonical.RULES, body)],
    )


async def _open(
    region: Region, number: str = CASE, signer: StatementSigner | None = None, **changes: Any
) -> int:
    signer = signer or region.health
    return await region.enter(ACT, signer, step(signer, region.clock.ms, case_number=number, **changes))


async def _close(
    region: Region, number: str = CASE, signer: StatementSigner | None = None, **changes: Any
) -> int:
    signer = signer or region.health
    statement = closing(signer, region.clock.ms, case_number=number, **changes)
    return await region.enter(ACT, signer, statement)


def _exchange(number: str = CASE, consumer: str = HEALTH, **header: Any) -> Any:
    told: dict[str, Any] = {"provider_organisation": POLICE, "matter": MATTER, "case_number": number}
    return SimpleNamespace(
        caller=SimpleNamespace(identity=SimpleNamespace(organisation=consumer)),
        header=exchange_pb2.RequestHeader(**(told | header)),
        rule="grant",
        case_standing=audit_pb2.CASE_STANDING_UNSPECIFIED,
    )


def _guarded(region: Region, **changes: Any) -> Any:
    """Return an exchange after the guard; its `error` is why it was refused."""
    exchange = _exchange(**changes)
    exchange.error = None
    try:
        CaseIsOpen(state=region.state)(cast(Any, exchange), None, region.clock.ms)
    except e.ExchangeError as error:
        exchange.error = type(error)
    return exchange


async def test_a_case_is_opened_and_closed_by_agents_and_stewards_of_its_lead(region: Region) -> None:
    agent = region.authority.person(Role.AGENT, "health-1", HEALTH)
    await _open(region, signer=agent)
    opened = region.state.cases.get(CASE)
    assert opened is not None and opened.is_open(region.clock.ms)
    await _close(region)
    closed = region.state.cases.get(CASE)
    assert closed is not None and not closed.is_open(region.clock.ms)


async def test_a_step_that_is_replayed_altered_of_others_or_of_another_time_is_refused(
    region: Region,
) -> None:
    statement = step(region.health, region.clock.ms)
    index = await region.enter(ACT, region.health, statement)
    assert await region.enter(ACT, region.health, statement) == index
    with pytest.raises(e.Replayed):
        await _open(region)
    with pytest.raises(e.RoleNotAllowed):
        await region.enter(ACT, region.police, closing(region.police, region.clock.ms))
    with pytest.raises(e.RoleNotAllowed):
        await region.enter(ACT, region.police, closing(region.health, region.clock.ms))
    altered = closing(region.health, region.clock.ms)
    altered.body = step(region.health, region.clock.ms, revision=2, action=CHANGE).body
    with pytest.raises(e.BadSignature):
        await region.enter(ACT, region.health, altered)
    for early_ms in (-6 * 60_000, 6 * 60_000):
        with pytest.raises(e.ClockSkew):
            await region.enter(ACT, region.health, closing(region.health, region.clock.ms + early_ms))
    with pytest.raises(e.UnknownOrganisation):
        await _open(region, "LJ-2", participants=[CIVIL])
    assert region.log.acts()[-1].act == ACT and len(region.state.cases) == 1


async def test_of_two_who_close_one_case_the_second_is_refused(region: Region) -> None:
    await _open(region)
    agent = region.authority.person(Role.AGENT, "health-1", HEALTH)
    done = await asyncio.gather(_close(region), _close(region, signer=agent), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in done) == ["WrongState", "int"]
    assert [act.act for act in region.log.acts()].count(ACT) == 2


async def test_where_case_services_are_named_no_other_opens_cases(region: Region) -> None:
    await _rules(region, case_services=[POLICE])
    with pytest.raises(e.RoleNotAllowed):
        await _open(region)
    await _open(region, signer=region.police, lead=POLICE, participants=[HEALTH])


async def test_who_takes_part_is_told_and_at_a_change_also_who_did(region: Region) -> None:
    await region.add(CIVIL, "civil")
    first = await _open(region)
    second = await _open(region, revision=2, action=CHANGE, participants=[CIVIL])
    assert region.state.event_indexes(POLICE, first, 10) == [first, second]
    assert region.state.event_indexes(CIVIL, first, 10) == [second]
    third = await _close(region, revision=3, participants=[CIVIL])
    assert region.state.event_indexes(POLICE, third, 10) == []


async def test_an_exchange_passes_only_while_its_case_is_open_for_its_parties_and_matter(
    region: Region,
) -> None:
    await _rules(region)
    await _open(region)
    passed = _guarded(region)
    assert (passed.error, passed.case_standing) == (None, audit_pb2.CASE_STANDING_OPEN)
    for changes in (
        {"number": "LJ-2026-2"},
        {"matter": "housing"},
        {"consumer": CIVIL},
        {"provider_organisation": CIVIL},
    ):
        refused = _guarded(region, **changes)
        assert refused.error is e.CaseNotOpen and refused.rule == "case"
        assert refused.case_standing == audit_pb2.CASE_STANDING_NOT_OPEN
    unnamed = _guarded(region, number="")
    assert (unnamed.error, unnamed.case_standing) == (None, audit_pb2.CASE_STANDING_UNSPECIFIED)
    await _close(region)
    assert _guarded(region).error is e.CaseNotOpen


async def test_a_case_that_runs_out_is_not_open_any_more(region: Region) -> None:
    await _rules(region)
    await _open(region, expires_at=moment(region.clock.ms + 1000))
    assert _guarded(region).error is None
    region.clock.ms += 1000
    assert _guarded(region).error is e.CaseNotOpen


async def test_where_case_numbers_are_claims_the_entries_say_so(region: Region) -> None:
    claimed = _guarded(region, number="whatever")
    assert (claimed.error, claimed.case_standing) == (None, audit_pb2.CASE_STANDING_CLAIM)
    assert _guarded(region, number="").case_standing == audit_pb2.CASE_STANDING_UNSPECIFIED


def _restarted(region: Region) -> None:
    region.store.close()
    region.start()


async def test_what_is_open_is_open_after_a_restart(region: Region) -> None:
    await _open(region)
    await _open(region, "LJ-2")
    await _close(region, "LJ-2")
    before = {number: region.state.cases.held(number) for number in (CASE, "LJ-2")}
    _restarted(region)
    assert {number: region.state.cases.held(number) for number in before} == before


async def test_an_ended_case_is_remembered_for_a_day_and_then_forgotten_everywhere(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register, "LET_GO", 1)
    gone = [await _open(region), await _close(region)]
    region.clock.ms += DAY_MS - 1
    with pytest.raises(e.Replayed):
        await _open(region)
    region.clock.ms += 1
    again = await _open(region)
    assert len(region.state.cases) == 1
    assert region.state.event_indexes(POLICE, gone[0], 10) == [again]
    held = [index for index, _ in region.store.events()]
    assert again in held and not set(gone) & set(held)
    _restarted(region)
    assert region.state.event_indexes(POLICE, gone[0], 10) == [again]
    assert region.registrar.fault is None


async def test_a_case_whose_end_was_put_off_is_not_forgotten_at_the_end_it_had(region: Region) -> None:
    await _open(region, expires_at=moment(region.clock.ms + 1000))
    await _open(region, revision=2, action=CHANGE)
    region.clock.ms += 2 * DAY_MS
    await _open(region, "LJ-2")
    assert region.state.cases.get(CASE) is not None


async def test_cases_are_bounded_for_all_and_for_one_lead(region: Region) -> None:
    cases = region.state.cases
    cases._most_of_lead = 1
    await _open(region)
    with pytest.raises(e.QueueFull):
        await _open(region, "LJ-2")
    await _open(region, "LJ-3", signer=region.police, lead=POLICE, participants=[])
    cases._most, cases._most_of_lead = 2, 100
    with pytest.raises(e.QueueFull):
        await _open(region, "LJ-4")
    await _close(region)


async def test_a_case_whose_opening_went_with_its_segment_is_closed_all_the_same(
    region: Region, tmp_path: Path
) -> None:
    opened = await _open(region)
    closed = await _close(region)
    (tmp_path / "other").mkdir()
    again = Region(tmp_path / "other", authority=region.authority)
    for index, leaf in enumerate(region.log.entries):
        if index != opened:
            again.state.apply(index, audit_pb2.AuditEntry.FromString(leaf))
    case = again.state.cases.get(CASE)
    assert case is not None and case.closed and again.state.cases.held(CASE).indexes == (closed,)  # type: ignore[union-attr]


async def test_the_entries_of_cases_go_with_their_segment(region: Region) -> None:
    index = await _open(region)
    assert not stays(audit_pb2.AuditEntry.FromString(region.log.entries[index]))


async def test_of_a_case_whose_entry_is_erased_nobody_is_told_any_more(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased, kept = await _open(region), await _open(region, "LJ-2")
    leaves = region.log.leaves

    def read(first: int, count: int) -> list[bytes]:
        if first == erased:
            raise e.EntryErased(str(first))
        return list(leaves(first, count))

    monkeypatch.setattr(region.log, "leaves", read)
    page = region.registrar.events(erased, 1, POLICE)
    assert (list(page.events), page.next, page.more) == ([], erased + 1, True)
    page = region.registrar.events(page.next, 10, POLICE)
    assert [event.index for event in page.events] == [kept] and not page.more
