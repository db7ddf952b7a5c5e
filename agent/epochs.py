"""A log that goes on after a loss, as an agent sees it: what it held before decides what it believes.

1. A new origin is followed only where the trust list closes the old one and names the new one in its place.
2. A head held of an epoch before must lie in the log that goes on, by a proof, where it is no larger than
   what was kept; where it is larger, the loss must be recorded up to it. Else the record hides what was seen.
3. The entry that opened the epoch is in the log where the trust list says it begins, signed by two people.
"""

from collections.abc import Sequence

from agent.heads import Seen, extend
from exchange.checkpoint import Checkpoint
from exchange.errors import LogForked
from exchange.lineage import split_origin
from exchange.log_keys import Epoch
from exchange.trust import TrustedGateway, TrustList


def lineage_of(origin: str, trust: TrustList | None) -> list[TrustedGateway]:
    """Return the epochs of a log that a trust list names."""
    base = split_origin(origin)[0]
    return [one for one in (trust.gateways if trust else {}).values() if split_origin(one.origin)[0] == base]


def kept_since(origin: str, epochs: Sequence[TrustedGateway]) -> tuple[int, int] | None:
    """Return how many entries of an epoch are kept, and up to which size they are recorded as lost.

    Args:
        origin: of the epoch.
        epochs: of its log.

    Returns:
        Both sizes; None where no later epoch is named.
    """
    later = [one for one in epochs if one.epoch > split_origin(origin)[1]]
    if not later:
        return None
    return min(one.first_entry for one in later), max(one.lost_size for one in later)


def first_head(
    prior: Seen | None, offered: Checkpoint, proof: bytes, epochs: Sequence[TrustedGateway]
) -> Checkpoint:
    """Return the first head of an epoch once it is shown to go on from what was seen of those before.

    Args:
        prior: the last head seen of an epoch before; None where there was none.
        offered: a checkpoint of this epoch whose signature was verified.
        proof: that it extends `prior`, 32-byte hashes one after the other; empty where that is lost.
        epochs: of this log, from the trust list.

    Raises:
        LogForked: it does not go on from it, or hides entries that were seen.
    """
    if prior is None:
        return offered
    held = prior.checkpoint
    sizes = kept_since(held.origin, epochs)
    if sizes is None:
        raise LogForked(held.origin)
    kept, lost = sizes
    if held.size > max(kept, lost):
        raise LogForked(f"{held.origin}: {held.size} entries were seen, the loss is recorded up to {lost}")
    if held.size <= kept:
        extend(Checkpoint(offered.origin, held.size, held.root), offered, proof)
    return offered


def check_opened(epoch: Epoch, index: int, prior: Seen | None, epochs: Sequence[TrustedGateway]) -> None:
    """Show that an entry opens the epoch that the trust list names, upon what was seen.

    Args:
        epoch: as two administrators signed it.
        index: of the entry.
        prior: the last head seen of an epoch before.
        epochs: of this log, from the trust list.

    Raises:
        LogForked: it says something else.
    """
    named = next((one for one in epochs if one.origin == epoch.origin), None)
    if named is None or (named.first_entry, named.lost_size) != (epoch.kept_size, epoch.lost_size):
        raise LogForked(f"{epoch.origin}: the entry and the trust list differ")
    if index != epoch.kept_size or epoch.log_key not in named.log_keys:
        raise LogForked(f"{epoch.origin}: the entry is not where the epoch begins")
    held = prior.checkpoint if prior is not None else None
    if held is not None and epoch.lost_checkpoint:
        lost = epoch.lost_head
        if (held.origin, held.size) == (lost.origin, lost.size) and held.root != lost.root:
            raise LogForked(f"{held.origin}: another head of size {held.size} was seen")
