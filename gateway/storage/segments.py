"""The folder `segments/`: sealed files `<first>-<end>.seg`, and their keys in the gateway's key store.

1. A file gets its name only once its whole content is synced; the name is synced before anybody is told.
2. Each attempt to write a file draws a key of its own, and the key is durable before the first byte is
   sealed with it: a key never seals two files.
3. Opened chunks are cached up to a number of bytes. May be used from several threads.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from exchange.clock import Random, system_random
from exchange.durable import sync_folder
from exchange.errors import AuditUnavailable, StoreDamaged
from exchange.keystore import KeyStore
from exchange.segment import (
    KEY_BYTES,
    LENGTH_BYTES,
    MAX_HEADER_BYTES,
    SALT_BYTES,
    Header,
    Item,
    SegmentCipher,
    chunk_places,
    pack_table,
    place_of,
    read_header,
)

SEGMENTS = "segments"
SUFFIX = ".seg"
MAX_CACHED_BYTES = 16 * 1024 * 1024
MAX_OPEN = 16
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


class SegmentFiles:
    """Writes, reads and erases the sealed files of one log.

    Args:
        folder: where `segments/` is, made when the first file is written.
        keys: the gateway's key store.
        origin: of the log.
        random: where keys and salts come from.
        max_cached_bytes: of opened chunks.
    """

    def __init__(
        self,
        *,
        folder: Path,
        keys: KeyStore,
        origin: str,
        random: Random = system_random,
        max_cached_bytes: int = MAX_CACHED_BYTES,
    ) -> None:
        self._folder = folder
        self._keys = keys
        self._origin = origin
        self._random = random
        self._max_cached_bytes = max_cached_bytes
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[int, int], tuple[Layout, SegmentCipher]] = OrderedDict()
        self._chunks: OrderedDict[tuple[int, int], list[Item]] = OrderedDict()
        self._sizes: dict[tuple[int, int], int] = {}

    def begin(self, first: int, end: int, hashes: bytes) -> "SegmentDraft":
        """Begin to write a segment that is not noted yet; what an earlier attempt left is replaced.

        Args:
            first: index of the first entry.
            end: index after the last.
            hashes: SHA-256 over the leaf hashes in order, 32 bytes.

        Raises:
            AuditUnavailable: key or file cannot be written now.
        """
        key = self._random(KEY_BYTES)
        header = Header(
            origin=self._origin, first=first, end=end, salt=self._random(SALT_BYTES), hashes=hashes
        )
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A crash from here on leaves a key that opens nothing, or a file that the log does not note: the
            # rows are all there, and the next attempt writes both anew.
            self._keys.put(key_name(first, end), key)
            return SegmentDraft(
                path=self._folder / file_name(first, end),
                cipher=SegmentCipher(key=key, header=header),
                header=header,
            )
        except (OSError, StoreDamaged) as error:
            raise AuditUnavailable(f"{header.place} cannot be written") from error

    def chunk(self, first: int, end: int, number: int) -> list[Item]:
        """Return the 256 entries of a chunk, from the cache where it is there.

        Raises:
            StoreDamaged: file or key is missing, damaged or another's.
            AuditUnavailable: it cannot be read now.
        """
        place = (first, number)
        with self._lock:
            held = self._chunks.get(place)
            if held is not None:
                self._chunks.move_to_end(place)
                return held
            layout, cipher = self._opened(first, end)
        items = read_chunk(layout, cipher, number)
        with self._lock:
            self._keep(place, items)
        return items

    def forget(self, first: int, end: int) -> None:
        """Close a segment: what is read next comes from the disk, with the key that is there now."""
        with self._lock:
            self._open.pop((first, end), None)
            for place in [place for place in self._chunks if place[0] == first]:
                del self._chunks[place], self._sizes[place]

    def erase(self, first: int, end: int) -> None:
        """Erase a segment's key durably, then its file.

        A crash in between leaves a file that nobody can open; the next attempt removes it.

        Raises:
            AuditUnavailable: one of them is not erased for certain; try again.
        """
        self.forget(first, end)
        try:
            self._keys.delete(key_name(first, end))
            path = self._folder / file_name(first, end)
            path.unlink(missing_ok=True)
            if self._folder.is_dir():
                sync_folder(self._folder)
        except (OSError, StoreDamaged) as error:
            raise AuditUnavailable(f"{place_of(first, end)} cannot be erased") from error

    def digest(self, first: int, end: int) -> bytes:
        """Return the SHA-256 of a segment's file as it is on the disk.

        Raises:
            AuditUnavailable: it cannot be read.
        """
        try:
            return digest_of(self._folder / file_name(first, end))
        except OSError as error:
            raise AuditUnavailable(f"{place_of(first, end)}: {error.strerror}") from error

    def _opened(self, first: int, end: int) -> tuple[Layout, SegmentCipher]:
        held = self._open.get((first, end))
        if held is not None:
            self._open.move_to_end((first, end))
            return held
        path = self._folder / file_name(first, end)
        layout = read_layout(path, origin=self._origin, first=first, end=end)
        key = self._keys.get(key_name(first, end))
        if key is None or len(key) != KEY_BYTES:
            raise StoreDamaged(f"{place_of(first, end)}: its key is gone")
        opened = layout, SegmentCipher(key=key, header=layout.header)
        self._open[first, end] = opened
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)
        return opened

    def _keep(self, place: tuple[int, int], items: list[Item]) -> None:
        self._chunks[place] = items
        self._sizes[place] = sum(len(item.leaf) + sum(map(len, item.beside)) for item in items)
        while len(self._chunks) > 1 and sum(self._sizes.values()) > self._max_cached_bytes:
            oldest, _ = self._chunks.popitem(last=False)
            del self._sizes[oldest]


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
