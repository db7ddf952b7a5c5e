"""The folder `segments/`: sealed files `<first>-<end>.seg`, and their keys in the gateway's key store.

1. Each attempt to write a file draws a key of its own, and the key is durable before the first byte is
   sealed with it: a key never seals two files.
2. Opened chunks are cached up to a number of bytes. May be used from several threads.
"""

import threading
from collections import OrderedDict
from pathlib import Path

from exchange.clock import Random, system_random
from exchange.durable import sync_folder
from exchange.errors import AuditUnavailable, StoreDamaged
from exchange.keystore import KeyStore
from exchange.segment import KEY_BYTES, SALT_BYTES, Header, Item, SegmentCipher, place_of
from gateway.storage.segment_file import (
    Layout,
    SegmentDraft,
    digest_of,
    file_name,
    key_name,
    read_chunk,
    read_layout,
)

SEGMENTS = "segments"
MAX_CACHED_BYTES = 16 * 1024 * 1024
MAX_OPEN = 16


class SegmentFiles:
    """Writes, reads and erases the sealed files of one log.

    Args:
        folder: where `segments/` is, made when the first file is written.
        keys: the gateway's key store.
        origin: of the log.
        random: where keys and salts come from.
    """

    def __init__(
        self,
        *,
        folder: Path,
        keys: KeyStore,
        origin: str,
        random: Random = system_random,
    ) -> None:
        self._folder = folder
        self._keys = keys
        self._origin = origin
        self._random = random
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
        while len(self._chunks) > 1 and sum(self._sizes.values()) > MAX_CACHED_BYTES:
            oldest, _ = self._chunks.popitem(last=False)
            del self._sizes[oldest]
