"""Going on after a loss: what two people sign, and how a stopped gateway's folder takes it over.

propose  reads what of the log verifies, finds the newest head that anybody is known to hold, and makes the
         key of the next epoch; the body goes to two administrators
open     compares what they signed with the folder; the new state counts from the moment it is on disk

Entries beyond what is kept are no longer part of the log; the database that holds them is kept beside it
under another name. A crash at any line of `open` leaves the log as it was, or one that `open` completes.
"""

import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exchange import merkle
from exchange.canonical import NONCE_BYTES
from exchange.checkpoint import Checkpoint, LogSigner
from exchange.clock import Clock, Random, system_random
from exchange.durable import sync_folder
from exchange.errors import AuditUnavailable, BadConfiguration, LogForked, StoreDamaged, WrongState
from exchange.identity import Identity
from exchange.keystore import KeyStore
from exchange.lineage import origin_of, split_origin
from exchange.log_keys import Epoch, check_age, check_opening, read_epoch
from exchange.trust import TrustAnchor, TrustList
from exchange.v1 import audit_pb2, common_pb2
from gateway.audit.known_heads import KnownHead, heads_in_file, heads_in_folder, opened_head
from gateway.audit.log_state import (
    FIRST_KEY,
    SIGNING,
    Ended,
    HeldKey,
    LogState,
    erase_past,
    new_key,
    save_state,
    signer_of,
)
from gateway.audit.tree import LogTree
from gateway.audit.verify import Report, verify_folder
from gateway.storage.ports import Group, StoredHead
from gateway.storage.sqlite import DATABASE, SqliteAuditStore

