"""A log in a gateway's folder: `audit.db`, `segments/`, `audit.lock`, `high-water` and `log-key.pub`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from exchange.checkpoint import LogSigner, parse_verifier_key, verifier_key
from exchange.durable import replace_file
from exchange.errors import AuditUnavailable, BadConfiguration, StoreDamaged
from exchange.keystore import KeyStore
from exchange.lineage import split_origin
from gateway.audit.log.ancestry import Ancestry
from gateway.audit.log.audit_log import NO_ANCESTRY
from gateway.audit.writing.sequencer import Sequencer
from gateway.storage.high_water import HIGH_WATER, HighWaterFile
from gateway.storage.segments import SEGMENTS, SegmentFiles
from gateway.storage.sqlite import SqliteAuditStore

LOG_KEY = "log-key.pub"
MAX_KEY_BYTES = 256 * 1024


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


def read_log_key(folder: Path) -> tuple[str, bytes]:
    """Return origin and newest public key (32 bytes) of a folder's present epoch.

    Raises:
        StoreDamaged: it states none, or not in the right form.
    """
    origin, public = list(read_log_keys(folder).items())[-1]
    return origin, public[0]


def read_log_keys(folder: Path) -> dict[str, tuple[bytes, ...]]:
    """Return the public keys (32 bytes) that a folder states, by origin.

    Raises:
        StoreDamaged: it states none, or not in the right form.
    """
    keys: dict[str, tuple[bytes, ...]] = {}
    try:
        with (folder / LOG_KEY).open(encoding="ascii") as file:
            lines = file.read(MAX_KEY_BYTES).splitlines()
        for line in lines:
            origin, key = parse_verifier_key(line)
            keys[origin] = (*keys.get(origin, ()), key)
    except (OSError, ValueError, BadConfiguration) as error:
        raise StoreDamaged(f"{LOG_KEY} is missing or damaged") from error
    if not keys:
        raise StoreDamaged(f"{LOG_KEY} is missing or damaged")
    return keys


def write_log_keys(folder: Path, keys: Mapping[str, Sequence[bytes]]) -> None:
    """Write public keys as C2SP text, a line each: the epochs before, then the present one's, newest first.

    Args:
        folder: made where it is absent.
        keys: 32 bytes each, by origin.

    Raises:
        AuditUnavailable: the file cannot be written; what was there stands.
    """
    lines = [verifier_key(origin, key) + "\n" for origin, public in keys.items() for key in public]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / LOG_KEY).exists() and (folder / LOG_KEY).read_text("ascii") == "".join(lines):
            return
        # A crash before it is done leaves the file before; the next start writes it.
        replace_file(folder / LOG_KEY, "".join(lines).encode("ascii"), mode=0o644)
    except (OSError, UnicodeEncodeError) as error:
        raise AuditUnavailable(LOG_KEY) from error
