"""The audit log as it is read: heads, proofs, receipts, and the comparison with what others hold.

Before anything is signed after a start, these must agree, or the log refuses to open:
1. the tree of the last rows and the tiles, and the head's root;
2. the head and its checkpoint, signed by this log's key;
3. the log and its high-water copy: smaller is LOG_BEHIND, another root is LOG_FORKED.
What linked agents hold is compared as they come (`compare_head`). A head signed by this log that it cannot be
extended from is a sticky fault: from then on nothing is signed until people have looked.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exchange import merkle
from exchange.checkpoint import Checkpoint, LogSigner, open_checkpoint
from exchange.errors import (
    EntryErased,
    ExchangeError,
    LogBehind,
    LogForked,
    Malformed,
    ReceiptBroken,
    StoreDamaged,
    UnknownEntry,
)
from exchange.tlog_tiles import HashTile
from exchange.v1 import audit_pb2, common_pb2
from gateway.audit.tree import LogTree
from gateway.storage.ports import Gap, HighWater, SegmentStore, StoredHead

MAX_PROOFS = 256

Subscriber = Callable[[int, Sequence[bytes]], None]
"""Called on the event loop with the first index and the leaves of what was committed; must not raise."""


class Present(NamedTuple):
    """Entries that are there, by index, and from where to go on."""

    entries: Sequence[tuple[int, bytes]]
    next_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A log read from its store and found to agree with itself."""

    tree: LogTree
    head: Checkpoint
    note: str


def restore(store: SegmentStore, high_water: HighWater, signer: LogSigner) -> Restored:
    """Open or reopen a log and compare its parts (rules 1 to 3).

    Raises:
        LogBehind, LogForked, StoreDamaged: they do not agree.
        WrongState, AuditUnavailable: it cannot be opened now.
    """
    stored = store.open()
    tree = LogTree(read_tile=store.tile)
    fresh = stored is None
    if stored is None:
        empty = Checkpoint(signer.origin, 0, merkle.EMPTY_ROOT)
        stored = StoredHead(size=0, root=empty.root, checkpoint=signer.sign(empty))
    if (segments := store.segments()) and segments[-1].end > stored.size:
        raise StoreDamaged(f"segment {segments[-1].first}-{segments[-1].end} lies beyond the head")
    tree.load(stored.size, store.leaves)
    if tree.root != stored.root:
        raise StoreDamaged("head: the root is not that of the entries")
    if store.leaves(stored.size, 1):
        raise StoreDamaged(f"entry {stored.size} lies beyond the head")
    head = _own_head(stored, signer)
    _compare_marks(high_water.read(), tree, head, signer, fresh=fresh)
    # A crash between a commit and its high-water write left the copy one group behind.
    high_water.write(stored.checkpoint)
    return Restored(tree=tree, head=head, note=stored.checkpoint)


def _own_head(stored: StoredHead, signer: LogSigner) -> Checkpoint:
    try:
        head = open_checkpoint(stored.checkpoint, origin=signer.origin, log_keys=[signer.public_key])
    except ReceiptBroken as error:
        raise StoreDamaged(f"head: {error.subject}") from error
    if (head.size, head.root) != (stored.size, stored.root):
        raise StoreDamaged("head: the checkpoint states another head")
    return head


def _compare_marks(
    marks: Sequence[str] | None, tree: LogTree, head: Checkpoint, signer: LogSigner, *, fresh: bool
) -> None:
    """Compare the log with its high-water copy, which is made before the first entry."""
    if marks is None and fresh:
        return
    known: list[Checkpoint] = []
    for mark in marks or ():
        try:
            known.append(open_checkpoint(mark, origin=signer.origin, log_keys=[signer.public_key]))
        except ReceiptBroken:
            # A torn slot; the other one has the note before. With none left, the copy is lost, as said below.
            continue
    if not known:
        raise StoreDamaged("high-water is missing or damaged")
    for seen in known:
        compare(seen.size, seen.root, tree, head)


def compare(size: int, root: bytes, tree: LogTree, head: Checkpoint) -> None:
    """Compare a head that somebody holds with the log.

    Raises:
        LogBehind: the log is smaller.
        LogForked: the log had another root at that size.
    """
    if size > head.size:
        raise LogBehind(f"size {head.size}, seen {size}")
    if merkle.root_at(size, tree.node) != root:
        raise LogForked(f"size {size}")