STEP = 4096
DRAFT = ".epoch-draft"
_STORED = re.compile(r"entr|tile")
_ENTRY = re.compile(r"entr(?:y|ies) (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFolder:
    """A gateway's folder, and what its log is signed and verified with.

    Attributes:
        state: as it was loaded.
        trust: the newest trust list that is held.
    """

    folder: Path
    keystore: KeyStore
    state: LogState
    anchor: TrustAnchor
    trust: TrustList | None

    @property
    def keys(self) -> dict[str, tuple[bytes, ...]]:
        """The keys of this log's epochs, by origin: the folder's own and those that the trust list names."""
        keys = self.state.verifying()
        base = split_origin(self.state.origin)[0]
        for origin, one in (self.trust.gateways if self.trust else {}).items():
            if split_origin(origin)[0] == base:
                keys[origin] = tuple(dict.fromkeys([*keys.get(origin, ()), *one.log_keys]))
        return keys

    @property
    def previous(self) -> str:
        """The origin that the region follows now."""
        base = split_origin(self.state.origin)[0]
        live = [
            origin
            for origin, one in (self.trust.gateways if self.trust else {}).items()
            if split_origin(origin)[0] == base and not one.closed
        ]
        return live[0] if live else self.state.origin


def propose(
    log: LogFolder,
    *,
    heads: Sequence[Path],
    note: str,
    keep: int | None,
    clock: Clock,
    random: Random = system_random,
) -> bytes:
    """Return the LogEpochBody that two administrators are to sign.

    Args:
        log: the folder; no gateway runs on it.
        heads: files with heads that others hold: checkpoints, receipts, agents' heads.json.
        note: what happened, in words.
        keep: how many entries to keep; as many as verify where None.
        clock: the time.
        random: for the nonce.

    Raises:
        WrongState: a gateway runs on the folder.
        LogForked: a head that is known is not of the entries that would be kept.
        StoreDamaged: nothing proves the entries; how many to keep must be said.
        BadConfiguration: a file holds no head of this log, or more is to be kept than there is.
    """
    with _opened(log.folder) as store:
        stored = store.open()
        known = heads_in_folder(log.folder, log.keys)
        for path in heads:
            known += heads_in_file(path, log.keys)
        known += _stored_head(stored, log)
        kept = _kept(log, stored, keep)
        roots = _roots(store.leaves, kept, {one.head.size for one in known})
    for one in known:
        if one.head.size <= kept and roots[one.head.size] != one.head.root:
            raise LogForked(f"{one.place}: size {one.head.size} is of other entries; keep fewer (--keep)")
    newest = max(known, key=lambda one: one.head.size, default=None)
    if newest is None or newest.head.size < kept:
        if kept:
            raise StoreDamaged("no signed head covers the entries to be kept")
        newest = None
    number = max(split_origin(log.previous)[1], log.state.epoch) + 1
    body = audit_pb2.LogEpochBody(
        nonce=random(NONCE_BYTES),
        origin=origin_of(split_origin(log.state.origin)[0], number),
        previous_origin=log.previous,
        epoch=number,
        kept_size=kept,
        kept_root=roots[kept],
        lost_size=newest.head.size if newest else 0,
        lost_checkpoint=newest.note if newest else "",
        log_key=bytes.fromhex(new_key(log.keystore, log.state).public),
        note=note,
    )
    body.issued_at.FromMilliseconds(clock.now_ms())
    raw = body.SerializeToString()
    read_epoch(raw)
    return raw


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
        StoreDamaged: the key store does not hold the epoch's key.
    """
    epoch, people = check_opening(statements, log.anchor, at_ms=now_ms, trust=log.trust)
    state = log.state
    repeated = state.opened is not None and state.opened.body == epoch.body
    if not repeated:
        check_age(epoch, now_ms)
        state = _next_state(log, epoch, statements)
    with _opened(log.folder) as store:
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


def _stored_head(stored: StoredHead | None, log: LogFolder) -> list[KnownHead]:
    if stored is None:
        return []
    origin = stored.checkpoint.partition("\n")[0]
    found = opened_head(stored.checkpoint, DATABASE, log.keys)
    if found is None:
        raise StoreDamaged(f"head: not signed by a key of {origin}")
    return [found]


def _kept(log: LogFolder, stored: StoredHead | None, keep: int | None) -> int:
    size = stored.size if stored else 0
    if keep is not None:
        if not 0 <= keep <= size:
            raise BadConfiguration(f"--keep {keep}: there are {size} entries")
        return keep
    report = verify_folder(log.folder, log.keys) if stored else Report(key_source="")
    bad = [int(found[1]) for fault in report.faults if (found := _ENTRY.match(fault.place))]
    if any(fault.place == "head" for fault in report.faults):
        raise StoreDamaged("the entries do not lead to the head; say how many to keep (--keep)")
    return min([size, *bad])


def _roots(leaves: Callable[[int, int], list[bytes]], end: int, wanted: Collection[int]) -> dict[int, bytes]:
    """Return the roots over the first entries, at the sizes that are wanted up to the end, and at the end."""
    edge: Mapping[int, bytes] = {}
    roots, at = {0: merkle.EMPTY_ROOT}, 0
    for stop in sorted({end, *(size for size in wanted if 0 < size < end)}):
        while at < stop:
            count = min(STEP, stop - at)
            step = leaves(at, count)
            if len(step) != count:
                raise StoreDamaged(f"entry {at + len(step)} is missing")
            growth = merkle.grow(at, edge, [merkle.leaf_hash(leaf) for leaf in step])
            at, edge, roots[growth.size] = growth.size, growth.edge, growth.root
    return roots


def _check_kept(store: SqliteAuditStore, stored: StoredHead | None, epoch: Epoch) -> None:
    size = stored.size if stored else 0
    if size < epoch.kept_size:
        raise LogForked(f"{epoch.kept_size} entries were to be kept, {size} are there")
    if _roots(store.leaves, epoch.kept_size, ())[epoch.kept_size] != epoch.kept_root:
        raise LogForked(f"the first {epoch.kept_size} entries are not those that were to be kept")


def _begun(stored: StoredHead, epoch: Epoch) -> bool:
    return stored.checkpoint.partition("\n")[0] == epoch.origin


def _needs_rebuilding(log: LogFolder, stored: StoredHead, epoch: Epoch) -> bool:
    """Return whether there is more than what is kept, or tiles and entries do not agree."""
    places = [fault.place for fault in verify_folder(log.folder, log.keys).faults]
    return stored.size > epoch.kept_size or any(_STORED.match(place) for place in places)


def _rebuild(folder: Path, store: SqliteAuditStore, epoch: Epoch, signer: LogSigner) -> None:
    """Write the entries that are kept, and nothing else, to a new database beside the log."""
    draft = folder / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    with _opened(draft) as fresh:
        fresh.open()
        tree = LogTree(read_tile=fresh.tile)
        for first in range(0, epoch.kept_size, STEP):
            leaves = store.leaves(first, min(STEP, epoch.kept_size - first))
            growth = tree.grow([merkle.leaf_hash(leaf) for leaf in leaves])
            note = signer.sign(Checkpoint(signer.origin, growth.size, growth.root))
            head = StoredHead(size=growth.size, root=growth.root, checkpoint=note)
            fresh.stage(Group(first=first, leaves=leaves, tiles=tree.filled(growth), head=head))
            fresh.commit()
            tree.take_over(growth)
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


@contextmanager
def _opened(folder: Path) -> Iterator[SqliteAuditStore]:
    store = SqliteAuditStore(folder=folder)
    try:
        yield store
    finally:
        store.close()
