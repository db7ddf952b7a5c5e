"""Walks over all entries of a log and compares each with the hash tiles, 256 at a time.

1. Every entry is hashed, every tile compared with what is under it, every node above computed anew.
2. A missing entry is stood in for by what its tile says, and a missing tile by its entries, so that one
   fault does not hide or multiply others. Entries that are sealed or erased are stood in for the same way:
   `sealed` shows that their tiles are those of the segment, the root here that the tiles are
   the log's.
3. "Is an entry of this log" is a matter of plausibility: what an entry says counts because the log's key
   signed its hash. So the first fields, which every writer of this log writes first and in the same order
   (salt, version, origin), are compared as bytes, and an entry is parsed where they differ, and the first
   of each tile always. A leaf that passes this and does not parse was signed as it is; whoever reads it
   finds that out.
"""

import hashlib
import re
import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence

from exchange import merkle
from exchange.errors import ReceiptBroken
from exchange.merkle import HASH_BYTES, node_hash
from exchange.receipt import ENTRY_VERSION, MAX_LEAF_BYTES
from exchange.tlog_tiles import TILE_BITS, TILE_BYTES, TILE_HASHES
from exchange.v1 import audit_pb2
from gateway.audit.verification.epoch_walk import EpochWalk
from gateway.audit.verification.tags import TagCheck
from gateway.storage.ports import Segment

MAX_GAP = 1_000_000
SALT_BYTES = 16
_TILES_BEYOND = "SELECT level, n FROM tile WHERE (n + 1) << (8 * (level + 1)) > ?"
_LEAVES = "SELECT leaf FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx"
_ROWS = "SELECT idx, leaf FROM entry WHERE idx >= ? AND idx < ?"
_BEYOND = "SELECT idx FROM entry WHERE idx < 0 OR idx >= ? ORDER BY idx LIMIT 128"

_LEAF, _NODE = hashlib.sha256(b"\0"), hashlib.sha256(b"\1")

NoteFault = Callable[[str, str], None]
"""Takes the place and what is wrong there."""


