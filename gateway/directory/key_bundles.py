"""The key bundles of the region's agents: where each lies in the log, and the keys of those in force.

The chain per agent (seq, digest of the one before) is a fold of the log and kept as indexes only; the
keys of bundles in force live in a `BundleBook`, which verifies them against the pinned root again.
"""

from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from exchange.canonical import BUNDLE, NONCE_BYTES, digest
from exchange.errors import BundleRollback, ExchangeError, Malformed
from exchange.keys import BundleBook, PeerKeys
from exchange.timestamps import milliseconds
from exchange.trust import TrustList
from exchange.v1 import common_pb2, directory_pb2

PAGE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A key bundle as far as the directory needs it.

    Attributes:
        digest: of the KeyBundleBody, 32 bytes.
        previous: digest of the one before, empty for the first.
        statement: the signed body, verbatim.
    """

    organisation: str
    agent: str
    seq: int
    digest: bytes
    previous: bytes
    expires_at_ms: int
    statement: common_pb2.Statement = field(repr=False)


@dataclass(slots=True)
class _Chain:
    """The bundles of one agent: indexes of their entries from `first_seq` on, and the newest two."""

    first_seq: int
    newest: Bundle
    before: Bundle | None = None
    lost: bool = False
    indexes: "array[int]" = field(default_factory=lambda: array("Q"))


def read_bundle(statement: common_pb2.Statement) -> Bundle:
    """Return the bundle that a statement holds. Signature, signer and keys are not looked at.

    Raises:
        Malformed: the body breaks a rule.
    """
    try:
        body = directory_pb2.KeyBundleBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("bundle") from error
    if len(body.nonce) != NONCE_BYTES or body.seq < 1 or not body.organisation or not body.agent:
        raise Malformed("nonce, seq, organisation or agent")
    return Bundle(
        organisation=body.organisation,
        agent=body.agent,
        seq=body.seq,
        digest=digest(BUNDLE, statement.body),
        previous=body.previous,
        expires_at_ms=milliseconds(body.expires_at),
        statement=statement,
    )


class KeyBundles:
    """Every agent's bundles.

    Args:
        book: holds the keys of bundles in force; in memory.
    """

    def __init__(self, *, book: BundleBook) -> None:
        self._book = book
        self._chains: dict[str, dict[str, _Chain]] = {}

    def newest(self, organisation: str, agent: str) -> PeerKeys | None:
        """Return the keys of an agent's newest bundle in force, None where there is none."""
        return self._book.newest(organisation, agent)

    def by_digest(self, bundle_digest: bytes) -> PeerKeys | None:
        """Return the keys of the bundle with that digest of 32 bytes, if it is in force still."""
        return self._book.by_digest(bundle_digest)

    def agents(self, organisation: str) -> Collection[str]:
        """Return the names of an organisation's agents that have a bundle."""
        return self._chains.get(organisation, {}).keys()

    def index_of(self, organisation: str, agent: str, seq: int) -> int | None:
        """Return the log index of one bundle, None where it is not known."""
        chain = self._chains.get(organisation, {}).get(agent)
        if chain is None or not 0 <= seq - chain.first_seq < len(chain.indexes):
            return None
        return chain.indexes[seq - chain.first_seq]

    def indexes_after(self, organisation: str, agent: str, seq: int) -> Sequence[int]:
        """Return the log indexes of an agent's bundles with a higher seq, in order, at most 64."""
        chain = self._chains.get(organisation, {}).get(agent)
        if chain is None:
            return []
        start = max(0, seq + 1 - chain.first_seq)
        return chain.indexes[start : start + PAGE].tolist()

    def check(self, new: Bundle) -> None:
        """Refuse a bundle that does not follow the newest one.

        An agent's first bundle here may have any seq: it may have used another gateway before. The first one
        after a loss may leave a gap: the bundles between were entries that are lost.

        Raises:
            BundleRollback: lower, fork or gap.
        """
        chain = self._chains.get(new.organisation, {}).get(new.agent)
        if chain is None or (chain.lost and new.seq > chain.newest.seq + 1):
            return
        if new.seq != chain.newest.seq + 1 or new.previous != chain.newest.digest:
            raise BundleRollback(f"{new.organisation}/{new.agent} seq {new.seq}")

    def apply(self, index: int, new: Bundle) -> None:
        """Take over a bundle that was checked before it was logged at that index."""
        agents = self._chains.setdefault(new.organisation, {})
        chain = agents.get(new.agent)
        if chain is None or new.seq > chain.newest.seq + 1:
            chain = agents[new.agent] = _Chain(new.seq, new)
        else:
            chain.lost = False
            chain.before, chain.newest = chain.newest, new
        chain.indexes.append(index)

    def after_loss(self) -> None:
        """Let every agent's next bundle leave a gap: the log goes on after a loss."""
        for agents in self._chains.values():
            for chain in agents.values():
                chain.lost = True

    def put_in_force(self, new: Bundle, trust: TrustList | None) -> PeerKeys:
        """Verify a bundle end to end and put its keys in force.

        Raises:
            Whatever `BundleBook.accept` raises.
        """
        # `check` has looked at the chain already, and allows a gap after a loss only.
        return self._book.accept([new.statement], trust, gap=True)

    def restore(self, trust: TrustList | None, now_ms: int) -> Iterator[tuple[Bundle, ExchangeError]]:
        """Put the newest bundles in force after the fold.

        Yields:
            Those that have not expired and yet no longer verify, with the reason: revoked, for example.
        """
        for agents in self._chains.values():
            for chain in agents.values():
                for bundle in (chain.before, chain.newest):
                    if bundle is None or bundle.expires_at_ms <= now_ms:
                        continue
                    try:
                        self.put_in_force(bundle, trust)
                    except ExchangeError as error:
                        yield bundle, error
