"""The epochs of a log: one tree of entries that goes on under a new origin and key after a loss.

The first epoch's origin is the gateway's, "970100.yunchuan.example/gateway-1"; later ones end in "/epoch-2"
and so on. An entry names the origin under which it was logged. Invariant: which origin the entry at an index
must name is told by where the epochs begin, never by the entry: what lies at or above the beginning of an
epoch is that epoch's, whatever it says.
Source: docs/adr/0022-log-epochs.md.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_EPOCH = 9999
_EPOCH = re.compile(r"(?P<base>.+)/epoch-(?P<epoch>[1-9][0-9]{0,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where an epoch begins: its number from 1, its origin, and the index of its first entry."""

    epoch: int
    origin: str
    first: int


class Lineage:
    """Where the epochs of one log begin.

    Args:
        starts: of each epoch that is known.
    """

    def __init__(self, starts: Iterable[Start]) -> None:
        self.starts = tuple(sorted(starts, key=lambda start: start.epoch))

    def origin_at(self, index: int, origin: str) -> str:
        """Return the origin that an entry names.

        Args:
            index: of the entry.
            origin: under which the head is signed that the entry was proven by.
        """
        _, newest = split_origin(origin)
        for start in reversed(self.starts):
            if start.epoch <= newest and start.first <= index:
                return start.origin
        return origin


def split_origin(origin: str) -> tuple[str, int]:
    """Return the origin of a log's first epoch, and the number of the epoch that an origin names."""
    found = _EPOCH.fullmatch(origin)
    if found is None or found["epoch"] == "1":
        return origin, 1
    return found["base"], int(found["epoch"])


def origin_of(base: str, epoch: int) -> str:
    """Return the origin of an epoch.

    Args:
        base: origin of the first epoch.
        epoch: from 1 to 9,999.
    """
    return base if epoch == 1 else f"{base}/epoch-{epoch}"
