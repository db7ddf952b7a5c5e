"""Verification as no oracle: how often one consumer may ask about one subject, and be wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.provider.verify_limits import HOUR_MS, Kept, Subject, VerifyCounts
from agent.provider.verify_store import VerifyStore
from exchange.errors import StoreDamaged, VerifyLimit
from exchange.region_rules import VerifyLimits
from exchange.resources import ParameterRule, parse_resource
from exchange.v1 import common_pb2
from tests.support.region import CIVIL, HEALTH, resource_body
from tests.support.sealing import NOW_MS

RESOURCE = parse_resource(common_pb2.Statement(body=resource_body(NOW_MS)))
FREE = replace(RESOURCE, parameters={"name": ParameterRule(type="text", level=3, format="")})
NONE = VerifyLimits(per_subject_day=0, mismatches_per_subject_day=0, mismatched_subjects_hour=0)
RIGHT, WRONG, UNKNOWN = [True, True], [True, False], [None, None]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = VerifyStore(tmp_path / "counts.db")
    yield made
    made.close()


def counting(store: VerifyStore, limits: VerifyLimits, *, now_ms: int = NOW_MS, **more: int) -> VerifyCounts:
    return VerifyCounts(limits=lambda: limits, key=bytes(32), store=store, now_ms=now_ms, **more)


def who(counts: VerifyCounts, person: int, consumer: str = HEALTH) -> Subject:
    return counts.subject(consumer, RESOURCE, {"id": f"{person:018d}"})


def told(
    counts: VerifyCounts, person: int, verdicts: Any, *, consumer: str = HEALTH, now_ms: int = NOW_MS
) -> bool:
    """Whether a verdict is told."""
    subject = who(counts, person, consumer)
    try:
        counts.check(consumer, subject, now_ms)
        counts.settle(consumer, subject, verdicts, now_ms)
    except VerifyLimit:
        return False
    return True


def test_one_subject_is_asked_about_so_often_a_day_and_others_are_not_hindered(store: VerifyStore) -> None:
    counts = counting(store, replace(NONE, per_subject_day=3))
    assert [told(counts, 1, RIGHT) for _ in range(4)] == [True, True, True, False]
    assert told(counts, 2, RIGHT)
    assert told(counts, 1, RIGHT, consumer=CIVIL)
    tomorrow_ms = NOW_MS + 24 * HOUR_MS
    assert told(counts, 1, RIGHT, now_ms=tomorrow_ms)


@pytest.mark.parametrize("wrong", [WRONG, UNKNOWN, [False]])
def test_after_so_many_mismatches_a_right_guess_is_not_told_either(store: VerifyStore, wrong: Any) -> None:
    counts = counting(store, replace(NONE, mismatches_per_subject_day=2))
    assert told(counts, 1, RIGHT)
    assert [told(counts, 1, wrong) for _ in range(3)] == [True, True, False]
    assert not told(counts, 1, RIGHT)


def test_enumeration_ends_for_the_hour_whatever_subject_comes_next(store: VerifyStore) -> None:
    counts = counting(store, replace(NONE, mismatched_subjects_hour=3))
    assert [told(counts, person, UNKNOWN) for person in (1, 1, 2, 3, 4)] == [True, True, True, True, False]
    assert not told(counts, 5, RIGHT)
    assert told(counts, 5, RIGHT, consumer=CIVIL)
    assert told(counts, 5, RIGHT, now_ms=NOW_MS + HOUR_MS)


def test_many_questions_at_once_get_no_more_mismatches_than_one_after_another(store: VerifyStore) -> None:
    counts = counting(store, replace(NONE, mismatches_per_subject_day=2))
    subject = who(counts, 1)
    for _ in range(10):
        counts.check(HEALTH, subject, NOW_MS)
    answered = 0
    for _ in range(10):
        try:
            counts.settle(HEALTH, subject, WRONG, NOW_MS)
            answered += 1
        except VerifyLimit:
            continue
    assert answered == 2


def test_a_partly_unknown_verdict_with_a_match_is_no_mismatch(store: VerifyStore) -> None:
    counts = counting(store, replace(NONE, mismatches_per_subject_day=1))
    assert all(told(counts, 1, [True, None]) for _ in range(5))


def test_a_limit_of_nought_is_none(store: VerifyStore) -> None:
    counts = counting(store, NONE)
    assert all(told(counts, person, WRONG) for person in range(50) for _ in range(3))


async def test_a_restart_resets_nothing(store: VerifyStore) -> None:
    limits = VerifyLimits(per_subject_day=9, mismatches_per_subject_day=2, mismatched_subjects_hour=2)
    counts = counting(store, limits)
    assert told(counts, 1, WRONG) and told(counts, 1, WRONG) and told(counts, 2, UNKNOWN)
    await counts.flush()
    again = counting(store, limits)
    assert not told(again, 3, RIGHT), "two subjects did not match this hour"
    assert not told(again, 1, RIGHT, now_ms=NOW_MS + HOUR_MS), "nor twice the one today"
    assert told(again, 2, RIGHT, now_ms=NOW_MS + HOUR_MS)
    tomorrow_ms = NOW_MS + 24 * HOUR_MS
    assert told(counting(store, limits, now_ms=tomorrow_ms), 1, RIGHT, now_ms=tomorrow_ms)


async def test_counts_that_cannot_be_written_are_written_later(store: VerifyStore, tmp_path: Path) -> None:
    class Failing:
        fails = True

        def load(self, day: int, hour: int) -> Kept:
            return store.load(day, hour)

        def save(self, changed: Kept) -> None:
            if self.fails:
                raise StoreDamaged("test")
            store.save(changed)

    failing = Failing()
    limits = replace(NONE, mismatches_per_subject_day=1, mismatched_subjects_hour=5)
    counts = VerifyCounts(limits=lambda: limits, key=bytes(32), store=failing, now_ms=NOW_MS)
    assert told(counts, 1, WRONG)
    await counts.flush()
    assert told(counting(store, limits), 1, RIGHT)
    failing.fails = False
    await counts.flush()
    assert not told(counting(store, limits), 1, RIGHT)


def test_a_flood_of_subjects_pushes_no_count_out_of_memory(store: VerifyStore) -> None:
    counts = counting(store, replace(NONE, mismatches_per_subject_day=2), room=4)
    assert told(counts, 1, WRONG) and told(counts, 1, WRONG)
    assert all(told(counts, person, RIGHT) for person in range(100, 120))
    assert not told(counts, 1, RIGHT)


def test_a_clock_that_goes_back_begins_no_new_day(store: VerifyStore) -> None:
    counts = counting(store, replace(NONE, per_subject_day=1))
    assert told(counts, 1, RIGHT)
    assert not told(counts, 1, RIGHT, now_ms=NOW_MS - 24 * HOUR_MS)


def test_a_subject_is_the_same_for_every_resource_that_names_it_and_for_every_spelling(
    store: VerifyStore,
) -> None:
    counts = counting(store, NONE)
    other = replace(RESOURCE, id="970100/police/other")
    one = counts.subject(HEALTH, RESOURCE, {"id": "97"})
    assert one == counts.subject(HEALTH, other, {"id": "97"}) and len(one) == 16
    assert one != counts.subject(HEALTH, RESOURCE, {"id": "98"})
    free = counts.subject(HEALTH, FREE, {"name": "ABC"})
    assert free == counts.subject(HEALTH, FREE, {"name": " ａｂｃ "})
    assert free != counts.subject(HEALTH, replace(FREE, id="970100/police/other"), {"name": "ABC"})


def content_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_the_file_holds_digests_and_no_value(store: VerifyStore, tmp_path: Path) -> None:
    counts = counting(store, VerifyLimits())
    subject = counts.subject(HEALTH, FREE, {"name": "canary-value"})
    counts.settle(HEALTH, subject, WRONG, NOW_MS)
    await counts.flush()
    content = content_of(tmp_path)
    assert subject in content and b"canary" not in content


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "counts.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreDamaged):
        VerifyStore(tmp_path / "counts.db")
