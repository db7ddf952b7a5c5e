"""What the commands of reviews send, and what they show."""

from typing import Any

import pytest

from exchange import canonical
from exchange.identity import parse_uri
from exchange.v1 import audit_pb2, common_pb2, review_pb2
from shuqiao import reviewing, views
from shuqiao.cli.audit.review_words import WORDS
from tests.support.command_region import CONSUMER, HOUSEHOLD, Person, Region, Shuqiao, exchange_leaf
from tests.support.region import DIVISION, DOMAIN, ORIGIN
from tests.support.reviewing import draw_body, event_body
from tests.support.sealing import NOW_MS

ZHAO = f"spiffe://{DIVISION}.{DOMAIN}/officer/zhao"
SUN = f"spiffe://{DIVISION}.{DOMAIN}/auditor/sun"
DRAWN, ASSIGNED = review_pb2.REVIEW_ITEM_STATE_DRAWN, review_pb2.REVIEW_ITEM_STATE_ASSIGNED
JUSTIFIED, CLOSING = review_pb2.REVIEW_ITEM_STATE_JUSTIFIED, review_pb2.REVIEW_ITEM_STATE_CLOSING
CLOSED = review_pb2.REVIEW_ITEM_STATE_CLOSED
IN_ORDER, FINDING = review_pb2.REVIEW_VERDICT_IN_ORDER, review_pb2.REVIEW_VERDICT_FINDING


def act_entry(act: int, actor: str, body: Any) -> audit_pb2.AuditEntry:
    told = audit_pb2.AdministrativeEntry(
        act=act,  # type: ignore[arg-type]
        actor=actor,
        statement=common_pb2.Statement(body=body.SerializeToString()),
        subject="review",
    )
    return audit_pb2.AuditEntry(version=1, gateway=ORIGIN, time_ms=NOW_MS, administrative=told)


def step_entry(action: int, actor: str = ZHAO, **changes: Any) -> audit_pb2.AuditEntry:
    body = event_body(NOW_MS, action=action, item=7, **changes)
    return act_entry(audit_pb2.ACT_REVIEW_EVENT, actor, body)


def item(index: int, state: int, *steps: audit_pb2.AuditEntry, **changes: Any) -> review_pb2.ReviewItem:
    leaf = exchange_leaf(audit_pb2.DECISION_RELEASED)
    return review_pb2.ReviewItem(
        entry=audit_pb2.FoundEntry(index=index, leaf=leaf),
        party=changes.pop("party", CONSUMER),
        rules=[review_pb2.REVIEW_RULE_NO_CASE],
        state=state,  # type: ignore[arg-type]
        revision=len(steps),
        history=[
            audit_pb2.FoundEntry(index=20 + n, leaf=step.SerializeToString()) for n, step in enumerate(steps)
        ],
        **changes,
    )


@pytest.fixture(autouse=True)
def reviews(region: Region) -> None:
    draw = common_pb2.Statement(body=draw_body(NOW_MS, note="季度抽查").SerializeToString())
    for first in (0xAB, 0xCD):
        region.reviews.append(
            review_pb2.ReviewSummary(
                review_id=bytes([first]) * 32,
                draw_index=11,
                selection_index=12,
                drawer=SUN,
                draw=draw,
                population=40,
                items=3,
                closed=2,
                findings=1,
                drawn_ms=NOW_MS,
            )
        )
    stated = step_entry(review_pb2.REVIEW_ACTION_CLOSE, verdict=FINDING, text="超出事项")
    region.review_items = [
        item(3, DRAWN),
        item(7, CLOSING, stated, verdict=FINDING, assignee=ZHAO, closer=ZHAO),
        item(9, ASSIGNED, step_entry(review_pb2.REVIEW_ACTION_ASSIGN, SUN, assignee=ZHAO)),
    ]


def sent(region: Region) -> list[review_pb2.ReviewEventBody]:
    requests = [told for told in region.received if isinstance(told, review_pb2.ActRequest)]
    return [review_pb2.ReviewEventBody.FromString(told.event.body) for told in requests]