class AuditLog:
    """One log, read on the event loop. What is shown is durable.

    Args:
        store: keeps the log.
        high_water: keeps the newest checkpoint apart from it.
        signer: the log's key.
    """

    def __init__(self, *, store: SegmentStore, high_water: HighWater, signer: LogSigner) -> None:
        self._store = store
        self._high_water = high_water
        self._signer = signer
        self._tree = LogTree(read_tile=store.tile)
        self._head = Checkpoint(signer.origin, 0, merkle.EMPTY_ROOT)
        self._note = ""
        self._sticky: ExchangeError | None = None
        self._subscribers: list[Subscriber] = []
        self._proofs: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._damage: tuple[range, StoreDamaged] | None = None

    @property
    def origin(self) -> str:
        """Name of the log."""
        return self._signer.origin

    @property
    def head(self) -> Checkpoint:
        """The newest durable head."""
        return self._head

    @property
    def checkpoint(self) -> str:
        """The newest durable head as a signed note."""
        return self._note

    @property
    def store(self) -> SegmentStore:
        """What keeps the log."""
        return self._store

    @property
    def fault(self) -> ExchangeError | None:
        """Why the log refuses to be signed; None while it does not."""
        return self._sticky

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call back after each commit, in order.

        Returns:
            A function that ends the subscription.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    @property
    def damage(self) -> StoreDamaged | None:
        """What was found damaged when entries were last read there; None where nothing was."""
        return self._damage[1] if self._damage else None

    def leaves(self, first: int, count: int) -> list[bytes]:
        """Return at most `count` leaves from an index on.

        Raises:
            EntryErased: one was erased at the end of its term; `present` goes on beyond.
            StoreDamaged: one is missing, or its segment does not open.
            AuditUnavailable: they cannot be read now.
        """
        wanted = min(count, self._head.size - first)
        if first < 0 or wanted <= 0:
            return []
        try:
            leaves = self._store.leaves(first, wanted)
            if len(leaves) != wanted:
                missing = first + len(leaves)
                if self.gap_at(missing) is not None:
                    raise EntryErased(str(missing))
                raise StoreDamaged(f"entry {missing} is missing")
        except StoreDamaged as error:
            self._damage = self._damage or (range(first, first + wanted), error)
            raise
        if self._damage and first <= self._damage[0].start and self._damage[0].stop <= first + wanted:
            self._damage = None
        return leaves

    def gaps(self) -> Sequence[Gap]:
        """Return the ranges that were erased, ascending; administrative entries inside are kept."""
        return self._store.gaps()

    @property
    def sealed_size(self) -> int:
        """Entries below this index are in segments, or were: reading one may take milliseconds."""
        segments = self._store.segments()
        return segments[-1].end if segments else 0

    def gap_at(self, index: int) -> Gap | None:
        """Return the erased range that an index lies in, None where it lies in none."""
        gaps = self._store.gaps()
        at = bisect_right(gaps, index, key=lambda gap: gap.first) - 1
        return gaps[at] if at >= 0 and index < gaps[at].end else None

    def present(self, first: int, count: int) -> Present:
        """Return at most `count` entries from an index on, leaving out what was erased.

        Raises:
            StoreDamaged, AuditUnavailable: as `leaves`.
        """
        entries: list[tuple[int, bytes]] = []
        at, size = max(first, 0), self._head.size
        while at < size and len(entries) < count:
            left, gap = count - len(entries), self.gap_at(at)
            if gap is None:
                later = (gap.first for gap in self._store.gaps() if gap.first > at)
                stop = min(size, at + left, next(later, size))
                entries += enumerate(self.leaves(at, stop - at), at)
                at = stop
            else:
                kept = self._store.rows(at, gap.end, left)
                entries += kept
                at = kept[-1][0] + 1 if len(kept) == left else gap.end
        return Present(entries, at)

    def standing(self, first: int, count: int) -> Present:
        """Return at most `count` entries from an index on; of what is sealed only those that stay for good.

        No segment is opened, so a start that folds the state from here needs none.

        Raises:
            StoreDamaged, AuditUnavailable: as `leaves`.
        """
        segments = self._store.segments()
        # Rows are removed in order: before this index only those that stay are left.
        cleared = segments[-1].cleared if segments else 0
        if first >= cleared:
            return self.present(first, count)
        rows = self._store.rows(first, cleared, count)
        return Present(rows, rows[-1][0] + 1 if len(rows) == count else cleared)

    def proof(self, index: int) -> bytes:
        """Return the inclusion proof of an entry in the newest head, also of one that was erased.

        Raises:
            UnknownEntry: there is none.
            StoreDamaged, AuditUnavailable: a tile cannot be read.
        """
        if not 0 <= index < self._head.size:
            raise UnknownEntry(str(index))
        return merkle.inclusion_proof(index, self._head.size, self._tree.node)

    def entry(self, index: int) -> tuple[audit_pb2.Receipt, str]:
        """Return an entry with its proof, and the checkpoint that it leads to.

        Raises:
            UnknownEntry: there is none.
            EntryErased: it was erased; `proof` still shows its place.
            StoreDamaged, AuditUnavailable: it cannot be read.
        """
        proof = self.proof(index)
        return audit_pb2.Receipt(leaf=self.leaves(index, 1)[0], index=index, proof=proof), self._note

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of the complete subtree (level, index), 32 bytes.

        Raises:
            StoreDamaged, AuditUnavailable: its tile cannot be read.
        """
        return self._tree.node(level, index)

    def tile(self, wanted: HashTile) -> bytes:
        """Return a tile's hashes as of the durable head (see `LogTree.tile`)."""
        return self._tree.tile(wanted)

    def consistency(self, old_size: int, new_size: int = 0) -> tuple[bytes, str]:
        """Return the proof that a newer log extends an older one.

        Args:
            old_size: at most the newer size; from 0 the proof is empty, as anything extends nothing.
            new_size: 0 for the newest.

        Returns:
            The hashes one after the other, and the newest checkpoint; "" where `new_size` was given.

        Raises:
            UnknownEntry: the log was never of these sizes in this order.
            StoreDamaged, AuditUnavailable: a tile cannot be read.
        """
        end = new_size or self._head.size
        if not 0 <= old_size <= end <= self._head.size:
            raise UnknownEntry(f"sizes {old_size} and {end}")
        proof = self._proofs.get((old_size, end)) if old_size else b""
        if proof is None:
            # Kept, because many links go from one group's head to the next at about the same time.
            proof = self._proofs[old_size, end] = merkle.consistency_proof(old_size, end, self._tree.node)
            if len(self._proofs) > MAX_PROOFS:
                self._proofs.popitem(last=False)
        return proof, "" if new_size else self._note

    def compare_head(self, head: common_pb2.LogHead, note: str = "") -> bytes:
        """Compare a head that an agent holds with the log.

        Args:
            head: what the agent says it holds; anybody can say anything.
            note: the signed checkpoint that the agent has it from. Where this log's key signed it and the log
                does not extend it, the log has been set back or forked, and refuses to sign from now on.

        Returns:
            The proof that the newest head extends it, the hashes one after the other.

        Raises:
            Malformed: it is another log's.
            LogBehind, LogForked: the log does not extend it.
            StoreDamaged, AuditUnavailable: a tile cannot be read.
        """
        if head.origin != self.origin:
            raise Malformed("last_head.origin")
        try:
            compare(head.size, head.root, self._tree, self._head)
        except (LogBehind, LogForked) as error:
            if self._signed(head, note):
                self._refuse_to_sign(error)
            raise
        return self.consistency(head.size)[0]

    def _signed(self, head: common_pb2.LogHead, note: str) -> bool:
        try:
            shown = open_checkpoint(note, origin=self.origin, log_keys=[self._signer.public_key])
        except ReceiptBroken:
            return False
        return (shown.size, shown.root) == (head.size, head.root)

    def condemn(self, error: ExchangeError) -> None:
        """Refuse to sign from now on: the log was found to be another than it was signed to be."""
        self._refuse_to_sign(error)

    def _refuse_to_sign(self, error: ExchangeError) -> None:
        self._sticky = self._sticky or type(error)(error.subject)

    def _adopt(self, restored: Restored) -> None:
        self._tree, self._head, self._note = restored.tree, restored.head, restored.note
        self._proofs.clear()
