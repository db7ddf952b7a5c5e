"""The detections, one by one: what each finds, and what it leaves alone."""

from typing import Any

from exchange.v1 import reason_pb2 as r
from tests.support.region import CIVIL, HEALTH, POLICE
from tests.support.risk import DAY, HOUR, HOUSEHOLD, MINUTE, REFUNDS, REFUSALS, AtWork


def rule(kind: str, **told: Any) -> str:
    held = {"id": kind.replace("_", "-"), "kind": kind, "title_zh": "题", "title_en": "title"}
    lines = {**held, "severity": "warning", "window": "1h", **told}

    def written(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return str(value) if isinstance(value, (int, float, list)) else f'"{value}"'

    return "[[rule]]\n" + "\n".join(f"{name} = {written(value)}" for name, value in lines.items())


def found(work: AtWork) -> list[tuple[str, str, int]]:
    return [(one.rule, one.operator or one.agent or one.consumer, one.count) for one in work.found]


def test_refusals_in_a_row_have_the_agent_refused_and_nobody_else() -> None:
    work = AtWork(REFUSALS)
    for _ in range(5):
        work.refuse(r.REASON_CASE_REQUIRED)
    assert found(work) == [("in-a-row", "health-1", 5)]
    assert work.holds() == work.holds(REFUNDS) == "refuse"
    assert work.holds(agent="health-2") == work.holds(consumer=CIVIL) == ""
    work.clock.ms += 30 * MINUTE
    assert work.holds() == ""


def test_an_answer_in_between_begins_the_row_anew() -> None:
    work = AtWork(REFUSALS)
    for _ in range(4):
        work.refuse(r.REASON_CASE_REQUIRED)
    work.answer()
    for _ in range(4):
        work.refuse(r.REASON_CASE_REQUIRED)
    assert not work.found


def test_refusals_of_longer_ago_than_the_window_do_not_count() -> None:
    work = AtWork(REFUSALS)
    for _ in range(8):
        work.refuse(r.REASON_CASE_REQUIRED)
        work.clock.ms += 3 * MINUTE
    assert not work.found


def test_what_a_provider_refuses_does_not_count_against_a_consumer() -> None:
    """A provider that refuses whatever a rival asks must not have it held back elsewhere."""
    work = AtWork(REFUSALS)
    for _ in range(50):
        work.refuse(r.REASON_CASE_REQUIRED, by_provider=True)
    assert not work.found
    assert work.holds() == ""


def test_providers_refusals_may_alert_where_a_rule_asks_for_them() -> None:
    work = AtWork(rule("refusals", by="operator", reasons=["VERIFY_LIMIT"], by_providers=True, least=3))
    work.refuse(r.REASON_VERIFY_LIMIT)
    for _ in range(3):
        work.refuse(r.REASON_VERIFY_LIMIT, by_provider=True)
    assert found(work) == [("refusals", "op-1", 3)]


def test_different_attempts_are_probing_and_one_mistake_again_and_again_is_not() -> None:
    work = AtWork(
        rule("refusals", by="agent", reasons=["NO_GRANT"], distinct=True, least=8, action="approval")
    )
    for _ in range(200):
        work.refuse(r.REASON_NO_GRANT, attempt=7)
    assert not work.found
    for number in range(12):
        work.refuse(r.REASON_NO_GRANT, attempt=number * 1_000_003)
    assert [one.rule for one in work.found] == ["refusals"]
    assert work.holds() == "approval"


def test_many_subjects_are_found_and_many_questions_about_few_are_not() -> None:
    work = AtWork(rule("subjects", by="operator", least=100))
    for number in range(400):
        work.answer(subject=f"person {number % 40}")
    assert not work.found
    for number in range(120):
        work.answer(subject=f"other {number}")
    assert [one.from_tags for one in work.found] == [True]
    assert work.holds() == ""


def test_the_same_subject_again_is_found_but_not_within_one_case() -> None:
    work = AtWork(rule("subject_again", by="operator", least=5, window="7d"))
    for _ in range(20):
        work.answer(subject="neighbour", case="LJ-7")
    assert not work.found
    for _ in range(4):
        work.answer(subject="neighbour", case="")
        work.clock.ms += DAY
    assert found(work) == [("subject-again", "op-1", 5)]


def test_volume_is_measured_against_the_highest_of_its_own_past() -> None:
    text = rule("volume", by="consumer+resource", factor=4.0, least=50, remember="14d", learn="3d")
    work = AtWork(text)
    for _ in range(5):
        for _ in range(30):
            work.answer(case="")
        work.clock.ms += DAY
    assert not work.found
    # The highest has faded a little: 4 times 28.5 or so.
    for _ in range(110):
        work.answer(case="")
    assert not work.found
    for _ in range(10):
        work.answer(case="")
    assert [one.rule for one in work.found] == ["volume"]
    assert 110 < work.found[0].count <= 120


def test_a_pair_that_never_was_and_begins_with_high_volume_waits_for_approval() -> None:
    work = AtWork(rule("new_pair", least=20, window="2h", remember="30d", action="approval"))
    for _ in range(20):
        work.answer(REFUNDS)
    assert [list(one.resources) for one in work.found] == [[REFUNDS]]
    assert (work.holds(REFUNDS), work.holds(HOUSEHOLD)) == ("approval", "")


def test_a_pair_that_has_been_for_long_is_not_new() -> None:
    work = AtWork(rule("new_pair", least=20, window="2h", remember="30d"))
    work.answer()
    work.clock.ms += 3 * HOUR
    for _ in range(100):
        work.answer()
    assert not work.found


HOURS = rule("out_of_hours", by="operator", opens="08:00", shuts="18:00", least=5, window="4h")
TEN_BY_DAY_MS = 1_772_416_800_000  # Monday, 2 March 2026, 10:00 by Beijing time


def weeks(work: AtWork, *, nights: bool) -> None:
    work.clock.ms = TEN_BY_DAY_MS
    for _ in range(10):
        work.answer(operator="day")
        if nights:
            work.answer(operator="night", time_ms=work.clock.ms + 12 * HOUR)
        work.clock.ms += DAY
    work.clock.ms = TEN_BY_DAY_MS + 14 * DAY


def test_sensitive_data_at_night_is_found_where_nobody_works_at_night() -> None:
    work = AtWork(HOURS)
    weeks(work, nights=False)
    for _ in range(9):
        work.answer()
    work.clock.ms += 12 * HOUR
    for _ in range(5):
        work.answer(sealed=False)
    assert not work.found
    for _ in range(5):
        work.answer()
    assert found(work) == [("out-of-hours", "op-1", 5)]


def test_a_department_that_always_works_at_night_is_left_alone() -> None:
    work = AtWork(HOURS)
    weeks(work, nights=True)
    work.clock.ms += 12 * HOUR
    for _ in range(50):
        work.answer()
    assert not work.found


def test_a_large_share_without_cases_is_found_and_a_small_one_is_not() -> None:
    work = AtWork(rule("no_case", by="operator", least=10, permille=500))
    for number in range(100):
        work.answer(case="" if number % 4 == 0 else "LJ-1")
    assert not work.found
    for _ in range(60):
        work.answer(case="")
    assert [one.rule for one in work.found] == ["no-case"]


def test_silent_operators_and_one_pseudonym_of_many_departments_are_found() -> None:
    work = AtWork(
        rule("silent_operator", by="consumer", least=10, permille=900)
        + "\n"
        + rule("shared_operator", least=3)
    )
    for _ in range(10):
        work.answer(operator="")
    for consumer in (HEALTH, CIVIL, HEALTH, POLICE):
        work.answer(consumer=consumer, operator="same")
    assert [one.rule for one in work.found] == ["silent-operator", "shared-operator"]


def test_one_case_for_too_many_exchanges_has_that_resource_wait_for_approval() -> None:
    work = AtWork(rule("case_load", least=30, action="approval"))
    for _ in range(29):
        work.answer(case="LJ-1")
        work.answer(case="LJ-2", resource=REFUNDS)
    assert not work.found
    work.answer(case="LJ-1")
    assert (work.holds(HOUSEHOLD), work.holds(REFUNDS)) == ("approval", "")


def test_a_rule_looks_only_at_its_resources_and_not_at_who_is_excepted() -> None:
    told = rule("case_load", least=3, resources=["*/*/household"], except_consumers=[CIVIL])
    work = AtWork(told)
    for _ in range(9):
        work.answer(case="LJ-1", resource=REFUNDS)
        work.answer(case="LJ-1", consumer=CIVIL)
    assert not work.found
    for _ in range(3):
        work.answer(case="LJ-1")
    assert len(work.found) == 1


def test_a_finding_names_the_exchanges_and_resources_that_counted() -> None:
    work = AtWork(REFUSALS)
    for _ in range(5):
        work.refuse(r.REASON_CASE_REQUIRED, resource=HOUSEHOLD)
    one = work.found[0]
    assert [int.from_bytes(number) for number in one.exchange_ids] == [1, 2, 3, 4, 5]
    assert list(one.resources) == [HOUSEHOLD]
    assert (one.window_s, one.until_ms - work.clock.ms) == (600, 30 * MINUTE)


def test_a_key_has_one_finding_a_window_however_long_it_goes_on() -> None:
    work = AtWork(REFUSALS)
    for _ in range(500):
        work.refuse(r.REASON_CASE_REQUIRED)
    assert len(work.found) == 1
