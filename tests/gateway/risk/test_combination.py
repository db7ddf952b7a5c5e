"""Combinations, and what a provider that lies in its tags can do: nothing to what others answer."""

from random import Random
from types import SimpleNamespace

import pytest

from exchange.errors import ApprovalRequired
from exchange.identity import Identity, Role
from exchange.v1 import common_pb2, exchange_pb2, risk_pb2
from gateway.record import Exchange, TagList
from gateway.risk.combination import MAX_PARTS
from gateway.risk.register import Row
from tests.support.region import CIVIL, HEALTH, POLICE
from tests.support.risk import (
    COMBINATION,
    DAY,
    DEATHS,
    FIELDS,
    HOUR,
    HOUSEHOLD,
    OWNERS,
    REFUNDS,
    RESOURCES,
    AtWork,
    tag,
)
from tests.support.sealing import NOW_MS

BELIEVING = COMBINATION + f'believes = ["{CIVIL}"]\n'


def told(work: AtWork) -> list[tuple[str, list[str]]]:
    return [(one.action, sorted(one.resources)) for one in work.found]


def test_the_answer_that_completes_a_combination_is_held_back_and_nothing_else() -> None:
    work = AtWork(BELIEVING)
    assert work.answer(DEATHS, "a")
    assert work.answer(HOUSEHOLD, "a")
    assert not work.answer(REFUNDS, "a")
    assert told(work) == [("approval", sorted([DEATHS, HOUSEHOLD, REFUNDS]))]
    assert work.holds(REFUNDS) == ""
    assert work.answer(REFUNDS, "b")
    assert work.answer(HOUSEHOLD, "a")
    assert work.answer(REFUNDS, "a", consumer=CIVIL)


def test_of_two_answers_in_one_batch_the_second_completes() -> None:
    """What passed counts from when it passed, not from when it is durable."""
    work = AtWork(BELIEVING)
    work.answer(DEATHS, "a")
    first, second = work.seen(HOUSEHOLD, "a"), work.seen(REFUNDS, "a")
    assert work.engine.weigh(first) is None
    assert work.engine.weigh(second) is not None


def test_what_is_held_back_stays_so_when_it_is_asked_again_under_one_finding() -> None:
    work = AtWork(BELIEVING)
    work.answer(DEATHS, "a")
    work.answer(HOUSEHOLD, "a")
    for _ in range(9):
        assert not work.answer(REFUNDS, "a")
    assert len(work.found) == 1
    work.clock.ms += DAY + HOUR
    assert not work.answer(REFUNDS, "a")
    assert len(work.found) == 2


def test_parts_of_longer_ago_than_the_window_do_not_count() -> None:
    work = AtWork(BELIEVING)
    work.answer(DEATHS, "a")
    work.answer(HOUSEHOLD, "a")
    work.clock.ms += 31 * DAY
    assert work.answer(REFUNDS, "a")
    assert not work.found


def test_across_providers_that_a_rule_does_not_believe_it_is_an_alert() -> None:
    work = AtWork(COMBINATION)
    for resource in (DEATHS, HOUSEHOLD, REFUNDS):
        assert work.answer(resource, "a")
    assert [action for action, _ in told(work)] == ["alert"]
    assert work.found[0].from_tags


def test_a_provider_that_tags_a_rivals_subjects_holds_back_no_answer_of_another_provider() -> None:
    """The liar, civil affairs here, puts the tags of whoever it likes into every answer of its own."""
    work = AtWork(COMBINATION)
    everybody = [f"person {number}" for number in range(40)]
    lie = b"".join(tag(one) for one in everybody)
    assert work.answer(DEATHS, tags=lie)
    for subject in everybody:
        assert work.answer(HOUSEHOLD, subject)
        assert work.answer(REFUNDS, subject)
    assert {one.action for one in work.found} == {"alert"}
    assert not work.engine.holds.size


def test_what_a_liar_can_have_held_back_is_its_own_answer() -> None:
    """It tells two parts itself, both about somebody whom the consumer asked others about."""
    work = AtWork(COMBINATION.replace(', "code:BANK-1"', ""))
    assert work.answer(DEATHS, "rival's")
    assert not work.answer(HOUSEHOLD, "rival's", provider=CIVIL)
    assert work.answer(HOUSEHOLD, "rival's")
    assert work.answer(REFUNDS, "rival's")
    assert {one.action for one in work.found} == {"approval", "alert"}
    assert not work.engine.holds.size


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_liar_tags_every_other_answer_goes(seed: int) -> None:
    """With and without the liar, the same answers of the others are released."""
    random = Random(seed)
    subjects = [f"person {number}" for number in range(6)]
    honest = [
        (random.choice([HOUSEHOLD, REFUNDS]), random.choice(subjects), random.randrange(8)) for _ in range(60)
    ]

    def released(*, with_liar: bool) -> list[bool]:
        work, lies = AtWork(COMBINATION), Random(seed + 1000)
        gone = []
        for resource, subject, turn in honest:
            if with_liar and turn < 4:
                tags = b"".join(tag(one) for one in lies.sample(subjects, 4))
                work.answer(DEATHS, tags=tags, operator="op-1")
            gone.append(work.answer(resource, subject))
            work.clock.ms += HOUR
        assert not work.engine.holds.size
        return gone

    assert released(with_liar=True) == released(with_liar=False) == [True] * 60