class Walk:
    """One pass over the entries of a snapshot.

    Args:
        db: read-only, in a transaction.
        epochs: says which entries are the log's.
        tags: compares what is kept beside them.
        fault: takes what is wrong.
        segments: ranges whose entries need not be rows.

    Attributes:
        found: how many entries are there, as rows, sealed, or erased as the log says.
        size: how many places were walked over.
        roots: by size, of those that were asked for.
    """

    def __init__(
        self,
        *,
        db: sqlite3.Connection,
        epochs: EpochWalk,
        tags: TagCheck,
        fault: NoteFault,
        segments: Sequence[Segment] = (),
    ) -> None:
        self._db = db
        self._tags = tags
        self.epochs = epochs
        self._fault = fault
        self._segments = segments
        self._expected, self._begins_rightly = "", _beginning("").match
        self._edge: dict[int, bytes] = {}
        self._rising: dict[int, list[bytes]] = {}
        self._missing_from: int | None = None
        self.found = 0
        self.size = 0
        self.roots: dict[int, bytes] = {0: merkle.EMPTY_ROOT}

    @property
    def root(self) -> bytes:
        """The root over what was walked, 32 bytes."""
        return merkle.root_of_edge(self._edge)

    def run(self, size: int, wanted: Collection[int]) -> None:
        """Walk over the whole log.

        Args:
            size: how many entries the head states.
            wanted: the sizes whose roots are to be in `roots` afterwards, besides those where epochs begin.
        """
        for first in range(0, size, TILE_HASHES):
            count = min(TILE_HASHES, size - first)
            hashes = self._hashes(first, count)
            self._grow(hashes, {*wanted, *(opened.index for opened in self.epochs.opened)})
            if self._missing_from is not None and self.size - self._missing_from > MAX_GAP:
                # Whatever the head says, nothing comes any more.
                break
        self._note_missing(size)
        for (index,) in self._db.execute(_BEYOND, (size,)):
            self._fault(f"entry {index}", "lies beyond the head")
        self._tags.beyond(size)
        for level, n in self._db.execute(_TILES_BEYOND, (size,)):
            self._fault(f"tile {level}/{n}", "lies beyond the head")

    def _hashes(self, first: int, count: int) -> bytes:
        """Return the leaf hashes of a tile's places, one after the other, as its entries say."""
        leaves = [leaf for (leaf,) in self._db.execute(_LEAVES, (first, first + count)).fetchall()]
        tile = self._tile(0, first >> TILE_BITS) if count == TILE_HASHES else b""
        if len(leaves) == count:
            self._note_missing(first)
            self.found += count
            self._check_form(first, leaves)
            self._tags.check(first, first + count, enumerate(leaves, first))
            hashes = b"".join(hash_each(_LEAF, leaves))
            if not tile or hashes == tile:
                return hashes
        return self._in_parts(first, count, tile)

    def _check_form(self, first: int, leaves: Sequence[bytes]) -> None:
        if self._expected != self.epochs.present:
            self._expected = self.epochs.present
            self._begins_rightly = _beginning(self._expected).match
        rightly = (
            bool(self._expected)
            and all(map(self._begins_rightly, leaves))
            and max(map(len, leaves)) <= MAX_LEAF_BYTES
        )
        for place in range(1 if rightly else len(leaves)):
            self._parse(first + place, leaves[place])

    def _parse(self, index: int, leaf: bytes) -> None:
        try:
            if len(leaf) > MAX_LEAF_BYTES:
                raise ReceiptBroken("length")
            self.epochs.admit(index, leaf)
        except ReceiptBroken as error:
            self._fault(f"entry {index}", f"is no entry of this log ({error.subject})")

    def _in_parts(self, first: int, count: int, tile: bytes) -> bytes:
        """Return the hashes where some entry is missing or differs: the entries' own where there are any."""
        rows = dict(self._db.execute(_ROWS, (first, first + count)))
        whole = len(rows) == count
        if not whole:
            self._tags.check(first, first + count, rows.items())
        hashes = []
        for place in range(count):
            index = first + place
            stated = tile[place * HASH_BYTES : (place + 1) * HASH_BYTES]
            leaf = rows.get(index)
            if leaf is None:
                self._miss(index)
                hashes.append(stated or bytes(HASH_BYTES))
                continue
            if not whole:
                self._note_missing(index)
                self.found += 1
                self._parse(index, leaf)
            mine = merkle.leaf_hash(leaf)
            if stated and mine != stated:
                self._fault(f"entry {index}", f"differs from what tile 0/{first >> TILE_BITS} states")
            hashes.append(mine)
        return b"".join(hashes)

    def _miss(self, index: int) -> None:
        """Take note of a place without a row, unless its entry is sealed or was erased."""
        at = bisect_right(self._segments, index, key=lambda segment: segment.first) - 1
        if at >= 0 and index < self._segments[at].cleared:
            self._note_missing(index)
            self.found += 1
        elif self._missing_from is None:
            self._missing_from = index

    def _note_missing(self, end: int) -> None:
        """Tell of the run of missing entries that ends here, if one does."""
        first, self._missing_from = self._missing_from, None
        if first is not None:
            self._fault(f"entry {first}" if end == first + 1 else f"entries {first} to {end - 1}", "missing")

    def _grow(self, hashes: bytes, wanted: Collection[int]) -> None:
        """Add a tile's worth of leaf hashes to the tree, noting the roots that are wanted on the way."""
        first = self.size
        if first in wanted:
            self.roots[first] = self.root
        end = first + len(hashes) // HASH_BYTES
        if end - first < TILE_HASHES or any(first < size < end for size in wanted):
            edge = dict(self._edge)
            for place in range(end - first):
                _push(edge, 0, hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES])
                if first + place + 1 in wanted:
                    self.roots[first + place + 1] = merkle.root_of_edge(edge)
            self._edge = edge if end - first < TILE_HASHES else self._edge
        if end - first == TILE_HASHES:
            top = top_of(hashes)
            _push(self._edge, TILE_BITS, top)
            self._rise(0, first >> TILE_BITS, top)
        self.size = end
        if end in wanted:
            self.roots[end] = self.root

    def _rise(self, level: int, n: int, top: bytes) -> None:
        """Compare the tile above with the tops of its 256 tiles, once they are all known."""
        tops = self._rising.setdefault(level + 1, [])
        tops.append(top)
        if len(tops) < TILE_HASHES:
            return
        above, mine = n >> TILE_BITS, b"".join(tops)
        self._rising[level + 1] = []
        stated = self._tile(level + 1, above) or mine
        if stated != mine:
            for place, (own, other) in enumerate(zip(tops, merkle.split_hashes(stated), strict=True)):
                if own != other:
                    below = f"tile {level}/{(above << TILE_BITS) + place}"
                    self._fault(f"tile {level + 1}/{above}", f"differs from {below}")
        self._rise(level + 1, above, top_of(stated))

    def _tile(self, level: int, n: int) -> bytes:
        """Return a full tile; nothing where it is missing, which is a fault."""
        row = self._db.execute("SELECT data FROM tile WHERE level = ? AND n = ?", (level, n)).fetchone()
        if row is None or len(row[0]) != TILE_BYTES:
            self._fault(f"tile {level}/{n}", "missing or of a wrong length")
            return b""
        return bytes(row[0])


def hash_each(begun: "hashlib._Hash", parts: Iterable[bytes]) -> list[bytes]:
    """Return the hash of each part after what was hashed already; a copy costs less than a beginning."""
    hashes, copy = [], begun.copy
    for part in parts:
        one = copy()
        one.update(part)
        hashes.append(one.digest())
    return hashes


def top_of(hashes: bytes) -> bytes:
    """Return the node over a power of two of hashes, one after the other."""
    while len(hashes) > HASH_BYTES:
        pairs = [hashes[at : at + 2 * HASH_BYTES] for at in range(0, len(hashes), 2 * HASH_BYTES)]
        hashes = b"".join(hash_each(_NODE, pairs))
    return hashes


def _push(edge: dict[int, bytes], level: int, node: bytes) -> None:
    while level in edge:
        node = node_hash(edge.pop(level), node)
        level += 1
    edge[level] = node


def _beginning(origin: str) -> re.Pattern[bytes]:
    """Return what every entry of a log begins with, its salt left open."""
    salt = bytes(SALT_BYTES)
    begun = audit_pb2.AuditEntry(salt=salt, version=ENTRY_VERSION, gateway=origin).SerializeToString()
    before, after = begun.split(salt, 1)
    return re.compile(re.escape(before) + b".{%d}" % SALT_BYTES + re.escape(after), re.DOTALL)
