import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import BadParameter, Malformed, Oversized
from exchange.values import clear_cells, decode_value, encode_value, read_clear_cells

TYPES = ["text", "integer", "decimal", "boolean", "date", "timestamp", "bytes"]


@given(st.text())
def test_text_travels_as_it_is(value: str) -> None:
    assert decode_value("text", encode_value("text", value)) == value


@given(st.integers())
def test_an_integer_travels_as_its_digits(value: int) -> None:
    assert decode_value("integer", encode_value("integer", value)) == str(value)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_a_decimal_travels_without_exponent_and_keeps_its_value(value: Decimal) -> None:
    text = decode_value("decimal", encode_value("decimal", value))
    assert Decimal(text) == value and "E" not in text.upper()


@given(st.dates())
def test_a_date_travels_in_iso_form(value: datetime.date) -> None:
    assert decode_value("date", encode_value("date", value)) == value.isoformat()
    assert encode_value("date", value.isoformat()) == encode_value("date", value)


@given(st.datetimes(timezones=st.sampled_from([None, datetime.UTC])))
def test_a_timestamp_travels_with_the_offset_that_it_has(value: datetime.datetime) -> None:
    text = decode_value("timestamp", encode_value("timestamp", value))
    assert datetime.datetime.fromisoformat(text) == value


@given(st.binary())
def test_bytes_travel_raw_and_are_shown_in_base64(value: bytes) -> None:
    assert encode_value("bytes", value) == value
    assert encode_value("bytes", decode_value("bytes", value)) == value


@pytest.mark.parametrize(
    ("type", "value", "text"),
    [
        ("integer", "007", "7"),
        ("integer", 3.0, "3"),
        ("decimal", "1E3", "1000"),
        ("decimal", 1.5, "1.5"),
        ("boolean", True, "true"),
        ("boolean", 0, "false"),
        ("boolean", "TRUE", "true"),
        ("timestamp", "2026-11-23 10:00:00", "2026-11-23T10:00:00"),
        ("timestamp", "2026-11-23T10:00:00Z", "2026-11-23T10:00:00+00:00"),
        ("date", datetime.datetime(2026, 11, 23, 10), "2026-11-23"),
        ("text", "张三", "张三"),
    ],
)
def test_what_sources_give_takes_one_form(type: str, value: object, text: str) -> None:
    assert decode_value(type, encode_value(type, value)) == text


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("integer", "1.5"),
        ("integer", 1.5),
        ("integer", float("nan")),
        ("integer", float("inf")),
        ("integer", "٣"),
        ("integer", ""),
        ("integer", "9" * 1001),
        ("decimal", "nan"),
        ("decimal", "inf"),
        ("decimal", "1e999999"),
        ("decimal", "one"),
        ("boolean", "yes"),
        ("date", "2026-02-30"),
        ("date", "20260228"),
        ("timestamp", "2026-02-28"),
        ("timestamp", "2026-02-28T25:00:00"),
        ("bytes", "not base64!"),
        ("text", b"\xff"),
        ("text", "\ud800"),
        ("colour", "red"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_refused(type: str, value: object) -> None:
    with pytest.raises(BadParameter):
        encode_value(type, value)


@pytest.mark.parametrize(
    ("type", "encoded"),
    [
        ("text", b"\xff"),
        ("integer", b"007"),
        ("integer", b"+1"),
        ("decimal", b"1E3"),
        ("boolean", b"TRUE"),
        ("date", b"2026-02-30"),
        ("timestamp", b"2026-02-28 10:00:00"),
        ("colour", b"red"),
    ],
)
def test_bytes_from_a_peer_that_are_no_value_of_the_type_are_refused(type: str, encoded: bytes) -> None:
    with pytest.raises(Malformed):
        decode_value(type, encoded)


@given(type=st.sampled_from(TYPES), encoded=st.binary(max_size=40))
def test_whatever_a_peer_sends_decodes_or_is_malformed(type: str, encoded: bytes) -> None:
    try:
        text = decode_value(type, encoded)
    except Malformed:
        return
    assert encode_value(type, text) == encoded


def test_a_value_over_64_kib_is_refused_on_both_sides() -> None:
    with pytest.raises(Oversized):
        encode_value("text", "v" * 65_535)
    with pytest.raises(Oversized):
        decode_value("text", b"v" * 65_535)
    with pytest.raises(Oversized):
        read_clear_cells("a", [b"v" * 65_536])


@given(st.lists(st.one_of(st.none(), st.binary(max_size=10))))
def test_cells_in_the_clear_tell_null_from_empty(values: list[bytes | None]) -> None:
    assert read_clear_cells("a", clear_cells(values)) == values


@pytest.mark.parametrize("cell", [b"", b"\0", b"\x01x", b"\x03", b"value"])
def test_a_clear_cell_without_its_tag_is_malformed(cell: bytes) -> None:
    with pytest.raises(Malformed):
        read_clear_cells("a", [cell])
