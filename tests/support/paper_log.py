"""A log on paper: every tile is computed from the entries, nothing is kept."""

from collections.abc import Sequence
from functools import cache

from exchange.checkpoint import Checkpoint
from exchange.errors import UnknownEntry
from exchange.merkle import leaf_hash, node_hash, root_at, root_of
from exchange.tlog_tiles import CHECKPOINT, TILE_BITS, TILE_HASHES, EntryBundle, encode_bundle, parse_path
from tests.support.audit import ORIGIN, SIGNER

LARGEST = 70_000
LEAVES = [b"leaf %d" % number for number in range(LARGEST)]


@cache
def rows() -> list[list[bytes]]:
    """Return the complete nodes over 70,000 leaves, level by level."""
    made = [[leaf_hash(leaf) for leaf in LEAVES]]
    while len(made[-1]) > 1:
        pairs = iter(made[-1])
        made.append([node_hash(left, right) for left, right in zip(pairs, pairs, strict=False)])
    return made


def whole(level: int, index: int) -> bytes:
    """Return a node of that tree."""
    return rows()[level][index]


def head_at(size: int) -> Checkpoint:
    """Return the head that a log of the first so many of those leaves has."""
    return Checkpoint(ORIGIN, size, root_at(size, whole))


class PaperLog:
    """A log of these entries.

    Attributes:
        entries: the leaves; add to them to let it grow.
    """

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = list(entries)

    def read(self, path: str) -> bytes:
        hashes = [leaf_hash(leaf) for leaf in self.entries]
        if path == CHECKPOINT:
            return SIGNER.sign(Checkpoint(ORIGIN, len(hashes), root_of(hashes))).encode()
        part = parse_path(path)
        first = part.n << TILE_BITS
        if isinstance(part, EntryBundle):
            rows: Sequence[bytes] = self.entries
        else:
            for _ in range(part.level):
                starts = range(0, len(hashes) - TILE_HASHES + 1, TILE_HASHES)
                hashes = [root_of(hashes[start : start + TILE_HASHES]) for start in starts]
            rows = hashes
        taken = rows[first : first + part.width]
        if len(taken) != part.width:
            raise UnknownEntry(path)
        return encode_bundle(taken) if isinstance(part, EntryBundle) else b"".join(taken)
