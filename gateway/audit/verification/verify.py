"""Verifies a gateway's folder offline: nobody's word is taken but that of the log's key.

1. Every entry is there, in order, is an entry of this log, and hashes to what its tile says. Entries that
   are sealed are so in their segments (`sealed`); ones that were erased, as the log says, are
   spoken for by their tiles.
2. Every full tile is there and says what the entries under it say.
3. The root over all entries is the head's, and its checkpoint is signed by the log's key.
4. The tags beside an entry are those whose root it holds (`tags`); sealed ones with the segments' keys.
5. The log is no shorter than its high-water copy and had that copy's root at that size.
Whoever edits entry and tiles alike is found by 3; whoever also cuts the log back to an earlier head, by 5
or by any head held elsewhere. A fault names its place. One read-only connection, one snapshot.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exchange import merkle
from exchange.checkpoint import Checkpoint, open_checkpoint
from exchange.errors import ExchangeError, ReceiptBroken
from exchange.keystore import KeyStore
from exchange.lineage import split_origin
from exchange.trust import TrustAnchor, TrustList
from gateway.audit.log.log_keys import LOG_KEY, read_log_keys
from gateway.audit.verification.epoch_walk import EpochWalk, OpenedEpoch
from gateway.audit.verification.sealed import SealedCheck
from gateway.audit.verification.tags import TagCheck
from gateway.audit.verification.walk import Walk
from gateway.storage.high_water import HIGH_WATER, HighWaterFile
from gateway.storage.ports import StoredHead
from gateway.storage.snapshot import head_in, snapshot
from gateway.storage.sqlite import DATABASE

MAX_FAULTS = 100
FROM_TRUST = "trust"
FROM_FOLDER = "folder"

Keys = Mapping[str, Sequence[bytes]]
"""Ed25519 keys of logs, 32 bytes each, by origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong, and where.

    Attributes:
        place: for example "entry 17", "tile 0/3", "head" or "high-water".
        what: the fault in words.
    """

    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass(slots=True, kw_only=True)
class Report:
    """What a verification found.

    Attributes:
        origin: of the log, "" where the folder does not tell.
        size: how many entries were found.
        root: over them, 32 bytes; the log's root where nothing is wrong.
        key_source: "trust" where the keys were given, "folder" where they came from what is verified: damage
            is found then, a forgery of the whole is not.
        epochs: those that entries opened after a loss, oldest first.
        sealed: how many of the entries are in sealed segments.
        opened: whether these were opened and hashed; otherwise the tiles speak for them, and the files'
            digests.
        erased: how many are of segments whose term is over; the tiles speak for those that were not kept.
        faults: at most 101; none if the log is whole.
    """

    key_source: str
    origin: str = ""
    size: int = 0
    root: bytes = merkle.EMPTY_ROOT
    epochs: list[OpenedEpoch] = field(default_factory=list)
    sealed: int = 0
    opened: bool = False
    erased: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def fault(self, place: str, what: str) -> None:
        """Note a fault; beyond the hundredth only that there are more."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(place=place, what=what))
        elif len(self.faults) == MAX_FAULTS:
            self.faults.append(Fault(place="folder", what="has more faults than are listed"))


def verify_folder(
    folder: Path,
    trust: TrustList | Keys | None = None,
    *,
    anchor: TrustAnchor | None = None,
    keys: KeyStore | None = None,
) -> Report:
    """Verify a gateway's folder; a gateway may be running on it.

    Args:
        folder: where `audit.db` is.
        trust: a verified trust list, or the log keys by origin; None to take the key from `log-key.pub`
            there.
        anchor: the root against which the signatures of those who opened an epoch are checked; None where
            only their presence is.
        keys: where the keys of sealed segments are; None where segments are not to be opened.

    Returns:
        What was found; the log is whole where there is no fault.

    Raises:
        BadConfiguration: there is no log.
    """
    report = Report(key_source=FROM_FOLDER if trust is None else FROM_TRUST)
    # Read before the snapshot is taken: of a running gateway the copy is then never newer than the log.
    marks = _marks(folder, report)
    try:
        with snapshot(folder) as db:
            _verify(db, folder, trust, marks, keys, report, anchor)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        report.fault(DATABASE, f"is damaged or cannot be read ({name})")
    return report