def test_a_draw_is_signed_over_the_verified_head_and_waited_for(
    shuqiao: Shuqiao, region: Region, person: Person
) -> None:
    region.leaves = [exchange_leaf(audit_pb2.DECISION_RELEASED)] * 9
    region.drawing = 2
    ran = shuqiao(
        "audit", "review", "draw", "-n", "4", "-s", "risk", "--from", "2", "--organisation", CONSUMER,
        "--resource", "970100/*", "--note", "why", "--json",
    )  # fmt: skip
    assert ran.document == {"ok": True, "review_id": "ab" * 32, "index": 11, "selection_index": 12}
    requests = [told.draw for told in region.received if isinstance(told, review_pb2.DrawRequest)]
    assert len(requests) == 3 and len({told.SerializeToString() for told in requests}) == 1
    body = review_pb2.ReviewDrawBody.FromString(requests[0].body)
    assert (body.head.origin, body.head.size, body.first, body.end) == (ORIGIN, 9, 2, 9)
    assert (body.count, body.strategy) == (4, review_pb2.REVIEW_STRATEGY_RISK)
    assert (body.organisation, body.resource, body.note) == (CONSUMER, "970100/*", "why")
    assert body.issued_at.ToMilliseconds() == NOW_MS
    signed = person.statement_signer().sign(canonical.REVIEW_DRAW, requests[0].body)
    assert requests[0].chain == signed.chain


def test_reviews_are_listed_from_every_page(shuqiao: Shuqiao) -> None:
    listed = shuqiao("audit", "review", "list", "--json").document["reviews"]
    assert [one["review_id"][:2] for one in listed] == ["ab", "cd"]
    assert (listed[0]["draw"]["strategy"], listed[0]["population"]) == ("random", 40)
    people = shuqiao("audit", "review", "list").out
    assert all(part in people for part in ("abababababab", "随机", "季度抽查"))


def test_a_review_is_shown_with_each_entry_in_words_and_its_history(shuqiao: Shuqiao) -> None:
    told = shuqiao("audit", "review", "show", "ab", "--json").document
    assert [one["state"] for one in told["items"]] == ["drawn", "closing", "assigned"]
    assert told["items"][1]["history"][0] == {
        "index": 20,
        "time": views.unix_ms(NOW_MS),
        "actor": ZHAO,
        "action": "close",
        "revision": 1,
        "assignee": "",
        "verdict": "finding",
        "text": "超出事项",
    }
    assert told["items"][0]["entry"]["resource"] == HOUSEHOLD
    people = shuqiao("audit", "review", "show", "ab").out
    assert all(
        part in people
        for part in ("超出事项", "无办件编号", "待复核", HOUSEHOLD, "尚未办理", CONSUMER, "随机")
    )
    english = shuqiao("audit", "review", "show", "ab", "7", lang="en").out
    assert "to be confirmed" in english and "No step yet" not in english


@pytest.mark.parametrize(("to", "due"), [("officer/zhao", ZHAO), (SUN, SUN), ("", "own")])
def test_items_are_assigned_with_their_next_revision(
    shuqiao: Shuqiao, region: Region, person: Person, to: str, due: str
) -> None:
    more = ("--to", to) if to else ()
    ran = shuqiao("audit", "review", "assign", "abab", "3", "9", *more, "-t", "请说明", "--json")
    assert [one["item"] for one in ran.document["items"]] == [3, 9]
    assert [(body.item, body.revision) for body in sent(region)] == [(3, 1), (9, 2)]
    body = sent(region)[0]
    own = person.identity().uri
    assert (body.action, body.assignee) == (review_pb2.REVIEW_ACTION_ASSIGN, own if due == "own" else due)
    assert (body.text, body.review_id, len(body.nonce)) == ("请说明", b"\xab" * 32, 16)


