"""Heads of a log that are known from elsewhere: its high-water copy, its witnesses, agents, receipts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exchange.checkpoint import Checkpoint, open_checkpoint
from exchange.errors import BadConfiguration, ExchangeError, ReceiptBroken
from exchange.files import read_bounded
from exchange.receipt import from_tlog_proof
from gateway.audit.witnessing.witnessed_file import WITNESSED
from gateway.storage.high_water import HIGH_WATER, HighWaterFile

MAX_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A head whose signature verified, its note, and where it was found."""

    head: Checkpoint
    note: str
    place: str


def opened_head(note: str, place: str, keys: Mapping[str, Sequence[bytes]]) -> KnownHead | None:
    """Return the head that a note states; None where no key of the log has signed it."""
    origin = note.partition("\n")[0]
    try:
        return KnownHead(open_checkpoint(note, origin=origin, log_keys=keys.get(origin, ())), note, place)
    except ExchangeError:
        return None


def heads_in_folder(folder: Path, keys: Mapping[str, Sequence[bytes]]) -> list[KnownHead]:
    """Return the heads that a gateway's folder keeps beside its log; what does not verify is passed over.

    Args:
        folder: the gateway's.
        keys: Ed25519, 32 bytes each, by origin.
    """
    notes = [(note, HIGH_WATER) for note in HighWaterFile(path=folder / HIGH_WATER).read() or []]
    witnessed = folder / WITNESSED
    if witnessed.is_file():
        notes += [(note, WITNESSED) for note in _notes(witnessed)]
    opened = (opened_head(note, place, keys) for note, place in notes)
    return [head for head in opened if head is not None]


def heads_in_file(path: Path, keys: Mapping[str, Sequence[bytes]]) -> list[KnownHead]:
    """Return the heads of a checkpoint, a receipt file, or an agent's heads.json.

    Args:
        path: the file, at most 4 MiB.
        keys: Ed25519, 32 bytes each, by origin.

    Raises:
        BadConfiguration: it cannot be read, or holds no head that a key of this log has signed.
    """
    opened = (opened_head(note, path.name, keys) for note in _notes(path))
    found = [head for head in opened if head is not None]
    if not found:
        raise BadConfiguration(f"{path}: no head signed by a key of this log")
    return found


def _notes(path: Path) -> list[str]:
    try:
        text = read_bounded(path, MAX_FILE_BYTES).decode()
    except UnicodeDecodeError as error:
        raise BadConfiguration(f"{path}: {type(error).__name__}") from error
    try:
        rows = json.loads(text)
    except ValueError:
        rows = None
    if isinstance(rows, dict):
        return [note for note in rows.values() if isinstance(note, str)]
    try:
        return [from_tlog_proof(text)[1]]
    except ReceiptBroken:
        return [text]
