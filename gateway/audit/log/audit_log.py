"""The audit log as it is read: heads, proofs, receipts, and the comparison with what others hold.

Before anything is signed after a start, these must agree, or the log refuses to open:
1. the tree of the last rows and the tiles, and the head's root;
2. the head and its checkpoint, signed by this log's key;
3. the log and its high-water copy: smaller is LOG_BEHIND, another root is LOG_FORKED.
What linked agents hold is compared as they come (`compare_head`). A head signed by this log that it cannot be
extended from is a sticky fault: from then on nothing is signed until people have looked.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exchange import merkle
from exchange.checkpoint import Checkpoint, LogSigner, open_checkpoint
from exchange.errors import (
    BadConfiguration,
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
from gateway.audit.log.ancestry import Ancestry, own_head
from gateway.audit.log.reader import LogReader
from gateway.audit.log.tree import LogTree
from gateway.storage.ports import HighWater, SegmentStore, StoredHead

MAX_PROOFS = 256
NO_ANCESTRY = Ancestry()

Subscriber = Callable[[int, Sequence[bytes]], None]
"""Called on the event loop with the first index and the leaves of what was committed; must not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A log read from its store and found to agree with itself."""

    tree: LogTree
    head: Checkpoint
    note: str


def restore(
    store: SegmentStore, high_water: HighWater, signer: LogSigner, ancestry: Ancestry = NO_ANCESTRY
) -> Restored:
    """Open or reopen a log and compare its parts (rules 1 to 3).

    A log that goes on after a loss begins with the last head of the epoch before, which two people named: it
    is signed anew under the new origin, and what that epoch's high-water copy says is in their statement.

    Raises:
        LogBehind, LogForked, StoreDamaged: they do not agree.
        WrongState, AuditUnavailable: it cannot be opened now.
    """
    stored = store.open()
    tree = LogTree(read_tile=store.tile)
    fresh = stored is None
    if stored is None:
        if ancestry.first:
            raise LogBehind(f"size 0, kept {ancestry.first}")
        empty = Checkpoint(signer.origin, 0, merkle.EMPTY_ROOT)
        stored = StoredHead(size=0, root=empty.root, checkpoint=signer.sign(empty))
    if (segments := store.segments()) and segments[-1].end > stored.size:
        raise StoreDamaged(f"segment {segments[-1].first}-{segments[-1].end} lies beyond the head")
    tree.load(stored.size, store.leaves)
    if tree.root != stored.root:
        raise StoreDamaged("head: the root is not that of the entries")
    if store.leaves(stored.size, 1):
        raise StoreDamaged(f"entry {stored.size} lies beyond the head")
    head, note, opening = own_head(stored, signer, ancestry)
    _compare_marks(high_water.read(), tree, head, signer, fresh=fresh, opening=opening)
    # A crash between a commit and its high-water write left the copy one group behind.
    high_water.write(note)
    return Restored(tree=tree, head=head, note=note)


def _compare_marks(
    marks: Sequence[str] | None,
    tree: LogTree,
    head: Checkpoint,
    signer: LogSigner,
    *,
    fresh: bool,
    opening: bool,
) -> None:
    """Compare the log with its high-water copy, which is made before the first entry of an epoch."""
    if marks is None and fresh:
        return
    known: list[Checkpoint] = []
    for mark in marks or ():
        try:
            known.append(open_checkpoint(mark, origin=signer.origin, log_keys=signer.public_keys))
        except ReceiptBroken:
            # A torn slot; the other one has the note before. With none left, the copy is lost, as said below.
            continue
    if not known and not opening:
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


class AuditLog(LogReader):
    """One log, read on the event loop. What is shown is durable.

    Args:
        store: keeps the log.
        high_water: keeps the newest checkpoint apart from it.
        signer: the log's key.
        ancestry: the epochs before, where there are any.
    """

    def __init__(
        self,
        *,
        store: SegmentStore,
        high_water: HighWater,
        signer: LogSigner,
        ancestry: Ancestry = NO_ANCESTRY,
    ) -> None:
        super().__init__(store)
        self._high_water = high_water
        self._signer = signer
        self.ancestry = ancestry
        self._tree = LogTree(read_tile=store.tile)
        self._head = Checkpoint(signer.origin, 0, merkle.EMPTY_ROOT)
        self._note = ""
        self._sticky: ExchangeError | None = None
        self._subscribers: list[Subscriber] = []
        self._proofs: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    @property
    def origin(self) -> str:
        """Name of the log."""
        return self._signer.origin

    @property
    def size(self) -> int:
        """Number of durable entries."""
        return self._head.size

    @property
    def head(self) -> Checkpoint:
        """The newest durable head."""
        return self._head

    @property
    def checkpoint(self) -> str:
        """The newest durable head as a signed note."""
        return self._note

    @property
    def public_keys(self) -> Sequence[bytes]:
        """Keys that sign the log's heads now, Ed25519, 32 bytes each."""
        return self._signer.public_keys

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

    def proof(self, index: int) -> bytes:
        """Return the inclusion proof of an entry in the newest head, also of one that was erased.

        Raises:
            UnknownEntry: there is none.
            StoreDamaged, AuditUnavailable: a tile cannot be read.
        """
        if not 0 <= index < self._head.size:
            raise UnknownEntry(str(index))
        return merkle.inclusion_proof(index, self._head.size, self._tree.node)

    def beside(self, first: int, count: int) -> dict[int, bytes]:
        """Return what is kept beside `count` entries from an index on, by index.

        Raises:
            AuditUnavailable, StoreDamaged: it cannot be read.
        """
        return self._store.beside(first, count)

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
            head: what the agent says it holds, of this epoch or one before; anybody can say anything.
            note: the signed checkpoint that the agent has it from. Where this log's key signed it and the log
                does not extend it, the log has been set back or forked, and refuses to sign from now on.

        Returns:
            The proof that the newest head extends it, the hashes one after the other; empty where what it
            states is recorded as lost.

        Raises:
            Malformed: it is another log's.
            LogBehind, LogForked: the log does not extend it.
            StoreDamaged, AuditUnavailable: a tile cannot be read.
        """
        kept = head.size if head.origin == self.origin else self.ancestry.kept(head.origin)
        if kept is None:
            raise Malformed("last_head.origin")
        if head.size > kept:
            # Of an epoch before, in the range that is recorded as lost: nothing proves it any more.
            return b""
        try:
            compare(head.size, head.root, self._tree, self._head)
        except (LogBehind, LogForked) as error:
            if self._signed(head, note):
                self.refuse_to_sign(error)
            raise
        return self.consistency(head.size)[0]

    def root_at(self, size: int) -> bytes:
        """Return the root that the log had at a size, 32 bytes.

        Raises:
            UnknownEntry: it was never of that size.
            StoreDamaged, AuditUnavailable: a tile cannot be read.
        """
        if not 0 <= size <= self._head.size:
            raise UnknownEntry(f"size {size}")
        return merkle.root_at(size, self._tree.node)

    def use_signer(self, signer: LogSigner) -> None:
        """Have the next heads signed by other keys of the same log.

        Raises:
            BadConfiguration: they are another log's.
        """
        if signer.origin != self.origin:
            raise BadConfiguration("origin of the log")
        self._signer = signer

    def _signed(self, head: common_pb2.LogHead, note: str) -> bool:
        keys = self.ancestry.keys.get(head.origin, self._signer.public_keys)
        try:
            shown = open_checkpoint(note, origin=head.origin, log_keys=keys)
        except ReceiptBroken:
            return False
        return (shown.size, shown.root) == (head.size, head.root)

    def refuse_to_sign(self, error: ExchangeError) -> None:
        """Sign nothing from now on until the next start, for this reason or the one there was before."""
        self._sticky = self._sticky or error.again()

    def _adopt(self, restored: Restored) -> None:
        self._tree, self._head, self._note = restored.tree, restored.head, restored.note
        self._proofs.clear()
