"""Verifies the sealed segments of a folder: what `walk` then takes the tiles' word for.

1. Segments follow each other from index 0 on and end at or below the head.
2. Rows are gone only from a segment that an entry of the log says is sealed, and entries only from one that
   an entry of the log says is erased; range, digest and kept indexes are those that the entry states.
3. The rows left in a segment are exactly those that are kept for good: whoever deletes one of these too is
   found also after the rest was erased.
4. The file of a segment that is not erased has the digest that was noted, is of that range of that log, and
   states the hashes that the tiles state.
5. With the keys: every chunk opens, every entry in it hashes to what its tile says, and the tags beside it
   are those whose root it holds.
That the entries named in 2 are entries of the log is shown by the walk, which hashes all rows.
"""

import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from google.protobuf.message import DecodeError

from exchange.errors import ExchangeError
from exchange.keystore import KeyStore
from exchange.merkle import leaf_hash
from exchange.segment import CHUNK_ENTRIES, KEY_BYTES, SegmentCipher, place_of
from exchange.v1 import audit_pb2
from gateway.audit.verification.tags import fits
from gateway.storage import segment_table
from gateway.storage.ports import Segment, kept_digest
from gateway.storage.segment_file import Layout, digest_of, file_name, key_name, read_chunk, read_layout
from gateway.storage.segments import SEGMENTS

NoteFault = Callable[[str, str], None]
"""Takes the place and what is wrong there."""
_HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'segment'"


def record_of(segment: Segment) -> audit_pb2.SegmentRecord:
    """Return what the log's entries say of a segment."""
    return audit_pb2.SegmentRecord(
        first=segment.first, end=segment.end, digest=segment.digest, kept=segment.kept
    )


class SealedCheck:
    """Checks the segments of a snapshot.

    Args:
        db: read-only, in a transaction.
        folder: the gateway's.
        origin: of the log.
        keys: opens the files; None where only their digests and the tiles can be compared.
        fault: takes what is wrong.

    Attributes:
        segments: that the log notes, ascending.
        sealed: entries in segments that are not erased.
        erased: entries of erased segments, kept ones included.
    """

    def __init__(
        self, *, db: sqlite3.Connection, folder: Path, origin: str, keys: KeyStore | None, fault: NoteFault
    ) -> None:
        self._db = db
        self._folder = folder
        self._origin = origin
        self._keys = keys
        self._fault = fault
        self.segments: list[Segment] = []
        self.sealed = 0
        self.erased = 0

    def run(self, size: int) -> None:
        """Check all segments of a log of that size."""
        if not self._db.execute(_HAS_TABLE).fetchone():
            return
        try:
            self.segments = segment_table.read(self._db)
        except ExchangeError as error:
            self._fault("segments", error.subject)
            return
        for segment in self.segments:
            place = place_of(segment.first, segment.end)
            try:
                self._check(segment, place, size)
            except (ExchangeError, OSError) as error:
                subject = error.subject if isinstance(error, ExchangeError) else str(error.strerror)
                self._fault(place, subject.removeprefix(f"{place}: "))

    def _check(self, segment: Segment, place: str, size: int) -> None:
        count = segment.end - segment.first
        if segment.end > size:
            self._fault(place, "lies beyond the head")
        if segment.erased:
            self.erased += count
        else:
            self.sealed += count
        if segment.cleared > segment.first or segment.erased:
            self._said(segment, place, audit_pb2.ACT_SEGMENT_SEALED, segment.sealed_entry)
        if segment.erased:
            self._said(segment, place, audit_pb2.ACT_SEGMENT_ERASED, segment.erased_entry)
            if segment.cleared != segment.end:
                self._fault(place, "is erased, but not all of its rows are")
        if segment.cleared == segment.end:
            rows = "SELECT idx FROM entry WHERE idx >= ? AND idx < ?"
            kept = (index for (index,) in self._db.execute(rows, (segment.first, segment.end)))
            if kept_digest(kept) != segment.kept:
                self._fault(place, "the entries kept from it are not those that the log says")
        if not segment.erased:
            self._check_file(segment, place)

    def _said(self, segment: Segment, place: str, act: "audit_pb2.Act.ValueType", index: int | None) -> None:
        """Compare what the log's entry says with what the store notes."""
        row = None
        if index is not None:
            row = self._db.execute("SELECT leaf FROM entry WHERE idx = ?", (index,)).fetchone()
        name = audit_pb2.Act.Name(act)
        if row is None:
            self._fault(place, f"no entry of the log says {name}")
            return
        try:
            said = audit_pb2.AuditEntry.FromString(row[0]).administrative
        except DecodeError:
            said = audit_pb2.AdministrativeEntry()
        if said.act != act or said.segment != record_of(segment):
            self._fault(place, f"entry {index} does not say {name} of it")

    def _check_file(self, segment: Segment, place: str) -> None:
        path = self._folder / SEGMENTS / file_name(segment.first, segment.end)
        layout = read_layout(path, origin=self._origin, first=segment.first, end=segment.end)
        if digest_of(path) != segment.digest:
            self._fault(place, f"{path.name} is not the file that was sealed")
        tiles = [self._tile(n) for n in range(segment.first >> 8, segment.end >> 8)]
        if sha256(b"".join(tiles)).digest() != layout.header.hashes:
            self._fault(place, "differs from what the tiles state")
        if self._keys is not None:
            self._open(segment, place, layout, tiles)

    def _open(self, segment: Segment, place: str, layout: Layout, tiles: list[bytes]) -> None:
        assert self._keys is not None
        key = self._keys.get(key_name(segment.first, segment.end))
        if key is None or len(key) != KEY_BYTES:
            self._fault(place, "its key is gone, and no entry of the log says that it was erased")
            return
        cipher = SegmentCipher(key=key, header=layout.header)
        for number, tile in enumerate(tiles):
            items, first = read_chunk(layout, cipher, number), segment.first + number * CHUNK_ENTRIES
            if b"".join([leaf_hash(item.leaf) for item in items]) != tile:
                self._fault(place, f"entries {first} to {first + CHUNK_ENTRIES - 1} differ from their tile")
            for index, item in enumerate(items, first):
                if not fits(item.leaf, b"".join(item.beside)):
                    self._fault(
                        f"entry {index}", "the tags sealed beside it are not those whose root it holds"
                    )

    def _tile(self, n: int) -> bytes:
        row = self._db.execute("SELECT data FROM tile WHERE level = 0 AND n = ?", (n,)).fetchone()
        return bytes(row[0]) if row else b""
