"""Keeps a folder as a static mirror of a log, in the layout that any C2SP reader follows.

1. The newest checkpoint counts when a key of the log signed it.
2. It must extend the checkpoint that the mirror has; a log that is behind it or forked changes nothing.
3. What is new is fetched, verified against the checkpoint, and written file by file, each whole or not at
   all.
4. The checkpoint comes last, when everything that it covers is durable: a crash leaves the mirror of before.
5. Then tiles go that were not full and are now: readers take the full ones in their place.
Entries that were erased at the end of their term are left out; their hashes stay. Files of entries are their
owner's alone, all others everybody's.
Source: c2sp.org/tlog-tiles, c2sp.org/tlog-checkpoint.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exchange.checkpoint import MAX_NOTE_CHARS, Checkpoint, open_checkpoint
from exchange.durable import replace_file, sync_folder
from exchange.errors import (
    BadConfiguration,
    EntryErased,
    ReceiptBroken,
    StoreDamaged,
    UnknownEntry,
    WrongState,
)
from exchange.lineage import split_origin
from exchange.tile_reader import Fetch, TiledTree, fetch_checkpoint
from exchange.tlog_tiles import (
    CHECKPOINT,
    MAX_BUNDLE_BYTES,
    TILE_HASHES,
    EntryBundle,
    HashTile,
    bundle_in,
    bundles_between,
    tiles_between,
)

LOCK = ".export.lock"
OPEN_MODE = 0o644
ENTRY_MODE = 0o600
REPORT_EVERY = 256

Progress = Callable[[int, int], None]
"""Told how many entries of the log are mirrored so far, and how many there will be."""


@dataclass(slots=True, kw_only=True)
class Exported:
    """What an export did.

    Attributes:
        head: what the mirror states now.
        old_size: how many entries it stated before.
        tiles, bundles: how many files of each were written.
        erased: how many entry bundles the log no longer has.
    """

    head: Checkpoint
    old_size: int
    tiles: int = 0
    bundles: int = 0
    erased: int = 0


def export_tiles(
    folder: Path,
    *,
    fetch: Fetch,
    origin: str,
    log_keys: Sequence[bytes],
    entries: bool,
    progress: Progress = lambda done, size: None,
) -> Exported:
    """Bring a mirror up to date; the folder is made where it is missing.

    Args:
        folder: the mirror.
        fetch: reaches the log.
        origin: the log expected.
        log_keys: its Ed25519 keys, 32 bytes each.
        entries: whether entry bundles are mirrored, too; those left out before are then fetched.
        progress: told now and then.

    Raises:
        LogBehind, LogForked: the log does not extend what the mirror has; nothing was changed.
        ReceiptBroken: something that the log serves does not verify.
        StoreDamaged: the mirror's checkpoint is none of this log's.
        BadConfiguration: the folder cannot be written, or mirrors an earlier epoch of the log.
        WrongState: another export is writing it.
        ExchangeError: whatever `fetch` raises.
    """
    try:
        with _alone(folder):
            mirror = _Mirror(folder, fetch, origin, log_keys)
            return mirror.update(entries=entries, progress=progress)
    except OSError as error:
        raise BadConfiguration(f"{folder}: {error.strerror}") from error


def mirror_fetch(folder: Path) -> Fetch:
    """Return what reads a mirror, for whoever verifies one."""

    def fetch(path: str) -> bytes:
        try:
            with (folder / path).open("rb") as file:
                return file.read(MAX_BUNDLE_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownEntry(path) from None

    return fetch


class _Mirror:
    """A mirror that is being written."""

    def __init__(self, folder: Path, fetch: Fetch, origin: str, log_keys: Sequence[bytes]) -> None:
        self._folder = folder
        self._fetch = fetch
        self._origin = origin
        self._log_keys = log_keys
        self._touched = {folder}

    def update(self, *, entries: bool, progress: Progress) -> Exported:
        head, note = fetch_checkpoint(self._fetch, origin=self._origin, log_keys=self._log_keys)
        old = self._own_head()
        tree = TiledTree(fetch=self._fetch, head=head)
        tree.consistency(old)
        done = Exported(head=head, old_size=old.size)
        for tile in tiles_between(old.size, head.size):
            self._write(tile.path, tree.tile(tile), OPEN_MODE)
            done.tiles += 1
            if tile.level == 0:
                if entries:
                    self._bundle(tree, bundle_in(tile.n, head.size), done)
                if not tile.n % REPORT_EVERY:
                    progress((tile.n << 8) + tile.width, head.size)
        if entries:
            self._left_out(tree, old, done)
        # A crash before this line leaves the mirror of before, with files that its checkpoint does not cover.
        for folder in self._touched:
            sync_folder(folder)
        replace_file(self._folder / CHECKPOINT, note.encode(), mode=OPEN_MODE)
        # A crash after it leaves tiles that nobody needs and nobody trips over.
        self._tidy(old.size, head.size)
        return done

    def _own_head(self) -> Checkpoint:
        """Return the head that the mirror states; an empty log's where it is new."""
        try:
            with (self._folder / CHECKPOINT).open("rb") as file:
                note = file.read(4 * MAX_NOTE_CHARS).decode(errors="replace")
        except FileNotFoundError:
            return Checkpoint(self._origin, 0, b"")
        mirrored = note.partition("\n")[0]
        if mirrored != self._origin and split_origin(mirrored)[0] == split_origin(self._origin)[0]:
            # An earlier epoch: left as it is, for it may be the only copy of what was lost.
            raise BadConfiguration(f"{self._folder} is for {mirrored}; the log is {self._origin} now")
        try:
            return open_checkpoint(note, origin=self._origin, log_keys=self._log_keys)
        except ReceiptBroken as error:
            raise StoreDamaged(f"{self._folder / CHECKPOINT}") from error

    def _bundle(self, tree: TiledTree, bundle: EntryBundle, done: Exported) -> bool:
        """Mirror a bundle; return whether the log still has it."""
        try:
            content, _ = tree.bundle(bundle)
        except EntryErased:
            done.erased += 1
            return False
        self._write(bundle.path, content, ENTRY_MODE)
        done.bundles += 1
        return True

    def _left_out(self, tree: TiledTree, old: Checkpoint, done: Exported) -> None:
        """Mirror bundles that an earlier export left out, the newest first.

        Erasure goes by age: what is older than an erased bundle is erased, too.
        """
        whole = old.size - old.size % TILE_HASHES if old.size < tree.head.size else old.size
        for bundle in reversed(list(bundles_between(0, whole))):
            if not (self._folder / bundle.path).exists() and not self._bundle(tree, bundle, done):
                return

    def _write(self, path: str, content: bytes, mode: int) -> None:
        """Write a file whole or not at all; its name is durable when all are (`update`)."""
        target = self._folder / path
        if target.parent not in self._touched:
            target.parent.mkdir(parents=True, exist_ok=True)
            depth = len(target.relative_to(self._folder).parts) - 1
            self._touched.update(target.parents[:depth])
        draft = target.with_name(f".{target.name}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the process's mask is
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)

    def _tidy(self, old_size: int, size: int) -> None:
        parts: list[HashTile | EntryBundle] = [
            *tiles_between(old_size, size),
            *bundles_between(old_size, size),
        ]
        for part in parts:
            if part.width == TILE_HASHES and (self._folder / part.path).exists():
                shutil.rmtree(self._folder / f"{part.path}.p", ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the mirror's lock."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise WrongState(f"{folder}: another export is writing it") from None
    finally:
        os.close(lock)
