"""Which trust list counted when: the lists as the log entered them, in its order.

A revocation counts from the entry of the list that first told it. A later one does not void what was signed
before. Where a newer list outside the log's entries revokes something and no entry tells since when, nothing
is claimed about what it signed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from exchange.trust import TrustList


class Since(NamedTuple):
    """The entry of the trust list that first revoked something."""

    entry: int
    time_ms: int


@dataclass(slots=True, kw_only=True)
class Revocations:
    """Folds trust lists.

    Attributes:
        newest: lists that are known from outside the log's entries.
        current: the list entered last; None before the first.
        kids, serials: since when each is revoked, as far as entries tell.
        doubted: how many signatures keys made that are revoked, but not by any list entered so far.
    """

    newest: Sequence[TrustList]
    current: TrustList | None = None
    kids: dict[bytes, Since] = field(default_factory=dict)
    serials: dict[int, Since] = field(default_factory=dict)
    doubted: dict[bytes, int] = field(default_factory=dict)
    _revoked_kids: frozenset[bytes] | None = None

    def enter(self, trust: TrustList, index: int, time_ms: int) -> None:
        """Take over the next list."""
        since = Since(index, time_ms)
        for kid in trust.revoked_kids:
            self.kids.setdefault(kid, since)
        for serial in trust.revoked_serials:
            self.serials.setdefault(serial, since)
        self.current = trust

    def stands(self, kid: bytes, *, from_ms: int) -> bool:
        """Return whether a key was not yet revoked when it signed; notes it where that is in doubt.

        To be asked while the entry that carries the signature is at hand: lists entered before it count.

        Args:
            kid: id of the key, 16 bytes.
            from_ms: the earliest time at which it may have signed, Unix milliseconds.
        """
        since = self.kids.get(kid)
        if since is not None:
            return since.time_ms > from_ms
        if kid in self._newest_kids():
            self.doubted[kid] = self.doubted.get(kid, 0) + 1
        return True

    @property
    def dated(self) -> int:
        """How many signatures were made by keys that an entry revoked afterwards."""
        return sum(count for kid, count in self.doubted.items() if kid in self.kids)

    @property
    def undated(self) -> int:
        """How many signatures are by keys that are revoked, nobody knows since when."""
        return sum(count for kid, count in self.doubted.items() if kid not in self.kids)

    def _newest_kids(self) -> frozenset[bytes]:
        if self._revoked_kids is None:
            self._revoked_kids = frozenset().union(*(trust.revoked_kids for trust in self.newest))
        return self._revoked_kids
