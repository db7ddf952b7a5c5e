"""What the gateway keeps of its witnesses: `witnessed` and `witness-sizes` in its folder.

`witnessed` is the newest checkpoint that a quorum cosigned, with their signatures: a C2SP note that outside
tools read. Its head is signed by this log's own key, so a log that is behind or beside it has been set back
or forked (see `witnessing`). `witness-sizes` only spares a question: a wrong size costs one.
"""

import json
from pathlib import Path

from exchange.checkpoint import MAX_NOTE_CHARS
from exchange.durable import replace_file
from exchange.errors import AuditUnavailable, StoreDamaged

WITNESSED = "witnessed"
SIZES = "witness-sizes"
MAX_SIZES_BYTES = 65_536


class WitnessedFile:
    """The two files.

    Args:
        folder: the gateway's.
    """

    def __init__(self, *, folder: Path) -> None:
        self._note = folder / WITNESSED
        self._sizes = folder / SIZES

    def read(self) -> str:
        """Return the note kept, "" where none ever was; nothing of it is verified.

        Raises:
            StoreDamaged: it is no text, or too long to be a note.
            AuditUnavailable: it cannot be read.
        """
        raw = _read(self._note, 4 * MAX_NOTE_CHARS)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise StoreDamaged(WITNESSED) from None

    def write(self, note: str) -> None:
        """Keep a note durably in place of the older one; a crash leaves one of the two.

        Raises:
            AuditUnavailable: it could not be written, or is in doubt; either note is good.
        """
        _write(self._note, note.encode())

    def read_sizes(self) -> dict[str, int]:
        """Return the size that each witness cosigned last, by the text of its key; empty where unknown."""
        try:
            told = json.loads(_read(self._sizes, MAX_SIZES_BYTES) or b"{}")
        except (ValueError, StoreDamaged, AuditUnavailable):
            # Only a hint: each witness says in its next answer what it holds.
            return {}
        if not isinstance(told, dict):
            return {}
        return {key: size for key, size in told.items() if type(size) is int and size >= 0}

    def write_sizes(self, sizes: dict[str, int]) -> None:
        """Keep the sizes.

        Raises:
            AuditUnavailable: they could not be written.
        """
        _write(self._sizes, json.dumps(sizes, indent=1).encode())


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise AuditUnavailable(f"{path.name}: {error.strerror}") from error
    if len(raw) > most:
        raise StoreDamaged(path.name)
    return raw


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        raise AuditUnavailable(f"{path.name}: {error.strerror}") from error
