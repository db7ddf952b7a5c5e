import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from agent.provider import sources_config
from agent.provider.connectors.port import Connector
from agent.provider.field_rules import FieldRule, ParameterRule
from agent.provider.masking import Mask, MaskKind
from agent.provider.projections import Least
from agent.provider.pseudonyms import Pseudonyms
from agent.provider.source import Question, Source, Table, build_source
from agent.provider.sources_config import ResourceConfig
from exchange.errors import (
    BadConfiguration,
    BadIdentifier,
    BadParameter,
    QueueFull,
    RowCap,
    SourceDown,
    SourceTimeout,
    UnknownField,
)
from exchange.field_rules import MaskRule
from exchange.v1 import common_pb2
from tests.support.people import household_db

RESOURCE = "970102/public-security/household"


class FakeConnector:
    """A source in memory: key text to records; an error in place of records is given or raised."""

    columns = ("a", "b", "c")
    data_version = "7"

    def __init__(self, records, failure=None):
        self.records = records
        self.failure = failure
        self.batches = []
        self.timeouts = []

    async def read(self, keys, *, timeout_s):
        self.batches.append(list(keys))
        self.timeouts.append(timeout_s)
        if self.failure:
            raise self.failure
        return [self.records.get(key["k"], []) for key in keys]

    async def check(self):
        if self.failure:
            raise self.failure

    async def close(self):
        self.records = {}


def fake_source(records, *, failure=None, fields=None):
    connector = FakeConnector(records, failure)
    _: Connector = connector
    rules = fields or [
        FieldRule(name="name", column="a", type="text", level=common_pb2.LEVEL_L3),
        FieldRule(name="born", column="b", type="date", level=common_pb2.LEVEL_L3),
        FieldRule(name="count", column="c", type="integer", level=common_pb2.LEVEL_L2),
    ]
    source = Source(
        resource=RESOURCE,
        connector=connector,
        fields=rules,
        parameters=[ParameterRule(name="id", column="k")],
        timeout_s=2.0,
    )
    return source, connector


def ask(key, *fields, **claims):
    return Question({"id": key}, fields, claims)


ROWS = {"1": [("甲", "1990-05-17", 3)], "2": [("乙", None, 0), ("丙", "2001-01-01", 5)]}


async def test_a_batch_of_questions_is_one_read_and_each_gets_the_fields_it_asked_for_in_order():
    source, connector = fake_source(ROWS)
    outcomes = await source.answer([ask("1", "count", "name"), ask("2", "born"), ask("3", "name", "born")])
    assert outcomes == [
        Table([[3], ["甲"]], 1),
        Table([[None, date(2001, 1, 1)]], 2),
        Table([[], []], 0),
    ]
    assert len(connector.batches) == 1


@pytest.mark.parametrize(
    ("question", "error"),
    [
        (Question({}, ("name",)), BadParameter),
        (Question({"id": "1", "more": "2"}, ("name",)), BadParameter),
        (Question({"other": "1"}, ("name",)), BadParameter),
        (Question({"id": ""}, ("name",)), BadParameter),
        (Question({"id": "x" * 1025}, ("name",)), BadParameter),
        (Question({"id": "a\0b"}, ("name",)), BadParameter),
        (Question({"id": "\ud800"}, ("name",)), BadParameter),
        (Question({"id": "1"}, ("nothing",)), UnknownField),
    ],
)
async def test_a_bad_question_spoils_only_itself(question, error):
    source, _ = fake_source(ROWS)
    outcomes = await source.answer([ask("1", "name"), question, ask("2", "name")])
    assert isinstance(outcomes[1], error)
    assert [o.records for o in (outcomes[0], outcomes[2])] == [1, 2]


async def test_an_unknown_parameters_name_is_not_repeated():
    source, _ = fake_source(ROWS)
    (outcome,) = await source.answer([Question({"id": "1", "张三": "x"}, ("name",))])
    assert "张三" not in outcome.subject


