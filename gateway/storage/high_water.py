"""The high-water copy: the newest checkpoint in a file beside the log.

Two slots of 4,096 bytes, written in turn and in place, padded with newlines. The file gets its whole length,
synced, when it is made, so a later write changes no metadata and needs no space. Writes are not synced:
the copy guards against a log that is set back, and a power failure can only leave it *older* than the log,
never newer.
"""

import os
from pathlib import Path

from exchange.durable import sync_folder
from exchange.errors import AuditUnavailable

HIGH_WATER = "high-water"
SLOT_BYTES = 4096
SLOTS = 2


class HighWaterFile:
    """Keeps the newest checkpoint in a file (see `HighWater` for the contract).

    Args:
        path: the file; its folder exists when the first note is written.
    """

    def __init__(self, *, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._turn = 0

    def read(self) -> list[str] | None:
        """Return the notes kept."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AuditUnavailable(f"high-water: {error.strerror}") from error
        slots = [content[at : at + SLOT_BYTES] for at in range(0, SLOTS * SLOT_BYTES, SLOT_BYTES)]
        texts = [slot.decode("utf-8", "replace").rstrip("\n") for slot in slots]
        return [text + "\n" for text in texts if text]

    def write(self, note: str) -> None:
        """Keep a note in the slot whose turn it is.

        A crash here leaves the other slot, with the note before; a torn slot does not verify and is passed
        over.
        """
        slot = note.encode().ljust(SLOT_BYTES, b"\n")
        if len(slot) > SLOT_BYTES:
            raise AuditUnavailable("high-water: the checkpoint is too long")
        try:
            if self._file is None:
                self._file = self._open(slot)
            if os.pwrite(self._file, slot, self._turn * SLOT_BYTES) != SLOT_BYTES:
                raise AuditUnavailable("high-water: short write")
        except OSError as error:
            raise AuditUnavailable(f"high-water: {error.strerror}") from error
        self._turn = (self._turn + 1) % SLOTS

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, slot: bytes) -> int:
        """Open the file; make it, whole and synced with its first note, where it is absent.

        A crash inside leaves no file, or a draft that the next start writes over.
        """
        if not self._path.exists():
            draft = self._path.with_name(f".{self._path.name}.draft")
            file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, slot * SLOTS)
                os.fsync(file)
            finally:
                os.close(file)
            draft.replace(self._path)
            sync_folder(self._path.parent)
        return os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
