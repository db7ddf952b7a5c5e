"""Catalogue entries in files: written and read back, every fault with its place, hostile files refused."""

import json
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange.errors import BadConfiguration
from exchange.resources import parse_resource
from exchange.v1 import common_pb2
from shuqiao.catalogue_file.columns import FIELDS, PARAMETERS, RESOURCES, SHEETS
from shuqiao.catalogue_file.document import read_document, write_document
from shuqiao.catalogue_file.entries import FileEntry, Place, ReadFile, check_entries
from shuqiao.catalogue_file.workbook import read_workbook, write_workbook
from shuqiao.form import read_form
from shuqiao.resource_form import ResourceForm, form_of, resource_body
from tests.support.region import POLICE

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "resource.toml"


def full(**changes: Any) -> dict[str, Any]:
    """Return everything that an entry can say."""
    held: dict[str, Any] = {
        "id": "970100/public-security/household",
        "provider": POLICE,
        "title_zh": "户籍信息",
        "title_en": "",
        "version": 3,
        "kinds": ["query", "verify"],
        "case_required": False,
        "row_cap": 10,
        "code": "307010009/000001",
        "item": "A-100",
        "category": "base/population",
        "summary_zh": "常住人口登记",
        "summary_en": "Registered residents",
        "keywords": ["户籍", "a、b"],
        "update_cycle": "daily",
        "fetch_modes": ["on_demand", "batch"],
        "legal_basis": "户口登记条例",
        "openness": "不开放",
        "derived_from": ["970100/civil/marriages"],
        "schema": '{"type": "object",\n "properties": {"name": {"type": "string"}}}',
        "compatibility": "breaking",
        "responsibility": {"unit": "户政支队", "fresh_within_s": 86400, "available_permille": 990},
        "fields": [
            {
                "name": "name",
                "title_zh": "姓名",
                "title_en": "Name",
                "level": "L3",
                "share": "conditional",
                "code": "DE00001",
                "condition": "=有办件",
                "description": "以 = 开头的文本",
                "data_class": "important",
                "mask": {"kind": "keep", "first": 1, "last": 1},
                "padding": 256,
            },
            {
                "name": "born",
                "title_zh": "",
                "title_en": "",
                "type": "date",
                "level": "L4",
                "share": "not_shared",
                "legal_basis": "第五条",
                "derived": True,
                "mask": {"kind": "year"},
            },
        ],
        "parameters": [{"name": "citizen_id", "level": "L4", "format": "citizen_id"}],
    }
    return held | changes


def form(**changes: Any) -> ResourceForm:
    return ResourceForm.model_validate(full(**changes))


def written(tmp_path: Path, *forms: ResourceForm) -> Path:
    path = tmp_path / "catalogue.xlsx"
    write_workbook(path, forms)
    return path


def changed(path: Path, sheet: str, cell: str, value: object) -> Path:
    """Put a value into a cell of a workbook."""
    book = openpyxl.load_workbook(path)
    book[sheet][cell] = value
    book.save(path)
    return path


def places(found: ReadFile, provider: str = POLICE) -> list[tuple[str, str]]:
    return [
        (str(fault.place), fault.code)
        for fault in [*found.faults, *check_entries(found.entries, provider=provider)]
    ]


def column(sheet: str, key: str) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return letters[[one.key for one in SHEETS[sheet]].index(key)]


def test_a_form_made_from_a_body_makes_an_equal_body() -> None:
    made = resource_body(form(), nonce=bytes(16), provider="", version=1, now_ms=0)
    assert form_of(made) == form()
    again = resource_body(form_of(made), nonce=bytes(16), provider="", version=1, now_ms=0)
    assert again == made
    parsed = parse_resource(common_pb2.Statement(body=made.SerializeToString()))
    assert parsed.item == "A-100" and parsed.fields["name"].mask is not None