@pytest.mark.parametrize("failure", [SourceDown("s"), SourceTimeout("s"), QueueFull("s")])
async def test_a_failing_source_is_the_outcome_of_every_question_that_reached_it(failure):
    source, _ = fake_source(ROWS, failure=failure)
    outcomes = await source.answer([ask("1", "name"), Question({}, ("name",)), ask("2", "name")])
    assert outcomes[0] is failure
    assert isinstance(outcomes[1], BadParameter)
    assert outcomes[2] is failure


async def test_the_time_given_shortens_the_sources_limit_and_never_lengthens_it():
    source, connector = fake_source(ROWS)
    for given in (None, 0.5, 60.0):
        await source.answer([ask("1", "name")], timeout_s=given)
    assert connector.timeouts == [2.0, 0.5, 2.0]


async def test_a_catalogues_lower_row_cap_holds():
    source, _ = fake_source(ROWS)
    outcomes = await source.answer([ask("1", "name"), ask("2", "name")], row_cap=1)
    assert outcomes[0].records == 1
    assert isinstance(outcomes[1], RowCap)


async def test_a_value_that_is_not_of_its_type_names_the_field_and_not_the_value():
    source, _ = fake_source({"1": [("甲", "geheim", 1)]})
    bad, good = await source.answer([ask("1", "born"), ask("1", "name")])
    assert isinstance(bad, SourceDown)
    assert "born" in bad.subject
    assert "geheim" not in bad.subject
    assert good.columns == [["甲"]]


async def test_masks_are_applied_to_what_leaves():
    source, _ = fake_source(
        ROWS,
        fields=[
            FieldRule(name="name", column="a", type="text", level=3, mask=Mask(kind=MaskKind.KEEP, first=1)),
            FieldRule(name="born", column="b", type="text", level=3, mask=Mask(kind=MaskKind.MONTH)),
            FieldRule(name="count", column="c", type="integer", level=3, mask=Mask(kind=MaskKind.REDACT)),
        ],
    )
    (outcome,) = await source.answer([ask("2", "name", "born", "count")])
    assert outcome.columns == [["*", "*"], [None, "2001-01"], [None, None]]


def hidden(**masks):
    return Least(bytes(range(32)), masks)


async def test_the_catalogues_mask_applies_beside_the_departments_own():
    own = Mask(kind=MaskKind.KEEP, first=2)
    source, _ = fake_source(
        {"1": [("张三丰子", "1990-05-17", 37)]},
        fields=[
            FieldRule(name="name", column="a", type="text", level=3, mask=own),
            FieldRule(name="born", column="b", type="text", level=3),
            FieldRule(name="count", column="c", type="integer", level=3),
        ],
    )
    question = ask("1", "name", "born", "count")
    least = hidden(
        name=MaskRule(kind=MaskKind.KEEP.number, first=1, last=1),
        born=MaskRule(kind=MaskKind.YEAR.number),
        count=MaskRule(kind=MaskKind.BAND.number, band=10),
    )
    plain, masked = await source.answer([question, replace(question, least=least)])
    assert plain.columns == [["张三**"], ["1990-05-17"], [37]]
    assert masked.columns == [["张***"], ["1990"], [30]]


async def test_what_the_catalogue_masks_as_another_type_leaves_not_at_all():
    source, _ = fake_source(ROWS)
    least = hidden(count=MaskRule(kind=MaskKind.KEEP.number, first=1))
    (outcome,) = await source.answer([replace(ask("1", "name", "count"), least=least)])
    assert outcome.columns == [["甲"], [None]]


