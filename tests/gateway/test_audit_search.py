"""Officers search the log: what is found, told, entered and refused."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange import errors as e
from exchange.identity import Role
from exchange.rpc_errors import from_rpc_error
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2
from gateway import pages
from gateway.audit.entries.filter_words import short_hash
from gateway.audit.entries.filters import Filter, facts_of
from gateway.audit.projections.search import MAX_FINDS
from tests.support.callers import by
from tests.support.officers import AUDITOR, AUTHORITY, OFFICER, Office, exchange
from tests.support.region import HEALTH, POLICE, Region

CASE = "LJ-2026-000017"
REFUSED = audit_pb2.EntryFilter(decisions=[audit_pb2.DECISION_REFUSED])


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    office = Office(tmp_path)
    await office.open()
    yield office
    await office.close()


async def searched(
    office: Office, asked: audit_pb2.SearchRequest, who: StatementSigner = OFFICER
) -> audit_pb2.SearchResponse:
    answer: audit_pb2.SearchResponse = await office.audit.Search(asked, metadata=by(who))
    return answer


async def refused(office: Office, asked: audit_pb2.SearchRequest, who: StatementSigner = OFFICER) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await searched(office, asked, who)
    return from_rpc_error(caught.value, hop="gateway")


async def pages_of(office: Office, asked: audit_pb2.SearchRequest) -> list[int]:
    found: list[int] = []
    while True:
        answer = await searched(office, asked)
        assert len(answer.entries) <= (asked.page_size or 100)
        found += [one.index for one in answer.entries]
        if not answer.next_page_token:
            return found
        asked.page_token = answer.next_page_token


@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_in_both_directions_show_every_entry_that_fits_once(
    office: Office, newest_first: bool
) -> None:
    decisions = [audit_pb2.DECISION_REFUSED if number % 3 else 1 for number in range(700)]
    await office.enter(*(exchange(number, decision=one) for number, one in enumerate(decisions)))
    asked = audit_pb2.SearchRequest(filter=REFUSED, newest_first=newest_first, page_size=100)
    wanted = [number for number in range(700) if number % 3]
    assert await pages_of(office, asked) == wanted[:: -1 if newest_first else 1]


async def test_what_is_found_is_the_logs_exact_bytes(office: Office) -> None:
    await office.enter(exchange(0), exchange(1, case_number=CASE, operator="op-1"), exchange(2))
    office.witnessed = 2
    answer = await searched(office, audit_pb2.SearchRequest(filter=audit_pb2.EntryFilter(case_number=CASE)))
    assert [(one.index, one.leaf) for one in answer.entries] == [(1, office.sequencer.leaves(1, 1)[0])]
    assert (answer.searched_size, answer.witnessed_size) == (3, 2)


async def test_entries_that_come_between_two_pages_are_neither_missed_nor_repeated(office: Office) -> None:
    await office.enter(*(exchange(number) for number in range(30)))
    for newest_first in (False, True):
        asked = audit_pb2.SearchRequest(
            filter=audit_pb2.EntryFilter(organisation=HEALTH), newest_first=newest_first, page_size=20
        )
        first = await searched(office, asked)
        added = await office.enter(exchange(99))
        asked.page_token = first.next_page_token
        seen = [one.index for one in first.entries] + await pages_of(office, asked)
        assert len(set(seen)) == len(seen) and (added in seen) is not newest_first
        assert set(range(30)) <= set(seen)


async def test_a_search_is_an_entry_in_words_before_anything_is_shown(office: Office) -> None:
    await office.enter(exchange(0, case_number=CASE, operator="op-17"))
    asked = audit_pb2.SearchRequest(
        filter=audit_pb2.EntryFilter(case_number=CASE, operator="op-17", organisation=HEALTH)
    )
    assert len((await searched(office, asked, AUDITOR)).entries) == 1
    told = office.reads()
    case, operator = short_hash("case", CASE), short_hash("operator", "op-17")
    assert [(one.actor, one.subject) for one in told] == [
        (AUDITOR.identity.uri, f"Search: organisation={HEALTH} case=#{case} operator=#{operator}")
    ]
    office.region.registrar.record_read = _fails  # type: ignore[method-assign]
    assert isinstance(await refused(office, asked), e.AuditUnavailable)


async def _at_once(size: int) -> int:
    return 1


async def _fails(*_: object) -> int:
    raise e.AuditUnavailable("disk")


async def test_a_search_is_for_officers_and_auditors(office: Office) -> None:
    for role, organisation in ((Role.OPERATOR, ""), (Role.ADMIN, ""), (Role.AGENT, HEALTH)):
        who = AUTHORITY.person(role, "one", organisation)
        assert isinstance(await refused(office, audit_pb2.SearchRequest(), who), e.RoleNotAllowed)


async def test_a_search_out_of_bounds_is_refused_and_nothing_is_entered(office: Office) -> None:
    for asked in (
        audit_pb2.SearchRequest(page_size=501),
        audit_pb2.SearchRequest(filter=audit_pb2.EntryFilter(organisation="x")),
        audit_pb2.SearchRequest(page_token="x"),
        audit_pb2.SearchRequest(page_token=pages.token("organisations", "5")),
        audit_pb2.SearchRequest(page_token=pages.token("search", "5")),
    ):
        assert isinstance(await refused(office, asked), e.Malformed)
    assert not office.reads()


async def test_a_token_is_good_for_its_own_filter_and_direction_only(office: Office) -> None:
    await office.enter(*(exchange(number) for number in range(5)))
    asked = audit_pb2.SearchRequest(page_size=2)
    token = (await searched(office, asked)).next_page_token
    for other in (
        audit_pb2.SearchRequest(page_size=2, newest_first=True),
        audit_pb2.SearchRequest(page_size=2, filter=audit_pb2.EntryFilter(matter="newborn")),
    ):
        other.page_token = token
        assert isinstance(await refused(office, other), e.Malformed)
    asked.page_token = token
    assert [one.index for one in (await searched(office, asked)).entries] == [2, 3]


async def test_entries_that_were_erased_are_not_shown_though_their_rows_stay(office: Office) -> None:
    await office.enter(*(exchange(number) for number in range(20)))
    asked = audit_pb2.EntryFilter(organisation=HEALTH)
    assert len(await pages_of(office, audit_pb2.SearchRequest(filter=asked))) == 20
    office.log.erased = range(3, 12)
    left = [0, 1, 2, *range(12, 20)]
    assert await pages_of(office, audit_pb2.SearchRequest(filter=asked, page_size=4)) == left
    backward = audit_pb2.SearchRequest(filter=asked, page_size=4, newest_first=True)
    assert await pages_of(office, backward) == left[::-1]


async def test_rows_that_somebody_changed_show_no_entry_that_does_not_fit(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before the projection finds out by itself.
    monkeypatch.setattr("gateway.audit.projections.projection.COMPARED", 0)
    await office.enter(exchange(0, matter="newborn"), exchange(1, matter="retirement"))
    asked = audit_pb2.SearchRequest(filter=audit_pb2.EntryFilter(matter="newborn"))
    assert await pages_of(office, asked) == [0]
    await office.projection.close()
    other = sqlite3.connect(office.projection.path, isolation_level=None)
    other.execute("UPDATE entry SET matter = (SELECT matter FROM entry WHERE idx = 0)")
    other.close()
    office.projection.start()
    assert await pages_of(office, audit_pb2.SearchRequest(filter=asked.filter)) == [0]


async def test_large_entries_make_a_page_shorter_and_none_is_lost(office: Office) -> None:
    await office.enter(*(exchange(number, rule="x" * 60_000) for number in range(60)))
    for newest_first in (False, True):
        asked = audit_pb2.SearchRequest(newest_first=newest_first, page_size=60)
        first = await searched(office, asked)
        assert 0 < len(first.entries) < 60
        asked.page_token = first.next_page_token
        rest = await pages_of(office, asked)
        seen = [one.index for one in first.entries] + [index for index in rest if index < 60]
        assert sorted(seen) == sorted(set(seen)) and set(range(60)) <= set(seen) | {60}


async def test_a_search_while_the_projection_is_behind_says_how_far_it_looked(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.audit.projections import search

    monkeypatch.setattr(search, "CAUGHT_UP_S", 0.01)
    first = await office.enter(exchange(0))
    await office.projection.caught_up(1)
    await office.projection.close()
    await office.enter(*(exchange(number) for number in range(1, 20)))
    monkeypatch.setattr(office.projection, "_run", lambda: None)
    office.projection.start()
    answer = await searched(office, audit_pb2.SearchRequest())
    assert [one.index for one in answer.entries] == [first]
    assert (answer.searched_size, answer.next_page_token) == (1, "")


async def test_an_exchange_is_found_by_its_id_and_its_release_before_repetitions(office: Office) -> None:
    refusal = audit_pb2.DECISION_REFUSED
    identity = (7).to_bytes(16, "big")
    await office.enter(exchange(7, decision=refusal), exchange(7, decision=refusal), exchange(8))
    assert await office.searches.find(identity) == 0
    await office.enter(exchange(7), exchange(7))
    assert await office.searches.find(identity) == 3
    await office.enter(exchange(7, decision=refusal))
    assert await office.searches.find(identity) == 3
    assert await office.searches.find(bytes(15) + b"\x63") is None
    found = await office.audit.GetEntry(audit_pb2.GetEntryRequest(exchange_id=identity), metadata=by(OFFICER))
    assert found.receipt.index == 3


async def test_an_exchange_is_not_called_unknown_while_the_projection_is_behind(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.enter(exchange(7, decision=audit_pb2.DECISION_REFUSED))

    await office.projection.caught_up(1)
    await office.projection.close()
    await office.enter(exchange(9))
    monkeypatch.setattr(office.projection, "_run", lambda: None)
    office.projection.start()
    monkeypatch.setattr(office.projection, "caught_up", _at_once)
    for number in (7, 8):
        with pytest.raises(e.AuditUnavailable):
            await office.searches.find(number.to_bytes(16, "big"))


async def test_acts_about_a_grant_are_found_by_the_grant(office: Office) -> None:
    region: Region = office.region
    await region.settled()
    grant_id = await region.apply()
    index = await region.decide(grant_id, 1, 1)
    asked = audit_pb2.SearchRequest(filter=audit_pb2.EntryFilter(grant_id=grant_id))
    assert await pages_of(office, asked) == [index - 1, index]
    about = audit_pb2.EntryFilter(organisation=POLICE, acts=[audit_pb2.ACT_GRANT])
    assert Filter(about).fits(facts_of(office.sequencer.leaves(index - 1, 1)[0]))


async def test_no_exchange_is_hidden_behind_others_whose_ids_begin_alike(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [bytes(7) + b"\x07" + number.to_bytes(8, "big") for number in range(40)]
    await office.enter(*(exchange(number, exchange_id=one) for number, one in enumerate(ids)))
    assert [await office.searches.find(one) for one in ids] == list(range(40))
    monkeypatch.setattr("gateway.audit.projections.search.MAX_ALIKE", 30)
    with pytest.raises(e.TooMany):
        await office.searches.find(ids[-1])


async def test_look_ups_leave_places_to_who_searches(office: Office) -> None:
    await office.enter(exchange(0))
    asked = [asyncio.ensure_future(office.searches.find(bytes(15) + b"\x01")) for _ in range(64)]
    await asyncio.sleep(0)
    assert (await searched(office, audit_pb2.SearchRequest())).entries
    ended = await asyncio.gather(*asked, return_exceptions=True)
    assert ended.count(None) == MAX_FINDS and sum(isinstance(one, e.TooMany) for one in ended) == 48
