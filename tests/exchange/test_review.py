"""The bodies of draws and steps: what is well formed."""

import re
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from exchange import canonical
from exchange.codes import citizen_id_check
from exchange.errors import Malformed, Oversized
from exchange.review import MAX_COUNT, MAX_RANGE, Selected, read_draw, read_event, selection_body
from exchange.v1 import common_pb2, review_pb2
from tests.support.region import HEALTH, ORIGIN
from tests.support.reviewing import SUN, ZHAO, draw_body, event_body
from tests.support.sealing import NOW_MS

ASSIGN, JUSTIFY = review_pb2.REVIEW_ACTION_ASSIGN, review_pb2.REVIEW_ACTION_JUSTIFY
CLOSE, CONFIRM = review_pb2.REVIEW_ACTION_CLOSE, review_pb2.REVIEW_ACTION_CONFIRM
CONTEST, REOPEN = review_pb2.REVIEW_ACTION_CONTEST, review_pb2.REVIEW_ACTION_REOPEN
SELECT = review_pb2.REVIEW_ACTION_SELECT
IN_ORDER, FINDING = review_pb2.REVIEW_VERDICT_IN_ORDER, review_pb2.REVIEW_VERDICT_FINDING


def statement(body: Any) -> common_pb2.Statement:
    return common_pb2.Statement(body=body.SerializeToString())


def head(**changes: Any) -> common_pb2.LogHead:
    return common_pb2.LogHead(**({"origin": ORIGIN, "size": 100, "root": b"\1" * 32} | changes))


def test_the_id_of_a_review_is_the_digest_of_its_draw() -> None:
    signed = statement(draw_body(NOW_MS, organisation=HEALTH, resource="970100/police/*", note="季度抽查"))
    found = read_draw(signed)
    assert found.review_id == canonical.digest(canonical.REVIEW_DRAW, signed.body)
    assert (found.size, found.first, found.end, found.count) == (100, 0, 100, 5)
    assert (found.organisation, found.resource, found.issued_at_ms) == (HEALTH, "970100/police/*", NOW_MS)


@pytest.mark.parametrize(
    "changes",
    [
        {"issued_at": Timestamp(seconds=2**62)},
        {"version": 0},
        {"version": 2},
        {"nonce": b"x"},
        {"issued_at": None},
        {"head": head(root=b"short")},
        {"head": head(origin="")},
        {"head": head(size=2**63)},
        {"head": head(size=99)},
        {"first": 100},
        {"first": 5, "end": 4},
        {"count": 0},
        {"count": MAX_COUNT + 1},
        {"strategy": 0},
        {"strategy": 9},
        {"organisation": "health"},
        {"resource": " x"},
        {"note": "a\nb"},
    ],
)
def test_a_draw_that_breaks_a_rule_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        read_draw(statement(draw_body(NOW_MS, **changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"note": "x" * 501},
        {"resource": "x" * 201},
        {"head": head(size=2 * MAX_RANGE), "end": MAX_RANGE + 1},
        {"note": "x" * 9000},
    ],
)
def test_a_draw_that_is_too_large_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Oversized):
        read_draw(statement(draw_body(NOW_MS, **changes)))


@pytest.mark.parametrize("read", [read_draw, read_event])
def test_what_cannot_be_parsed_is_refused(read: Any) -> None:
    with pytest.raises(Malformed):
        read(common_pb2.Statement(body=b"\xff\xff"))


@pytest.mark.parametrize(
    "changes",
    [
        {"action": ASSIGN, "assignee": ZHAO.uri, "text": "why"},
        {"action": ASSIGN, "assignee": ZHAO.uri},
        {"action": JUSTIFY, "text": "because"},
        {"action": CLOSE, "verdict": IN_ORDER},
        {"action": CLOSE, "verdict": FINDING, "text": "found"},
        {"action": CONFIRM, "verdict": FINDING, "text": "found"},
        {"action": CONTEST, "text": "no"},
        {"action": REOPEN, "text": "new facts"},
    ],
)
def test_each_step_has_what_it_needs(changes: dict[str, Any]) -> None:
    found = read_event(statement(event_body(NOW_MS, item=7, **changes)))
    assert (found.action, found.item, found.revision) == (changes["action"], 7, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"action": JUSTIFY, "text": "x", "issued_at": Timestamp(seconds=-(2**62))},
        {"action": 0},
        {"action": 99},
        {"action": JUSTIFY, "text": "x", "revision": 0},
        {"action": JUSTIFY, "text": "x", "nonce": b""},
        {"action": JUSTIFY, "text": "x", "review_id": b"x"},
        {"action": JUSTIFY, "text": "x", "issued_at": None},
        {"action": JUSTIFY, "text": "x", "item": 2**63},
        {"action": ASSIGN},
        {"action": JUSTIFY, "text": "x", "assignee": ZHAO.uri},
        {"action": ASSIGN, "assignee": "x" * 256},
        {"action": CLOSE},
        {"action": CLOSE, "verdict": 7},
        {"action": JUSTIFY, "text": "x", "verdict": IN_ORDER},
        {"action": JUSTIFY},
        {"action": CONTEST},
        {"action": REOPEN},
        {"action": CLOSE, "verdict": FINDING},
        {"action": CONFIRM, "verdict": FINDING},
        {"action": JUSTIFY, "text": "x", "population": 4},
        {"action": JUSTIFY, "text": "x", "parties": [HEALTH]},
        {"action": JUSTIFY, "text": "x", "selected": [review_pb2.SelectedEntry(index=1)]},
    ],
)
def test_a_step_that_lacks_or_has_too_much_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        read_event(statement(event_body(NOW_MS, **changes)))


