"""Which change of a catalogue entry breaks those who use the version before."""

import json
from typing import Any

import pytest

from exchange.errors import Incompatible, Malformed, Oversized
from exchange.record_schema import check_schema, read_schema
from exchange.safe_pattern import check_pattern
from exchange.schema_change import changes, check_compatible
from exchange.v1 import common_pb2, directory_pb2
from tests.support.region import item, parameter, resource_body
from tests.support.sealing import NOW_MS

L2, L3, L4 = common_pb2.LEVEL_L2, common_pb2.LEVEL_L3, common_pb2.LEVEL_L4
UNCONDITIONAL, CONDITIONAL, NOT_SHARED = 1, 2, 3
MASK = directory_pb2.Mask(kind=directory_pb2.MASK_KIND_KEEP, first=1)
QUERY, VERIFY = common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY


def body(**changes: Any) -> directory_pb2.ResourceBody:
    return directory_pb2.ResourceBody.FromString(resource_body(NOW_MS, **changes))


BASE: dict[str, Any] = {"fields": [item("name"), item("born", type="date")], "parameters": [parameter()]}


def fields(**changes: Any) -> dict[str, Any]:
    return {"fields": [item("name", **changes), BASE["fields"][1]]}


TABLE = [
    ("the same", {}, {}, None),
    ("a field is gone", {}, {"fields": [item("name")]}, True),
    ("a field is new", {}, {"fields": [*BASE["fields"], item("more")]}, False),
    ("fields in another order", {}, {"fields": BASE["fields"][::-1]}, None),
    ("a type changes", {}, fields(type="integer"), True),
    ("a level rises", {}, fields(level=L4), True),
    ("a level falls", {}, fields(level=L2), False),
    ("a field is no longer shared", {}, fields(share=NOT_SHARED, legal_basis="x"), True),
    ("a field is shared on condition", fields(share=UNCONDITIONAL), fields(share=CONDITIONAL), False),
    ("a field is shared at last", fields(share=NOT_SHARED, legal_basis="x"), fields(), False),
    ("a mask is new", {}, fields(mask=MASK), True),
    ("a field becomes derived", {}, fields(derived=True), False),
    ("a field is no longer derived", fields(derived=True), {}, True),
    ("a title changes", {}, fields(title_zh="姓"), False),
    ("a code is given", {}, fields(code="DE1"), False),
    ("padding changes", {}, fields(padding=256), False),
    ("a parameter is gone", {"parameters": [parameter(), parameter("more")]}, {}, True),
    ("a parameter is new", {}, {"parameters": [parameter(), parameter("more")]}, True),
    ("a parameter's type changes", {}, {"parameters": [parameter(type="integer")]}, True),
    ("a format is asked for", {}, {"parameters": [parameter(format="citizen_id")]}, True),
    ("a format is no longer asked for", {"parameters": [parameter(format="division")]}, {}, False),
    ("a kind is gone", {}, {"kinds": [QUERY]}, True),
    ("a kind is new", {"kinds": [QUERY]}, {}, False),
    ("fewer rows", {}, {"row_cap": 9}, True),
    ("more rows", {}, {"row_cap": 11}, False),
    ("a case is asked for", {}, {"case_required": True}, True),
    ("no case is asked for", {"case_required": True}, {}, False),
    ("a fetch mode is gone", {"fetch_modes": [1, 2]}, {"fetch_modes": [1]}, True),
    ("on demand is said", {}, {"fetch_modes": [1]}, None),
    ("a fetch mode is new", {}, {"fetch_modes": [1, 2]}, False),
    ("metadata", {}, {"summary_zh": "新", "keywords": ["a"], "update_cycle": "daily"}, False),
]


@pytest.mark.parametrize(("old", "new", "breaks"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_change_is_compatible_or_breaking(
    old: dict[str, Any], new: dict[str, Any], breaks: bool | None
) -> None:
    found = changes(body(**(BASE | old)), body(**(BASE | new)))
    if breaks is None:
        assert found == []
        return
    assert any(change.breaking for change in found) == breaks
    assert found and all(change.zh and change.en and change.subject for change in found)


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "maxLength": 9, "enum": ["a", "b"]},
        "born": {"type": ["string", "null"], "pattern": "^[0-9]{4}"},
    },
}


def schema(**name: Any) -> str:
    """Return the schema with other words about the name; None takes one away."""
    told = {**SCHEMA["properties"]["name"], **name}
    told = {key: value for key, value in told.items() if value is not None}
    return json.dumps(SCHEMA | {"properties": SCHEMA["properties"] | {"name": told}})


SCHEMAS = [
    ("a schema is new", "", json.dumps(SCHEMA), False),
    ("a schema is gone", json.dumps(SCHEMA), "", True),
    ("no longer required", json.dumps(SCHEMA), json.dumps(SCHEMA | {"required": []}), True),
    ("now required", json.dumps(SCHEMA), json.dumps(SCHEMA | {"required": ["name", "born"]}), False),
    ("shorter", schema(), schema(maxLength=8), False),
    ("longer", schema(), schema(maxLength=10), True),
    ("no longer bounded", schema(), schema(maxLength=None), True),
    ("bounded", schema(maxLength=None), schema(), False),
    ("fewer values", schema(), schema(enum=["a"]), False),
    ("other values", schema(), schema(enum=["a", "c"]), True),
    ("may be missing", schema(), schema(type=["string", "null"]), True),
    ("never missing", schema(type=["string", "null"]), schema(), False),
    ("another pattern", schema(pattern="^a"), schema(pattern="^b"), True),
    ("a note", schema(), schema(description="x"), None),
    ("in other words", schema(), json.dumps(json.loads(schema()), indent=3), None),
    ("something unheard of", schema(), schema(contentEncoding="base64"), False),
    ("true is not one", schema(enum=[True]), schema(enum=[1]), True),
    (
        "the same by reference",
        schema(),
        json.dumps(
            SCHEMA
            | {
                "$defs": {"n": SCHEMA["properties"]["name"]},
                "properties": SCHEMA["properties"] | {"name": {"$ref": "#/$defs/n"}},
            }
        ),
        None,
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "breaks"), [row[1:] for row in SCHEMAS], ids=[row[0] for row in SCHEMAS]
)
def test_a_schema_may_promise_more_never_less(old: str, new: str, breaks: bool | None) -> None:
    found = changes(body(**BASE, schema=old), body(**BASE, schema=new))
    assert (any(change.breaking for change in found) if found else None) == breaks


