"""A log in a gateway's folder: `audit.db`, `segments/`, `audit.lock`, `high-water` and `log-key.pub`."""

from pathlib import Path

from exchange.checkpoint import LogSigner
from exchange.errors import StoreDamaged
from exchange.keystore import KeyStore
from exchange.lineage import split_origin
from gateway.audit.log.ancestry import Ancestry
from gateway.audit.log.audit_log import NO_ANCESTRY
from gateway.audit.log.log_keys import LOG_KEY, read_log_keys, write_log_keys
from gateway.audit.writing.sequencer import Sequencer
from gateway.storage.high_water import HIGH_WATER, HighWaterFile
from gateway.storage.segments import SEGMENTS, SegmentFiles
from gateway.storage.sqlite import SqliteAuditStore


def sequencer_in(
    folder: Path,
    *,
    signer: LogSigner,
    files: SegmentFiles | None = None,
    max_queue: int = 16_384,
    min_free_bytes: int = 64 * 1024 * 1024,
    retry_s: float = 1.0,
    ancestry: Ancestry = NO_ANCESTRY,
) -> Sequencer:
    """Return the log of a folder, not open yet; the folder is made where it is absent.

    Args:
        folder: the gateway's.
        signer: the log's keys; their public parts are written to `log-key.pub`.
        files: its sealed segments; None where none is to be read or written.
        max_queue: how many entries may wait.
        min_free_bytes: free space below which exchanges are refused.
        retry_s: seconds between attempts to reload after a write error.
        ancestry: the epochs before, where there are any.

    Raises:
        StoreDamaged: the folder is of another log or key.
        AuditUnavailable: it cannot be written.
    """
    keys = {**ancestry.keys, signer.origin: signer.public_keys}
    held = read_log_keys(folder) if (folder / LOG_KEY).exists() else {}
    if any(not set(public) & set(keys.get(origin, ())) for origin, public in held.items()):
        raise StoreDamaged(f"{LOG_KEY} is of another log or key")
    write_log_keys(folder, keys)
    return Sequencer(
        store=SqliteAuditStore(folder=folder, files=files),
        high_water=HighWaterFile(path=folder / HIGH_WATER),
        signer=signer,
        max_queue=max_queue,
        min_free_bytes=min_free_bytes,
        retry_s=retry_s,
        ancestry=ancestry,
    )


def segments_in(folder: Path, *, origin: str, keys: KeyStore) -> SegmentFiles:
    """Return the sealed files of a gateway's folder; they name the log by its first epoch, also later on."""
    base, _ = split_origin(origin)
    return SegmentFiles(folder=folder / SEGMENTS, keys=keys, origin=base)
