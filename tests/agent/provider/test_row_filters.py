"""Row filters of grants: what does not fit is as if it were not there, whatever is asked and whoever asks."""

from typing import Any

import pytest

from agent.provider.field_rules import FieldRule, ParameterRule
from agent.provider.masking import Mask, MaskKind
from agent.provider.source import Question, Source, Table
from exchange.errors import ProviderVeto, RowCap, SourceDown
from exchange.grant_limits import RowFilter
from exchange.v1 import common_pb2, grant_pb2

IN, PREFIX = grant_pb2.FILTER_OPERATOR_IN, grant_pb2.FILTER_OPERATOR_PREFIX
DISTRICT = RowFilter("division", PREFIX, ("970102", "970103"))
ROWS = {
    "1": [("甲", "970102001", 3, "1990-05-17")],
    "2": [("乙", "970200001", 0, None), ("丙", "970103002", 5, "2001-01-01")],
    "3": [("丁", None, 1, None)],
    "4": [(f"第{n}", "970102" if n < 2 else "980000", n, None) for n in range(6)],
}


class Memory:
    columns = ("name", "division", "count", "born")
    data_version = ""

    def __init__(self) -> None:
        self.batches = 0

    async def read(self, keys: Any, *, timeout_s: float) -> Any:
        self.batches += 1
        return [ROWS[key["k"]] for key in keys]

    async def check(self) -> None: ...

    async def close(self) -> None: ...


def source(*mapped: str) -> tuple[Source, Memory]:
    rules = [
        FieldRule(name="name", column="name", type="text", level=common_pb2.LEVEL_L3),
        FieldRule(
            name="division",
            column="division",
            type="text",
            level=common_pb2.LEVEL_L2,
            mask=Mask(kind=MaskKind.REDACT),
        ),
        FieldRule(name="count", column="count", type="integer", level=common_pb2.LEVEL_L2),
        FieldRule(name="born", column="born", type="date", level=common_pb2.LEVEL_L3),
    ]
    memory = Memory()
    made = Source(
        resource="970100/police/household",
        connector=memory,
        fields=[rule for rule in rules if not mapped or rule.name in mapped],
        parameters=[ParameterRule(name="id", column="k")],
        timeout_s=2.0,
    )
    return made, memory


def ask(key: str, *filters: RowFilter, fields: tuple[str, ...] = ("name",)) -> Question:
    return Question({"id": key}, fields, {}, filters)


async def test_questions_of_one_batch_are_filtered_each_by_its_own_grant() -> None:
    made, memory = source()
    outcomes = await made.answer([ask("2", DISTRICT), ask("2"), ask("1", DISTRICT), ask("3", DISTRICT)])
    assert outcomes == [
        Table([["丙"]], 1),
        Table([["乙", "丙"]], 2),
        Table([["甲"]], 1),
        Table([[]], 0),  # no value does not fit
    ]
    assert memory.batches == 1


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([RowFilter("count", IN, ("5",))], ["丙"]),
        ([RowFilter("count", IN, ("0", "5"))], ["乙", "丙"]),
        ([RowFilter("born", IN, ("2001-01-01",))], ["丙"]),
        ([RowFilter("division", IN, ("970103",))], []),
        ([RowFilter("division", PREFIX, ("9701",)), RowFilter("count", IN, ("0",))], []),
        ([RowFilter("name", IN, ("乙", "丙")), DISTRICT], ["丙"]),
    ],
)
async def test_every_filter_must_fit_by_the_value_before_masks(
    filters: list[RowFilter], names: list[str]
) -> None:
    made, _ = source()
    (table,) = await made.answer([ask("2", *filters)])
    assert table == Table([names], len(names))


async def test_a_verification_about_a_record_that_does_not_fit_is_unknown() -> None:
    made, _ = source()
    claim = {"name": "乙"}
    verdicts = await made.verify(
        [
            Question({"id": "2"}, (), claim),
            Question({"id": "2"}, (), claim, (DISTRICT,)),
            Question({"id": "1"}, (), {"name": "甲"}, (RowFilter("division", PREFIX, ("98",)),)),
            Question({"id": "1"}, (), {"name": "甲"}, (DISTRICT,)),
        ]
    )
    # Two records say nothing; of them one fits, and it is another person's.
    assert verdicts == [[None], [False], [None], [True]]


async def test_the_row_cap_counts_only_what_fits() -> None:
    made, _ = source()
    fits, refused = await made.answer([ask("4", DISTRICT), ask("4")], row_cap=2)
    assert fits == Table([["第0", "第1"]], 2)
    assert isinstance(refused, RowCap)


@pytest.mark.parametrize(
    "told",
    [
        RowFilter("elsewhere", IN, ("1",)),
        RowFilter("count", PREFIX, ("1",)),
        RowFilter("count", IN, ("many",)),
        RowFilter("born", IN, ("soon",)),
    ],
)
async def test_a_filter_that_the_source_cannot_keep_to_refuses_the_whole_question(told: RowFilter) -> None:
    made, memory = source()
    vetoed, other = await made.answer([ask("1", told), ask("1")])
    assert isinstance(vetoed, ProviderVeto) and other == Table([["甲"]], 1)
    (alone,) = await made.verify([Question({"id": "1"}, (), {"name": "甲"}, (told,))])
    assert isinstance(alone, ProviderVeto)
    assert memory.batches == 1


async def test_a_field_of_a_filter_need_not_be_granted_but_mapped() -> None:
    made, memory = source("name")
    (vetoed,) = await made.answer([ask("1", DISTRICT)])
    assert isinstance(vetoed, ProviderVeto) and not memory.batches


async def test_a_value_that_is_not_of_the_filters_type_fails_the_question_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ROWS, "5", [("戊", "970102", "several", None)])
    made, _ = source()
    broken, other = await made.answer([ask("5", RowFilter("count", IN, ("1",))), ask("5", DISTRICT)])
    assert isinstance(broken, SourceDown) and "several" not in broken.subject
    assert other == Table([["戊"]], 1)
