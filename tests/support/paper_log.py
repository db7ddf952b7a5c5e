"""A log on paper: every tile is computed from the entries, nothing is kept."""

from collections.abc import Sequence

from exchange.checkpoint import Checkpoint, LogSigner
from exchange.errors import UnknownEntry
from exchange.merkle import leaf_hash, root_of
from exchange.tlog_tiles import CHECKPOINT, TILE_BITS, TILE_HASHES, EntryBundle, encode_bundle, parse_path
from tests.support.audit import ORIGIN, SIGNER


class PaperLog:
    """A log of these entries.

    Attributes:
        entries: the leaves; add to them to let it grow.
    """

    def __init__(self, entries: Sequence[bytes], *, signer: LogSigner = SIGNER) -> None:
        self.entries = list(entries)
        self._signer = signer

    def read(self, path: str) -> bytes:
        hashes = [leaf_hash(leaf) for leaf in self.entries]
        if path == CHECKPOINT:
            return self._signer.sign(Checkpoint(ORIGIN, len(hashes), root_of(hashes))).encode()
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
