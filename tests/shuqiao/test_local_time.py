"""Days that people type and times that they read are of UTC+8, wherever the command runs."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
import typer

from exchange.errors import BadConfiguration
from shuqiao.cli.app import build
from shuqiao.forms import GrantForm
from shuqiao.local_time import moment_of, shown, shown_day, typed_ms, yesterday

BEGIN_MS = round(datetime(2026, 9, 20, 16, tzinfo=UTC).timestamp() * 1000)
"""2026-09-21 00:00 in UTC+8."""
DAY_MS = 24 * 3600 * 1000
TIMES = {"--since", "--until", "--before", "--at"}
GRANT = {
    "provider": "p",
    "resource": "r",
    "fields": ["name"],
    "kinds": ["query"],
    "purposes": ["birth"],
}


@pytest.fixture(params=["UTC", "Asia/Shanghai", "America/New_York"], autouse=True)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of that zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("text", ["2026-09-21", "20260921", "2026-09-21T00:00", "2026-09-20T16:00:00Z"])
def test_a_date_and_a_time_without_a_zone_are_of_utc_plus_8(text: str) -> None:
    assert typed_ms("--since", text) == BEGIN_MS


def test_a_date_that_ends_a_range_is_in_it_and_a_time_is_not() -> None:
    assert typed_ms("--until", "2026-09-21", whole_day=True) == BEGIN_MS + DAY_MS
    assert typed_ms("--until", "20260921", whole_day=True) == BEGIN_MS + DAY_MS
    assert typed_ms("--until", "2026-09-21T00:00:00.250+08:00", whole_day=True) == BEGIN_MS + 250


def test_nothing_typed_is_no_time() -> None:
    assert typed_ms("--since", "", whole_day=True) == 0


@pytest.mark.parametrize("text", ["soon", "1969-01-01", "9999-12-31", "2026-13-01", "2026-09-21T25:00"])
def test_what_is_no_time_is_refused_with_the_option_named(text: str) -> None:
    with pytest.raises(BadConfiguration, match="--until"):
        typed_ms("--until", text, whole_day=True)


def test_yesterday_is_the_day_before_in_utc_plus_8() -> None:
    assert yesterday(BEGIN_MS) == "2026-09-20"
    assert yesterday(BEGIN_MS - 1) == "2026-09-19"


def test_a_form_reads_dates_as_the_options_do() -> None:
    form = GrantForm.model_validate(
        GRANT | {"not_before": date(2026, 9, 21), "not_after": datetime(2026, 9, 22)}
    )
    assert form.not_before is not None and form.not_after is not None
    assert round(form.not_before.timestamp() * 1000) == BEGIN_MS
    assert round(form.not_after.timestamp() * 1000) == BEGIN_MS + DAY_MS
    assert moment_of(datetime(2026, 9, 21, tzinfo=UTC)) == datetime(2026, 9, 21, tzinfo=UTC)


def options(command: Any) -> Iterator[Any]:
    yield from (one for one in command.params if TIMES & set(one.opts))
    for below in getattr(command, "commands", {}).values():
        yield from options(below)


def test_every_option_that_takes_a_time_says_whose_day_a_date_is() -> None:
    found = list(options(typer.main.get_command(build(help_alone=True))))
    assert len(found) >= 15
    for option in found:
        zh, en = option.help.split(" | ")
        assert "UTC+8" in zh and "UTC+8" in en


def test_people_read_times_with_the_offset_and_the_day_that_was_typed() -> None:
    assert shown("2026-09-20T16:00:00.250Z") == "2026-09-21T00:00:00+08:00"
    assert shown_day("2026-09-20T16:00:00.000Z") == "2026-09-21"
    assert (shown(""), shown_day("")) == ("", "")
    assert shown("9999-12-31T23:59:59Z") == "9999-12-31T23:59:59Z"
    assert shown("253402300800") == "253402300800"
