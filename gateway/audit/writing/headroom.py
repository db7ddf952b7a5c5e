"""How much room the disk has for the log. The last of it is for administrative entries."""

from collections.abc import Callable

from exchange.errors import AuditUnavailable


class Headroom:
    """Measures free space now and then, not at every write.

    Args:
        free_bytes: returns the free space, or raises AuditUnavailable where it cannot be told.
        floor: bytes below which exchanges are refused; administrative entries are below an eighth of it.
    """

    def __init__(self, *, free_bytes: Callable[[], int], floor: int) -> None:
        self._free_bytes = free_bytes
        self._exchanges = floor
        self._administrative = floor // 8
        self._free = 0
        self._written = 0

    def wrote(self, count: int) -> None:
        """Note that so many bytes were written; measure again every sixteenth of the floor."""
        self._written += count
        if self._written > self._exchanges // 16:
            self._measure()

    def check(self, *, administrative: bool = False) -> None:
        """Refuse where too little is left.

        Raises:
            AuditUnavailable: below the floor of exchanges or, administrative entries, below theirs.
        """
        floor = self._administrative if administrative else self._exchanges
        if self._free < floor:
            self._measure()
        if self._free < floor:
            raise AuditUnavailable("disk headroom")

    def told(self, free: int) -> None:
        """Take over how much room somebody else has measured, bytes."""
        self._written, self._free = 0, free

    def _measure(self) -> None:
        try:
            self.told(self._free_bytes())
        except AuditUnavailable:
            # Space that cannot be told counts as none: entries are refused until it can.
            self.told(0)
