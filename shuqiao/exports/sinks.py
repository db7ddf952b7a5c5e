"""Where exported records go: files that only grow, folders of Parquet parts, standard output.

A sink takes records in order and makes them durable at `settle`; only after that is the place kept. What a
crash leaves beyond the kept place is cut off at the next start, so that a file holds each record once.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Protocol

from exchange.errors import BadConfiguration
from shuqiao.exports import columns, ocsf
from shuqiao.exports.records import Record

Lines = Callable[[Record], str]
"""Returns the lines of one record, each with its end."""


class Sink(Protocol):
    """Takes records.

    Attributes:
        settle_after: how many records may be taken before they are settled.
        settle_s: after how many seconds they are settled at the latest, while entries are followed.
        lags: whether only the next settling shows that the one before has arrived.
    """

    settle_after: int
    settle_s: float
    lags: bool

    def open(self, length: int) -> None:
        """Begin, or go on after so many bytes; 0 for the beginning.

        Raises:
            BadConfiguration: it cannot be written, or there is less than that.
        """
        ...

    def take(self, records: Sequence[Record]) -> None:
        """Take records in order.

        Raises:
            SinkAway, BadConfiguration: it cannot.
        """
        ...

    def settle(self, *, final: bool) -> int:
        """Make durable what was taken; return how many bytes there are now, 0 where that means nothing.

        Args:
            final: whether nothing comes after it; then it has arrived on return.

        Raises:
            SinkAway, BadConfiguration: it cannot.
        """
        ...

    def close(self) -> None:
        """Let go; may be called twice."""
        ...


class FileSink:
    """A file of lines.

    Args:
        path: made where it is absent.
        lines: of a record.
        head: the first line of a new file, with its end.
    """

    settle_after, settle_s, lags = 4096, 1.0, False

    def __init__(self, path: Path, lines: Lines, *, head: str = "") -> None:
        self._path = path
        self._lines = lines
        self._head = head
        self._file: io.BufferedRandom | None = None

    def open(self, length: int) -> None:
        """Open the file, cut off what a crash left beyond the kept place."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "r+b")
            there = self._file.seek(0, os.SEEK_END)
            if there < length or (there and not length):
                raise BadConfiguration(
                    f"{self._path}: {there} bytes, {length} expected: not what was written"
                )
            self._file.truncate(length)
            self._file.seek(length)
            if not length:
                self._file.write(self._head.encode())
        except OSError as error:
            raise BadConfiguration(f"{self._path}: {error.strerror}") from error

    def take(self, records: Sequence[Record]) -> None:
        """Write the lines of records."""
        try:
            self._opened.write("".join(map(self._lines, records)).encode())
        except OSError as error:
            raise BadConfiguration(f"{self._path}: {error.strerror}") from error

    def settle(self, *, final: bool) -> int:
        """Sync the file."""
        try:
            self._opened.flush()
            os.fsync(self._opened.fileno())
            return self._opened.tell()
        except OSError as error:
            raise BadConfiguration(f"{self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _opened(self) -> io.BufferedRandom:
        assert self._file is not None, "open comes first"
        return self._file


class StreamSink:
    """Lines on a stream, for whoever reads there; nothing to go back to.

    Args:
        stream: standard output.
        lines: of a record.
    """

    settle_after, settle_s, lags = 256, 0.0, False

    def __init__(self, stream: IO[str], lines: Lines) -> None:
        self._stream = stream
        self._lines = lines

    def open(self, length: int) -> None:
        """Nothing is to be opened."""

    def take(self, records: Sequence[Record]) -> None:
        """Write the lines of records."""
        self._stream.write("".join(map(self._lines, records)))

    def settle(self, *, final: bool) -> int:
        """Flush the stream."""
        self._stream.flush()
        return 0

    def close(self) -> None:
        """Nothing is to be closed."""


def ocsf_lines(record: Record) -> str:
    """Return an entry's OCSF events, a line of JSON each."""
    return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in ocsf.events(record))


def csv_line(record: Record) -> str:
    """Return an entry as a line of CSV (RFC 4180)."""
    return _csv(columns.cells(record))


CSV_HEAD = "\ufeff"
"""Before the names of the columns, so that spreadsheets read the file as UTF-8."""


def csv_head() -> str:
    """Return the first line of a CSV file."""
    return CSV_HEAD + _csv(list(columns.COLUMNS))


def _csv(values: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue()