async def test_a_pseudonym_differs_by_consumer_and_purpose_and_leaves_other_fields_alone():
    rules = [
        FieldRule(name="name", column="a", type="text", level=3, mask=Mask(kind=MaskKind.PSEUDONYM)),
        FieldRule(name="count", column="c", type="integer", level=2),
    ]
    source = Source(
        resource=RESOURCE,
        connector=FakeConnector({"1": [("甲", None, 3)], "2": [("甲", None, 4), ("乙", None, 5)]}),
        fields=rules,
        parameters=[ParameterRule(name="id", column="k")],
        timeout_s=2.0,
        pseudonyms=Pseudonyms(bytes(32)),
    )
    asked = [
        replace(ask(key, "name", "count"), audience=audience)
        for key, audience in (("1", ("A", "p")), ("2", ("A", "p")), ("1", ("B", "p")), ("1", ("A", "q")))
    ]
    one, two, other_consumer, other_purpose = await source.answer(asked)
    assert one.columns[1] == [3] and two.columns[1] == [4, 5]
    assert one.columns[0][0] == two.columns[0][0] != two.columns[0][1]
    assert len({table.columns[0][0] for table in (one, other_consumer, other_purpose)}) == 3
    assert await source.answer(asked[:1]) == [one]
    # A right guess would undo the pseudonym.
    assert await source.verify([ask("1", name="甲", count="3")]) == [[None, True]]


async def test_without_a_key_a_field_that_needs_a_pseudonym_fails_and_others_do_not():
    source, _ = fake_source(ROWS)
    least = hidden(name=MaskRule(kind=MaskKind.PSEUDONYM.number))
    bad, good = await source.answer(
        [replace(ask("1", "name"), least=least), replace(ask("1", "count"), least=least)]
    )
    assert isinstance(bad, BadConfiguration)
    assert good.columns == [[3]]


async def test_claims_are_compared_field_by_field_after_normalisation():
    source, _ = fake_source({"1": [("Ａ 甲 ", "1990-05-17", 3)]})
    outcomes = await source.verify(
        [
            ask("1", name="A 甲", born="1990-05-17", count="3"),
            ask("1", count="4", name="乙"),
            ask("1", count=" +3 "),
        ]
    )
    assert outcomes == [[True, True, True], [False, False], [True]]


@pytest.mark.parametrize("key", ["2", "nobody"])
async def test_with_no_record_or_several_nothing_can_be_said(key):
    source, _ = fake_source(ROWS)
    assert await source.verify([ask(key, name="乙", count="0")]) == [[None, None]]


async def test_about_a_missing_or_redacted_value_nothing_can_be_said():
    redacted = Mask(kind=MaskKind.REDACT)
    source, _ = fake_source(
        {"1": [("甲", None, 3)]},
        fields=[
            FieldRule(name="name", column="a", type="text", level=3, mask=redacted),
            FieldRule(name="born", column="b", type="date", level=3),
        ],
    )
    assert await source.verify([ask("1", name="甲", born="1990-05-17")]) == [[None, None]]


async def test_about_what_the_catalogue_redacts_nothing_can_be_said_either():
    source, _ = fake_source(ROWS)
    least = hidden(name=MaskRule(kind=MaskKind.REDACT.number))
    assert await source.verify([replace(ask("1", name="甲", count="3"), least=least)]) == [[None, True]]


async def test_a_claim_about_a_masked_field_is_compared_with_the_whole_value():
    mask = Mask(kind=MaskKind.KEEP, first=1)
    rule = FieldRule(name="name", column="a", type="text", level=3, mask=mask)
    source, _ = fake_source({"1": [("张三丰", None, 3)]}, fields=[rule])
    assert await source.verify([ask("1", name="张三丰"), ask("1", name="张**")]) == [[True], [False]]


@pytest.mark.parametrize(
    ("claims", "error"),
    [({"born": "17.5.1990"}, BadParameter), ({"nothing": "1"}, UnknownField), ({}, BadParameter)],
)
async def test_a_bad_claim_spoils_only_its_question_even_where_nobody_is_found(claims, error):
    source, _ = fake_source(ROWS)
    bad, good = await source.verify([ask("nobody", **claims), ask("1", count="3")])
    assert isinstance(bad, error)
    assert good == [True]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-08:00"])
async def test_a_moment_that_utc_cannot_hold_is_compared_like_any_other(moment):
    rule = FieldRule(name="at", column="a", type="timestamp", level=3)
    source, _ = fake_source(
        {"1": [(moment, None, 3)], "2": [("1990-05-17 08:00:00", None, 3)]}, fields=[rule]
    )
    outcomes = await source.verify(
        [ask("1", at=moment), ask("2", at=moment), ask("1", at="1990-05-17T00:00:00+00:00")]
    )
    assert outcomes == [[True], [False], [False]]
    assert await source.verify([ask("2", at="1990-05-17T00:00:00+00:00")]) == [[True]]


