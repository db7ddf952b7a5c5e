"""What a log knows of its epochs before: which keys signed them, and how much of them it goes on from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exchange.checkpoint import Checkpoint, LogSigner, open_checkpoint
from exchange.errors import LogBehind, LogForked, ReceiptBroken, StoreDamaged
from exchange.lineage import Lineage, split_origin
from gateway.storage.ports import StoredHead


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestry:
    """The epochs before a log's present one; there are none in the first.

    Attributes:
        keys: Ed25519 keys of the logs before, 32 bytes each, by origin.
        lineage: where the epochs begin, the present one included.
        first: index of the present epoch's first entry.
        root: over the entries below it, 32 bytes; empty in the first epoch.
    """

    keys: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=lambda: Lineage(()))
    first: int = 0
    root: bytes = b""

    def kept(self, origin: str) -> int | None:
        """Return how many entries of an epoch before are still there; None where it is not known."""
        if origin not in self.keys:
            return None
        epoch = split_origin(origin)[1]
        return min((start.first for start in self.lineage.starts if start.epoch > epoch), default=None)


def head_at_opening(stored: StoredHead, ancestry: Ancestry) -> bool:
    """Return whether a stored head is the last of an epoch before, from which the present one goes on.

    Raises:
        LogBehind, LogForked: it is, but is not what two people opened the epoch upon.
    """
    origin = stored.checkpoint.partition("\n")[0]
    try:
        head = open_checkpoint(stored.checkpoint, origin=origin, log_keys=ancestry.keys.get(origin, ()))
    except ReceiptBroken:
        return False
    if (head.size, head.root) != (stored.size, stored.root):
        return False
    if head.size < ancestry.first:
        raise LogBehind(f"size {head.size}, kept {ancestry.first}")
    if (head.size, head.root) != (ancestry.first, ancestry.root):
        # What `gateway epoch open` had not finished when it was cut off; run again, it does.
        raise LogForked(f"size {head.size}, kept {ancestry.first}: run `shuqiao gateway epoch open` again")
    return True


def own_head(stored: StoredHead, signer: LogSigner, ancestry: Ancestry) -> tuple[Checkpoint, str, bool]:
    """Return a stored head as the log's own, its note, and whether the epoch has no entry yet.

    Raises:
        StoreDamaged, LogBehind, LogForked: it will not do.
    """
    if ancestry.root and head_at_opening(stored, ancestry):
        head = Checkpoint(signer.origin, stored.size, stored.root)
        return head, signer.sign(head), True
    try:
        head = open_checkpoint(stored.checkpoint, origin=signer.origin, log_keys=signer.public_keys)
    except ReceiptBroken as error:
        raise StoreDamaged(f"head: {error.subject}") from error
    if (head.size, head.root) != (stored.size, stored.root):
        raise StoreDamaged("head: the checkpoint states another head")
    if head.size < ancestry.first:
        raise LogBehind(f"size {head.size}, kept {ancestry.first}")
    return head, stored.checkpoint, head.size == ancestry.first and bool(ancestry.root)
