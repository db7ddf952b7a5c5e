"""What the shipped rules make of a small corpus stays above these floors; docs/risk.md has the large one."""

from collections.abc import Mapping
from functools import cache

import pytest

from tests.risk_corpus.__main__ import BEGINS, ENDS, PAGE, RULES
from tests.risk_corpus.score import Score, run

FOUND: Mapping[str, float] = {
    "cases-missing-in-a-row": 1.0,
    "probing-of-grants": 1.0,
    "verify-limits-hit": 1.0,
    "one-case-for-many": 1.0,
    "without-cases": 1.0,
    "new-pair-high-volume": 1.0,
    "operator-of-many": 1.0,
    "death-address-bank": 0.5,
    "same-subject-again": 0.3,
    "sensitive-out-of-hours": 0.5,
}
"""Least recall of each rule among the incidents that it is meant to find, the hard ones included."""


@cache
def score() -> Score:
    return run(RULES.read_text(encoding="utf-8"), days=14, each=1, seed=5)


def test_most_of_what_the_rules_find_is_right() -> None:
    assert score().precision >= 0.6


def test_most_incidents_are_found_and_the_hard_ones_are_not_passed_off_as_found() -> None:
    assert score().recall(hard=False) >= 0.9
    assert 0.6 <= score().recall() < 1.0


@pytest.mark.parametrize("rule", FOUND)
def test_each_rule_finds_what_it_is_meant_to_find(rule: str) -> None:
    found, meant = score().recall_of(rule)
    assert found >= FOUND[rule] * meant


def test_few_lawful_exchanges_are_held_back() -> None:
    told = score()
    assert told.lawful_held <= told.lawful * 0.03
    assert told.attack_held > 0


def test_the_page_has_the_table_that_the_command_writes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition(BEGINS)[2].partition(ENDS)[0]
    assert "| **全部 all** |" in table
    for rule in FOUND:
        assert f"`{rule}`" in table