def test_a_believed_provider_that_lies_reaches_no_other_subject_consumer_or_answer() -> None:
    work = AtWork(BELIEVING)
    work.answer(DEATHS, "victim")
    work.answer(HOUSEHOLD, "victim")
    assert not work.answer(REFUNDS, "victim")
    assert work.answer(HOUSEHOLD, "victim")
    assert all(work.answer(REFUNDS, f"other {number}") for number in range(20))
    assert work.answer(REFUNDS, "victim", consumer=POLICE)


def test_one_provider_that_holds_all_parts_is_believed_about_itself() -> None:
    text = COMBINATION.replace('"*/*/deaths#death_*", ', "")
    work = AtWork(text)
    assert work.answer(HOUSEHOLD, "a")
    assert not work.answer(REFUNDS, "a")
    assert told(work)[0][0] == "approval"


def test_a_liar_cannot_hide_a_completion_by_telling_its_parts_beforehand() -> None:
    """What an unbelieved provider said does not make a believed part old news."""
    text = COMBINATION.replace('"*/*/deaths#death_*", ', "")
    work = AtWork(text)
    work.answer(HOUSEHOLD, "a")
    work.answer(REFUNDS, "a", provider=CIVIL)
    assert not work.answer(REFUNDS, "a")


def test_a_verification_tells_no_field() -> None:
    work = AtWork(BELIEVING)
    work.answer(DEATHS, "a")
    work.answer(HOUSEHOLD, "a", fields=())
    assert work.answer(REFUNDS, "a")


def test_approved_it_passes_until_the_time_given_and_is_held_again_afterwards() -> None:
    work = AtWork(BELIEVING)
    work.answer(DEATHS, "a")
    work.answer(HOUSEHOLD, "a")
    assert not work.answer(REFUNDS, "a")
    row = Row(7, NOW_MS, work.found[0])
    row.verdict, row.until_ms = risk_pb2.FINDING_VERDICT_APPROVE, work.clock.ms + HOUR
    work.engine.decided(row)
    assert work.answer(REFUNDS, "a")
    again = AtWork(BELIEVING)
    again.answer(DEATHS, "a")
    again.answer(HOUSEHOLD, "a")
    again.engine.decided(row)
    again.clock.ms += HOUR
    assert not again.answer(REFUNDS, "a")


def test_a_flood_of_subjects_and_tags_stays_within_bounds() -> None:
    work = AtWork(BELIEVING.replace('window = "30d"', 'window = "30d"\nmax_keys = 200'))
    for number in range(1000):
        work.answer(HOUSEHOLD, f"person {number}")
    combinations = work.engine.windows.combinations
    assert (combinations.held, combinations.evicted) == (50, 950)
    for number in range(200):
        work.answer(HOUSEHOLD, "one", provider=f"provider {number}")
    cell = combinations._work[0].cells.find(HEALTH, tag("one"))
    assert cell is not None
    assert len(cell.parts()) == MAX_PARTS


def passed(resource: str, subject: str, kind: int = common_pb2.KIND_QUERY) -> Exchange:
    """Return an exchange as it comes to the release guards."""
    identity = Identity("yunchuan.example", "970100", Role.AGENT, HEALTH, "health-1")
    header = exchange_pb2.RequestHeader(
        kind=kind, fields=FIELDS[resource], provider_organisation=OWNERS[resource], resource=resource
    )
    return Exchange(
        SimpleNamespace(identity=identity),  # type: ignore[arg-type]
        common_pb2.Signed(),
        0,
        header=header,
        exchange_id=resource.encode()[:16],
        resource=RESOURCES[resource],
        rule="match",
        tags=TagList("2026Q1", 1, bytes(32), tag(subject)),
    )


def test_the_release_guard_names_rule_and_finding_and_leaves_what_goes_as_it_was() -> None:
    work, body = AtWork(BELIEVING), exchange_pb2.ResponseBody()
    for resource in (DEATHS, HOUSEHOLD):
        exchange = passed(resource, "a")
        work.engine.release(exchange, body)
        assert exchange.rule == "match"
    work.engine.release(passed(REFUNDS, "a", common_pb2.KIND_VERIFY), body)
    work.engine.release(passed(REFUNDS, "a"), exchange_pb2.ResponseBody(failure=3))
    held = passed(REFUNDS, "a")
    with pytest.raises(ApprovalRequired) as told:
        work.engine.release(held, body)
    assert held.rule == "risk/combined"
    assert told.value.subject == f"finding {work.found[0].finding_id.hex()}"
