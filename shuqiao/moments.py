"""Times and ids of the contract as text."""

from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp


def moment(stamp: Timestamp) -> str:
    """Return a Timestamp as RFC 3339 in UTC, empty where it is not set."""
    return unix_ms(stamp.ToMilliseconds()) if stamp.seconds or stamp.nanos else ""


def unix_ms(milliseconds: int) -> str:
    """Return Unix milliseconds as RFC 3339 in UTC."""
    return (
        datetime.fromtimestamp(milliseconds / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def exchange_id(raw: bytes) -> str:
    """Return an exchange id as a UUID, or as hexadecimal where it is none."""
    return str(UUID(bytes=raw)) if len(raw) == 16 else raw.hex()