@pytest.mark.parametrize(
    ("command", "action", "item", "verdict"),
    [
        (("justify", "ab", "9", "-t", "x"), review_pb2.REVIEW_ACTION_JUSTIFY, 9, 0),
        (("close", "ab", "9", "--verdict", "in-order"), review_pb2.REVIEW_ACTION_CLOSE, 9, IN_ORDER),
        (("close", "ab", "9", "--verdict", "finding", "-t", "x"), review_pb2.REVIEW_ACTION_CLOSE, 9, FINDING),
        (("contest", "ab", "7", "-t", "x"), review_pb2.REVIEW_ACTION_CONTEST, 7, 0),
        (("reopen", "ab", "7", "-t", "x"), review_pb2.REVIEW_ACTION_REOPEN, 7, 0),
    ],
)
def test_each_step_is_sent_as_it_was_asked_for(
    shuqiao: Shuqiao, region: Region, command: tuple[str, ...], action: int, item: int, verdict: int
) -> None:
    assert shuqiao("audit", "review", *command).code == 0
    body = sent(region)[0]
    assert (body.action, body.item, body.verdict) == (action, item, verdict)
    assert body.text == ("" if verdict == IN_ORDER else "x")


@pytest.mark.parametrize(("own", "due"), [((), "超出事项"), (("-t", "同意"), "同意")])
def test_confirming_repeats_verdict_and_text_of_the_first_person(
    shuqiao: Shuqiao, region: Region, own: tuple[str, ...], due: str
) -> None:
    assert "待复核" in shuqiao("audit", "review", "confirm", "ab", "7", *own).out
    body = sent(region)[0]
    assert (body.action, body.verdict, body.text) == (review_pb2.REVIEW_ACTION_CONFIRM, FINDING, due)


@pytest.mark.parametrize(
    ("command", "due"),
    [(("assign",), [3]), (("confirm",), [7]), (("justify", "-t", "x"), [9]), (("contest", "-t", "x"), [7])],
)
def test_all_means_the_items_that_wait_for_it(
    shuqiao: Shuqiao, region: Region, person: Person, command: tuple[str, ...], due: list[int]
) -> None:
    region.review_items[2].party = person.identity().uri
    ran = shuqiao("audit", "review", command[0], "ab", "--all", *command[1:], "--json")
    assert [one["item"] for one in ran.document["items"]] == due
    assert [body.item for body in sent(region)] == due


@pytest.mark.parametrize(
    ("command", "changes"),
    [
        (("assign",), {"party": "own"}),
        (("assign", "--to", ZHAO), {"party": ZHAO}),
        (("close", "--verdict", "in-order"), {"state": JUSTIFIED, "assignee": ZHAO}),
        (("confirm",), {"state": CLOSING, "closer": "own"}),
    ],
)
def test_all_leaves_to_others_what_is_theirs_and_names_it(
    shuqiao: Shuqiao, region: Region, person: Person, command: tuple[str, ...], changes: dict[str, Any]
) -> None:
    own = person.identity().uri
    told: dict[str, Any] = {"state": DRAWN} | changes
    told |= {name: own for name, value in changes.items() if value == "own"}
    region.review_items = [item(5, **told)]
    ran = shuqiao("audit", "review", command[0], "ab", "--all", *command[1:], "--json")
    assert (ran.code, ran.document["items"], ran.document["left"]) == (0, [], [5])
    assert "5" in shuqiao("audit", "review", command[0], "ab", "--all", *command[1:]).out
    assert sent(region) == []


@pytest.mark.parametrize(("party", "due"), [(ZHAO, True), (SUN, False), (CONSUMER, False)])
def test_of_those_who_review_only_whom_an_entry_is_about_may_justify_it(party: str, due: bool) -> None:
    due_item = item(5, ASSIGNED, party=party)
    assert reviewing.may(due_item, review_pb2.REVIEW_ACTION_JUSTIFY, parse_uri(ZHAO)) is due


def test_a_finding_without_a_text_is_refused_before_anything_is_sent(
    shuqiao: Shuqiao, region: Region
) -> None:
    ran = shuqiao("audit", "review", "close", "ab", "9", "--verdict", "finding", "--json")
    assert (ran.code, ran.document["error"]["subject"]) == (2, "--verdict finding --text TEXT")
    assert sent(region) == []


def test_where_nothing_waits_all_says_so(shuqiao: Shuqiao, region: Region) -> None:
    ran = shuqiao("audit", "review", "close", "ab", "--all", "--verdict", "in-order")
    assert "没有可以这样办理的条目" in ran.out and sent(region) == []