def configured(source, /, **changes):
    document = {
        "id": RESOURCE,
        "source": source,
        "parameter": [{"name": "citizen_id", "column": "citizen_id", "format": "citizen_id"}],
        "field": [
            {"name": "name", "column": "name", "level": "L3"},
            {"name": "born", "column": "birth_date", "type": "date", "level": "L3"},
        ],
    }
    return ResourceConfig.model_validate(document | changes)


async def test_a_configured_database_answers_with_its_url_in_a_file(tmp_path):
    path, persons = household_db(tmp_path)
    (tmp_path / "url").write_text(f"sqlite:///{path}\n")
    source = build_source(configured({"kind": "sql", "url_file": "url", "table": "household"}), base=tmp_path)
    await source.check()
    outcomes = await source.answer(
        [Question({"citizen_id": p.citizen_id}, ("born", "name")) for p in persons]
    )
    assert [o.columns for o in outcomes] == [[[p.birth_date], [p.name]] for p in persons]
    assert source.fields["name"].level == common_pb2.LEVEL_L3
    await source.close()


async def test_a_relative_sqlite_path_counts_from_the_configurations_folder(tmp_path):
    path, persons = household_db(tmp_path)
    source = build_source(
        configured({"kind": "sql", "url": f"sqlite:///{path.name}", "table": "household"}), base=path.parent
    )
    (outcome,) = await source.answer([Question({"citizen_id": persons[0].citizen_id}, ("name",))])
    assert outcome.columns == [[persons[0].name]]
    await source.close()


async def test_a_citizen_id_with_a_wrong_check_digit_never_reaches_the_source(tmp_path):
    path, persons = household_db(tmp_path)
    source = build_source(
        configured({"kind": "sql", "url": f"sqlite:///{path}", "table": "household"}), base=tmp_path
    )
    bad, good = await source.answer(
        [
            Question({"citizen_id": "970102199001010012"}, ("name",)),
            Question({"citizen_id": persons[0].citizen_id}, ("name",)),
        ]
    )
    assert isinstance(bad, BadIdentifier)
    assert good.columns == [[persons[0].name]]
    await source.close()


async def test_a_configured_file_answers(tmp_path):
    (tmp_path.resolve() / "p.csv").write_text("citizen_id,name,birth_date\n970102199001010011,甲,19900101\n")
    config = configured({"kind": "file", "folder": ".", "file": "p.csv", "format": "csv"})
    source = build_source(config, base=tmp_path.resolve())
    (outcome,) = await source.answer([Question({"citizen_id": "970102199001010011"}, ("name", "born"))])
    assert outcome.columns == [["甲"], [date(1990, 1, 1)]]
    await source.close()


@pytest.mark.parametrize("content", [None, b"", b"two\nlines", b"\xff", "密".encode()])
def test_a_secret_that_cannot_be_used_is_a_fault_of_configuration(tmp_path, content):
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    config = configured({"kind": "sql", "url_file": "url", "table": "household"})
    with pytest.raises(BadConfiguration):
        build_source(config, base=Path(tmp_path))


