"""What the audit log demands of whatever keeps it. One contract suite runs against every store.

Only one process may have a log open for writing, and in it only the sequencer writes: one group at a time,
first `stage`, then `commit`. Reads see committed groups only.

Where entries are: as a row, or sealed in a segment, or both; of an erased segment only the rows that are
kept for good. A row is removed only after its segment was noted.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple, Protocol

from exchange.segment import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHead:
    """The head of the log as it is kept.

    Attributes:
        size: number of entries.
        root: 32 bytes.
        checkpoint: the signed note that states both.
    """

    size: int
    root: bytes
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A full hash tile in C2SP's coordinates.

    Attributes:
        level: 0 for leaf hashes; a tile's hashes are nodes of tree level 8·level.
        n: its place in the level, from 0.
        hashes: 256 hashes of 32 bytes, one after the other.
    """

    level: int
    n: int
    hashes: bytes


class QuotaKey(NamedTuple):
    """What one quota counts over.

    Attributes:
        grant_id: 32 bytes.
        period: a QuotaPeriod.
        start_ms: when the period began, Unix milliseconds; 0 for a whole term.
    """

    grant_id: bytes
    period: int
    start_ms: int


class Used(NamedTuple):
    """How much of a quota is used, by the entries below `size`."""

    exchanges: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What one commit makes durable: all of it or nothing.

    Attributes:
        first: index of the first leaf; the size of the log before.
        leaves: exact bytes of the entries.
        tiles: the tiles that these entries fill.
        head: the head after them.
        beside: what is kept beside entries of the group, by index; no part of the log.
        quotas: how many entries of the group count against each quota; no part of the log.
    """

    first: int
    leaves: Sequence[bytes]
    tiles: Sequence[Tile]
    head: StoredHead
    beside: Mapping[int, bytes] = field(default_factory=dict)
    quotas: Mapping[QuotaKey, int] = field(default_factory=dict)


class Gap(NamedTuple):
    """Entries that were erased, save for rows that are kept: from `first` to before `end`."""

    first: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A range of entries that is sealed, as the log notes it.

    Attributes:
        first: index of the first entry.
        end: index after the last.
        digest: SHA-256 of the sealed file, 32 bytes.
        kept: SHA-256 over the indexes of the rows that stay for good, 32 bytes (`kept_digest`).
        newest_ms: no entry up to `end` is younger, Unix milliseconds.
        cleared: rows before this index are removed, save for those that are kept.
        sealed_entry: index of the entry that says so; None until it is durable.
        erased_entry: index of the entry that says that its term is over; None before.
        gone: whether key and file were erased.
    """

    first: int
    end: int
    digest: bytes
    kept: bytes
    newest_ms: int
    cleared: int
    sealed_entry: int | None = None
    erased_entry: int | None = None
    gone: bool = False

    @property
    def erased(self) -> bool:
        """Whether its entries are no longer there for anybody."""
        return self.erased_entry is not None


def kept_digest(indexes: Iterable[int]) -> bytes:
    """Return the SHA-256 over indexes, ascending, 8 bytes each, big-endian."""
    return sha256(b"".join(index.to_bytes(8, "big") for index in sorted(indexes))).digest()


