"""What the audit log demands of whatever keeps it. One contract suite runs against every store.

Only one process may have a log open for writing, and in it only the sequencer writes: one group at a time,
first `stage`, then `commit`. Reads see committed groups only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What one commit makes durable: all of it or nothing.

    Attributes:
        first: index of the first leaf; the size of the log before.
        leaves: exact bytes of the entries.
        tiles: the tiles that these entries fill.
        head: the head after them.
        beside: what is kept beside entries of the group, by index; no part of the log.
    """

    first: int
    leaves: Sequence[bytes]
    tiles: Sequence[Tile]
    head: StoredHead
    beside: Mapping[int, bytes] = field(default_factory=dict)


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
