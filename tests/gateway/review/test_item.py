"""One item of a review: who may do what when, and that no way leads to its end without two others."""

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import ExchangeError, RoleNotAllowed, SecondPersonRequired, WrongState
from exchange.identity import Identity, Role
from exchange.review import (
    ASSIGN,
    CLOSE,
    CONFIRM,
    CONTEST,
    FINDING,
    IN_ORDER,
    JUSTIFY,
    REOPEN,
    SELECT,
    Event,
    Selected,
)
from gateway.review.item import (
    ASSIGNED,
    CLOSED,
    CLOSING,
    DRAWN,
    JUSTIFIED,
    MAX_REVISIONS,
    Item,
    sees,
    step,
)
from tests.support.region import CIVIL, HEALTH
from tests.support.reviewing import CHEN, QIAN, SUN, WANG, WU, ZHAO, event, person

OPERATOR = person(Role.OPERATOR, "op")
AGENT = person(Role.AGENT, "health-1", HEALTH)


def item(party: str = HEALTH) -> Item:
    return Item(selected=Selected(index=7, party=party))


def take(one: Item, who: Identity, action: int, **changes: Any) -> Item:
    """Take the next step as somebody."""
    if action == ASSIGN:
        changes = {"assignee": ZHAO.uri} | changes
    return step(one, event(action, one.revision + 1, **changes), who, 50 + one.revision)


def assigned(party: str = HEALTH) -> Item:
    return take(item(party), SUN, ASSIGN)


def justified(party: str = HEALTH, by: Identity = CHEN) -> Item:
    return take(assigned(party), by, JUSTIFY)


def closing(verdict: int = IN_ORDER) -> Item:
    return take(justified(), ZHAO, CLOSE, verdict=verdict)


def done() -> Item:
    return take(closing(), QIAN, CONFIRM, verdict=IN_ORDER)


def test_an_item_is_assigned_justified_closed_and_confirmed() -> None:
    found = done()
    assert (found.state, found.verdict, found.closer) == (CLOSED, IN_ORDER, ZHAO.uri)
    assert (found.revision, found.history) == (4, (50, 51, 52, 53))
    assert (found.assignee, found.justifiers) == (ZHAO.uri, frozenset({CHEN.uri}))


STAGES: dict[int, Item] = {
    DRAWN: item(),
    ASSIGNED: assigned(),
    JUSTIFIED: justified(),
    CLOSING: closing(),
    CLOSED: done(),
}
ACTORS = {ASSIGN: SUN, JUSTIFY: CHEN, CLOSE: ZHAO, CONFIRM: QIAN, CONTEST: QIAN, REOPEN: SUN}
TABLE: dict[tuple[int, int], int] = {
    (DRAWN, ASSIGN): ASSIGNED,
    (ASSIGNED, ASSIGN): ASSIGNED,
    (ASSIGNED, JUSTIFY): JUSTIFIED,
    (JUSTIFIED, ASSIGN): JUSTIFIED,
    (JUSTIFIED, JUSTIFY): JUSTIFIED,
    (JUSTIFIED, CLOSE): CLOSING,
    (CLOSING, CONFIRM): CLOSED,
    (CLOSING, CONTEST): JUSTIFIED,
    (CLOSED, REOPEN): ASSIGNED,
}


@pytest.mark.parametrize("state", STAGES)
@pytest.mark.parametrize("action", [*ACTORS, SELECT, 0])
def test_each_state_allows_its_actions_only(state: int, action: int) -> None:
    verdict = IN_ORDER if action in (CLOSE, CONFIRM) else 0
    who = ACTORS.get(action, SUN)
    due = TABLE.get((state, action))
    if due is None:
        with pytest.raises(WrongState):
            take(STAGES[state], who, action, verdict=verdict)
    else:
        assert take(STAGES[state], who, action, verdict=verdict).state == due


@pytest.mark.parametrize("revision", [0, 2, 4, 99])
def test_a_step_without_the_next_revision_is_refused(revision: int) -> None:
    with pytest.raises(WrongState):
        step(justified(), event(CLOSE, revision, verdict=IN_ORDER), ZHAO, 9)


def test_of_two_steps_that_race_the_second_is_refused() -> None:
    before = justified()
    first = event(CLOSE, 3, verdict=IN_ORDER)
    after = step(before, first, ZHAO, 9)
    with pytest.raises(WrongState):
        step(after, event(JUSTIFY, 3), CHEN, 10)


