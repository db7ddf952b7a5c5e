"""Takes over an epoch that two people opened into a stopped gateway's folder.

What they signed is compared with the folder; the new state counts from the moment it is on disk. Entries
beyond what is kept are no longer part of the log; the database that holds them is kept beside it. A
crash at any line leaves the log as it was, or one that opening again completes.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from exchange.checkpoint import Checkpoint, LogSigner
from exchange.durable import sync_folder
from exchange.errors import AuditUnavailable, LogForked, StoreDamaged, WrongState
from exchange.identity import Identity
from exchange.keystore import KeyStore
from exchange.lineage import split_origin
from exchange.log_keys import Epoch, check_age, check_opening
from exchange.v1 import common_pb2
from gateway.audit.epochs.log_folder import (
    STEP,
    LogFolder,
    hashes_of,
    opened_store,
    roots_of,
    segments_within,
)
from gateway.audit.epochs.log_state import (
    FIRST_KEY,
    SIGNING,
    Ended,
    HeldKey,
    LogState,
    erase_past,
    save_state,
    signer_of,
)
from gateway.audit.log.tree import LogTree
from gateway.audit.verification.verify import verify_folder
from gateway.storage.ports import Group, StoredHead
from gateway.storage.sqlite import DATABASE, SqliteAuditStore

DRAFT = ".epoch-draft"
_STORED = re.compile(r"entr|tile")


def open_epoch(
    log: LogFolder, statements: Sequence[common_pb2.Statement], *, now_ms: int
) -> tuple[Epoch, tuple[Identity, Identity]]:
    """Take over an epoch that two administrators opened; the next start goes on under it.

    Args:
        log: the folder; no gateway runs on it.
        statements: one LogEpochBody, signed by each.
        now_ms: Unix milliseconds.

    Returns:
        The epoch, and who opened it.

    Raises:
        ExchangeError: as `check_opening` and `check_age`.
        WrongState: a gateway runs on the folder, or the epoch is not the next one of this log: an old file.
        LogForked: the entries that are there are not those that were to be kept.
        StoreDamaged: the key store does not hold the epoch's key, or it cuts through what is sealed.
    """
    epoch, people = check_opening(statements, log.anchor, at_ms=now_ms, trust=log.trust)
    state = log.state
    repeated = state.opened is not None and state.opened.body == epoch.body
    if not repeated:
        check_age(epoch, now_ms)
        state = _next_state(log, epoch, statements)
    with opened_store(log.folder) as store:
        stored = store.open()
        _check_kept(store, stored, epoch)
        rebuilt = stored is not None and not _begun(stored, epoch) and _needs_rebuilding(log, stored, epoch)
        if rebuilt:
            _rebuild(log.folder, store, epoch, signer_of(state, log.keystore))
        # The state is the one point at which the epoch counts. A crash before it leaves the log as it was;
        # one after it, a log that is longer than what was kept and refuses to open until this is done again.
        save_state(log.folder, state)
    if rebuilt:
        _put_in_place(log.folder, split_origin(epoch.previous_origin)[1])
    erase_past(state, log.keystore)
    return epoch, people


def _next_state(log: LogFolder, epoch: Epoch, statements: Sequence[common_pb2.Statement]) -> LogState:
    old = log.state
    if split_origin(epoch.origin)[0] != split_origin(old.origin)[0]:
        raise WrongState(f"{epoch.origin} is another gateway's")
    if epoch.epoch <= old.epoch or epoch.previous_origin != log.previous:
        raise WrongState(f"{epoch.origin} does not follow {log.previous}")
    return LogState(
        origin=epoch.origin,
        keys=(_held_key(log.keystore, epoch.log_key.hex()),),
        first=epoch.kept_size,
        opening=tuple(one.SerializeToString().hex() for one in statements),
        ended=(*old.ended, Ended(old.origin, old.keys, old.first)),
    )


def _held_key(keystore: KeyStore, public: str) -> HeldKey:
    for name in keystore.names():
        if name.startswith(f"{FIRST_KEY}-"):
            held = HeldKey(name, public, SIGNING)
            try:
                signer_of(LogState(origin=FIRST_KEY, keys=(held,)), keystore)
            except StoreDamaged:
                continue
            return held
    raise StoreDamaged("the key store does not hold the key of this epoch: it was proposed elsewhere")


def _check_kept(store: SqliteAuditStore, stored: StoredHead | None, epoch: Epoch) -> None:
    size = stored.size if stored else 0
    if size < epoch.kept_size:
        raise LogForked(f"{epoch.kept_size} entries were to be kept, {size} are there")
    segments_within(store.segments(), epoch.kept_size)
    if roots_of(store, epoch.kept_size, ())[epoch.kept_size] != epoch.kept_root:
        raise LogForked(f"the first {epoch.kept_size} entries are not those that were to be kept")


def _begun(stored: StoredHead, epoch: Epoch) -> bool:
    return stored.checkpoint.partition("\n")[0] == epoch.origin


def _needs_rebuilding(log: LogFolder, stored: StoredHead, epoch: Epoch) -> bool:
    """Return whether there is more than what is kept, or tiles and entries do not agree."""
    places = [fault.place for fault in verify_folder(log.folder, log.keys).faults]
    return stored.size > epoch.kept_size or any(_STORED.match(place) for place in places)


def _rebuild(folder: Path, store: SqliteAuditStore, epoch: Epoch, signer: LogSigner) -> None:
    """Write what is kept of the log, and nothing else, to a new database beside it.

    Tiles are made anew from the entries, or from the old ones where entries are sealed or erased.
    """
    draft = folder / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    with opened_store(draft) as fresh:
        fresh.open()
        tree = LogTree(read_tile=fresh.tile)
        for first in range(0, epoch.kept_size, STEP):
            count = min(STEP, epoch.kept_size - first)
            growth = tree.grow(hashes_of(store, first, count))
            note = signer.sign(Checkpoint(signer.origin, growth.size, growth.root))
            head = StoredHead(size=growth.size, root=growth.root, checkpoint=note)
            fresh.put(*store.taken(first, first + count))
            fresh.stage(Group(first=first, leaves=(), tiles=tree.filled(growth), head=head))
            fresh.commit()
            tree.take_over(growth)
        for segment in segments_within(store.segments(), epoch.kept_size):
            fresh.note(segment)
        # What was released beyond the entries that are kept was released: it counts.
        fresh.put_quotas(store)
        # Closing brings the WAL into the file; what is renamed is whole.


def _put_in_place(folder: Path, old: int) -> None:
    """Put the new database in the old one's place; the old one stays beside it under another name."""
    path, draft = folder / DATABASE, folder / DRAFT
    aside = folder / f"{DATABASE}.epoch-{old}"
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size:
        raise AuditUnavailable(f"{DATABASE}: something else holds the log open")
    if not aside.exists():
        aside.hardlink_to(path)
    for left in (wal, Path(f"{path}-shm")):
        left.unlink(missing_ok=True)
    # A crash before this line leaves the old database, after it the new one; there is never none.
    (draft / DATABASE).replace(path)
    sync_folder(folder)
    shutil.rmtree(draft)
