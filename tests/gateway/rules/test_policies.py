"""Guards as Cedar policies: what compiles, what they decide, and which facts they read."""

import builtins
import itertools
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import RulesInvalid
from gateway.rules.facts import PATHS, Facts
from gateway.rules.policies import MAX_GUARDS, Guards, read_guards, schema_text
from gateway.rules.policy_text import statements_of
from tests.support.rules import NIGHT, NOBODY, facts, shipped


def guard(name: str, body: str, head: str = "principal, action, resource") -> str:
    return f'@id("{name}") @reason_zh("因") @reason_en("why")\nforbid ({head}) {body};\n'


def test_the_guards_that_travel_with_the_product_compile_and_let_the_usual_pass() -> None:
    guards = Guards(shipped())
    assert 5 <= len(guards.all) <= MAX_GUARDS
    assert guards.forbidding(facts()) == ""


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("permit (principal, action, resource);", 1, "@id"),
        (
            '\n@id("p") @reason_zh("因") @reason_en("x") permit (principal, action, resource);',
            2,
            "only forbid",
        ),
        ("// first\n\n" + guard("a", "when { context.nothing }"), 3, "a: attribute `nothing`"),
        (guard("a", "when { context.hour }"), 1, "expected Bool"),
        (guard("a", "when { context.hour > }"), 1, "unexpected token"),
        (NIGHT + NIGHT, 5, "by-night: twice"),
        (guard("A", ""), 1, "@id"),
        (guard("broken", ""), 1, "@id"),
        ('@id("a") forbid (principal, action, resource);', 1, "@reason_zh"),
        (guard("a", "", "principal == ?principal, action, resource"), 1, "templates"),
        (guard("a", "", 'principal, action == Action::"delete", resource'), 1, "delete"),
        (guard("a", "") + "forbid (principal", 3, ""),
        (guard("a", 'when { principal.kind == "}; forbid"'), 1, "unexpected"),
        ("".join(guard(f"g{n}", "") for n in range(MAX_GUARDS)), 29, "at most 15"),
    ],
)
def test_guards_that_will_not_do_are_refused_by_file_line_and_fault(text: str, line: int, said: str) -> None:
    _, faults = read_guards([("good", NOBODY), ("bad", text)] if "nobody" not in text else [("bad", text)])
    assert [(fault.file, fault.line) for fault in faults] == [("bad", line)]
    assert said in faults[0].text
    with pytest.raises(RulesInvalid, match=f"bad:{line}"):
        Guards([("good", NOBODY), ("bad", text)])


@pytest.mark.parametrize(
    "body",
    [
        "(" * 3000 + "true" + ")" * 3000,
        "(" * 2000,
        "!(" * 1000 + "true" + ")" * 1000,
        "if true then " * 300 + "true" + " else true" * 300,
        "[" * 2000 + "]" * 2000 + " == []",
        "{a:" * 1000 + "1" + "}" * 1000 + " == {}",
        "context" + ".a" * 1500 + " == 1",
        'context["a"]' + '["a"]' * 700 + " == 1",
        "1" + "+1" * 1500 + " == 1",
        " && ".join(["true"] * 600),
        "context is " + "A::" * 1300 + "A",
        "true // \r && " + "(" * 3000 + "true" + ")" * 3000,
        ") " * 500 + "(" * 500 + "true",
        "a" * 5000,
    ],
)
def test_a_text_that_cedar_could_fall_over_is_refused_before_cedar_sees_it(body: str) -> None:
    """Some of these end the process: Cedar reads nested text by recursion."""
    _, faults = read_guards([("deep", guard("deep", f"when {{ {body} }}"))])
    assert len(faults) == 1 and "at most" in faults[0].text


def test_guards_as_large_as_allowed_compile_and_decide() -> None:
    for text in (
        "(" * 20 + "true" + ")" * 20,
        " && ".join(["context.hour > 3"] * 45),
        "!(" * 20 + "true" + ")" * 20,
    ):
        assert Guards([("large", guard("large", f"when {{ {text} }}"))]).forbidding(facts()) == "large"
    matters = ", ".join(f'"matter-{n}"' for n in range(200))
    listed = Guards([("set", guard("set", f"when {{ [{matters}].contains(context.matter) }}"))])
    assert listed.forbidding(facts(matter="matter-7")) == "set"


def test_of_a_text_of_nothing_but_faults_the_first_hundred_are_told() -> None:
    assert len(read_guards([("bad", ";" * 30_000)])[1]) == 100


def test_one_id_in_two_files_is_refused() -> None:
    _, faults = read_guards([("one", NIGHT), ("two", NIGHT)])
    assert [(fault.file, fault.line) for fault in faults] == [("two", 2)]


def test_semicolons_in_strings_and_comments_end_no_policy() -> None:
    text = '// a; b\n@id("x;\\";") forbid (a); // c;\n\n  forbid\n(b);tail'
    assert list(statements_of(text)) == [(2, '@id("x;\\";") forbid (a);'), (4, "forbid\n(b);"), (5, "tail")]


def test_of_two_guards_that_forbid_the_first_is_named() -> None:
    assert Guards([("a", NOBODY), ("b", NIGHT)]).forbidding(facts(level=4, hour=22)) == "nobody"
    assert Guards([("a", NIGHT), ("b", NOBODY)]).forbidding(facts(level=4, hour=22)) == "by-night"


