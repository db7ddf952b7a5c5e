"""How often somebody may do something: a token bucket per identity.

Invariant: memory is bounded by `max_identities`; identities beyond it share one bucket and one name.
"""

import math
from dataclasses import dataclass

OTHERS = "others"


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_ms: int


class Buckets:
    """A bucket for each of many.

    Args:
        burst: how many tokens one holds at most, and at first.
        per_second: how many come each second.
        max_identities: how many are told apart.
    """

    def __init__(self, *, burst: int, per_second: float, max_identities: int = 10_000) -> None:
        self._burst = float(burst)
        self._per_ms = per_second / 1000
        self._max_identities = max_identities
        self._buckets: dict[str, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, now_ms: int) -> tuple[str, int]:
        """Take a token.

        Args:
            name: whose.
            now_ms: Unix milliseconds.

        Returns:
            The name of the bucket, and 0; where it was empty, the milliseconds until it holds one.
        """
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= self._max_identities:
                name = OTHERS
            bucket = self._buckets.setdefault(name, _Bucket(self._burst, now_ms))
        bucket.tokens = min(self._burst, bucket.tokens + max(0, now_ms - bucket.at_ms) * self._per_ms)
        bucket.at_ms = now_ms
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return name, 0
        return name, math.ceil((1 - bucket.tokens) / self._per_ms)

    def forget_quiet(self, now_ms: int) -> None:
        """Forget whose buckets are full again by now."""
        full_ms = self._burst / self._per_ms
        self._buckets = {name: b for name, b in self._buckets.items() if now_ms - b.at_ms < full_ms}