def test_a_text_of_more_than_500_characters_is_refused() -> None:
    read_event(statement(event_body(NOW_MS, action=JUSTIFY, text="说" * 500)))
    with pytest.raises(Oversized):
        read_event(statement(event_body(NOW_MS, action=JUSTIFY, text="说" * 501)))


@pytest.mark.parametrize("text", ["970102199001010011", "见970102199001010011。", "a 97010219900101002x"])
def test_words_that_hold_a_citizen_id_are_refused(text: str) -> None:
    head = citizen_id_check(re.findall("[0-9]{17}", text)[0])
    held = re.sub("([0-9]{17}).", lambda found: found[1] + head, text)
    with pytest.raises(Malformed):
        read_event(statement(event_body(NOW_MS, action=JUSTIFY, text=held)))
    with pytest.raises(Malformed):
        read_draw(statement(draw_body(NOW_MS, note=held)))


@pytest.mark.parametrize("text", ["970102199001010010", "A970102199001010011", "9701021990010100119", HEALTH])
def test_words_with_other_numbers_are_not(text: str) -> None:
    assert read_event(statement(event_body(NOW_MS, action=JUSTIFY, text=text))).text == text


def selection(selected: list[Selected], population: int = 500) -> review_pb2.ReviewEventBody:
    return selection_body(
        nonce=b"n" * 16,
        review_id=b"\5" * 32,
        selected=selected,
        population=population,
        issued_at_ms=NOW_MS,
    )


def test_a_selection_names_each_party_once_and_is_read_back() -> None:
    rules = (review_pb2.REVIEW_RULE_NO_CASE, review_pb2.REVIEW_RULE_ALERT)
    chosen = [
        Selected(index=3, party=HEALTH, rules=rules),
        Selected(index=5, party=""),
        Selected(index=8, party=SUN.uri),
        Selected(index=9, party=HEALTH),
    ]
    body = selection(chosen)
    assert list(body.parties) == [HEALTH, SUN.uri]
    found = read_event(statement(body))
    assert (list(found.selected), found.population) == (chosen, 500)
    assert (found.selected[2].person, found.selected[2].organisation) == (SUN.uri, "")


def test_the_largest_selection_fits_into_an_entry() -> None:
    from gateway.admission import MAX_BODY_BYTES

    rules = tuple(rule for rule in review_pb2.ReviewRule.values() if rule)
    chosen = [Selected(index=2**40 + n, party=f"{n:018}", rules=rules) for n in range(MAX_COUNT)]
    assert selection(chosen, MAX_RANGE).ByteSize() < MAX_BODY_BYTES


@pytest.mark.parametrize(
    "changes",
    [
        {"item": 1},
        {"revision": 1},
        {"text": "x"},
        {"verdict": IN_ORDER},
        {"assignee": ZHAO.uri},
        {"population": 1},
        {"parties": [HEALTH]},
        {"parties": [""]},
    ],
)
def test_a_selection_that_breaks_a_rule_is_refused(changes: dict[str, Any]) -> None:
    body = selection([Selected(index=3, party=HEALTH), Selected(index=5, party="")])
    body.MergeFrom(review_pb2.ReviewEventBody(**{k: v for k, v in changes.items() if k != "population"}))
    body.population = changes.get("population", body.population)
    with pytest.raises(Malformed):
        read_event(statement(body))


@pytest.mark.parametrize(
    ("selected", "error"),
    [
        ([review_pb2.SelectedEntry(index=5), review_pb2.SelectedEntry(index=5)], Malformed),
        ([review_pb2.SelectedEntry(index=5), review_pb2.SelectedEntry(index=4)], Malformed),
        ([review_pb2.SelectedEntry(index=5, party=1)], Malformed),
        ([review_pb2.SelectedEntry(index=5, rules=[3, 2])], Malformed),
        ([review_pb2.SelectedEntry(index=n) for n in range(MAX_COUNT + 1)], Oversized),
    ],
)
def test_a_selection_of_entries_that_cannot_be_is_refused(
    selected: list[Any], error: type[Exception]
) -> None:
    body = event_body(NOW_MS, action=SELECT, revision=0, selected=selected, population=MAX_RANGE)
    with pytest.raises(error):
        read_event(statement(body))
