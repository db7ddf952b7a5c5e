"""What a reader of the log takes along of a range: entries that fit, bounded in number and bytes."""

from gateway import pages


class Takings:
    """Entries that were taken, and how far was looked.

    Args:
        first: index of the first entry of the range.
        most: how many may be taken.

    Attributes:
        indexes, leaves: of what was taken.
        position: index after the last entry that was taken or does not fit.
    """

    def __init__(self, first: int, most: int) -> None:
        self.indexes: list[int] = []
        self.leaves: list[bytes] = []
        self.position = first
        self._most = most
        self._bytes = 0

    def look(self, index: int, leaf: bytes, fits: bool) -> bool:
        """Take the next entry if it fits; return whether to go on.

        Args:
            index: above those before; what lies between was erased.
            leaf: exact bytes.
            fits: whether it is wanted.
        """
        if fits:
            self._bytes += len(leaf)
            if self.leaves and self._bytes > pages.MAX_BYTES:
                return False
            self.indexes.append(index)
            self.leaves.append(leaf)
        self.position = index + 1
        return len(self.leaves) < self._most
