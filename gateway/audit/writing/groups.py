"""What waits for the sequencer, in order, and how it is cut into groups.

A submission may be longer than a group: its parts then go into groups that follow each other, and its
`done` is called once, when the last part is durable or the first one failed.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from exchange.errors import ExchangeError, QueueFull
from gateway.audit.log.logged import Logged
from gateway.storage.ports import QuotaKey

Done = Callable[[Sequence[Logged] | ExchangeError], None]
"""Called once, on the event loop: with a place per leaf, all durable, or with what kept them from it."""


@dataclass(slots=True)
class Submission:
    """Leaves that came together.

    Attributes:
        beside: per leaf what is kept beside it, or none at all.
        charges: per leaf the quotas that it counts against, or none at all.
        taken: how many are in groups already.
        settled: whether `done` was called.
        logged: the places of those that are durable.
    """

    leaves: Sequence[bytes]
    done: Done
    beside: Sequence[bytes] = ()
    charges: Sequence[Sequence[QuotaKey]] = ()
    taken: int = 0
    settled: bool = False
    logged: Sequence[Logged] = field(default_factory=list)

    def beside_last(self, count: int) -> Sequence[bytes]:
        """Return what is kept beside the leaves that were taken last, one each."""
        if not self.beside:
            return (b"",) * count
        return self.beside[self.taken - count : self.taken]

    def charges_last(self, count: int) -> Sequence[Sequence[QuotaKey]]:
        """Return the quotas that the leaves that were taken last count against."""
        return self.charges[self.taken - count : self.taken] if self.charges else ()

    def add(self, places: Sequence[Logged]) -> bool:
        """Take the places of a part that is durable; return whether `done` is due."""
        self.logged = [*self.logged, *places] if self.logged else places
        if self.settled or len(self.logged) < len(self.leaves):
            return False
        self.settled = True
        return True


class Line:
    """The submissions that wait, in order of arrival."""

    def __init__(self) -> None:
        self._submissions: deque[Submission] = deque()
        self._entries = 0

    def __len__(self) -> int:
        return self._entries

    def add(self, submission: Submission, *, places: int) -> None:
        """Queue a submission.

        Args:
            submission: none of it taken yet.
            places: how many entries may wait.

        Raises:
            QueueFull: more would wait.
        """
        if self._entries + len(submission.leaves) > places:
            raise QueueFull("audit log")
        self._submissions.append(submission)
        self._entries += len(submission.leaves)

    def take(self, most: int) -> list[tuple[Submission, Sequence[bytes]]]:
        """Take up to `most` leaves from the front, by submission."""
        taken: list[tuple[Submission, Sequence[bytes]]] = []
        while self._submissions and most:
            submission = self._submissions[0]
            part = submission.leaves[submission.taken : submission.taken + most]
            taken.append((submission, part))
            submission.taken += len(part)
            self._entries -= len(part)
            most -= len(part)
            if submission.taken == len(submission.leaves):
                self._submissions.popleft()
        return taken

    def drop_settled(self) -> None:
        """Take out the rest of submissions that failed in part."""
        self._submissions = deque(kept for kept in self._submissions if not kept.settled)
        self._entries = sum(len(kept.leaves) - kept.taken for kept in self._submissions)

    def clear(self) -> list[Submission]:
        """Take everything out."""
        everything = list(self._submissions)
        self._submissions.clear()
        self._entries = 0
        return everything
