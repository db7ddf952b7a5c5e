"""The open log as C2SP tiles: nothing beyond the durable head, and every width that a tile ever had.

Source: c2sp.org/tlog-tiles.
"""

from collections.abc import Sequence
from typing import Protocol

from exchange.errors import UnknownEntry
from exchange.tlog_tiles import CHECKPOINT, EntryBundle, HashTile, encode_bundle, parse_path
from gateway.fold import Head


class Log(Protocol):
    """What is needed of the audit log."""

    @property
    def head(self) -> Head:
        """The newest durable head."""
        ...

    @property
    def checkpoint(self) -> str:
        """The newest durable head as a signed note."""
        ...

    def tile(self, wanted: HashTile) -> bytes:
        """Return a tile's hashes as of the durable head."""
        ...

    def leaves(self, first: int, count: int) -> Sequence[bytes]:
        """Return at most `count` leaves from an index on."""
        ...


class Tiles:
    """Reads a log by the paths of its tiles.

    Args:
        log: the audit log.
    """

    def __init__(self, log: Log) -> None:
        self._log = log

    @property
    def checkpoint(self) -> str:
        """The newest checkpoint, a C2SP signed note."""
        return self._log.checkpoint

    @property
    def size(self) -> int:
        """How many entries there are."""
        return self._log.head.size

    def hashes(self, tile: HashTile) -> bytes:
        """Return a hash tile; of one that has grown, what it began with.

        Raises:
            UnknownEntry: the log does not have that many hashes there.
            StoreDamaged, AuditUnavailable: it cannot be read.
        """
        return self._log.tile(tile)

    def check(self, bundle: EntryBundle) -> None:
        """Refuse a bundle that reaches beyond the durable head.

        Raises:
            UnknownEntry.
        """
        if bundle.end > self.size:
            raise UnknownEntry(bundle.path)

    def entries(self, bundle: EntryBundle) -> bytes:
        """Return an entry bundle; of one that has grown, what it began with.

        Raises:
            UnknownEntry: the log does not have that many entries there.
            EntryErased: they are no longer kept.
            StoreDamaged, AuditUnavailable: they cannot be read.
        """
        self.check(bundle)
        return encode_bundle(self._log.leaves(bundle.first, bundle.width))

    def read(self, path: str) -> bytes:
        """Return what is at a path below the log's address, to somebody who may read entries.

        Raises:
            UnknownEntry: nothing is.
            EntryErased, StoreDamaged, AuditUnavailable: it cannot be read.
        """
        if path == CHECKPOINT:
            return self.checkpoint.encode()
        part = parse_path(path)
        return self.entries(part) if isinstance(part, EntryBundle) else self.hashes(part)
