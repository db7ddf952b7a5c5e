"""Times of the contract's messages as Unix milliseconds, and back."""

from google.protobuf.timestamp_pb2 import Timestamp

from exchange.errors import Malformed

LAST_S = 253_402_300_799
"""The last second of the year 9999; protobuf knows none after it."""
NANOS = 1_000_000_000


def timestamp(unix_ms: int) -> Timestamp:
    """Return Unix milliseconds as a Timestamp."""
    stamp = Timestamp()
    stamp.FromMilliseconds(unix_ms)
    return stamp


def milliseconds(stamp: Timestamp, subject: str = "time") -> int:
    """Return a Timestamp as Unix milliseconds; 0 where it is not set.

    Args:
        stamp: as a peer sent it.
        subject: what the refusal names.

    Raises:
        Malformed: it is before 1970, or a time that no clock shows.
    """
    if not 0 <= stamp.seconds <= LAST_S or not 0 <= stamp.nanos < NANOS:
        raise Malformed(subject)
    return stamp.ToMilliseconds()
