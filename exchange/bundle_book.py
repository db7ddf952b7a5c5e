"""The newest bundle of each peer, which nobody can take back: not a gateway, not a restart.

Rules:
1. The newest of the bundles offered is verified end to end; those before it need no verification of their
   own, because each bundle names the digest of the one before.
2. Of an agent that is known, only the bundle held or the unbroken chain from it on is taken: lower sequences,
   forks and gaps are refused. Of an agent not yet known any sequence is taken that the trust list allows.
   After a loss of the region's log the next bundle of each agent may leave a gap, once.
3. Sequence and digest are durable before the keys are used: a crash in between loses keys, never the mark.
4. The bundle in force and one before it, while they last, are found by digest: exchanges under way name them.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from exchange.canonical import BUNDLE, digest
from exchange.clock import Clock
from exchange.errors import BundleRollback, ExchangeError, Malformed, Oversized, StoreDamaged
from exchange.peer_keys import PeerKeys, open_bundle, read_bundle_body
from exchange.trust import TrustAnchor, TrustList
from exchange.v1 import common_pb2

MAX_OFFERED = 1024
_SCHEMA = """
CREATE TABLE IF NOT EXISTS mark (
    organisation TEXT NOT NULL, agent TEXT NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (organisation, agent)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gap (
    organisation TEXT NOT NULL, agent TEXT NOT NULL, PRIMARY KEY (organisation, agent)
) WITHOUT ROWID;
"""


class _Link(NamedTuple):
    """A bundle's place in its agent's chain."""

    seq: int
    digest: bytes
    previous: bytes


class BundleBook:
    """Takes over the bundles of peers and remembers how far each has come.

    Args:
        anchor: the pinned root.
        path: database of the marks; None keeps them in memory (a gateway's are a fold of its log).
        clock: the time.

    Raises:
        StoreDamaged: the database cannot be read.
    """

    def __init__(self, *, anchor: TrustAnchor, path: Path | None, clock: Clock) -> None:
        self._anchor = anchor
        self._clock = clock
        self._store = None if path is None else _MarkStore(path)
        self._marks = {} if self._store is None else self._store.load()
        self._gaps = set() if self._store is None else self._store.gaps()
        self._current: dict[tuple[str, str], PeerKeys] = {}
        self._by_digest: dict[bytes, PeerKeys] = {}
        self._before: dict[tuple[str, str], PeerKeys] = {}

    def close(self) -> None:
        """Close the database."""
        if self._store is not None:
            self._store.close()

    def mark(self, organisation: str, agent: str) -> tuple[int, bytes] | None:
        """Return highest sequence and digest seen of an agent, None for an unknown one."""
        return self._marks.get((organisation, agent))

    def newest(self, organisation: str, agent: str) -> PeerKeys | None:
        """Return the keys of an agent's newest bundle, None where there is none or it has expired."""
        return self._lasting(self._current.get((organisation, agent)))

    def by_digest(self, bundle_digest: bytes) -> PeerKeys | None:
        """Return the keys of a newest bundle, or of the one before it, by digest, while they last."""
        return self._lasting(self._by_digest.get(bundle_digest))

    def after_loss(self) -> None:
        """Let the next bundle of every known agent leave a gap: the region's log has lost entries."""
        if self._store is not None:
            self._store.allow_gaps()
        self._gaps.update(self._marks)

    def accept(
        self, statements: Sequence[common_pb2.Statement], trust: TrustList | None, *, gap: bool = False
    ) -> PeerKeys:
        """Take over an agent's bundles.

        Args:
            statements: of one agent, in order of sequence, without gaps; the last is the newest.
            trust: the newest trust list.
            gap: whether a gap is allowed because the caller has checked the chain.

        Returns:
            The newest bundle's keys.

        Raises:
            BundleRollback: lower than what was seen or than the trust list allows, a fork or a gap.
            Malformed, Oversized: they are no bundles of one agent.
            Whatever open_bundle raises for the newest.
        """
        links = _links(statements)
        now_ms = self._clock.now_ms()
        keys = open_bundle(statements[-1], self._anchor, at_ms=now_ms, trust=trust)
        who = (keys.organisation, keys.agent)
        name = f"{keys.organisation}/{keys.agent} seq {keys.seq}"
        gap = gap or who in self._gaps
        for before, after in pairwise(links):
            if not (gap and after.seq > before.seq + 1) and (
                after.seq != before.seq + 1 or after.previous != before.digest
            ):
                raise BundleRollback(name)
        if trust is not None and keys.seq < trust.least_seq.get(who, 0):
            raise BundleRollback(name)
        self._follow(self._marks.get(who), links, name, gap=gap)
        if len(statements) > 1:
            self._keep_before(statements[-2], trust, now_ms)
        self._take(who, keys)
        return keys

    def recheck(self, trust: TrustList | None) -> list[tuple[str, str, ExchangeError]]:
        """Verify the bundles held against a newer trust list and drop those that do not stand.

        Returns:
            Organisation, agent and reason of each that was dropped; its mark stays.
        """
        dropped: list[tuple[str, str, ExchangeError]] = []
        for held in (self._before, self._current):
            for who, keys in list(held.items()):
                try:
                    held[who] = self._reopened(keys, trust)
                    self._by_digest[keys.digest] = held[who]
                except ExchangeError as error:
                    del held[who]
                    self._by_digest.pop(keys.digest, None)
                    dropped.append((*who, error))
        return dropped

    def _reopened(self, keys: PeerKeys, trust: TrustList | None) -> PeerKeys:
        if trust is not None and keys.seq < trust.least_seq.get((keys.organisation, keys.agent), 0):
            raise BundleRollback(f"{keys.organisation}/{keys.agent} seq {keys.seq}")
        return open_bundle(keys.statement, self._anchor, at_ms=self._clock.now_ms(), trust=trust)

    def _follow(
        self, mark: tuple[int, bytes] | None, links: Sequence[_Link], name: str, *, gap: bool
    ) -> None:
        """Refuse what does not lead on from the mark."""
        if mark is None:
            return
        seq, held = mark
        newest = links[-1]
        if newest.seq < seq:
            raise BundleRollback(name)
        for link in links:
            same, next_ = link.seq == seq, link.seq == seq + 1
            if (same and link.digest != held) or (next_ and link.previous != held):
                raise BundleRollback(name)
        if links[0].seq > seq + 1 and not gap:
            raise BundleRollback(name)

    def _keep_before(self, statement: common_pb2.Statement, trust: TrustList | None, now_ms: int) -> None:
        """Keep the last bundle but one where it is still good; the chain is sound without it."""
        try:
            keys = open_bundle(statement, self._anchor, at_ms=now_ms, trust=trust)
        except ExchangeError:
            return
        if digest(BUNDLE, statement.body) not in self._by_digest:
            self._set_before((keys.organisation, keys.agent), keys)

    def _take(self, who: tuple[str, str], keys: PeerKeys) -> None:
        if self._marks.get(who) != (keys.seq, keys.digest):
            if self._store is not None:
                self._store.put(who, keys.seq, keys.digest)
            if keys.seq > self._marks.get(who, (keys.seq, b""))[0]:
                self._gaps.discard(who)
            self._marks[who] = (keys.seq, keys.digest)
        current = self._current.get(who)
        if current is not None and current.digest != keys.digest:
            self._by_digest.pop(current.digest, None)
            if current.digest == keys.previous:
                self._set_before(who, current)
        self._current[who] = keys
        self._by_digest[keys.digest] = keys

    def _set_before(self, who: tuple[str, str], keys: PeerKeys) -> None:
        old = self._before.get(who)
        if old is not None:
            self._by_digest.pop(old.digest, None)
        self._before[who] = keys
        self._by_digest[keys.digest] = keys

    def _lasting(self, keys: PeerKeys | None) -> PeerKeys | None:
        return keys if keys is not None and keys.expires_at_ms > self._clock.now_ms() else None


def _links(statements: Sequence[common_pb2.Statement]) -> list[_Link]:
    if not statements:
        raise Malformed("bundles")
    if len(statements) > MAX_OFFERED:
        raise Oversized("bundles")
    links, owners = [], set()
    for statement in statements:
        body = read_bundle_body(statement)
        owners.add((body.organisation, body.agent))
        links.append(_Link(body.seq, digest(BUNDLE, statement.body), body.previous))
    if len(owners) != 1:
        raise Malformed("bundles of several agents")
    return links


class _MarkStore:
    """The marks on disk: one connection, every write durable when it returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise StoreDamaged(path.name) from error

    def load(self) -> dict[tuple[str, str], tuple[int, bytes]]:
        try:
            rows = self._connection.execute("SELECT organisation, agent, seq, digest FROM mark").fetchall()
        except sqlite3.Error as error:
            raise StoreDamaged(self._path.name) from error
        return {(organisation, agent): (seq, held) for organisation, agent, seq, held in rows}

    def gaps(self) -> set[tuple[str, str]]:
        try:
            return set(self._connection.execute("SELECT organisation, agent FROM gap").fetchall())
        except sqlite3.Error as error:
            raise StoreDamaged(self._path.name) from error

    def allow_gaps(self) -> None:
        try:
            self._connection.execute("INSERT OR IGNORE INTO gap SELECT organisation, agent FROM mark")
        except sqlite3.Error as error:
            raise StoreDamaged(self._path.name) from error

    def put(self, who: tuple[str, str], seq: int, bundle_digest: bytes) -> None:
        # One transaction: the gap that was allowed is used up with the bundle that leaves it.
        try:
            self._connection.execute("BEGIN")
            self._connection.execute(
                "DELETE FROM gap WHERE (organisation, agent) IN (SELECT organisation, agent FROM mark"
                " WHERE organisation = ? AND agent = ? AND seq < ?)",
                (*who, seq),
            )
            self._connection.execute(
                "INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?)", (*who, seq, bundle_digest)
            )
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.rollback()
            raise StoreDamaged(self._path.name) from error

    def close(self) -> None:
        self._connection.close()