def test_the_annotated_example_is_well_formed() -> None:
    example = read_form(ResourceForm, EXAMPLE)
    assert check_entries([FileEntry(example, Place())], provider=POLICE) == []
    body = resource_body(example, nonce=bytes(16), provider=POLICE, version=1, now_ms=0)
    assert parse_resource(common_pb2.Statement(body=body.SerializeToString())).responsibility is not None
    assert form_of(body) == example.model_copy(update={"version": 1, "record_schema": body.schema})


def test_what_is_exported_is_imported_the_same(tmp_path: Path) -> None:
    forms = [form(), form(id="970100/public-security/plain", responsibility=None, keywords=[], version=0)]
    for path, write, read in (
        (tmp_path / "c.xlsx", write_workbook, read_workbook),
        (tmp_path / "c.json", write_document, read_document),
    ):
        write(path, forms)
        found = read(path)
        assert found.faults == []
        assert [entry.form for entry in found.entries] == forms
        assert check_entries(found.entries, provider=POLICE) == []


WORDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keywords=st.lists(WORDS, max_size=4, unique=True), summary=WORDS, condition=WORDS, unit=WORDS)
def test_any_words_survive_a_spreadsheet(
    tmp_path: Path, keywords: list[str], summary: str, condition: str, unit: str
) -> None:
    told = full(keywords=keywords, summary_zh=summary, responsibility={"unit": unit})
    told["fields"] = [told["fields"][0] | {"condition": condition}]
    one = ResourceForm.model_validate(told)
    found = read_workbook(written(tmp_path, one))
    assert [entry.form for entry in found.entries] == [one]


@pytest.mark.parametrize(
    ("sheet", "key", "value", "code"),
    [
        ("信息项", "data_class", "核心数据", "DATA_CLASS_REFUSED"),
        ("信息项", "data_class", "国家秘密", "DATA_CLASS_REFUSED"),
        ("信息项", "level", "核心", "DATA_CLASS_REFUSED"),
        ("信息项", "level", "L5", ""),
        ("信息项", "share", "随便", ""),
        ("信息项", "mask.kind", "只留年", "MALFORMED"),
        ("信息项", "padding", "很多", ""),
        ("信息项", "padding", 7, "MALFORMED"),
        ("信息项", "derived", "也许", ""),
        ("信息项", "resource", "970100/a/b", ""),
        ("信息项", "name", "Name", "BAD_IDENTIFIER"),
        ("资源", "id", "970100/a", "BAD_IDENTIFIER"),
        ("资源", "title_zh", None, "MALFORMED"),
        ("资源", "category", "随意", "MALFORMED"),
        ("资源", "row_cap", 0, ""),
        ("资源", "row_cap", "=1+1", ""),
        ("资源", "code", 307010009, ""),
        ("资源", "schema", "{", "MALFORMED"),
        ("资源", "responsibility.available_permille", 1001, ""),
        ("参数", "format", "身份证", ""),
    ],
)
def test_every_fault_is_told_with_sheet_column_and_row(
    tmp_path: Path, sheet: str, key: str, value: object, code: str
) -> None:
    place = f"{column(sheet, key)}3"
    path = changed(written(tmp_path, form()), sheet, place, value)
    if key == "id":
        for other, row in (("信息项", 3), ("信息项", 4), ("参数", 3)):
            changed(path, other, f"A{row}", value)
    assert (f"{sheet}!{place}", code) in places(read_workbook(path))


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, form(), form(id="970100/public-security/other"))
    for sheet, cell, value in (("信息项", "G3", "L9"), ("信息项", "I5", "?"), ("参数", "D4", "L0")):
        changed(path, sheet, cell, value)
    assert [place for place, _ in places(read_workbook(path))] == ["信息项!G3", "信息项!I5", "参数!D4"]
    twice = places(read_workbook(written(tmp_path, form(), form())))
    assert ("资源!A4", "") in twice


