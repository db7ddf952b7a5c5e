"""A log in a gateway's folder: `audit.db`, `segments/`, `audit.lock`, `high-water` and `log-key.pub`."""

import os
from pathlib import Path

from exchange.checkpoint import LogSigner, parse_verifier_key
from exchange.errors import AuditUnavailable, BadConfiguration, StoreDamaged
from exchange.keystore import KeyStore
from gateway.audit.sequencer import Sequencer
from gateway.storage.high_water import HIGH_WATER, HighWaterFile
from gateway.storage.segments import SEGMENTS, SegmentFiles
from gateway.storage.sqlite import SqliteAuditStore

LOG_KEY = "log-key.pub"
MAX_KEY_BYTES = 4096


def sequencer_in(
    folder: Path,
    *,
    signer: LogSigner,
    files: SegmentFiles | None = None,
    max_queue: int = 16_384,
    min_free_bytes: int = 64 * 1024 * 1024,
    retry_s: float = 1.0,
) -> Sequencer:
    """Return the log of a folder, not open yet; the folder is made where it is absent.

    Args:
        folder: the gateway's.
        signer: the log's key; its public part is written to `log-key.pub`.
        files: its sealed segments; None where none is to be read or written.
        max_queue: how many entries may wait.
        min_free_bytes: free space below which exchanges are refused.
        retry_s: seconds between attempts to reload after a write error.

    Raises:
        StoreDamaged: the folder is of another log or key.
        AuditUnavailable: it cannot be written.
    """
    _publish(folder, signer)
    return Sequencer(
        store=SqliteAuditStore(folder=folder, files=files),
        high_water=HighWaterFile(path=folder / HIGH_WATER),
        signer=signer,
        max_queue=max_queue,
        min_free_bytes=min_free_bytes,
        retry_s=retry_s,
    )


def segments_in(folder: Path, *, origin: str, keys: KeyStore) -> SegmentFiles:
    """Return the sealed files of a gateway's folder."""
    return SegmentFiles(folder=folder / SEGMENTS, keys=keys, origin=origin)


def read_log_key(folder: Path) -> tuple[str, bytes]:
    """Return origin and public key (32 bytes) as a folder states them.

    Raises:
        StoreDamaged: it states none, or not in the right form.
    """
    try:
        with (folder / LOG_KEY).open(encoding="ascii") as file:
            return parse_verifier_key(file.read(MAX_KEY_BYTES))
    except (OSError, ValueError, BadConfiguration) as error:
        raise StoreDamaged(f"{LOG_KEY} is missing or damaged") from error


def _publish(folder: Path, signer: LogSigner) -> None:
    path = folder / LOG_KEY
    if path.exists():
        if read_log_key(folder) != (signer.origin, signer.public_key):
            raise StoreDamaged(f"{LOG_KEY} is of another log or key")
        return
    draft = folder / f".{LOG_KEY}.draft"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="ascii") as file:
            file.write(signer.verifier_key + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A crash before this line leaves a draft that the next start writes over.
        draft.replace(path)
    except (OSError, UnicodeEncodeError) as error:
        raise AuditUnavailable(LOG_KEY) from error
