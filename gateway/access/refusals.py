"""Keeps a flood of refusals from filling the log: per identity a few become entries, the rest is counted.

A token bucket per identity (`gateway.access.buckets`, whose bound holds here too). What finds no token is
counted per identity and reason, and `drain` turns the counts into RefusalCount entries. Only authenticated
callers come here; unauthenticated noise stays out.
"""

from dataclasses import dataclass

from exchange.identity import Identity
from exchange.v1 import audit_pb2
from exchange.v1.reason_pb2 import Reason
from gateway.access.buckets import Buckets


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
        self._buckets = Buckets(burst=burst, per_second=per_second, max_identities=max_identities)
        self._counts: dict[tuple[str, Reason.ValueType], _Count] = {}

    def admit(self, identity: Identity, reason: "Reason.ValueType", now_ms: int) -> bool:
        """Return whether a refusal is entered; where not, it is counted.

        Args:
            identity: who was refused.
            reason: why.
            now_ms: Unix milliseconds.
        """
        name, wait_ms = self._buckets.take(identity.uri, now_ms)
        if not wait_ms:
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
        self._buckets.forget_quiet(now_ms)
        return counts
