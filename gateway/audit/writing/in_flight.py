"""A group on its way: signed, staged with the store, and not known to be durable."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exchange.checkpoint import Checkpoint, LogSigner
from exchange.merkle import Growth, leaf_hash
from gateway.audit.log.logged import Logged
from gateway.audit.log.tree import LogTree
from gateway.audit.writing.groups import Submission
from gateway.storage.ports import Group, QuotaKey, StoredHead

Taken = Sequence[tuple[Submission, Sequence[bytes]]]
"""The leaves of a group, by submission, as `Line.take` returns them."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A group that was signed and is not known to be durable.

    Attributes:
        parts: the submissions in it, each with how many of its leaves.
        growth: of the tree, by these leaves.
        head: the head after them, and `note`, its signed form: neither may leave before the commit.
        beside: per leaf what is kept beside it, empty for nothing.
        quotas: how many of the leaves count against each quota.
    """

    parts: Sequence[tuple[Submission, int]]
    leaves: Sequence[bytes]
    growth: Growth
    head: Checkpoint
    note: str
    beside: Sequence[bytes]
    quotas: Mapping[QuotaKey, int]

    @property
    def first(self) -> int:
        """Index of the first leaf."""
        return self.growth.size - len(self.leaves)

    def places(self) -> list[tuple[Submission, list[Logged]]]:
        """Return each submission's part of the places."""
        note = self.note
        logged = [Logged(index, path, note) for index, path in enumerate(self.growth.paths, self.first)]
        at, divided = 0, []
        for submission, count in self.parts:
            divided.append((submission, logged[at : at + count]))
            at += count
        return divided

    def stored(self, tree: LogTree) -> Group:
        """Return the group as the store takes it.

        Args:
            tree: as it was before the group.
        """
        return Group(
            first=self.first,
            leaves=self.leaves,
            tiles=tree.filled(self.growth),
            head=StoredHead(size=self.head.size, root=self.head.root, checkpoint=self.note),
            beside={index: extra for index, extra in enumerate(self.beside, self.first) if extra},
            quotas=self.quotas,
        )


def signed(taken: Taken, tree: LogTree, signer: LogSigner) -> InFlight:
    """Return a group with the signed head that the log has once it is durable; nothing is written yet.

    Args:
        taken: at least one leaf.
        tree: the log's as it is durable; it does not change.
        signer: the log's key.
    """
    leaves = [leaf for _, part in taken for leaf in part]
    growth = tree.grow([leaf_hash(leaf) for leaf in leaves])
    head = Checkpoint(signer.origin, growth.size, growth.root)
    parts = [(submission, len(part)) for submission, part in taken]
    beside = [extra for submission, part in taken for extra in submission.beside_last(len(part))]
    return InFlight(parts, leaves, growth, head, signer.sign(head), beside, _counted(taken))


def _counted(taken: Taken) -> Mapping[QuotaKey, int]:
    """Return how many of the leaves that were just taken count against each quota."""
    counts: Counter[QuotaKey] = Counter()
    for submission, part in taken:
        for keys in submission.charges_last(len(part)):
            if keys:
                counts.update(keys)
    return counts
