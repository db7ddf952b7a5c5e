"""Reads ranges of the log in which entries may be gone because their term is over."""

from collections.abc import Sequence
from typing import Protocol

from exchange.errors import EntryErased


class Leaves(Protocol):
    """What is needed of the audit log."""

    def leaves(self, first: int, count: int) -> Sequence[bytes]:
        """Return at most `count` leaves from an index on; EntryErased where one of them is gone."""
        ...


def kept_leaves(log: Leaves, first: int, count: int) -> list[tuple[int, bytes]]:
    """Return the entries of a range that are still there, with their indexes.

    A range that has lost some is halved until what is kept stands alone, so an erased range of n entries
    costs some 2n reads at worst.

    Args:
        log: may be used from any thread.
        first: index of the first entry.
        count: of entries; all below the head.

    Raises:
        StoreDamaged: one is missing that was not erased.
        AuditUnavailable: they cannot be read now.
    """
    try:
        return list(enumerate(log.leaves(first, count), first))
    except EntryErased:
        if count <= 1:
            return []
    half = count // 2
    return kept_leaves(log, first, half) + kept_leaves(log, first + half, count - half)