def _verify(
    db: sqlite3.Connection,
    folder: Path,
    trust: TrustList | Keys | None,
    marks: Sequence[str],
    segment_keys: KeyStore | None,
    report: Report,
    anchor: TrustAnchor | None,
) -> None:
    head = head_in(db)
    report.origin = next(iter([head.checkpoint] if head else marks), "").partition("\n")[0]
    keys = _keys(folder, trust, report)
    seen = _signed_marks(marks, keys, report)
    last = db.execute("SELECT max(idx) FROM entry").fetchone()[0]
    size = head.size if head else 0 if last is None else last + 1
    base, _ = split_origin(report.origin)
    sealed = SealedCheck(db=db, folder=folder, origin=base, keys=segment_keys, fault=report.fault)
    sealed.run(size)
    report.sealed, report.erased, report.opened = sealed.sealed, sealed.erased, segment_keys is not None
    epochs = EpochWalk(origin=report.origin, anchor=anchor)
    tags = TagCheck(db=db, fault=report.fault)
    walk = Walk(db=db, epochs=epochs, tags=tags, fault=report.fault, segments=sealed.segments)
    walk.run(size, {size, *(mark.size for mark in seen)})
    report.size, report.root, report.epochs = walk.found, walk.root, walk.epochs.opened
    for opened in report.epochs:
        if walk.roots.get(opened.index) != opened.epoch.kept_root:
            report.fault(f"entry {opened.index}", "opens an epoch upon other entries than those below it")
    _check_head(head, keys, walk, report)
    for mark in dict.fromkeys(seen):
        if mark.size > walk.size:
            report.fault(HIGH_WATER, f"the log ends at {walk.size}, but {mark.size} entries were signed")
        elif walk.roots.get(mark.size) != mark.root:
            report.fault(HIGH_WATER, f"the first {mark.size} entries are not those that were signed")


def _marks(folder: Path, report: Report) -> list[str]:
    try:
        return HighWaterFile(path=folder / HIGH_WATER).read() or []
    except ExchangeError as error:
        report.fault(HIGH_WATER, error.subject)
        return []


def _keys(folder: Path, trust: TrustList | Keys | None, report: Report) -> Sequence[bytes]:
    """Return the keys to believe for the origin that the head states."""
    if trust is None:
        return _folder_keys(folder, report)
    if isinstance(trust, TrustList):
        gateway = trust.gateways.get(report.origin)
        keys: Sequence[bytes] = gateway.log_keys if gateway else ()
    else:
        keys = trust.get(report.origin, ())
    if not keys:
        report.fault("head", f"no key is trusted for {report.origin or 'this log'}")
    return keys


def _folder_keys(folder: Path, report: Report) -> Sequence[bytes]:
    try:
        held = read_log_keys(folder)
    except ExchangeError as error:
        report.fault(LOG_KEY, error.subject)
        return ()
    if report.origin and report.origin not in held:
        report.fault(LOG_KEY, f"is of {', '.join(held)}, the head of {report.origin}")
    report.origin = report.origin if report.origin in held else list(held)[-1]
    return held[report.origin]


def _signed_marks(marks: Sequence[str], keys: Sequence[bytes], report: Report) -> list[Checkpoint]:
    signed = []
    for mark in marks:
        try:
            signed.append(open_checkpoint(mark, origin=report.origin, log_keys=keys))
        except ReceiptBroken:
            # One torn slot is what a power failure may leave; below it is a fault that none is left.
            continue
    if not signed and keys:
        report.fault(HIGH_WATER, "is missing or not signed by the log's key")
    return signed


def _check_head(head: StoredHead | None, keys: Sequence[bytes], walk: Walk, report: Report) -> None:
    if head is None:
        if walk.size:
            report.fault("head", "missing")
        return
    if walk.root != head.root:
        report.fault("head", f"the {head.size} entries do not lead to its root")
    if not keys:
        return
    try:
        stated = open_checkpoint(head.checkpoint, origin=report.origin, log_keys=keys)
    except ReceiptBroken as error:
        report.fault("head", f"its checkpoint does not verify ({error.subject})")
        return
    if (stated.size, stated.root) != (head.size, head.root):
        report.fault("head", "its checkpoint states another size or root")
