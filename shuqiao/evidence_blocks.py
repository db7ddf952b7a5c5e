"""Writes the entries of a bundle: runs of neighbours become blocks, each with the edges of its range."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from typing import BinaryIO, NamedTuple, Protocol

from exchange.evidence.building import BundleWriter, block_of
from exchange.evidence.ranges import edges_from_paths
from exchange.evidence.records import Kind
from shuqiao.evidence_source import Entry

BLOCK = 256
BUFFERED_RUNS = 64
BUFFERED_BYTES = 32 * 1024 * 1024
_SPOOLED = struct.Struct(">QI")


class Paths(Protocol):
    """What is needed of the log."""

    def paths(self, indexes: list[int], size: int) -> dict[int, bytes]:
        """Return inclusion proofs by index."""
        ...


class Spool:
    """Selected entries on disk, in order; only their indexes are in memory.

    Args:
        file: empty, read and write.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.indexes: list[int] = []

    def add(self, entry: Entry) -> None:
        """Take the next entry."""
        self._file.write(_SPOOLED.pack(entry.at, len(entry.leaf)) + entry.leaf)
        self.indexes.append(entry.at)

    def read(self) -> Iterator[Entry]:
        """Yield the entries from the first on."""
        self._file.seek(0)
        while head := self._file.read(_SPOOLED.size):
            index, length = _SPOOLED.unpack(head)
            yield Entry(index, self._file.read(length))


class Run(NamedTuple):
    """Entries that follow each other and play one role."""

    first: int
    leaves: list[bytes]
    supporting: bool


@dataclass(slots=True)
class _Buffer:
    """Runs whose proofs are asked for together."""

    runs: list[Run] = field(default_factory=list)
    bytes: int = 0

    @property
    def full(self) -> bool:
        return len(self.runs) >= BUFFERED_RUNS or self.bytes >= BUFFERED_BYTES


def write_blocks(
    writer: BundleWriter, source: Paths, size: int, selected: Iterable[Entry], supporting: Iterable[Entry]
) -> None:
    """Write selected and supporting entries as blocks, in the order of the log.

    Args:
        writer: takes the blocks.
        source: proves them.
        size: of the head that they are proven in.
        selected, supporting: each ascending, none in both.
    """
    buffer, written = _Buffer(), {False: 0, True: 0}
    for run in _runs(selected, supporting):
        buffer.runs.append(run)
        buffer.bytes += sum(map(len, run.leaves))
        if buffer.full:
            _flush(writer, source, size, buffer, written)
            buffer = _Buffer()
    if buffer.runs:
        _flush(writer, source, size, buffer, written)


def _runs(selected: Iterable[Entry], supporting: Iterable[Entry]) -> Iterator[Run]:
    """Part entries into runs that end where the next index, the role or a block of 256 does."""
    marked = merge(
        ((entry.at, False, entry.leaf) for entry in selected),
        ((entry.at, True, entry.leaf) for entry in supporting),
    )
    run: Run | None = None
    for index, role, leaf in marked:
        if run is not None:
            follows = index == run.first + len(run.leaves) and role is run.supporting
            if follows and index % BLOCK:
                run.leaves.append(leaf)
                continue
            yield run
        run = Run(index, [leaf], role)
    if run is not None:
        yield run


def _flush(writer: BundleWriter, source: Paths, size: int, buffer: _Buffer, written: dict[bool, int]) -> None:
    """Write what is buffered; `written` counts the entries of each role."""
    ends = {end for run in buffer.runs for end in (run.first, run.first + len(run.leaves) - 1)}
    paths = source.paths(sorted(ends), size)
    for run in buffer.runs:
        last = run.first + len(run.leaves) - 1
        left, right = edges_from_paths(run.first, paths[run.first], last, paths[last], size)
        block = block_of(
            run.first,
            run.leaves,
            left,
            right,
            supporting=run.supporting,
            ordinal=sum(written.values()),
            peers=written[run.supporting],
        )
        writer.add(Kind.ENTRIES, block)
        written[run.supporting] += len(run.leaves)
