"""Reviews over a real server and a real log: drawn, seen, taken to their end, and folded again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exchange import errors as e
from exchange.population import Population, answerable
from exchange.review import (
    ASSIGN,
    CLOSE,
    CONFIRM,
    FINDING,
    IN_ORDER,
    JUSTIFY,
    RANDOM,
    REOPEN,
    RISK,
    SELECT,
    read_draw,
    read_event,
)
from exchange.sampling import Sampler, seed_of
from exchange.v1 import audit_pb2, common_pb2, review_pb2
from gateway.review import reviews as reviews_module
from gateway.review.reviews import Review
from gateway.storage.ports import Segment
from tests.support.region import CIVIL, HEALTH, ORIGIN
from tests.support.review_region import (
    CHEN,
    GATEWAY,
    OPERATOR,
    QIAN,
    SUN,
    WANG,
    WU,
    ZHAO,
    Served,
    by,
    refused,
)
from tests.support.reviewing import HOUR_MS, signed

ASSIGNED, JUSTIFIED = review_pb2.REVIEW_ITEM_STATE_ASSIGNED, review_pb2.REVIEW_ITEM_STATE_JUSTIFIED
CLOSED = review_pb2.REVIEW_ITEM_STATE_CLOSED


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Served]:
    served = await Served.at(tmp_path)
    await served.exchanges(60)
    served.draw_on()
    yield served
    await served.stop()


def leaf(region: Served, index: int) -> audit_pb2.AuditEntry:
    return audit_pb2.AuditEntry.FromString(region.log.leaves(index, 1)[0])


def drawn_again(region: Served, drawn: review_pb2.DrawResponse) -> list[int]:
    """Draw a review's sample from its entry and the log alone."""
    entry = leaf(region, drawn.index)
    wanted = read_draw(entry.administrative.statement)
    population = Population(wanted)
    for index, each in enumerate(region.log.leaves(wanted.first, wanted.end - wanted.first), wanted.first):
        population.add(index, each)
    population.settle()
    sampler = Sampler(seed=seed_of(entry.salt, drawn.review_id), count=wanted.count)
    for index, weight in population.weighted(0, len(population)):
        sampler.offer(index, weight)
    return sampler.drawn()


def stated(region: Served, drawn: review_pb2.DrawResponse) -> list[int]:
    event = read_event(leaf(region, drawn.selection_index).administrative.statement)
    return [one.index for one in event.selected]


async def until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("strategy", [RANDOM, RISK])
async def test_a_draw_is_an_entry_and_its_items_a_second_one_signed_by_the_gateway(
    region: Served, strategy: int
) -> None:
    await region.exchanges(9, case_number="")
    drawn = await region.draw(strategy=strategy, count=7)
    told, items = leaf(region, drawn.index).administrative, leaf(region, drawn.selection_index).administrative
    assert (told.act, told.actor) == (audit_pb2.ACT_REVIEW_DRAW, SUN.identity.uri)
    assert (items.act, items.actor) == (audit_pb2.ACT_REVIEW_EVENT, GATEWAY.identity.uri)
    assert told.subject == drawn.review_id.hex() and items.subject == f"{drawn.review_id.hex()}/0"
    assert stated(region, drawn) == drawn_again(region, drawn)
    assert len(stated(region, drawn)) == 7
    if strategy == RISK:
        assert min(stated(region, drawn)) >= 60


async def test_every_item_says_why_it_was_drawn_and_who_answers_for_it(region: Served) -> None:
    await region.exchanges(3, case_number="", time_ms=HOUR_MS * 20)
    drawn = await region.draw(strategy=RISK, count=50)
    items = (await region.get(SUN, drawn.review_id)).items
    assert len(items) == 3
    for item in items:
        assert list(item.rules) == [review_pb2.REVIEW_RULE_NO_CASE, review_pb2.REVIEW_RULE_OUT_OF_HOURS]
        entry = audit_pb2.AuditEntry.FromString(item.entry.leaf)
        assert item.party == HEALTH == answerable(item.entry.index, entry).organisation


async def test_the_same_draw_again_enters_nothing_and_waits_for_the_items(region: Served) -> None:
    request = review_pb2.DrawRequest(draw=region.draw_statement())
    first = await region.reviews.Draw(request, metadata=by(SUN))
    size = region.log.head.size
    assert await region.reviews.Draw(request, metadata=by(SUN)) == first
    assert region.log.head.size == size


