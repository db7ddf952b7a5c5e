"""How long entries are kept: the terms, what stays for good, and when the clock counts."""

from dataclasses import dataclass

from exchange.clock import Clock
from exchange.trust import MAX_SKEW_MS, TrustList
from exchange.v1 import audit_pb2
from gateway.config import Keeping

DAY_MS = 86_400_000
NOT_KEPT = frozenset(
    {audit_pb2.ACT_UNSPECIFIED, audit_pb2.ACT_READ, audit_pb2.ACT_REFUSED, audit_pb2.ACT_CASE}
)
"""Acts whose entries go with their segment: they come as often as exchanges, and change nothing for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long entries are kept, and in which form.

    Attributes:
        seal_after_ms: entries older than this are sealed.
        keep_ms: segments older than this are erased.
        segment_entries: of one segment; a multiple of 256.
    """

    seal_after_ms: int
    keep_ms: int
    segment_entries: int


def terms_of(keeping: Keeping) -> Terms:
    """Return the terms that a configuration sets."""
    return Terms(
        seal_after_ms=keeping.seal_after_days * DAY_MS,
        keep_ms=keeping.keep_days * DAY_MS,
        segment_entries=keeping.segment_entries,
    )


def stays(entry: audit_pb2.AuditEntry) -> bool:
    """Return whether an entry stays a row for good: the state folds from it, or people must find it."""
    return entry.administrative.act not in NOT_KEPT


def trusted_now(clock: Clock, trust: TrustList | None) -> int | None:
    """Return the time as far as the authority vouches for it, Unix milliseconds; None where it does not.

    The clock may be ahead of the newest trust list's issue time by no more than its `max_age`, and behind
    it by no more than 60 s.
    """
    now_ms = clock.now_ms()
    if trust is None or not trust.fresh(now_ms) or now_ms < trust.issued_at_ms - MAX_SKEW_MS:
        return None
    return now_ms
