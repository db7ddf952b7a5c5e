"""Risk rules as a text: what they may say, and every fault at once."""

import time
from pathlib import Path

import pytest

from exchange.errors import RulesInvalid
from exchange.region_rules import MAX_RISK_CHARS
from gateway.risk.rules_file import read_risk_rules
from tests.support.risk import COMBINATION, REFUSALS

SHIPPED = Path(__file__).resolve().parents[3] / "deploy" / "policies" / "risk.toml"


def test_the_shipped_rules_hold_together_and_fit_into_the_regions_rules() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert len(text) <= MAX_RISK_CHARS
    kinds = {rule.kind for rule in read_risk_rules(text)}
    assert kinds == {
        "refusals", "subjects", "case_load", "no_case", "volume", "new_pair", "out_of_hours",
        "subject_again", "silent_operator", "shared_operator", "combination",
    }  # fmt: skip


def test_no_text_has_no_rules() -> None:
    assert read_risk_rules("") == ()


def test_every_fault_is_told_at_once() -> None:
    text = REFUSALS.replace('"10m"', '"10 minutes"').replace('"CASE_REQUIRED"', '"NO_SUCH"')
    with pytest.raises(RulesInvalid) as told:
        read_risk_rules(text.replace("least = 5", "least = 0\nsurprise = 1"))
    for part in ("window", "reasons", "least", "surprise"):
        assert part in told.value.subject


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("rule = 7", "rule"),
        ("[[rule]", "risk"),
        (REFUSALS + REFUSALS, "twice"),
        (REFUSALS.replace("30m", "2d"), "hold"),
        (REFUSALS.replace("30m", "5m"), "hold"),
        (REFUSALS.replace('"refuse"', '"alert"'), "hold"),
        (REFUSALS.replace('"refuse"', '"suspend"'), "action"),
        (COMBINATION.replace("code:BANK-1", "bank account"), "fields"),
        (COMBINATION + 'believes = ["somebody"]', "believes"),
        ("x = 1\n" * 4000, "characters"),
        (REFUSALS.replace("in-a-row", "in_a_row"), "id"),
        (
            REFUSALS.replace("least = 5", "least = 9000\ndistinct = true").replace("in_a_row = true", ""),
            "MiB",
        ),
        (REFUSALS + "distinct = true", "one of them"),
        (
            "".join(REFUSALS.replace("in-a-row", f"r{n}") + "max_keys = 100000\n" for n in range(6)),
            "together",
        ),
    ],
)
def test_a_rule_that_is_out_of_bounds_is_refused(text: str, part: str) -> None:
    with pytest.raises(RulesInvalid) as told:
        read_risk_rules(text)
    assert part in told.value.subject


@pytest.mark.parametrize("action", ["approval", "refuse"])
@pytest.mark.parametrize("kind", ["subjects", "subject_again", "refusals", "shared_operator"])
def test_what_others_can_steer_may_only_alert(kind: str, action: str) -> None:
    """Tags and refusals are the word of providers, a pseudonym anybody's."""
    own = {
        "refusals": 'by = "agent"\nreasons = ["VERIFY_LIMIT"]\nby_providers = true',
        "shared_operator": "",
    }.get(kind, 'by = "operator"')
    rule = (
        f'[[rule]]\nid = "x"\nkind = "{kind}"\ntitle_zh = "x"\ntitle_en = "x"\nseverity = "notice"\n'
        f'window = "1h"\nleast = 9\n{own}\n'
    )
    assert read_risk_rules(rule)[0].action == "alert"
    with pytest.raises(RulesInvalid, match="carries only"):
        read_risk_rules(rule + f'action = "{action}"\n')


def test_a_combination_never_refuses_what_comes_next() -> None:
    with pytest.raises(RulesInvalid, match="carries only"):
        read_risk_rules(COMBINATION.replace('"approval"', '"refuse"'))


@pytest.mark.parametrize(
    "text",
    ["a=" + "[" * 8000, "a=" + "{b=" * 4000, ".".join("a" * 8000) + "=1", "[" + ".".join("a" * 8000) + "]"],
    ids=["arrays", "tables", "dotted", "header"],
)
def test_a_text_that_nests_without_end_is_refused_at_once(text: str) -> None:
    begun = time.thread_time()
    with pytest.raises(RulesInvalid):
        read_risk_rules(text)
    assert time.thread_time() - begun < 0.5