def test_the_first_breaking_change_is_named_unless_it_is_meant() -> None:
    old, new = body(**BASE), body(**(BASE | {"row_cap": 1, "fields": [item("name")]}))
    with pytest.raises(Incompatible) as refused:
        check_compatible(old, new)
    assert "row_cap" in refused.value.subject
    new.compatibility = directory_pb2.COMPATIBILITY_BREAKING
    check_compatible(old, new)


FITTING = [
    "",
    json.dumps(SCHEMA),
    '{"type": "object", "$schema": "https://json-schema.org/draft/2020-12/schema"}',
]


@pytest.mark.parametrize("text", FITTING)
def test_a_schema_that_fits_the_fields_is_taken(text: str) -> None:
    assert (check_schema(body(**BASE, schema=text)) is not None) == bool(text)


def properties(**told: Any) -> str:
    return json.dumps({"type": "object", "properties": told})


DOUBLED = {
    f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(40)
}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "true",
        '{"type": "object", "type": "object"}',
        '{"type": "object", "maximum": NaN}',
        '{"type": "array"}',
        '{"type": "objekt"}',
        '{"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}',
        '{"type": "object", "$id": "https://example.com/a"}',
        '{"type": "object", "required": ["stranger"]}',
        properties(stranger={"type": "string"}),
        properties(name={"type": "integer"}),
        properties(name=True),
        properties(born={"type": "string", "format": "date-time"}),
        properties(name={"$ref": "https://example.com/name.json"}),
        properties(name={"$ref": "file:///etc/passwd"}),
        properties(name={"$ref": "#/$defs/none"}),
        properties(name={"$dynamicRef": "#x"}),
        properties(name={"type": "string", "pattern": "^(a+)+$"}),
        properties(name={"type": "string", "pattern": 7}),
        properties(name={"type": "object", "patternProperties": {"(a|a)*": {}}}),
        properties(name={"type": "string", "properties": {"$ref": {"type": "string"}, "x": {"$ref": "#"}}}),
        json.dumps(
            {
                "type": "object",
                "$defs": {"a": {"$ref": "#/$defs/a"}},
                "properties": {"name": {"$ref": "#/$defs/a"}},
            }
        ),
        json.dumps(
            {"type": "object", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}}
        ),
        json.dumps({"type": "object", "$defs": {**DOUBLED, "d40": {}}, "properties": {}}),
        json.dumps({"type": "object", "$defs": {"a": {}}, "allOf": [{"$ref": "#/$defs/a", "maxLength": 1}]}),
        '{"type": "object", "allOf": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"type": "object", "not": ' * 13 + "{}" + "}" * 13,
        json.dumps({"type": "object", "enum": list(range(1001))}),
        json.dumps({"type": "object", "description": "x" * 17_000}),
    ],
)
def test_a_schema_that_could_do_harm_or_contradicts_the_fields_is_refused(text: str) -> None:
    with pytest.raises((Malformed, Oversized)):
        check_schema(body(**BASE, schema=text))


def test_data_that_looks_like_a_reference_is_data() -> None:
    told = properties(name={"type": "string", "enum": ["a"], "default": {"$ref": "x", "y": 1}})
    old = body(**BASE, schema=told)
    assert changes(old, body(**BASE, schema=told.replace('"y": 1', '"y": 2'))) == []
    assert read_schema(told)


@pytest.mark.parametrize(
    "pattern",
    [
        "^[0-9]{17}[0-9X]$",
        "^[0-9A-HJ-NPQRTUWXY]{18}$",
        "^(男|女)$",
        "^\\d{4}-\\d{2}-\\d{2}$",
        "^1[3-9]\\d{9}$",
        "^[一-龥·]{2,30}$",
        "^a.*$",
        "^(?:19|20)[0-9]{2}(-[0-9]{2})?$",
        "^[^\\]]+$",
        "^",
    ],
)
def test_a_pattern_of_everyday_use_is_taken(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a",
        "^(a+)+$",
        "^(a*){3}$",
        "^(a|a)*$",
        "^(a|aa)+$",
        "^a*a*$",
        "^a*?$",
        "^a{1,}b{2,}$",
        "^.{0,20}.{0,20}$",
        "^" + "(a|b)" * 9,
        "^" + "a?" * 9,
        "^a{257}$",
        "^a{3,1}$",
        "^(a)\\1$",
        "^(?=a)b",
        "^(?i)a",
        "^a|b*c",
        "^(((((a)))))$",
        "^[",
        "^[]$",
        "^a**",
        "^{2}",
        "^a\\",
        "^[z-a]$",
        "^" + "a" * 200,
        "^a\n",
    ],
)
def test_a_pattern_that_could_take_long_or_is_none_is_refused(pattern: str) -> None:
    with pytest.raises((Malformed, Oversized)):
        check_pattern(pattern)
