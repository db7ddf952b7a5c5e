"""What tests of sealing share: a clock that stands still, numbered randomness, headers, key pairs."""

import hashlib
import itertools
from dataclasses import dataclass

from exchange.clock import Random
from exchange.session import Parties
from exchange.v1 import exchange_pb2

NOW_MS = 1_790_000_000_000
CONSUMER, PROVIDER = "11970000MB1A0001X5", "11970100MB1A0001XA"


@dataclass
class StillClock:
    """A clock that moves only when told to."""

    ms: int = NOW_MS

    def now_ms(self) -> int:
        return self.ms


def numbered_random(seed: bytes = b"") -> Random:
    """Return a source of reproducible bytes."""
    counter = itertools.count()
    return lambda size: hashlib.shake_256(seed + next(counter).to_bytes(8)).digest(size)


def parties(**changes: str | bytes) -> Parties:
    """Return two agents and their keys."""
    held: dict[str, str | bytes] = {
        "consumer_organisation": CONSUMER,
        "consumer_agent": "health-1",
        "consumer_kid": b"c" * 16,
        "provider_organisation": PROVIDER,
        "provider_agent": "police-1",
        "provider_kid": b"p" * 16,
    }
    return Parties(**(held | changes))  # type: ignore[arg-type]


def header_of(
    between: Parties, *, suite: int, session_id: bytes, expiry_ms: int
) -> exchange_pb2.RequestHeader:
    """Return a request's header with what a session is bound to."""
    return exchange_pb2.RequestHeader(
        suite=suite, session_id=session_id, session_expiry_ms=expiry_ms, **between._asdict()
    )
