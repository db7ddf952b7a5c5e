import csv
import datetime
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.codes import (
    Division,
    DivisionTable,
    check_format,
    citizen_id,
    citizen_id_check,
    credit_code,
    credit_code_check,
    division_code,
    is_valid,
)
from exchange.errors import BadIdentifier, Malformed

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
CREDIT_CODES = ["91350100M000100Y43", "11970000MB1A0001X5", "11970100MB1A0001XA", "11980000MB1A0001X9"]
CITIZEN_IDS = ["970102199001010011", "980301202508150022"]
DIVISIONS = ["970000", "970100", "970102", "980000", "980300", "110101", "419001", "810003"]

credit_firsts = st.builds(
    "{}{}{}".format,
    st.text(ALPHABET, min_size=2, max_size=2),
    st.from_regex(r"[0-9]{6}", fullmatch=True).filter(str.isascii),
    st.text(ALPHABET, min_size=9, max_size=9),
)
citizen_firsts = st.builds(
    lambda division, born, number: f"{division}{born:%Y%m%d}{number:03d}",
    st.sampled_from(DIVISIONS),
    st.dates(datetime.date(1800, 1, 1), datetime.date(2199, 12, 31)),
    st.integers(0, 999),
)
credit_codes = credit_firsts.map(lambda first: first + credit_code_check(first))
citizen_ids = citizen_firsts.map(lambda first: first + citizen_id_check(first))


def full_width(text: str) -> str:
    return "".join(chr(ord(one) + 0xFEE0) for one in text)


@pytest.mark.parametrize("code", CREDIT_CODES)
def test_the_known_credit_codes_are_valid(code: str) -> None:
    assert credit_code(code) == credit_code(code, strict=False) == code


@pytest.mark.parametrize("code", CITIZEN_IDS)
def test_the_known_citizen_ids_are_valid(code: str) -> None:
    assert citizen_id(code) == citizen_id(code, strict=False) == code


@pytest.mark.parametrize("code", DIVISIONS)
def test_the_known_divisions_are_valid(code: str) -> None:
    assert division_code(code) == division_code(code, strict=False) == code


@given(credit_codes)
def test_a_credit_code_with_its_check_character_is_valid(code: str) -> None:
    assert credit_code(code) == code


@given(citizen_ids)
def test_a_citizen_id_with_its_check_character_is_valid(code: str) -> None:
    assert citizen_id(code) == code


@given(code=credit_codes, place=st.integers(0, 17), other=st.sampled_from(ALPHABET))
def test_one_wrong_character_of_a_credit_code_is_found(code: str, place: int, other: str) -> None:
    wrong = code[:place] + other + code[place + 1 :]
    assert is_valid("credit_code", wrong) == (wrong == code)


@given(code=citizen_ids, place=st.integers(0, 16), other=st.sampled_from("0123456789"))
def test_one_wrong_digit_of_a_citizen_id_is_found(code: str, place: int, other: str) -> None:
    wrong = code[:place] + other + code[place + 1 :]
    assert is_valid("citizen_id", wrong) == (wrong == code)


@given(code=citizen_ids, place=st.integers(0, 16))
def test_two_neighbours_swapped_in_a_citizen_id_are_found(code: str, place: int) -> None:
    wrong = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    assert is_valid("citizen_id", wrong) == (wrong == code)


@given(
    code=st.one_of(credit_codes, citizen_ids, st.sampled_from(DIVISIONS)), space=st.sampled_from(" \t\n　")
)
def test_lenient_takes_what_people_type_and_strict_does_not(code: str, space: str) -> None:
    format = {6: "division"}.get(len(code), "citizen_id" if is_valid("citizen_id", code) else "credit_code")
    for typed in (space + code + space, code.lower(), full_width(code), full_width(code.lower()) + space):
        assert check_format(format, typed, strict=False) == code
        assert is_valid(format, typed) == (typed == code)


