"""Which ranges of the log are sealed: the table `segment`, and a copy of it in memory for readers.

What other tables keep beside an entry (`beside`: an index and one value, any number per entry) travels into
the segment with it.
"""

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from exchange.errors import StoreDamaged
from exchange.segment import CHUNK_ENTRIES, Item
from gateway.storage.ports import Gap, Segment
from gateway.storage.segments import SegmentFiles

_COLUMNS = "first, end, digest, kept, newest_ms, cleared, sealed_entry, erased_entry, gone"
_HAS_BESIDE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'beside'"


def read(db: sqlite3.Connection) -> list[Segment]:
    """Return all segments, ascending.

    Raises:
        StoreDamaged: they do not follow each other from 0 on.
    """
    segments, expected = [], 0
    for row in db.execute(f"SELECT {_COLUMNS} FROM segment ORDER BY first"):  # noqa: S608  constants
        segment = Segment(
            first=row[0],
            end=row[1],
            digest=row[2],
            kept=row[3],
            newest_ms=row[4],
            cleared=row[5],
            sealed_entry=row[6],
            erased_entry=row[7],
            gone=bool(row[8]),
        )
        if segment.first != expected or not segment.first < segment.end:
            raise StoreDamaged(f"segment {segment.first}-{segment.end} does not follow {expected}")
        expected = segment.end
        segments.append(segment)
    return segments


def put(db: sqlite3.Connection, segment: Segment) -> None:
    """Write one segment's state."""
    row = (
        segment.first,
        segment.end,
        segment.digest,
        segment.kept,
        segment.newest_ms,
        segment.cleared,
        segment.sealed_entry,
        segment.erased_entry,
        segment.gone,
    )
    sql = f"INSERT OR REPLACE INTO segment ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  constants
    db.execute(sql, row)


def cleared_to(segment: Segment, end: int) -> Segment:
    """Return a segment whose rows before `end` are removed."""
    return replace(segment, cleared=end)


def clear(db: sqlite3.Connection, segment: Segment, end: int, kept: Collection[int]) -> None:
    """Remove rows that are in a segment."""
    gone = [(index,) for index in range(segment.cleared, end) if index not in kept]
    db.executemany("DELETE FROM entry WHERE idx = ?", gone)
    if db.execute(_HAS_BESIDE).fetchone():
        db.execute("DELETE FROM beside WHERE idx >= ? AND idx < ?", (segment.cleared, end))
    put(db, cleared_to(segment, end))


def read_beside(db: sqlite3.Connection, first: int, end: int) -> Mapping[int, Sequence[bytes]]:
    """Return what is kept beside entries, by index, in the order it was added."""
    found: dict[int, list[bytes]] = defaultdict(list)
    if db.execute(_HAS_BESIDE).fetchone():
        for row in db.execute("SELECT * FROM beside WHERE idx >= ? AND idx < ? ORDER BY rowid", (first, end)):
            found[row[0]].append(row[1])
    return found


class SegmentBook:
    """The segments as readers see them.

    Args:
        files: the sealed files; None where nobody may open them.
    """

    def __init__(self, *, files: SegmentFiles | None) -> None:
        self._files = files
        self._segments: tuple[Segment, ...] = ()
        self._gaps: tuple[Gap, ...] = ()

    @property
    def segments(self) -> Sequence[Segment]:
        """What is sealed or was, ascending."""
        return self._segments

    @property
    def gaps(self) -> Sequence[Gap]:
        """What was erased, ascending, neighbours joined."""
        return self._gaps

    def load(self, db: sqlite3.Connection) -> None:
        """Read the table."""
        self._take(read(db))

    def put(self, segment: Segment) -> None:
        """Take over a segment's state."""
        kept = [held for held in self._segments if held.first != segment.first]
        self._take(sorted([*kept, segment], key=lambda held: held.first))

    def covers(self, index: int) -> bool:
        """Return whether an entry was sealed."""
        return bool(self._segments) and index < self._segments[-1].end

    def weave(self, rows: Mapping[int, bytes], first: int, count: int) -> list[bytes]:
        """Return leaves from rows and segments, in order, up to the first that is in neither.

        Raises:
            StoreDamaged, AuditUnavailable: a segment cannot be read.
        """
        leaves = []
        for index in range(first, first + count):
            leaf = rows.get(index)
            if leaf is None:
                item = self._item(index)
                if item is None:
                    break
                leaf = item.leaf
            leaves.append(leaf)
        return leaves

    def beside(self, index: int) -> Sequence[bytes]:
        """Return what was sealed beside an entry; nothing where it is not sealed."""
        item = self._item(index)
        return item.beside if item else ()

    def _item(self, index: int) -> Item | None:
        segments = self._segments
        at = bisect_right(segments, index, key=lambda segment: segment.first) - 1
        if at < 0 or index >= segments[at].end or segments[at].erased:
            return None
        segment = segments[at]
        if self._files is None:
            raise StoreDamaged(f"segment {segment.first}-{segment.end}: no keys to read it with")
        number, place = divmod(index - segment.first, CHUNK_ENTRIES)
        return self._files.chunk(segment.first, segment.end, number)[place]

    def _take(self, segments: Sequence[Segment]) -> None:
        gaps: list[Gap] = []
        for segment in segments:
            if segment.erased:
                joins = bool(gaps) and gaps[-1].end == segment.first
                gaps.append(Gap(gaps.pop().first if joins else segment.first, segment.end))
        self._segments, self._gaps = tuple(segments), tuple(gaps)
