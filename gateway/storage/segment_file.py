"""One sealed file: how it is named, written and read.

A file gets its name only once its whole content is synced; the name is synced before anybody is told.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from exchange.durable import sync_folder
from exchange.errors import AuditUnavailable, StoreDamaged
from exchange.segment import (
    LENGTH_BYTES,
    MAX_HEADER_BYTES,
    Header,
    Item,
    SegmentCipher,
    chunk_places,
    pack_table,
    place_of,
    read_header,
)

SUFFIX = ".seg"
READ_BYTES = 1 << 20


def key_name(first: int, end: int) -> str:
    """Return the name of a segment's key in the key store."""
    return f"segment-{first}-{end}"


def file_name(first: int, end: int) -> str:
    """Return the name of a segment's file."""
    return f"{first}-{end}{SUFFIX}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A segment's file as far as it is readable without a key."""

    path: Path
    header: Header
    places: Sequence[tuple[int, int]]


def read_layout(path: Path, *, origin: str, first: int, end: int) -> Layout:
    """Read header and table of a file and check that they fill it.

    Raises:
        StoreDamaged: it is missing, or not that segment of that log.
        AuditUnavailable: it cannot be read now.
    """
    place = place_of(first, end)
    try:
        with path.open("rb") as file:
            header, header_bytes = read_header(file.read(MAX_HEADER_BYTES))
            if (header.origin, header.first, header.end) != (origin, first, end):
                raise StoreDamaged(f"{place}: the file is {header.place} of {header.origin}")
            size = file.seek(0, os.SEEK_END)
            table_bytes = header.chunks * LENGTH_BYTES
            file.seek(max(0, size - table_bytes))
            places = chunk_places(header, header_bytes, size, file.read(table_bytes))
    except FileNotFoundError:
        raise StoreDamaged(f"{place}: {path.name} is missing") from None
    except OSError as error:
        raise AuditUnavailable(f"{place}: {error.strerror}") from error
    except StoreDamaged as error:
        subject = error.subject if error.subject.startswith(place) else f"{place}: {error.subject}"
        raise StoreDamaged(subject) from None
    return Layout(path=path, header=header, places=places)


def digest_of(path: Path) -> bytes:
    """Return the SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    digest = sha256()
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            digest.update(part)
    return digest.digest()


def read_chunk(layout: Layout, cipher: SegmentCipher, number: int) -> list[Item]:
    """Read and open one chunk.

    Raises:
        StoreDamaged: it does not open.
        AuditUnavailable: it cannot be read now.
    """
    offset, length = layout.places[number]
    try:
        file = os.open(layout.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            sealed = os.pread(file, length, offset)
        finally:
            os.close(file)
    except FileNotFoundError:
        raise StoreDamaged(f"{layout.header.place}: {layout.path.name} is missing") from None
    except OSError as error:
        raise AuditUnavailable(f"{layout.header.place}: {error.strerror}") from error
    return cipher.open(number, sealed)


class SegmentDraft:
    """A segment that is being written, a chunk at a time.

    Args:
        path: the name it gets in the end.
        cipher: seals its chunks.
        header: of the segment.

    Raises:
        OSError: the draft cannot be made.
    """

    def __init__(self, *, path: Path, cipher: SegmentCipher, header: Header) -> None:
        self._path = path
        self._draft = path.with_name(f".{path.name}.draft")
        self._cipher = cipher
        self._header = header
        self._lengths: list[int] = []
        self._digest = sha256()
        file = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(file, "wb")
        self._write(header.to_bytes())

    def add(self, items: Sequence[Item]) -> None:
        """Seal and write the next 256 entries.

        Raises:
            AuditUnavailable: they cannot be written.
        """
        sealed = self._cipher.seal(len(self._lengths), items)
        self._lengths.append(len(sealed))
        self._write(sealed)

    def finish(self) -> bytes:
        """Make the file durable under its name.

        Returns:
            The SHA-256 of what was written, 32 bytes.

        Raises:
            AuditUnavailable: it is not there for certain.
        """
        self._write(pack_table(self._lengths))
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            # A crash before this line leaves a draft that the next attempt writes over.
            self._draft.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise AuditUnavailable(f"{self._header.place}: {error.strerror}") from error
        return self._digest.digest()

    def drop(self) -> None:
        """Give the draft up; does nothing once it is finished."""
        # What cannot be removed now is written over by the next attempt.
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._draft.unlink(missing_ok=True)

    def _write(self, part: bytes) -> None:
        self._digest.update(part)
        try:
            self._file.write(part)
        except OSError as error:
            raise AuditUnavailable(f"{self._header.place}: {error.strerror}") from error
