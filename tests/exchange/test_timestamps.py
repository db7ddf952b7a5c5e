"""Times of the contract's messages as Unix milliseconds, and back."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from exchange.errors import Malformed
from exchange.timestamps import LAST_S, milliseconds, timestamp


@pytest.mark.parametrize("unix_ms", [0, 1, 1_790_000_000_123, LAST_S * 1000 + 999])
def test_a_time_comes_back_as_it_was(unix_ms: int) -> None:
    assert milliseconds(timestamp(unix_ms)) == unix_ms


def test_a_time_that_is_not_set_is_0() -> None:
    assert milliseconds(Timestamp()) == 0


@pytest.mark.parametrize(
    "stamp",
    [
        Timestamp(seconds=-1),
        Timestamp(seconds=LAST_S + 1),
        Timestamp(seconds=1 << 62),
        Timestamp(seconds=1, nanos=-1),
        Timestamp(seconds=1, nanos=1_000_000_000),
    ],
)
def test_a_time_that_no_clock_shows_is_refused_by_its_name(stamp: Timestamp) -> None:
    with pytest.raises(Malformed, match="not_after"):
        milliseconds(stamp, "not_after")
