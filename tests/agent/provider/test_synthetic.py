"""Synthetic records: the same for the same key, as the schema says, and of nobody."""

import base64
import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.provider.connectors.synthetic import Shape, SyntheticConnector
from agent.provider.connectors.synthetic_text import matching
from agent.provider.source import Question, build_source
from agent.provider.sources_config import ResourceConfig
from agent.provider.synthetic_shapes import check_sandboxed
from exchange import codes
from exchange.errors import BadConfiguration

SCHEMA: dict[str, Any] = {
    "type": "object",
    "$defs": {"sex": {"enum": ["男", "女"]}},
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 3},
        "sex": {"$ref": "#/$defs/sex"},
        "number": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4,6}(-[a-f]+)?$"},
        "age": {"type": ["integer", "null"], "minimum": 0, "exclusiveMaximum": 120},
        "fee": {"type": "number", "minimum": 1.5, "maximum": 9, "multipleOf": 0.5},
        "born": {"type": "string", "format": "date"},
        "seen": {"type": "string", "format": "date-time"},
        "link": {"type": "string", "format": "uri"},
        "married": {"type": "boolean"},
        "kind": {"const": "newborn"},
        "short": {"type": "string", "maxLength": 4},
    },
}
TYPES = {"age": "integer", "fee": "decimal", "born": "date", "seen": "timestamp", "married": "boolean"}


def config(schema: dict[str, Any] | None = None, **source: Any) -> ResourceConfig:
    schema = SCHEMA if schema is None else schema
    return ResourceConfig.model_validate(
        {
            "id": "970100/public-security/household",
            "row_cap": 5,
            "source": {"kind": "synthetic", "schema": json.dumps(schema), **source},
            "parameter": [{"name": "citizen_id", "column": "citizen_id", "format": "citizen_id"}],
            "field": [
                {"name": "citizen_id", "column": "citizen_id", "level": "L4"},
                *(
                    {"name": name, "column": name, "level": "L3", "type": TYPES.get(name, "text")}
                    for name in schema.get("properties", {})
                ),
            ],
        }
    )


def connector(**source: Any) -> SyntheticConnector:
    made = build_source(config(**source), base=Path())._connector
    assert isinstance(made, SyntheticConnector)
    return made


def as_json(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


@settings(deadline=None, max_examples=60)
@given(key=st.text(min_size=1, max_size=30), seed=st.text(min_size=1, max_size=8))
def test_every_record_fits_the_schema_and_is_the_same_again(key: str, seed: str) -> None:
    made = connector(missing=0.0, seed=seed)
    (record,) = made.records({"citizen_id": key})
    told = {
        name: as_json(value) for name, value in zip(made.columns, record, strict=True) if name != "citizen_id"
    }
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(told)
    assert made.records({"citizen_id": key}) == [record]
    assert connector(missing=0.0, seed=seed).records({"citizen_id": key}) == [record]
    assert record[0] == key


def test_other_keys_seeds_and_resources_have_other_records() -> None:
    made = connector(missing=0.0)
    one = made.records({"citizen_id": "1"})
    assert one != made.records({"citizen_id": "2"})
    assert one != connector(missing=0.0, seed="2").records({"citizen_id": "1"})


def test_one_more_field_changes_no_other() -> None:
    few = {"type": "object", "properties": {"name": SCHEMA["properties"]["name"]}}
    (short,) = connector(schema=few, missing=0.0).records({"citizen_id": "1"})
    (long,) = connector(missing=0.0).records({"citizen_id": "1"})
    assert short == long[:2]


def test_a_share_of_the_keys_finds_nobody() -> None:
    made = connector(missing=0.25)
    found = sum(bool(made.records({"citizen_id": str(key)})) for key in range(2000))
    assert 1400 < found < 1600
    assert not any(connector(missing=1.0).records({"citizen_id": str(key)}) for key in range(20))


@pytest.mark.parametrize("name", ["citizen_id", "id_card", "mother_id"])
def test_people_are_of_divisions_that_exist_nowhere(name: str) -> None:
    shape = Shape(column=name, type="text", format="", schema={})
    made = SyntheticConnector(name="r", shapes=[shape], seed="1", missing=0.0)
    for key in range(200):
        ((value,),) = made.records({"key": str(key)})
        assert isinstance(value, str) and codes.citizen_id(value)[:2] in ("97", "98")


def test_credit_codes_and_divisions_are_valid_and_of_nobody() -> None:
    shapes = [
        Shape(column="a", type="text", format="credit_code", schema={}),
        Shape(column="b", type="text", format="division", schema={}),
    ]
    made = SyntheticConnector(name="r", shapes=shapes, seed="1", missing=0.0)
    for key in range(200):
        ((code, division),) = made.records({"key": str(key)})
        assert codes.credit_code(str(code))[2:4] in ("97", "98")
        assert codes.division_code(str(division))[:2] in ("97", "98")


@pytest.mark.parametrize(
    "pattern",
    [
        "^[0-9]{11}$",
        r"^\d{3}-\w+$",
        "^(男|女)$",
        "^A[^B]C?$",
        "^(ab){2,}x*$",
        r"^[\u4e00-\u9fa5]{2,4}$",
        "^a.c$",
    ],
)
def test_texts_are_made_for_patterns(pattern: str) -> None:
    import random
    import re

    chance = random.Random(7)
    assert all(re.search(pattern, matching(pattern, chance)) for _ in range(50))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "string", "pattern": "^(?=x)y$"},
        {"type": "string", "pattern": "^["},
        {"type": "string", "pattern": "^a$", "minLength": 2},
        {"$ref": "#/$defs/none"},
        {"$ref": "https://example.org/x"},
    ],
)
def test_what_cannot_be_made_is_refused_at_the_start(part: dict[str, Any]) -> None:
    with pytest.raises(BadConfiguration):
        connector(schema={"type": "object", "properties": {"odd": part}})


def test_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(BadConfiguration):
        connector(schema={"properties": {"age": {"type": "integer", "minimum": 5, "maximum": 4}}})


def test_a_schema_that_is_no_object_is_a_fault_of_the_configuration() -> None:
    for text in ("[]", "{", "7"):
        with pytest.raises(ValidationError):
            ResourceConfig.model_validate(
                {
                    "id": "970100/a/b",
                    "source": {"kind": "synthetic", "schema": text},
                    "parameter": [{"name": "id", "column": "id"}],
                    "field": [{"name": "id", "column": "id", "level": "L1"}],
                }
            )


async def test_a_source_answers_and_verifies_from_it_like_from_any_other() -> None:
    source = build_source(config(missing=0.0), base=Path())
    key = {"citizen_id": "970102199001010010"[:17] + codes.citizen_id_check("97010219900101001")}
    (table,) = await source.answer([Question(key, ["name", "born", "fee"])])
    assert not isinstance(table, Exception) and table.records == 1
    name = str(table.columns[0][0])
    (verdict,) = await source.verify([Question(key, claims={"name": name})])
    assert verdict == [True]
    await source.check()
    await source.close()
    assert source.data_version == "synthetic-1"


def test_synthetic_records_are_given_out_in_sandboxes_alone() -> None:
    check_sandboxed([config()], "sandbox.shuqiao.example")
    for domain in ("yunchuan.example", "sandboxed.example", "a.sandbox.example", ""):
        with pytest.raises(BadConfiguration):
            check_sandboxed([config()], domain)
    check_sandboxed([], "yunchuan.example")
