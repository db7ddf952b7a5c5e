"""Verifies the tags that are kept beside entries: a subject's trace loses nothing in silence.

An entry holds the root of its tags, so tags that were altered, added or taken away beside it are found. To
keep pace with the hashing an entry is parsed only where its bytes do not hold the root that the tags lead to,
or hold what may be one though there are no tags.
"""

import sqlite3
from collections.abc import Callable, Iterable

from google.protobuf.message import DecodeError

from exchange.errors import Malformed, StoreDamaged
from exchange.subject_tags import TAG_BYTES, split_tags, tag_root
from exchange.v1 import audit_pb2
from gateway.storage.segment_table import read_beside
from gateway.subject_tags import check_list

_ROOT = audit_pb2.ExchangeEntry(tag_root=bytes(TAG_BYTES)).SerializeToString()[:-TAG_BYTES]
"""What stands before the root in an entry's bytes."""
_HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'beside'"
_BEYOND = "SELECT idx FROM beside WHERE idx < 0 OR idx >= ? ORDER BY idx LIMIT 128"

NoteFault = Callable[[str, str], None]
"""Takes the place and what is wrong there."""


def fits(leaf: bytes, beside: bytes) -> bool:
    """Return whether the tags beside an entry are those whose root it holds.

    Args:
        leaf: the entry's exact bytes; what is no entry at all is not for this module to tell.
        beside: the tags, one after the other; empty for none.
    """
    if not beside and _ROOT not in leaf:
        return True
    try:
        if beside and _ROOT + tag_root(split_tags(beside)) in leaf:
            return True
        check_list(audit_pb2.AuditEntry.FromString(leaf).exchange, beside)
    except (StoreDamaged, Malformed):
        return False
    except DecodeError:
        return True
    return True


class TagCheck:
    """Compares what is beside the entries of a snapshot.

    Args:
        db: read-only, in a transaction.
        fault: takes what is wrong.
    """

    def __init__(self, *, db: sqlite3.Connection, fault: NoteFault) -> None:
        self._db = db
        self._fault = fault

    def check(self, first: int, end: int, entries: Iterable[tuple[int, bytes]]) -> None:
        """Check the entries that are there of a range, by index."""
        beside = dict(read_beside(self._db, first, end))
        for index, leaf in entries:
            if not fits(leaf, b"".join(beside.pop(index, ()))):
                self._fault(f"entry {index}", "the tags beside it are not those whose root it holds")
        for index in beside:
            self._fault(f"entry {index}", "has tags beside it, but is not there")

    def beyond(self, size: int) -> None:
        """Tell of tags beside entries that a log of that size does not have."""
        if self._db.execute(_HAS_TABLE).fetchone():
            for (index,) in self._db.execute(_BEYOND, (size,)):
                self._fault(f"entry {index}", "has tags beside it, but lies beyond the head")