@pytest.mark.parametrize("command", [("assign", "ab"), ("assign", "ab", "3", "--all")])
def test_items_are_named_or_all_are_meant(shuqiao: Shuqiao, command: tuple[str, ...]) -> None:
    assert shuqiao("audit", "review", *command).code == 2


def test_an_item_that_is_not_there_takes_no_step(shuqiao: Shuqiao, region: Region) -> None:
    ran = shuqiao("audit", "review", "assign", "ab", "3", "8", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "UNKNOWN_ENTRY")
    assert sent(region) == []


@pytest.mark.parametrize("text", ["ff", "a1"])
def test_a_review_that_is_not_there_is_unknown(shuqiao: Shuqiao, text: str) -> None:
    assert shuqiao("audit", "review", "show", text, "--json").document["error"]["code"] == "UNKNOWN_ENTRY"


def test_how_a_review_begins_must_name_one_only(shuqiao: Shuqiao, region: Region) -> None:
    region.reviews[1].review_id = b"\xab" * 31 + b"\0"
    told = shuqiao("audit", "review", "show", "ab", "--json").document["error"]
    assert told["subject"] == f"review ab: {'ab' * 6}, {'ab' * 6}"


def test_every_word_of_the_contract_has_both_languages() -> None:
    for enum, prefix in (
        (review_pb2.ReviewStrategy, "REVIEW_STRATEGY_"),
        (review_pb2.ReviewRule, "REVIEW_RULE_"),
        (review_pb2.ReviewAction, "REVIEW_ACTION_"),
        (review_pb2.ReviewVerdict, "REVIEW_VERDICT_"),
        (review_pb2.ReviewItemState, "REVIEW_ITEM_STATE_"),
    ):
        words = {name.removeprefix(prefix).lower() for name, number in enum.items() if number}
        assert words <= set(WORDS)


def test_entries_of_reviews_are_told_in_words() -> None:
    drawn = act_entry(audit_pb2.ACT_REVIEW_DRAW, SUN, draw_body(NOW_MS, note="n"))
    told = views.entry(3, drawn.SerializeToString())
    assert told["act"] == "review_draw"
    assert (told["review_action"], told["review_strategy"], told["review_end"]) == ("draw", "random", 100)
    step = step_entry(review_pb2.REVIEW_ACTION_ASSIGN, assignee=ZHAO)
    assert views.entry(4, step.SerializeToString())["review_assignee"] == ZHAO
    select = event_body(NOW_MS, action=review_pb2.REVIEW_ACTION_SELECT, revision=0, population=9)
    select.selected.add(index=5)
    entry = act_entry(audit_pb2.ACT_REVIEW_EVENT, "gateway", select)
    said = views.entry(5, entry.SerializeToString())
    assert (said["review_id"], said["review_items"], said["review_population"]) == ("05" * 32, [5], 9)


def test_what_cannot_be_read_is_told_without_its_words() -> None:
    broken = act_entry(audit_pb2.ACT_REVIEW_EVENT, ZHAO, draw_body(NOW_MS))
    broken.administrative.statement.body = b"\xff\xff"
    assert "review_action" not in views.entry(1, broken.SerializeToString())
    assert views.finding(broken) is None


def test_a_finding_is_told_from_its_confirmation_and_from_nothing_else() -> None:
    confirm = review_pb2.REVIEW_ACTION_CONFIRM
    found = views.finding(step_entry(confirm, SUN, verdict=FINDING, text="超出事项"))
    assert found == views.Finding(
        review_id=b"\5" * 32, item=7, text="超出事项", confirmed_by=SUN, time_ms=NOW_MS
    )
    for other in (
        step_entry(confirm, verdict=IN_ORDER),
        step_entry(review_pb2.REVIEW_ACTION_CLOSE, verdict=FINDING, text="x"),
        act_entry(audit_pb2.ACT_REVIEW_DRAW, SUN, draw_body(NOW_MS)),
        audit_pb2.AuditEntry.FromString(exchange_leaf(audit_pb2.DECISION_RELEASED)),
    ):
        assert views.finding(other) is None