@pytest.mark.parametrize("who", [CHEN, WU, WANG, OPERATOR, AGENT])
@pytest.mark.parametrize("action", [ASSIGN, CLOSE, CONFIRM, CONTEST, REOPEN])
def test_only_officers_and_auditors_review(who: Identity, action: int) -> None:
    state = next(state for state, possible in TABLE if possible == action)
    with pytest.raises(RoleNotAllowed):
        take(STAGES[state], who, action, verdict=IN_ORDER if action in (CLOSE, CONFIRM) else 0)


@pytest.mark.parametrize(
    ("party", "who", "may"),
    [
        (HEALTH, CHEN, True),
        (HEALTH, WU, False),
        (HEALTH, ZHAO, False),
        (HEALTH, WANG, False),
        (HEALTH, AGENT, False),
        (QIAN.uri, QIAN, True),
        (QIAN.uri, WANG, True),
        (QIAN.uri, SUN, False),
        (QIAN.uri, CHEN, False),
        ("", WANG, True),
        ("", CHEN, False),
        ("", SUN, False),
    ],
)
def test_an_item_is_justified_by_who_answers_for_the_entry(party: str, who: Identity, may: bool) -> None:
    if may:
        assert take(assigned(party), who, JUSTIFY).justifiers == {who.uri}
    else:
        with pytest.raises(RoleNotAllowed):
            take(assigned(party), who, JUSTIFY)


@pytest.mark.parametrize(("verdict", "may"), [(IN_ORDER, False), (FINDING, True)])
def test_without_a_justification_only_a_finding_closes(verdict: int, may: bool) -> None:
    if may:
        assert take(assigned(), ZHAO, CLOSE, verdict=verdict).state == CLOSING
    else:
        with pytest.raises(WrongState):
            take(assigned(), ZHAO, CLOSE, verdict=verdict)


def test_only_the_assignee_states_the_outcome() -> None:
    with pytest.raises(RoleNotAllowed):
        take(justified(), QIAN, CLOSE, verdict=IN_ORDER)


@pytest.mark.parametrize("action", [CONFIRM, CONTEST])
def test_who_stated_the_outcome_is_not_the_second_person(action: int) -> None:
    with pytest.raises(SecondPersonRequired):
        take(closing(), ZHAO, action, verdict=IN_ORDER if action == CONFIRM else 0)


def test_what_is_confirmed_is_what_was_stated() -> None:
    with pytest.raises(WrongState):
        take(closing(FINDING), QIAN, CONFIRM, verdict=IN_ORDER)


@pytest.mark.parametrize("action", [ASSIGN, CLOSE])
def test_who_has_justified_an_item_does_not_review_it(action: int) -> None:
    mine = justified(QIAN.uri, by=QIAN)
    with pytest.raises(SecondPersonRequired):
        take(mine, QIAN, action, verdict=IN_ORDER if action == CLOSE else 0)


@pytest.mark.parametrize("action", [CONFIRM, CONTEST])
def test_whom_the_entry_is_about_confirms_nothing(action: int) -> None:
    stated = take(justified(QIAN.uri, by=WANG), ZHAO, CLOSE, verdict=IN_ORDER)
    with pytest.raises(SecondPersonRequired):
        take(stated, QIAN, action, verdict=IN_ORDER if action == CONFIRM else 0)


@pytest.mark.parametrize(
    ("assignee", "error"),
    [
        (CHEN.uri, RoleNotAllowed),
        (WANG.uri, RoleNotAllowed),
        ("nobody", RoleNotAllowed),
        ("spiffe://970100.other.example/officer/zhao", RoleNotAllowed),
        (QIAN.uri, SecondPersonRequired),
    ],
)
def test_an_assignee_is_an_overseer_of_the_region_and_not_the_one_it_is_about(
    assignee: str, error: type[ExchangeError]
) -> None:
    with pytest.raises(error):
        take(item(QIAN.uri), SUN, ASSIGN, assignee=assignee)


def test_a_contested_item_goes_back_and_is_closed_anew() -> None:
    back = take(closing(FINDING), QIAN, CONTEST)
    assert (back.state, back.closer, back.verdict) == (JUSTIFIED, "", 0)
    again = take(back, ZHAO, CLOSE, verdict=IN_ORDER)
    assert take(again, SUN, CONFIRM, verdict=IN_ORDER).state == CLOSED


def test_a_contested_item_that_nobody_justified_waits_for_it() -> None:
    stated = take(assigned(), ZHAO, CLOSE, verdict=FINDING)
    assert take(stated, QIAN, CONTEST).state == ASSIGNED


