"""Keeps a flood of refusals from filling the log: per identity a few become entries, the rest is counted.

A token bucket per identity. What finds no token is counted per identity and reason, and `drain` turns the
counts into RefusalCount entries. Only authenticated callers come here; unauthenticated noise stays out.
Invariant: memory is bounded by `max_identities`; identities beyond it share one bucket and one name.
"""

from dataclasses import dataclass

from exchange.identity import Identity
from exchange.v1 import audit_pb2
from exchange.v1.reason_pb2 import Reason

OTHERS = "others"


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_ms: int


@dataclass(slots=True)
class _Count:
    count: int
    since_ms: int


class RefusalLimiter:
    """Decides whether a refusal becomes an entry of its own.

    Args:
        burst: how many refusals of one identity are entered at once.
        per_second: how many more each second.
        max_identities: how many identities are told apart.
    """

    def __init__(self, *, burst: int = 60, per_second: float = 2.0, max_identities: int = 10_000) -> None:
        self._burst = float(burst)
        self._per_ms = per_second / 1000
        self._max_identities = max_identities
        self._buckets: dict[str, _Bucket] = {}
        self._counts: dict[tuple[str, Reason.ValueType], _Count] = {}

    def admit(self, identity: Identity, reason: "Reason.ValueType", now_ms: int) -> bool:
        """Return whether a refusal is entered; where not, it is counted.

        Args:
            identity: who was refused.
            reason: why.
            now_ms: Unix milliseconds.
        """
        name = identity.uri
        bucket = self._buckets.get(name)
        if bucket is None:
            name, bucket = self._new_bucket(name, now_ms)
        bucket.tokens = min(self._burst, bucket.tokens + max(0, now_ms - bucket.at_ms) * self._per_ms)
        bucket.at_ms = now_ms
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return True
        counted = self._counts.setdefault((name, reason), _Count(0, now_ms))
        counted.count += 1
        return False

    def drain(self, now_ms: int) -> list[audit_pb2.RefusalCount]:
        """Return what was counted since the last time, and forget identities that have been quiet.

        Whoever drains must enter the counts in the log; a crash before that loses counts, never entries.
        """
        counts = [
            audit_pb2.RefusalCount(caller=name, reason=reason, count=c.count, since_ms=c.since_ms)
            for (name, reason), c in self._counts.items()
        ]
        self._counts.clear()
        full_ms = self._burst / self._per_ms
        self._buckets = {name: b for name, b in self._buckets.items() if now_ms - b.at_ms < full_ms}
        return counts

    def _new_bucket(self, name: str, now_ms: int) -> tuple[str, _Bucket]:
        if len(self._buckets) >= self._max_identities:
            name = OTHERS
        return name, self._buckets.setdefault(name, _Bucket(self._burst, now_ms))