HTTP = {"kind": "http", "origin": "https://people.example", "path": "/p/{citizen_id}"}


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "970102/household"},
        {"unknown": 1},
        {"row_cap": 0},
        {"row_cap": 1001},
        {"timeout_s": 0},
        {"utc_offset": "CST"},
        {"field": []},
        {"parameter": []},
        {"field": [{"name": "a", "column": "a", "level": "L3"}] * 2},
        {"field": [{"name": "a", "column": "a", "level": "L5"}]},
        {"field": [{"name": "a", "column": "a", "level": "L3", "type": "hash"}]},
        {"field": [{"name": "a", "column": "a", "level": "L3", "type": "integer", "mask": {"kind": "keep"}}]},
        {"source": {"kind": "ftp"}},
        {"source": {"kind": "sql", "table": "t"}},
        {"source": {"kind": "sql", "table": "t", "url": "sqlite:///x", "url_file": "y"}},
        {"source": {"kind": "sql", "table": "t", "url": "postgresql://u:geheim@h/d"}},
        {"source": {"kind": "file", "folder": "d", "file": "../x", "format": "csv"}},
        {"source": {"kind": "file", "folder": "d", "file": "x", "format": "xls"}},
        {"source": HTTP},  # columns are no pointers
        {"source": HTTP | {"origin": "https://u:p@people.example"}},
        {"source": HTTP | {"origin": "file:///etc"}},
        {"source": HTTP | {"origin": "https://people.example/base"}},
        {"source": HTTP | {"path": "//other.example/{citizen_id}"}},
        {"source": HTTP | {"path": "/p/../{citizen_id}"}},
        {"source": HTTP | {"allow": ["10.0.0.1/8"]}},
    ],
)
def test_a_faulty_configuration_is_refused_without_showing_a_password(changes):
    with pytest.raises(ValidationError) as caught:
        configured({"kind": "sql", "url": "sqlite:///x", "table": "t"}, **changes)
    assert "geheim" not in str(caught.value)


def test_the_example_in_the_documentation_loads():
    example = sources_config.__doc__.split("```")[1].removeprefix("toml")
    (resource,) = tomllib.loads(example)["resource"]
    config = ResourceConfig.model_validate(resource)
    assert config.fields[0].rule().mask == Mask(kind=MaskKind.KEEP, first=1)


def test_an_http_source_needs_its_placeholders_to_be_parameters():
    fields = [{"name": "name", "column": "/name", "level": "L3"}]
    assert configured(HTTP, field=fields).source.kind == "http"
    with pytest.raises(ValueError, match="placeholders"):
        configured(HTTP | {"path": "/p/{other}"}, field=fields)


async def test_an_answer_tells_as_of_when_the_oldest_of_its_records_is_to_the_hour():
    records = {"1": [("x", "y", "2026-03-01T09:59:59+08:00"), ("x", "y", "2026-02-01T10:30:00+08:00")]}
    connector = FakeConnector(records | {"2": [("x", "y", "unknown")], "3": [("x", "y", None)]})
    source = Source(
        resource=RESOURCE,
        connector=connector,
        fields=[FieldRule(name="a", column="a", type="text", level=common_pb2.LEVEL_L1)],
        parameters=[ParameterRule(name="k", column="k")],
        timeout_s=1.0,
        as_of=FieldRule(name="as_of", column="c", type="timestamp", level=common_pb2.LEVEL_L1),
    )
    found = await source.answer([Question({"k": key}, ["a"]) for key in ("1", "2", "3", "4")])
    oldest = datetime.fromisoformat("2026-02-01T10:00:00+08:00").timestamp() * 1000
    assert [table.as_of_ms for table in found] == [oldest, 0, 0, 0]
    assert found[0].columns == [["x", "x"]]


async def test_a_file_tells_when_it_was_last_changed(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("k,a\n1,x\n", encoding="utf-8")
    changed = 1_790_003_700
    os.utime(path, (changed, changed))
    config = ResourceConfig.model_validate(
        {
            "id": RESOURCE,
            "source": {"kind": "file", "folder": str(tmp_path), "file": "people.csv", "format": "csv"},
            "parameter": [{"name": "k", "column": "k"}],
            "field": [{"name": "a", "column": "a", "level": "L1"}],
        }
    )
    source = build_source(config, base=tmp_path)
    try:
        assert source.data_as_of_ms == 0
        await source.answer([Question({"k": "1"}, ["a"])])
        assert source.data_as_of_ms == changed // 3600 * 3_600_000
    finally:
        await source.close()


def test_an_agent_loads_no_library_of_a_source_or_face_that_it_has_not() -> None:
    code = "import agent.app, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"sqlalchemy", "httpx", "duckdb", "fastapi"} & set(loaded.split())
