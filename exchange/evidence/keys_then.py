"""The signing keys of agents as the log holds them: a bundle counts from its entry on, within its term.

Each bundle is verified end to end at the time of its entry, as the gateway had to, against the trust list
that counted then. Of an agent, bundles only go forward, and one that follows another directly names it.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from exchange.errors import BadSignature, BundleRollback, BundleStale, Revoked
from exchange.evidence.revocations import Revocations
from exchange.peer_keys import PeerKeys, open_bundle
from exchange.signing import BatchVerifiers
from exchange.trust import TrustAnchor
from exchange.v1 import common_pb2

MAX_HELD = 65_536
KEPT_MS = 2 * 24 * 3_600_000
MAX_SKEW_MS = 60_000


class Span(NamedTuple):
    """When a key could sign, as one bundle says; Unix milliseconds."""

    from_ms: int
    to_ms: int


@dataclass(slots=True)
class HeldKey:
    """A signing key of an agent: 32 bytes, and its spans, the newest last."""

    public: bytes
    spans: list[Span] = field(default_factory=list)


class _Mark(NamedTuple):
    seq: int
    digest: bytes


class KeysThen:
    """Folds bundles.

    Args:
        anchor: the pinned root.
        revocations: folded beside it, in the same order.
    """

    def __init__(self, *, anchor: TrustAnchor, revocations: Revocations) -> None:
        self._anchor = anchor
        self._revocations = revocations
        self._verifiers = BatchVerifiers()
        self._held: dict[tuple[str, str, bytes], HeldKey] = {}
        self._marks: dict[tuple[str, str], _Mark] = {}
        self._prune_at = MAX_HELD

    def enter(self, statement: common_pb2.Statement, time_ms: int) -> PeerKeys:
        """Take over a bundle from its log entry.

        Raises:
            BundleRollback: it does not lead on from the agent's last, or is lower than the list allows.
            Whatever open_bundle raises.
        """
        trust = self._revocations.current
        keys = open_bundle(statement, self._anchor, at_ms=time_ms, trust=trust)
        who = (keys.organisation, keys.agent)
        if trust is not None and keys.seq < trust.least_seq.get(who, 0):
            raise BundleRollback(f"{keys.organisation}/{keys.agent} seq {keys.seq}")
        self._follow(keys)
        self._marks[who] = _Mark(keys.seq, keys.digest)
        for kid, key in keys.signing.items():
            held = self._held.setdefault((*who, kid), HeldKey(key.public))
            span = Span(
                max(key.not_before_ms, time_ms - MAX_SKEW_MS), min(key.not_after_ms, keys.expires_at_ms)
            )
            if held.spans and span.from_ms <= held.spans[-1].to_ms:
                last = held.spans.pop()
                span = Span(last.from_ms, max(last.to_ms, span.to_ms))
            held.spans.append(span)
        if len(self._held) > self._prune_at:
            self._prune(time_ms)
        return keys

    def verify(
        self,
        organisation: str,
        agent: str,
        digest: bytes,
        signature: common_pb2.Signature,
        from_ms: int,
        to_ms: int,
    ) -> None:
        """Check that an agent signed a digest with a key that was its own and in force.

        Args:
            organisation, agent: whose signature it must be.
            digest: domain-separated, 32 bytes.
            signature: as the entry carries it.
            from_ms, to_ms: between which times it was signed and accepted, Unix milliseconds.

        Raises:
            BundleStale: no bundle in the log before makes the key that agent's at that time.
            Revoked: the key was revoked before.
            BadSignature: it does not verify.
        """
        kid = signature.kid
        held = self._held.get((organisation, agent, kid))
        if held is None:
            raise BundleStale(f"{organisation}/{agent}: no bundle before it has key {kid.hex()}")
        newest = held.spans[-1]
        if not (newest.from_ms <= to_ms and from_ms < newest.to_ms) and not any(
            span.from_ms <= to_ms and from_ms < span.to_ms for span in held.spans
        ):
            raise BundleStale(f"{organisation}/{agent}: key {kid.hex()} was not in force")
        if not self._revocations.stands(kid, from_ms=from_ms):
            raise Revoked(kid.hex())
        try:
            self._verifiers.of(kid, held.public).verify(digest, signature)
        except BadSignature:
            raise BadSignature(f"{organisation}/{agent}: key {kid.hex()}") from None

    def _follow(self, keys: PeerKeys) -> None:
        mark = self._marks.get((keys.organisation, keys.agent))
        if mark is None:
            return
        next_one = keys.seq == mark.seq + 1
        if keys.seq <= mark.seq or (next_one and keys.previous != mark.digest):
            raise BundleRollback(f"{keys.organisation}/{keys.agent} seq {keys.seq} after {mark.seq}")

    def _prune(self, now_ms: int) -> None:
        """Forget keys whose time is long over: no later entry can be signed with them."""
        self._held = {
            place: held for place, held in self._held.items() if held.spans[-1].to_ms + KEPT_MS > now_ms
        }
        self._prune_at = max(MAX_HELD, 2 * len(self._held))