def test_unknown_sheets_and_columns_are_told_and_notes_are_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, form())
    book = openpyxl.load_workbook(path)
    book.create_sheet("说明")["A1"] = "=1+1"
    book.create_sheet("其他")["A1"] = "x"
    book["资源"]["AA1"] = "多余"
    del book["信息项"]
    book.save(path)
    assert sorted(place for place, _ in places(read_workbook(path))) == [
        "信息项!A1",
        "其他!A1",
        "资源!A3",
        "资源!AA1",
    ]


def test_columns_may_stand_in_any_order_and_without_the_second_header(tmp_path: Path) -> None:
    path = written(tmp_path, form())
    book = openpyxl.load_workbook(path)
    for sheet in book.worksheets:
        rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
        sheet.delete_rows(1, 10)
        for row in (rows[0], *rows[2:]):
            sheet.append([v if not str(v).startswith("=") else f" {v}" for v in reversed(row)])
    book.save(path)
    found = read_workbook(path)
    assert found.faults == []
    assert found.entries[0].form.fields[0].name == "name"


def packed(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "parts",
    [
        {"xl/worksheets/sheet1.xml": b"\0" * (65 * 1024 * 1024)},
        {f"xl/{n}.xml": b"<a/>" for n in range(201)},
        {"xl/vbaProject.bin": b"macro"},
        {"xl/externalLinks/externalLink1.xml": b"<a/>"},
        {"xl/workbook.xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'},
        {"xl/workbook.xml": '<!DOCTYPE a [<!ENTITY b "c">]><a/>'.encode("utf-16")},
        {"xl/workbook.xml": b"<not a workbook/>"},
        {"readme.txt": b"nothing"},
    ],
    ids=["bomb", "parts", "macro", "links", "entities", "entities in utf-16", "broken", "other"],
)
def test_a_hostile_or_broken_spreadsheet_is_refused(tmp_path: Path, parts: dict[str, bytes]) -> None:
    with pytest.raises(BadConfiguration):
        read_workbook(packed(tmp_path / "hostile.xlsx", parts))


def test_a_file_that_is_no_spreadsheet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.xlsx").write_bytes(b"PK\x03\x04 and nothing else")
    for name in ("c.xlsx", "none.xlsx"):
        with pytest.raises(BadConfiguration):
            read_workbook(tmp_path / name)


def test_too_many_rows_are_refused_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shuqiao.catalogue_file.workbook.MAX_ROWS", 1)
    path = tmp_path / "c.xlsx"
    with pytest.raises(BadConfiguration):
        write_workbook(path, [form()])
    monkeypatch.setattr("shuqiao.catalogue_file.workbook.MAX_ROWS", 5)
    write_workbook(path, [form()])
    monkeypatch.setattr("shuqiao.catalogue_file.workbook.MAX_ROWS", 1)
    with pytest.raises(BadConfiguration):
        read_workbook(path)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"resources": {}}',
        '{"resources": [], "more": 1}',
        '{"resources": [], "resources": []}',
        "[" * 9999,
    ],
)
def test_json_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(BadConfiguration):
        read_document(path)


def test_faults_of_json_have_their_path(tmp_path: Path) -> None:
    told = full()
    told["fields"][1]["level"] = "L9"
    told["surprise"] = 1
    second = full(id="970100/public-security/other")
    second["fields"][0]["data_class"] = "core"
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"resources": [told, second, 7]}))
    assert places(read_document(path)) == [
        ("resources[0].fields[1].level", ""),
        ("resources[0].surprise", ""),
        ("resources[2]", ""),
        ("resources[1].fields[0]", "DATA_CLASS_REFUSED"),
    ]


def test_every_key_of_the_forms_has_a_column() -> None:
    from shuqiao.resource_form import FieldForm, ParameterForm

    for columns, made, inner in (
        (RESOURCES, ResourceForm, {"fields", "parameters"}),
        (FIELDS, FieldForm, set()),
        (PARAMETERS, ParameterForm, set()),
    ):
        keys = {info.alias or name for name, info in made.model_fields.items()} - inner
        assert keys == {one.key.partition(".")[0] for one in columns} - {"resource"}
