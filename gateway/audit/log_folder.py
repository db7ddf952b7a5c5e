"""A stopped gateway's folder as those see it who let its log go on after a loss."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exchange import merkle
from exchange.errors import StoreDamaged
from exchange.keystore import KeyStore
from exchange.lineage import split_origin
from exchange.trust import TrustAnchor, TrustList
from gateway.audit.log_state import LogState
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


def roots_of(read: Callable[[int, int], list[bytes]], end: int, wanted: Collection[int]) -> dict[int, bytes]:
    """Return the roots over the first entries, 32 bytes each, by size.

    Args:
        read: returns leaves from an index on.
        end: how many entries count.
        wanted: the sizes that are wanted besides the end; larger ones are passed over.

    Raises:
        StoreDamaged: an entry is missing.
    """
    edge: Mapping[int, bytes] = {}
    roots, at = {0: merkle.EMPTY_ROOT}, 0
    for stop in sorted({end, *(size for size in wanted if 0 < size < end)}):
        while at < stop:
            count = min(STEP, stop - at)
            step = read(at, count)
            if len(step) != count:
                raise StoreDamaged(f"entry {at + len(step)} is missing")
            growth = merkle.grow(at, edge, [merkle.leaf_hash(leaf) for leaf in step])
            at, edge, roots[growth.size] = growth.size, growth.edge, growth.root
    return roots
