from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from agent.provider.values import parse, taker
from exchange.clock import BEIJING


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", " as it is ", " as it is "),
        ("integer", "-42", -42),
        ("decimal", "12.50", Decimal("12.50")),
        ("boolean", "true", True),
        ("date", "2026-02-28", date(2026, 2, 28)),
        ("timestamp", "2026-02-28T10:00:00+00:00", datetime(2026, 2, 28, 10, tzinfo=UTC)),
        ("bytes", "AAE=", b"\x00\x01"),
    ],
)
def test_each_type_is_read_from_its_text_form(kind, text, value):
    assert parse(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("integer", "1_000"),
        ("integer", "１"),
        ("integer", "9" * 65),
        ("integer", ""),
        ("decimal", "1e5"),
        ("decimal", "NaN"),
        ("decimal", "1."),
        ("boolean", "True"),
        ("date", "2026-02-30"),
        ("date", "20260228"),
        ("timestamp", "2026-02-28T10:00:00"),
        ("bytes", "A*"),
    ],
)
def test_what_merely_resembles_a_value_is_refused_without_being_quoted(kind, text):
    with pytest.raises(ValueError, match=f"^not of type {kind}$"):
        parse(kind, text)


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        ("text", 7, "7"),
        ("text", True, "true"),
        ("text", date(2026, 1, 2), "2026-01-02"),
        ("text", UUID(int=5), str(UUID(int=5))),
        ("integer", "7", 7),
        ("integer", 7.0, 7),
        ("decimal", 0.1, Decimal("0.1")),
        ("decimal", "3.10", Decimal("3.10")),
        ("boolean", 1, True),
        ("boolean", "否", False),
        ("date", "19900517", date(1990, 5, 17)),
        ("date", "1990-05-17 00:00:00", date(1990, 5, 17)),
        ("date", datetime(1990, 5, 17), date(1990, 5, 17)),
        ("timestamp", "2026-01-02 03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=BEIJING)),
        ("bytes", memoryview(b"x"), b"x"),
    ],
)
def test_a_drivers_value_is_taken_over_as_its_fields_type(kind, raw, value):
    taken = taker(kind, BEIJING)(raw)
    assert taken == value
    assert type(taken) is type(value)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("text", {"a": 1}),
        ("text", b"\xff"),
        ("text", "\ud800"),
        ("integer", 7.5),
        ("integer", "seven"),
        ("decimal", float("inf")),
        ("boolean", 2),
        ("date", datetime(1990, 5, 17, 1)),
        ("date", "17.05.1990"),
        ("timestamp", "now"),
        ("bytes", 5),
    ],
)
def test_a_value_that_is_not_of_its_fields_type_is_refused_without_being_quoted(kind, raw):
    with pytest.raises(ValueError, match=f"^not of type {kind}$"):
        taker(kind, BEIJING)(raw)