@given(st.text(max_size=25))
def test_whatever_lenient_takes_strict_takes_in_the_form_returned(text: str) -> None:
    for format in ("credit_code", "citizen_id", "division"):
        if is_valid(format, text, strict=False):
            assert is_valid(format, check_format(format, text, strict=False))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9135010000",
        "91350100M000100Y4",
        "91350100M000100Y430",
        "I1350100M000100Y43",
        "91350100M000100Y4\n",
        "9135O100M000100Y43",
        "91A50100M000100Y43",
        "９1350100M000100Y43",
        "91350100M000100Y44",
    ],
)
def test_what_is_no_credit_code_is_refused(text: str) -> None:
    with pytest.raises(BadIdentifier):
        credit_code(text)


@pytest.mark.parametrize(
    "first",
    ["97010219900230001", "97010219901301001", "97010219900001001", "97010217991231001", "97010219000229001"],
)
def test_a_citizen_id_without_a_real_date_is_refused(first: str) -> None:
    with pytest.raises(BadIdentifier):
        citizen_id(first + citizen_id_check(first))


@pytest.mark.parametrize(
    "text", ["", "97010219900101001", "9701021990010100111", "970102900101001", "X" * 18]
)
def test_what_is_no_citizen_id_of_18_characters_is_refused(text: str) -> None:
    with pytest.raises(BadIdentifier):
        citizen_id(text)


def test_a_birth_after_today_is_refused_where_today_is_told() -> None:
    born = CITIZEN_IDS[1]
    assert citizen_id(born, today=datetime.date(2025, 8, 15)) == born
    with pytest.raises(BadIdentifier):
        citizen_id(born, today=datetime.date(2025, 8, 14))


@pytest.mark.parametrize("text", ["", "97010", "9701021", "070102", "97A102", "97010２", "970102 "])
def test_what_is_no_division_code_is_refused(text: str) -> None:
    with pytest.raises(BadIdentifier):
        division_code(text)


def test_a_division_is_looked_up_in_the_year_of_its_record() -> None:
    table = DivisionTable(
        divisions=[
            Division(code="970102", name="东桥区", first_year=2012),
            Division(code="970102", name="东桥县", first_year=1985, last_year=2010),
        ]
    )
    found = {year: table.find("970102", year) for year in (1984, 1985, 2010, 2011, 2012, 2026)}
    assert [one and one.name for one in found.values()] == [
        None,
        "东桥县",
        "东桥县",
        None,
        "东桥区",
        "东桥区",
    ]
    assert division_code("970102", table=table, year=2026) == division_code("970102", table=table) == "970102"
    for code, year in (("970102", 2011), ("970103", 2026)):
        with pytest.raises(BadIdentifier):
            division_code(code, table=table, year=year)


@pytest.mark.parametrize(
    "divisions",
    [
        [
            Division(code="970102", name="a", first_year=2000),
            Division(code="970102", name="b", first_year=2010),
        ],
        [Division(code="970102", name="a", first_year=2000, last_year=1999)],
    ],
)
def test_a_table_that_contradicts_itself_is_refused(divisions: list[Division]) -> None:
    with pytest.raises(Malformed):
        DivisionTable(divisions=divisions)


def test_a_refusal_names_the_kind_and_never_the_value() -> None:
    for format, value in (("credit_code", "CANARY91350100M000"), ("citizen_id", "CANARY970102199001")):
        with pytest.raises(BadIdentifier) as refused:
            check_format(format, value)
        assert refused.value.subject == format and "CANARY" not in str(refused.value)


def test_an_empty_format_checks_nothing_and_an_unknown_one_is_refused() -> None:
    assert check_format("", " anything ") == " anything "
    with pytest.raises(Malformed):
        check_format("passport", "E1")


def test_every_real_county_city_and_province_has_a_valid_code() -> None:
    path = Path(os.environ.get("CONFORMANCE_VECTORS", "")).parent / "data" / "divisions.csv"
    if not path.is_file():
        pytest.skip("divisions.csv is not beside the folder that CONFORMANCE_VECTORS names")
    with path.open(encoding="utf-8") as file:
        codes = {row["code"] for row in csv.DictReader(file) if not row["town"]}
    assert len(codes) > 3000
    assert [code for code in codes if not is_valid("division", code[:6])] == []
