"""The replay window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import Replayed
from exchange.replay import MAX_SKEW_MS, ReplayWindow

START = 1_000_000_000


def test_an_id_is_admitted_once() -> None:
    window = ReplayWindow(started_ms=START)
    window.admit(b"a" * 16, issued_at_ms=START + 1, now_ms=START + 1)
    with pytest.raises(Replayed):
        window.admit(b"a" * 16, issued_at_ms=START + 2, now_ms=START + 2)


def test_what_was_issued_before_the_start_is_refused() -> None:
    with pytest.raises(Replayed):
        ReplayWindow(started_ms=START).admit(b"a" * 16, issued_at_ms=START - 1, now_ms=START)


@given(
    issued=st.integers(0, 10 * MAX_SKEW_MS),
    lead=st.integers(-MAX_SKEW_MS, MAX_SKEW_MS),
    steps=st.lists(st.integers(1, MAX_SKEW_MS), max_size=8),
)
def test_an_id_is_remembered_for_as_long_as_its_request_could_be_admitted(
    issued: int, lead: int, steps: list[int]
) -> None:
    window = ReplayWindow(started_ms=START)
    issued_at, now = START + issued, max(START, START + issued + lead)
    window.admit(b"a" * 16, issued_at_ms=issued_at, now_ms=now)
    for number, step in enumerate(steps):
        now += step
        window.admit(number.to_bytes(16, "big"), issued_at_ms=now, now_ms=now)
        if abs(issued_at - now) <= MAX_SKEW_MS:
            with pytest.raises(Replayed):
                window.admit(b"a" * 16, issued_at_ms=issued_at, now_ms=now)


def test_ids_are_forgotten_once_they_can_do_no_harm() -> None:
    window = ReplayWindow(started_ms=START)
    for turn in range(20):
        now = START + turn * (MAX_SKEW_MS + 1)
        for number in range(10):
            window.admit(turn.to_bytes(8, "big") + number.to_bytes(8, "big"), issued_at_ms=now, now_ms=now)
    held = len(window._current) + sum(len(ids) for _, ids in window._older)
    assert held <= 40