def test_a_guard_that_fails_forbids() -> None:
    """Cedar passes a failing policy over; an overflow is what the schema cannot rule out."""
    text = guard("overflow", "when { context.hour * 9223372036854775807 > 3 }")
    guards = Guards([("a", text)])
    assert guards.forbidding(facts(hour=0)) == ""
    assert guards.forbidding(facts(hour=10)) == "overflow"


def test_facts_that_do_not_fit_the_schema_forbid() -> None:
    unfit: Any = "ten"
    assert (
        Guards([("a", guard("late", "when { context.hour > 20 }"))]).forbidding(facts(hour=unfit)) == "late"
    )


def test_without_cedar_no_guards_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "cedarpy":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RulesInvalid, match="cedarpy"):
        Guards([("a", NOBODY)])


def test_the_schema_names_every_fact_and_no_other() -> None:
    """That each fact type-checks, a test below shows with a policy of its own."""
    assert set(PATHS) == set(Facts._fields)
    attributes = {line.split('"')[1] for line in schema_text().splitlines() if line.strip().startswith('"')}
    assert attributes == {path[-1] for path in PATHS.values() if len(path) > 1} | {"grant"}


VALUES: dict[str, tuple[object, object]] = {
    name: {str: ("a", "b"), int: (1, 2), bool: (True, False)}.get(
        type(getattr(facts(), name)), (frozenset({"a"}), frozenset({"b"}))
    )
    for name in PATHS
} | {"action": ("query", "verify"), "resource": ("970100/a/a", "970100/a/b")}


def reading(name: str) -> str:
    """Return a policy that forbids where a fact has its first value."""
    value = VALUES[name][0]
    at = ".".join(PATHS[name])
    literal = {
        "consumer": 'Organisation::"a"',
        "provider": 'Organisation::"a"',
        "resource": 'Resource::"970100/a/a"',
        "action": 'Action::"query"',
    }.get(name)
    if isinstance(value, frozenset):
        return guard("r", f'when {{ {at}.contains("a") }}')
    if literal is None:
        literal = str(value).lower() if isinstance(value, bool | int) else f'"{value}"'
    return guard("r", f"when {{ {at} == {literal} }}")


@pytest.mark.parametrize("name", PATHS)
def test_what_a_policy_reads_decides_and_is_known_to_be_read(name: str) -> None:
    guards = Guards([("a", reading(name))])
    first, second = (facts()._replace(**{name: value}) for value in VALUES[name])
    assert (guards.forbidding(first), guards.forbidding(second)) == ("r", "")
    assert name in guards.read


@pytest.mark.parametrize("name", sorted(set(PATHS) - {"consumer", "provider", "resource", "action"}))
def test_reading_one_attribute_is_reading_no_other(name: str) -> None:
    assert Guards([("a", reading(name))]).read == (name,)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (guard("a", "when { context.grant has scope }"), {"scope"}),
        (guard("a", 'when { context["hour"] > 3 }'), {"hour"}),
        (guard("a", "when { principal == resource.provider }"), {"consumer", "provider", "provider_kind"}),
        (guard("a", "", 'principal == Organisation::"x", action, resource'), {"consumer", "consumer_kind"}),
        (guard("a", 'when { {"Var": context.hour, "x": context.level}.x > 3 }'), {"hour", "level"}),
        (
            guard("a", "when { if context.derived then context.important else true }"),
            {"derived", "important"},
        ),
    ],
)
def test_every_way_to_read_a_fact_is_seen(text: str, read: set[str]) -> None:
    assert read <= set(Guards([("a", text)]).read)


@given(data=st.data())
def test_facts_that_no_policy_reads_change_no_decision(data: st.DataObject) -> None:
    guards = _SHIPPED
    unread = sorted(set(PATHS) - set(guards.read))
    read = {name: data.draw(st.sampled_from(VALUES[name])) for name in guards.read if name != "scope"}
    one = facts(**read)
    other = facts(**read, **{name: data.draw(st.sampled_from(VALUES[name])) for name in unread})
    assert guards.forbidding(one) == guards.forbidding(other)


_SHIPPED = Guards(shipped())


def test_every_shipped_guard_forbids_something() -> None:
    left = {one.id: Guards([("one", one.text)]) for one in _SHIPPED.all}
    changes = ({"case": "none"}, {"scope": "whole"}, {"field_count": 17}, {"on_demand": False}, {})
    for kind, near, day, hour, more in itertools.product(
        ("government", "other"), (True, False), (True, False), (10, 22), changes
    ):
        asked = facts(
            consumer_kind=kind,
            same_province=near,
            working_day=day,
            hour=hour,
            level=4,
            important=True,
            **more,
        )
        left = {name: guards for name, guards in left.items() if not guards.forbidding(asked)}
    assert not left


@pytest.mark.parametrize(
    "text", ['"' + '\\"' * 16_000, '"' + '\\"' * 15_999 + "\\", '"' * 32_001, "/" * 32_000]
)
def test_a_text_that_never_ends_what_it_begins_is_read_once_and_whole(text: str) -> None:
    """One person alone asks for a dry run: it must not stop the gateway for seconds."""
    begun = time.thread_time()
    assert [statement for _, statement in statements_of(text)] in ([text], [])
    assert time.thread_time() - begun < 1
