"""How much of each quota is used, as the event loop sees it: read once from the store, then counted along.

Each count is kept with the size of the log that it goes with. A group that begins below that size is in the
count already, so none is counted twice and none is left out, whenever the count was read.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from gateway.storage.ports import QuotaKey, Used

MAX_KNOWN = 65_536


class QuotaUse:
    """Counts of the quotas that were asked for last.

    Args:
        read: reads one from the store.
        most: how many are kept in memory.
    """

    def __init__(self, read: Callable[[QuotaKey], Used], *, most: int = MAX_KNOWN) -> None:
        self._read = read
        self._most = most
        self._known: OrderedDict[QuotaKey, Used] = OrderedDict()

    def used(self, key: QuotaKey) -> int:
        """Return how many released exchanges count against a quota; durable ones.

        Raises:
            AuditUnavailable, StoreDamaged: it cannot be read.
        """
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._read(key)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return known.exchanges

    def count(self, first: int, end: int, quotas: Mapping[QuotaKey, int]) -> None:
        """Take over what a durable group counts.

        Args:
            first, end: the group's entries.
            quotas: how many of them count against each quota.
        """
        for key, count in quotas.items():
            known = self._known.get(key)
            if known is not None and known.size <= first:
                self._known[key] = Used(known.exchanges + count, end)

    def forget(self) -> None:
        """Read everything anew: the store was opened again."""
        self._known.clear()