class AuditStore(Protocol):
    """Keeps one log."""

    def open(self) -> StoredHead | None:
        """Open or reopen, forgetting whatever is uncertain.

        What can be read on return is durable: what an earlier commit left in doubt is either gone or was
        brought to the disk again. May be called from any thread while nothing is staged.

        Returns:
            The head; None for a log that was just made.

        Raises:
            WrongState: another process has it open.
            StoreDamaged: what is there is no such log.
            AuditUnavailable: it cannot be read or made durable now.
        """
        ...

    def stage(self, group: Group) -> None:
        """Prepare a group in memory. Nothing of it is on disk or visible to reads on return; does not block.

        Raises:
            AuditUnavailable: it cannot; reopen before staging again.
        """
        ...

    def commit(self) -> None:
        """Make the staged group durable; may block, and may be called from another thread than `stage`.

        Durable on return. When it raises, the group may or may not be durable: only `open` tells.

        Raises:
            AuditUnavailable: it failed or is in doubt; reopen before staging again.
        """
        ...

    def leaves(self, first: int, count: int) -> list[bytes]:
        """Return the committed leaves from an index on, in order, fewer where the log ends or has a gap.

        Rows and sealed segments alike; an erased entry is a gap.

        Raises:
            AuditUnavailable, StoreDamaged: they cannot be read.
        """
        ...

    def rows(self, first: int, end: int, most: int) -> list[tuple[int, bytes]]:
        """Return index and leaf of at most `most` rows of a range, in order, without looking into segments.

        Raises:
            AuditUnavailable, StoreDamaged: they cannot be read.
        """
        ...

    def beside(self, first: int, count: int) -> dict[int, bytes]:
        """Return what was committed beside `count` entries from an index on, by index.

        Raises:
            AuditUnavailable, StoreDamaged: it cannot be read.
        """
        ...

    def used(self, key: QuotaKey) -> Used:
        """Return what committed groups have counted against a quota, and the size of the log they make.

        A point look-up. Counts are kept for a period and the one before it.

        Raises:
            AuditUnavailable, StoreDamaged: it cannot be read.
        """
        ...

    def tile(self, level: int, n: int) -> bytes | None:
        """Return the 8,192 bytes of a full tile; None where there is none.

        Raises:
            AuditUnavailable, StoreDamaged: it cannot be read.
        """
        ...

    def probe(self) -> StoredHead | None:
        """Show that a group could be made durable now: write something that changes no entry, and sync it.

        May block, as `commit`; called while nothing is staged.

        Returns:
            The head as it is kept now; None for a log without one.

        Raises:
            AuditUnavailable: it cannot be written, or what was opened is no longer what is there.
            StoreDamaged: it cannot be read.
        """
        ...

    def free_bytes(self) -> int:
        """Return how much more can be written where the log is kept.

        Raises:
            AuditUnavailable: it cannot be told.
        """
        ...

    def close(self) -> None:
        """Let go of everything; may be called twice. What is staged is dropped."""
        ...


class SegmentStore(AuditStore, Protocol):
    """An audit store that can seal. `note` and `clear` write: only between groups, in the commit thread."""

    def segments(self) -> Sequence[Segment]:
        """Return what is sealed or was, ascending, without holes between them, from index 0 on."""
        ...

    def gaps(self) -> Sequence[Gap]:
        """Return what was erased, ascending, neighbours joined; `rows` returns what is kept inside."""
        ...

    def items(self, first: int, count: int) -> list[Item]:
        """Return entries with what is kept beside them, as `leaves` does."""
        ...

    def note(self, segment: Segment) -> None:
        """Keep a segment's state, in place of any that begins there. Durable on return.

        Raises:
            AuditUnavailable: it failed or is in doubt; reopen.
        """
        ...

    def clear(self, segment: Segment, end: int, kept: Collection[int]) -> None:
        """Remove the rows from `segment.cleared` to before `end`, and what is beside them, and note it.

        Durable on return, all of it or nothing; what was removed is overwritten in the database's pages.

        Args:
            segment: noted, its file verified.
            end: at most the segment's end.
            kept: indexes of rows that stay.

        Raises:
            AuditUnavailable: it failed or is in doubt; reopen.
        """
        ...


class HighWater(Protocol):
    """Keeps the newest checkpoint apart from the log, so that a log set back to an older copy is noticed."""

    def read(self) -> list[str] | None:
        """Return the notes kept, in no order, damaged ones included; None where it was never made.

        Raises:
            AuditUnavailable: it cannot be read.
        """
        ...

    def write(self, note: str) -> None:
        """Keep a note in place of the older one. Survives the process's death on return.

        Raises:
            AuditUnavailable: it cannot be written.
        """
        ...

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        ...
