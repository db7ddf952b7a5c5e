"""A stopped gateway's folder as those see it who let its log go on after a loss."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from exchange import merkle
from exchange.errors import StoreDamaged
from exchange.keystore import KeyStore
from exchange.lineage import split_origin
from exchange.segment import place_of
from exchange.tlog_tiles import TILE_BITS, TILE_BYTES, TILE_HASHES
from exchange.trust import TrustAnchor, TrustList
from gateway.audit.epochs.log_state import LogState
from gateway.storage.ports import Segment
from gateway.storage.sqlite import SqliteAuditStore

STEP = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFolder:
    """A gateway's folder, and what its log is signed and verified with.

    Attributes:
        state: as it was loaded.
        trust: the newest trust list that is held.
    """

    folder: Path
    keystore: KeyStore
    state: LogState
    anchor: TrustAnchor
    trust: TrustList | None

    @property
    def keys(self) -> dict[str, tuple[bytes, ...]]:
        """The keys of this log's epochs, by origin: the folder's own and those that the trust list names."""
        keys = self.state.verifying()
        base = split_origin(self.state.origin)[0]
        for origin, one in (self.trust.gateways if self.trust else {}).items():
            if split_origin(origin)[0] == base:
                keys[origin] = tuple(dict.fromkeys([*keys.get(origin, ()), *one.log_keys]))
        return keys

    @property
    def previous(self) -> str:
        """The origin that the region follows now."""
        base = split_origin(self.state.origin)[0]
        live = [
            origin
            for origin, one in (self.trust.gateways if self.trust else {}).items()
            if split_origin(origin)[0] == base and not one.closed
        ]
        return live[0] if live else self.state.origin


@contextmanager
def opened_store(folder: Path) -> Iterator[SqliteAuditStore]:
    """Give a folder's store, which the block opens, and close it afterwards."""
    store = SqliteAuditStore(folder=folder)
    try:
        yield store
    finally:
        store.close()


def hashes_of(store: SqliteAuditStore, first: int, count: int) -> list[bytes]:
    """Return the leaf hashes of entries; tiles speak for those without a row: sealed ones and erased ones.

    Args:
        store: open.
        first: index of the first entry.
        count: of entries.

    Raises:
        StoreDamaged: an entry is missing, or a tile that is to speak for one.
    """
    segments = store.segments()
    cleared = segments[-1].cleared if segments else 0
    rows = dict(store.rows(first, first + count, count))
    hashes, tile, held = list[bytes](), b"", -1
    for index in range(first, first + count):
        if index in rows:
            hashes.append(merkle.leaf_hash(rows[index]))
            continue
        if index >= cleared:
            raise StoreDamaged(f"entry {index} is missing")
        if held != index >> TILE_BITS:
            held = index >> TILE_BITS
            tile = store.tile(0, held) or b""
        if len(tile) != TILE_BYTES:
            raise StoreDamaged(f"tile 0/{held} is missing")
        at = index % TILE_HASHES * merkle.HASH_BYTES
        hashes.append(tile[at : at + merkle.HASH_BYTES])
    return hashes


def segments_within(segments: Sequence[Segment], size: int) -> list[Segment]:
    """Return the segments of a log's first entries, as they stand where all that follows is given up.

    What the log said of a segment in an entry that is given up is said again by the next turn of keeping.

    Raises:
        StoreDamaged: that would leave entries that are neither there nor sealed nor said to be erased.
    """
    kept = []
    for one in segments:
        place = place_of(one.first, one.end)
        if one.end > size:
            if one.first < size and one.cleared > one.first:
                raise StoreDamaged(
                    f"{place} is sealed: keep {one.first} entries, or {one.end} at least (--keep)"
                )
            continue
        if one.erased_entry is not None and one.erased_entry >= size:
            raise StoreDamaged(f"entry {one.erased_entry} says that {place} is erased: keep it too (--keep)")
        said = one.sealed_entry is not None and one.sealed_entry < size
        kept.append(one if said else replace(one, sealed_entry=None))
    return kept


def roots_of(store: SqliteAuditStore, end: int, wanted: Collection[int]) -> dict[int, bytes]:
    """Return the roots over the first entries, 32 bytes each, by size.

    Args:
        store: open.
        end: how many entries count.
        wanted: the sizes that are wanted besides the end; larger ones are passed over.

    Raises:
        StoreDamaged: an entry is missing.
    """
    edge: Mapping[int, bytes] = {}
    roots, at = {0: merkle.EMPTY_ROOT}, 0
    for stop in sorted({end, *(size for size in wanted if 0 < size < end)}):
        while at < stop:
            growth = merkle.grow(at, edge, hashes_of(store, at, min(STEP, stop - at)))
            at, edge, roots[growth.size] = growth.size, growth.edge, growth.root
    return roots
