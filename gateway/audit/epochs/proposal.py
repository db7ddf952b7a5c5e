"""What is proposed to two people after a loss: how much of the log is kept, and up to where it is lost."""

import re
from collections.abc import Sequence
from pathlib import Path

from exchange.canonical import NONCE_BYTES
from exchange.clock import Clock, Random, system_random
from exchange.errors import BadConfiguration, LogForked, StoreDamaged
from exchange.lineage import origin_of, split_origin
from exchange.log_keys import read_epoch
from exchange.v1 import audit_pb2
from gateway.audit.epochs.known_heads import KnownHead, heads_in_file, heads_in_folder, opened_head
from gateway.audit.epochs.log_folder import LogFolder, opened_store, roots_of, segments_within
from gateway.audit.epochs.log_state import new_key
from gateway.audit.log.tree import LogTree
from gateway.audit.verification.verify import Report, verify_folder
from gateway.storage.ports import StoredHead
from gateway.storage.sqlite import DATABASE, SqliteAuditStore

_ENTRY = re.compile(r"entr(?:y|ies) (\d+)")


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
        StoreDamaged: nothing proves the entries; how many to keep must be said, or is no place to cut off at.
        BadConfiguration: a file holds no head of this log, or more is to be kept than there is.
    """
    with opened_store(log.folder) as store:
        stored = store.open()
        known = heads_in_folder(log.folder, log.keys)
        for path in heads:
            known += heads_in_file(path, log.keys)
        known += _stored_head(stored, log)
        kept = _kept(log, store, stored, keep)
        segments_within(store.segments(), kept)
        roots = roots_of(store, kept, {one.head.size for one in known})
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


def _stored_head(stored: StoredHead | None, log: LogFolder) -> list[KnownHead]:
    if stored is None:
        return []
    origin = stored.checkpoint.partition("\n")[0]
    found = opened_head(stored.checkpoint, DATABASE, log.keys)
    if found is None:
        raise StoreDamaged(f"head: not signed by a key of {origin}")
    return [found]


def _kept(log: LogFolder, store: SqliteAuditStore, stored: StoredHead | None, keep: int | None) -> int:
    """Return how many entries to keep: what was said, or all below the first that is not what was signed."""
    size = stored.size if stored else 0
    if keep is not None:
        if not 0 <= keep <= size:
            raise BadConfiguration(f"--keep {keep}: there are {size} entries")
        return keep
    report = verify_folder(log.folder, log.keys) if stored else Report(key_source="")
    bad = [int(found[1]) for fault in report.faults if (found := _ENTRY.match(fault.place))]
    if any(fault.place == "head" for fault in report.faults):
        # An edited entry leads nowhere; the tiles still tell which one it is, where they lead to the head.
        tiled = not any(fault.place.startswith("tile") for fault in report.faults)
        if stored is None or not (bad and tiled and _root_by_tiles(store, size) == stored.root):
            raise StoreDamaged("the entries do not lead to the head; say how many to keep (--keep)")
    return min([size, *bad])


def _root_by_tiles(store: SqliteAuditStore, size: int) -> bytes:
    tree = LogTree(read_tile=store.tile)
    tree.load(size, store.leaves)
    return tree.root