def test_a_reopened_item_is_justified_anew_and_its_old_justifier_stays_apart() -> None:
    first = justified(QIAN.uri, by=QIAN)
    closed = take(take(first, ZHAO, CLOSE, verdict=IN_ORDER), SUN, CONFIRM, verdict=IN_ORDER)
    again = take(closed, SUN, REOPEN)
    assert (again.state, again.justified, again.verdict) == (ASSIGNED, False, 0)
    with pytest.raises(WrongState):
        take(again, ZHAO, CLOSE, verdict=IN_ORDER)
    stated = take(take(again, WANG, JUSTIFY), ZHAO, CLOSE, verdict=IN_ORDER)
    with pytest.raises(SecondPersonRequired):
        take(stated, QIAN, CONFIRM, verdict=IN_ORDER)


def test_after_its_last_revision_an_item_can_only_be_closed() -> None:
    worn = justified()
    while worn.revision < MAX_REVISIONS:
        worn = take(worn, CHEN, JUSTIFY)
    with pytest.raises(WrongState):
        take(worn, CHEN, JUSTIFY)
    assert take(take(worn, ZHAO, CLOSE, verdict=IN_ORDER), QIAN, CONFIRM, verdict=IN_ORDER).state == CLOSED


@pytest.mark.parametrize(
    ("who", "party", "may"),
    [
        (SUN, HEALTH, True),
        (ZHAO, "", True),
        (CHEN, HEALTH, True),
        (CHEN, CIVIL, False),
        (CHEN, "", False),
        (CHEN, ZHAO.uri, False),
        (WANG, "", True),
        (WANG, ZHAO.uri, True),
        (WANG, HEALTH, False),
        (OPERATOR, OPERATOR.uri, False),
        (AGENT, HEALTH, False),
    ],
)
def test_overseers_see_every_item_and_others_what_they_answer_for(
    who: Identity, party: str, may: bool
) -> None:
    assert sees(who, Selected(index=1, party=party)) is may


PEOPLE = (ZHAO, QIAN, SUN, CHEN, WU, WANG, OPERATOR, AGENT)
ACTIONS = (ASSIGN, JUSTIFY, CLOSE, CONFIRM, CONTEST, REOPEN)
VERDICTS = (IN_ORDER, FINDING)
ASSIGNEES = (ZHAO.uri, QIAN.uri, SUN.uri, CHEN.uri)
AHEAD = (1, 1, 1, 0, 2)
PARTIES = (HEALTH, CIVIL, "", QIAN.uri, SUN.uri)
sequences = st.lists(
    st.tuples(*(st.sampled_from(each) for each in (PEOPLE, ACTIONS, VERDICTS, ASSIGNEES, AHEAD))),
    max_size=80,
)


def run(sequence: Iterable[Any], party: str) -> int:
    """Try every step of a sequence; check each end that is reached, and return how many were."""
    one, taken, ends = item(party), list[tuple[Identity, Event]](), 0
    for who, action, verdict, assignee, ahead in sequence:
        wanted = event(
            action,
            one.revision + ahead,
            verdict=verdict if action in (CLOSE, CONFIRM) else 0,
            assignee=assignee if action == ASSIGN else "",
        )
        try:
            one = step(one, wanted, who, len(taken))
        except ExchangeError:
            continue
        taken.append((who, wanted))
        assert one.revision == len(taken)
        if one.state == CLOSED:
            ends += 1
            check_end(one, taken, party)
    return ends


def check_end(one: Item, taken: list[tuple[Identity, Event]], party: str) -> None:
    second, closer = taken[-1][0], next(by for by, told in reversed(taken) if told.action == CLOSE)
    justifiers = {by.uri for by, told in taken if told.action == JUSTIFY}
    two = {closer.uri, second.uri}
    assert len(two) == 2 and not two & (justifiers | {party})
    assert {closer.role, second.role} <= {Role.OFFICER, Role.AUDITOR}
    actions = [told.action for _, told in taken]
    while REOPEN in actions:
        actions = actions[actions.index(REOPEN) + 1 :]
    assert one.verdict == FINDING or JUSTIFY in actions


@given(sequences, st.sampled_from(PARTIES))
@settings(max_examples=200, deadline=None)
def test_no_sequence_closes_an_item_without_two_people_who_are_not_its_justifiers(
    sequence: list[Any], party: str
) -> None:
    run(sequence, party)


def test_sequences_at_random_close_items_often_and_always_by_two_others() -> None:
    chance, ends = random.Random(7), 0
    for number in range(150):
        sequence = (
            tuple(chance.choice(each) for each in (PEOPLE, ACTIONS, VERDICTS, ASSIGNEES, AHEAD))
            for _ in range(600)
        )
        ends += run(sequence, PARTIES[number % len(PARTIES)])
    assert ends > 150