@pytest.mark.parametrize("signer", [CHEN, WANG, OPERATOR])
async def test_a_draw_by_others_than_officers_and_auditors_is_refused_and_entered(
    region: Served, signer: Any
) -> None:
    assert isinstance(await refused(region.draw(signer)), e.RoleNotAllowed)
    assert region.acts()[-1].act == audit_pb2.ACT_REFUSED
    assert region.count(audit_pb2.ACT_REVIEW_DRAW) == 0


@pytest.mark.parametrize(
    ("head", "error"),
    [
        ({"size": 1000}, e.LogBehind),
        ({"root": b"\2" * 32}, e.LogForked),
        ({"origin": "970100.yunchuan.example/gateway-9"}, e.Malformed),
    ],
)
async def test_a_draw_over_a_head_that_the_log_never_had_is_refused(
    region: Served, head: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    had = region.head()
    told = {"origin": ORIGIN, "size": had.size, "root": had.root} | head
    found = await refused(region.draw(head=common_pb2.LogHead(**told), end=10))
    assert isinstance(found, error)
    assert region.log.fault is None


async def test_a_stale_an_altered_and_a_borrowed_statement_are_refused_for_their_own_reasons(
    region: Served,
) -> None:
    old = region.draw_statement()
    region.clock.ms += 6 * 60 * 1000
    for request, signer, error in (
        (old, SUN, e.ClockSkew),
        (region.draw_statement(QIAN), SUN, e.RoleNotAllowed),
    ):
        found = await refused(region.reviews.Draw(review_pb2.DrawRequest(draw=request), metadata=by(signer)))
        assert isinstance(found, error), found
    altered = region.draw_statement()
    body = review_pb2.ReviewDrawBody.FromString(altered.body)
    body.count = 500
    altered.body = body.SerializeToString()
    found = await refused(region.reviews.Draw(review_pb2.DrawRequest(draw=altered), metadata=by(SUN)))
    assert isinstance(found, e.BadSignature)


async def test_more_open_reviews_than_allowed_are_refused(
    region: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews_module, "MAX_OPEN", 1)
    await region.draw()
    assert isinstance(await refused(region.draw()), e.TooMany)


async def test_an_empty_range_of_risk_has_no_items_and_is_over(region: Served) -> None:
    drawn = await region.draw(strategy=RISK)
    answer = await region.get(SUN, drawn.review_id)
    assert (len(answer.items), answer.review.population) == (0, 0)
    assert not region.state.reviews.one(drawn.review_id).open


async def test_a_review_goes_its_whole_way_and_every_step_is_an_entry(region: Served) -> None:
    drawn = await region.draw(count=1)
    item = stated(region, drawn)[0]
    steps = (
        (SUN, ASSIGN, {"assignee": ZHAO.identity.uri, "text": "请说明"}),
        (CHEN, JUSTIFY, {"text": "按办件"}),
        (ZHAO, CLOSE, {"verdict": FINDING, "text": "超出事项"}),
        (QIAN, CONFIRM, {"verdict": FINDING, "text": "超出事项"}),
    )
    for revision, (signer, action, changes) in enumerate(steps, 1):
        answer = await region.act(signer, drawn.review_id, item, revision, action, **changes)
        told = leaf(region, answer.index).administrative
        assert (told.act, told.actor) == (audit_pb2.ACT_REVIEW_EVENT, signer.identity.uri)
        assert told.subject == f"{drawn.review_id.hex()}/{item}"
    assert answer.state == CLOSED
    found = await region.get(SUN, drawn.review_id)
    one = found.items[0]
    assert (one.state, one.verdict, one.closer) == (CLOSED, FINDING, ZHAO.identity.uri)
    assert [leaf(region, step.index).SerializeToString() for step in one.history] == [
        step.leaf for step in one.history
    ]
    for signer in (SUN, CHEN):
        told = (await region.listed(signer)).reviews[0]
        assert (told.items, told.closed, told.findings) == (1, 1, 1)
    await region.act(QIAN, drawn.review_id, item, 5, REOPEN, text="新情况")
    for signer in (SUN, CHEN):
        told = (await region.listed(signer)).reviews[0]
        assert (told.items, told.closed, told.findings) == (1, 0, 0)


async def test_a_step_with_a_wrong_person_is_refused_and_changes_nothing(region: Served) -> None:
    drawn = await region.draw(count=1)
    item = stated(region, drawn)[0]
    await region.act(SUN, drawn.review_id, item, 1, ASSIGN, assignee=ZHAO.identity.uri)
    for signer, action, changes, error in (
        (WU, JUSTIFY, {"text": "x"}, e.UnknownEntry),
        (WANG, JUSTIFY, {"text": "x"}, e.UnknownEntry),
        (OPERATOR, JUSTIFY, {"text": "x"}, e.RoleNotAllowed),
        (ZHAO, JUSTIFY, {"text": "x"}, e.RoleNotAllowed),
        (ZHAO, CLOSE, {"verdict": IN_ORDER}, e.WrongState),
        (QIAN, CLOSE, {"verdict": FINDING, "text": "x"}, e.RoleNotAllowed),
        (CHEN, CLOSE, {"verdict": FINDING, "text": "x"}, e.RoleNotAllowed),
    ):
        found = await refused(region.act(signer, drawn.review_id, item, 2, action, **changes))
        assert isinstance(found, error), (signer.identity.uri, action, found)
    await region.act(ZHAO, drawn.review_id, item, 2, CLOSE, verdict=FINDING, text="x")
    found = await refused(region.act(ZHAO, drawn.review_id, item, 3, CONFIRM, verdict=FINDING, text="x"))
    assert isinstance(found, e.SecondPersonRequired)
    assert region.state.reviews.one(drawn.review_id).items[item].revision == 2


async def test_of_two_steps_that_race_one_is_entered_and_one_refused(region: Served) -> None:
    drawn = await region.draw(count=1)
    item = stated(region, drawn)[0]
    outcomes = await asyncio.gather(
        *(
            region.act(signer, drawn.review_id, item, 1, ASSIGN, assignee=signer.identity.uri)
            for signer in (ZHAO, QIAN)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, BaseException) for outcome in outcomes) == 1
    assert region.state.reviews.one(drawn.review_id).items[item].revision == 1


async def test_a_step_that_is_sent_again_enters_nothing_and_by_another_is_refused(region: Served) -> None:
    drawn = await region.draw(count=1)
    item = stated(region, drawn)[0]
    statement = region.step_statement(SUN, drawn.review_id, item, 1, ASSIGN, assignee=ZHAO.identity.uri)
    request = review_pb2.ActRequest(event=statement)
    first = await region.reviews.Act(request, metadata=by(SUN))
    await region.act(CHEN, drawn.review_id, item, 2, JUSTIFY, text="x")
    again = await region.reviews.Act(request, metadata=by(SUN))
    assert (again.index, again.state) == (first.index, JUSTIFIED)
    assert region.state.reviews.one(drawn.review_id).items[item].revision == 2
    assert isinstance(await refused(region.reviews.Act(request, metadata=by(QIAN))), e.RoleNotAllowed)


async def test_nobody_states_items_by_a_call(region: Served) -> None:
    drawn = await region.draw(count=1)
    for signer in (SUN, GATEWAY):
        call = region.act(signer, drawn.review_id, 0, 0, SELECT, population=1)
        assert isinstance(await refused(call), (e.Malformed, e.RoleNotAllowed))
    assert region.count(audit_pb2.ACT_REVIEW_EVENT) == 1


async def test_a_second_selection_is_refused_also_from_the_gateway(region: Served) -> None:
    drawn = await region.draw(count=1)
    again = review_pb2.ReviewEventBody.FromString(
        leaf(region, drawn.selection_index).administrative.statement.body
    )
    again.nonce = b"another nonce 16"
    with pytest.raises(e.WrongState):
        await region.enter(audit_pb2.ACT_REVIEW_EVENT, GATEWAY, signed(GATEWAY, again))


async def test_stewards_and_admins_see_what_they_answer_for_and_nothing_else(region: Served) -> None:
    await region.exchanges(4, consumer_organisation=CIVIL)
    await region.registrar.record_read(ZHAO.identity, "GetEntry 3")
    drawn = await region.draw(count=500, note="抽查")
    everything = await region.get(SUN, drawn.review_id)
    assert len(everything.items) == 65
    for signer, due in ((CHEN, {HEALTH}), (WU, {CIVIL}), (WANG, {ZHAO.identity.uri})):
        seen = await region.get(signer, drawn.review_id, page_size=500)
        assert {item.party for item in seen.items} == due
        assert seen.review.items == len(seen.items)
        assert not seen.review.HasField("draw") and not seen.review.drawer and not seen.review.population
        assert len((await region.listed(signer)).reviews) == 1
    assert everything.review.drawer == SUN.identity.uri
    assert (await region.get(CHEN, drawn.review_id, items=[64])).items == []


async def test_whoever_only_answers_for_an_item_is_not_told_why_it_was_drawn(region: Served) -> None:
    await region.exchanges(3, case_number="")
    drawn = await region.draw(strategy=RISK, count=50)
    assert all(item.rules for item in (await region.get(SUN, drawn.review_id)).items)
    seen = (await region.get(CHEN, drawn.review_id)).items
    assert len(seen) == 3 and not any(item.rules for item in seen)


async def test_a_review_without_an_item_of_theirs_is_not_there_for_stewards(region: Served) -> None:
    drawn = await region.draw(count=5)
    assert isinstance(await refused(region.get(WU, drawn.review_id)), e.UnknownEntry)
    assert not (await region.listed(WU)).reviews
    assert isinstance(await refused(region.get(OPERATOR, drawn.review_id)), e.RoleNotAllowed)
    assert isinstance(await refused(region.get(SUN, b"\0" * 32)), e.UnknownEntry)


async def test_reading_items_is_an_entry_before_anything_is_shown(
    region: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = await region.draw(count=5)
    for signer in (SUN, CHEN):
        await region.get(signer, drawn.review_id)
        told = region.acts()[-1]
        assert (told.act, told.actor) == (audit_pb2.ACT_READ, signer.identity.uri)
        assert told.subject == f"GetReview {drawn.review_id.hex()}"

    async def full(leaf: bytes) -> None:
        raise e.AuditUnavailable("no space left")

    monkeypatch.setattr(region.log, "append", full)
    assert isinstance(await refused(region.get(SUN, drawn.review_id)), e.AuditUnavailable)


async def test_items_and_reviews_come_page_by_page(region: Served) -> None:
    drawn = [await region.draw(count=12) for _ in range(3)]
    first = await region.listed(SUN, page_size=2)
    second = await region.listed(SUN, page_size=2, page_token=first.next_page_token)
    assert [one.review_id for one in (*first.reviews, *second.reviews)] == [one.review_id for one in drawn]
    assert not second.next_page_token
    seen, token = list[int](), ""
    for _ in range(3):
        page = await region.get(SUN, drawn[0].review_id, page_size=5, page_token=token)
        seen += [item.entry.index for item in page.items]
        token = page.next_page_token
    assert seen == stated(region, drawn[0]) and not token
    other = await refused(region.get(SUN, drawn[1].review_id, page_token=first.next_page_token))
    assert isinstance(other, e.Malformed)


async def test_the_state_is_folded_again_from_the_log_and_equal(region: Served) -> None:
    drawn = await region.draw(count=4)
    await region.draw(strategy=RISK)
    item = stated(region, drawn)[0]
    await region.act(SUN, drawn.review_id, item, 1, ASSIGN, assignee=ZHAO.identity.uri)
    await region.act(CHEN, drawn.review_id, item, 2, JUSTIFY, text="x")
    await region.act(ZHAO, drawn.review_id, item, 3, CLOSE, verdict=IN_ORDER)

    def held() -> list[Review]:
        return list(region.state.reviews.page(SUN.identity, -1, 99))

    before = held()
    await region.restart()
    assert held() == before
    await region.stop()
    (region.folder / "state.db").unlink()
    region.log = await region.opened(region.folder)
    region.start()
    await region.serve()
    assert held() == before
    await region.act(QIAN, drawn.review_id, item, 4, CONFIRM, verdict=IN_ORDER)


async def test_items_that_a_crash_kept_from_being_stated_are_the_same_at_the_next_start(
    tmp_path: Path,
) -> None:
    region = await Served.at(tmp_path)
    await region.exchanges(60)
    # Nobody draws here: the gateway dies between the two entries.
    index = await region.enter(audit_pb2.ACT_REVIEW_DRAW, SUN, region.draw_statement(count=9))
    assert [review.index for review in region.state.reviews.unselected()] == [index]
    due = drawn_again(
        region,
        review_pb2.DrawResponse(
            index=index, review_id=next(iter(region.state.reviews.unselected())).draw.review_id
        ),
    )
    await region.restart()
    region.draw_on()
    await until(lambda: not list(region.state.reviews.unselected()))
    review = region.state.reviews.page(SUN.identity, -1, 1)[0]
    assert list(review.items) == due
    size = region.log.head.size
    await region.restart()
    region.draw_on()
    await region.exchanges(1)
    assert region.log.head.size == size + 1
    await region.stop()


async def test_items_that_could_not_be_made_durable_are_stated_later(
    region: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = region.registrar.record, list[int]()

    async def fails(act: int, *rest: Any) -> int:
        if act == audit_pb2.ACT_REVIEW_EVENT and len(failures) < 2:
            failures.append(act)
            raise e.AuditUnavailable("no space left")
        return await real(act, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(region.registrar, "record", fails)
    drawn = await region.draw(count=9)
    assert len(failures) == 2
    assert stated(region, drawn) == drawn_again(region, drawn)
    assert region.count(audit_pb2.ACT_REVIEW_EVENT) == 1


async def test_a_failure_in_doubt_that_was_durable_states_the_items_once(
    region: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = region.registrar.record, list[int]()

    async def in_doubt(act: int, *rest: Any) -> int:
        index = await real(act, *rest)  # type: ignore[arg-type]
        if act == audit_pb2.ACT_REVIEW_EVENT and not failed:
            failed.append(index)
            raise e.AuditUnavailable("in doubt")
        return index

    monkeypatch.setattr(region.registrar, "record", in_doubt)
    drawn = await region.draw(count=9)
    assert drawn.selection_index == failed[0]
    assert region.count(audit_pb2.ACT_REVIEW_EVENT) == 1


@pytest.mark.parametrize("failure", [e.EntryErased("5"), RuntimeError("unforeseen")])
async def test_a_range_that_cannot_be_read_leaves_a_review_without_items_and_others_go_on(
    region: Served, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    real = region.log.leaves

    def leaves(first: int, count: int) -> list[bytes]:
        if first <= 5 < first + count:
            raise failure
        return real(first, count)  # type: ignore[no-any-return]

    monkeypatch.setattr(region.log, "leaves", leaves)
    broken = await region.enter(audit_pb2.ACT_REVIEW_DRAW, SUN, region.draw_statement())
    drawn = await region.draw(first=6)
    assert drawn.selection_index
    assert [review.index for review in region.state.reviews.unselected()] == [broken]


async def erase(region: Served, end: int) -> None:
    """Erase the first entries as keeping does at the end of their term."""
    store = region.log.store
    segment = Segment(
        first=0, end=end, digest=b"", kept=b"", newest_ms=0, cleared=0, sealed_entry=0, erased_entry=0
    )
    await region.log.between(lambda: store.note(segment))
    await region.log.between(lambda: store.clear(segment, end, ()))


async def test_an_item_whose_entry_was_erased_is_shown_without_it_and_brought_to_its_end(
    region: Served,
) -> None:
    drawn = await region.draw(count=3, end=40)
    await erase(region, 40)
    for item in stated(region, drawn):
        await region.act(SUN, drawn.review_id, item, 1, ASSIGN, assignee=ZHAO.identity.uri)
        await region.act(ZHAO, drawn.review_id, item, 2, CLOSE, verdict=FINDING, text="gone")
        await region.act(QIAN, drawn.review_id, item, 3, CONFIRM, verdict=FINDING, text="x")
    told = await region.get(SUN, drawn.review_id)
    assert [(one.entry.index, one.entry.leaf, one.state) for one in told.items] == [
        (item, b"", CLOSED) for item in stated(region, drawn)
    ]
    assert all(step.leaf for one in told.items for step in one.history)


async def test_nothing_is_drawn_from_a_range_with_erased_entries(region: Served) -> None:
    await erase(region, 40)
    error = await refused(region.draw(first=39))
    assert isinstance(error, e.EntryErased) and not list(region.state.reviews.unselected())
    assert (await region.draw(first=40, count=3)).selection_index
