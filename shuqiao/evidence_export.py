"""Makes a bundle of evidence of a gateway's log: reads, chooses what is needed beside, proves, signs, writes.

Order of writes: a draft beside the file, made durable, then renamed; a crash before leaves a draft and no
bundle. Selected entries are spooled to disk, so that memory does not grow with their number.
"""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from google.protobuf.message import DecodeError

from exchange.canonical import NONCE_BYTES, digest
from exchange.checkpoint import Checkpoint, open_checkpoint
from exchange.clock import Clock, Random
from exchange.cosignature import cosignatures_of
from exchange.durable import sync_folder
from exchange.errors import BadConfiguration, EntryErased, LogForked, StoreDamaged, UnknownEntry
from exchange.evidence.building import BundleWriter, digest_of_indexes
from exchange.evidence.heads import normal_note
from exchange.evidence.records import Kind
from exchange.identity import Identity
from exchange.lineage import split_origin
from exchange.trust import TrustList
from exchange.v1 import audit_pb2, common_pb2, evidence_pb2
from exchange.witness_policy import parse_policy
from shuqiao.evidence_attached import Attached
from shuqiao.evidence_blocks import Spool, write_blocks
from shuqiao.evidence_needs import Needs
from shuqiao.evidence_source import Entry, Source

PROGRESS_EVERY = 10_000


class Target(NamedTuple):
    """A head of the log, and the checkpoint in the form that a bundle holds."""

    head: Checkpoint
    note: str


class Signer(Protocol):
    """Who exports."""

    @property
    def identity(self) -> Identity:
        """Who that is."""
        ...

    def sign(self, domain: bytes, body: bytes) -> common_pb2.Statement:
        """Sign a body under its domain."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries are wanted: of a range, of a filter within it, or of exchanges by name.

    Attributes:
        first: index of the first.
        end: index after the last; 0 for the end of the head.
        filter: None for all of the range.
        exchange_ids: 16 bytes each; then range and filter do not count.
    """

    first: int = 0
    end: int = 0
    filter: audit_pb2.EntryFilter | None = None
    exchange_ids: tuple[bytes, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether a range without gap is wanted."""
        return not self.exchange_ids and self.filter is None

    @property
    def words(self) -> list[str]:
        """What was asked for, as the description tells it."""
        if self.exchange_ids:
            return [f"exchange={one.hex()}" for one in self.exchange_ids[:64]]
        told = [f"from={self.first}", *([f"to={self.end - 1}"] if self.end else [])]
        for part, value in self.filter.ListFields() if self.filter is not None else ():
            told.append(f"{part.name}={value.hex() if isinstance(value, bytes) else value}"[:300])
        return told


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """Makes bundles.

    Attributes:
        source: the log.
        trust: the newest trust list; names the log's keys.
        signer: an auditor or officer.
        policy: a witness policy that goes into the bundle, or None.
        tool: the program and its version.
        clock, random: the time and randomness.
        progress: is told how many entries were read.
    """

    source: Source
    trust: TrustList
    signer: Signer
    policy: bytes | None
    tool: str
    clock: Clock
    random: Random
    progress: Callable[[int], None] = lambda count: None

    def write(
        self, path: Path, wanted: Wanted, *, heads: Sequence[str], attached: Attached, force: bool
    ) -> evidence_pb2.EvidenceDescription:
        """Write a bundle and return its description.

        Args:
            path: the file; it is there whole or not at all.
            wanted: which entries.
            heads: checkpoints that somebody holds; it is proven that the log extends them.
            attached: what goes with the entries.
            force: whether a file of that name is replaced.

        Raises:
            BadConfiguration: the file exists, or nothing was found.
            UnknownEntry: the log is not so long.
            EntryErased: a range has entries whose term is over; ask for a filter, or a later range.
            ExchangeError: the gateway refuses, or is away.
        """
        if path.exists() and not force:
            raise BadConfiguration(f"{path}: exists (--force)")
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with open(draft, "xb", opener=_private) as file, tempfile.TemporaryFile(dir=path.parent) as spool:
                made = self._write(file, Spool(spool), wanted, heads, attached)
                file.flush()
                os.fsync(file.fileno())
            # A crash before this line leaves a draft and whatever was there before.
            os.replace(draft, path)
        except OSError as error:
            raise BadConfiguration(f"{path}: {error.strerror}") from error
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
        return made

    def _write(
        self, file: BinaryIO, spool: Spool, wanted: Wanted, heads: Sequence[str], attached: Attached
    ) -> evidence_pb2.EvidenceDescription:
        named = sorted({self.source.entry(one) for one in wanted.exchange_ids})
        newest, witnessed = self.source.checkpoints()
        target = self._target(newest, witnessed, named[-1].at + 1 if named else wanted.end)
        end = wanted.end or target.head.size
        if end > target.head.size or wanted.first >= end:
            raise UnknownEntry(f"the log has {target.head.size} entries")
        needs = Needs()
        everything = wanted.filter or audit_pb2.EntryFilter()
        selected = named or self.source.entries(everything, first=wanted.first, end=end)
        self._select(selected, spool, needs, attached)
        if not spool.indexes:
            raise BadConfiguration("no entry fits")
        if wanted.whole and len(spool.indexes) != end - wanted.first:
            raise EntryErased(f"{end - wanted.first - len(spool.indexes)} entries of the range")
        supporting = self._supporting(needs, spool, target.head.size)
        records = self._heads(target, [*heads, *attached.notes, witnessed])
        attachments = list(attached.placed())
        made = self._describe(wanted, end, target, spool, supporting)
        made.heads, made.attachments = len(records), len(attachments)
        writer = BundleWriter(file)
        writer.add(Kind.DESCRIPTION, made)
        writer.add(Kind.TRUST_LIST, self.trust.statement)
        if self.policy is not None:
            writer.add(Kind.POLICY, self.policy)
        for head in records:
            writer.add(Kind.HEAD, head)
        for attachment in attachments:
            writer.add(Kind.ATTACHMENT, attachment)
        write_blocks(writer, self.source, target.head.size, spool.read(), supporting)
        writer.finish(self.signer, now_ms=self.clock.now_ms(), random=self.random)
        return made

    def _target(self, newest: str, witnessed: str, end: int) -> Target:
        """Choose the head: the newest that witnesses cosigned, or the newest where that does not reach."""
        if witnessed:
            target = self._opened(witnessed)
            if end <= target.head.size:
                return target
        return self._opened(newest)

    def _opened(self, note: str) -> Target:
        origin = note.partition("\n")[0]
        gateway = self.trust.gateways.get(origin)
        keys = gateway.log_keys if gateway is not None else ()
        head = open_checkpoint(note, origin=origin, log_keys=keys)
        witnesses = parse_policy(self.policy).keys if self.policy is not None else []
        return Target(head, normal_note(note, origin=origin, log_keys=keys, witnesses=witnesses))

    def _select(self, selected: Iterable[Entry], spool: Spool, needs: Needs, attached: Attached) -> None:
        """Read the selected entries to disk and learn what they need."""
        for entry in selected:
            spool.add(entry)
            read = _parsed(entry)
            needs.add(entry.at, read)
            attached.look(entry.at, read)
            if not len(spool.indexes) % PROGRESS_EVERY:
                self.progress(len(spool.indexes))

    def _supporting(self, needs: Needs, spool: Spool, size: int) -> list[Entry]:
        """Return what the selected entries need beside them."""
        if needs.grants:
            applications = audit_pb2.EntryFilter(acts=[audit_pb2.ACT_GRANT])
            for entry in self.source.entries(applications, first=0, end=needs.last + 1):
                needs.learn(_parsed(entry))
        selected = set(spool.indexes)
        acts = audit_pb2.EntryFilter(acts=needs.acts)
        return [
            entry
            for entry in self.source.entries(acts, first=0, end=size)
            if entry.at not in selected and needs.wants(entry.at, _parsed(entry))
        ]

    def _heads(self, target: Target, notes: Sequence[str]) -> list[evidence_pb2.EvidenceHead]:
        """Return the heads, older ones first, each with the proof that the target extends it."""
        older: dict[int, Target] = {}
        for note in notes:
            if not note or not _same_log(note, target.head):
                continue
            held = self._opened(note)
            if held.head.size > target.head.size:
                raise BadConfiguration(f"a head of {held.head.origin}, size {held.head.size}")
            if held.head.size == target.head.size and held.head.root != target.head.root:
                raise LogForked(f"size {held.head.size}")
            if 0 < held.head.size < target.head.size:
                older[held.head.size] = held
        made: list[evidence_pb2.EvidenceHead] = []
        for size in sorted(older):
            proof = self.source.consistency(size, target.head.size)
            made.append(self._head(older[size].note, proof, len(made)))
        return [*made, self._head(target.note, b"", len(made))]

    def _head(self, note: str, proof: bytes, ordinal: int) -> evidence_pb2.EvidenceHead:
        witnesses = parse_policy(self.policy).keys if self.policy is not None else []
        cosigned = len(cosignatures_of(note, witnesses))
        return evidence_pb2.EvidenceHead(checkpoint=note, proof=proof, cosignatures=cosigned, ordinal=ordinal)

    def _describe(
        self, wanted: Wanted, end: int, target: Target, spool: Spool, supporting: Sequence[Entry]
    ) -> evidence_pb2.EvidenceDescription:
        made = evidence_pb2.EvidenceDescription(
            nonce=self.random(NONCE_BYTES),
            origin=target.head.origin,
            selected=len(spool.indexes),
            supporting=len(supporting),
            trust_lists=1,
            exporter=self.signer.identity.uri,
            exported_at_ms=self.clock.now_ms(),
            tool=self.tool,
            selected_digest=digest_of_indexes(spool.indexes),
            supporting_digest=digest_of_indexes([entry.at for entry in supporting]),
            policy_digest=digest(b"", self.policy) if self.policy is not None else b"",
        )
        if wanted.whole:
            made.range.first, made.range.end = wanted.first, end
        else:
            made.picked.words.extend(wanted.words)
        return made


def _same_log(note: str, head: Checkpoint) -> bool:
    """Return whether a checkpoint is of a head's log, in whichever epoch: a file may name several."""
    return split_origin(note.partition("\n")[0])[0] == split_origin(head.origin)[0]


def _parsed(entry: Entry) -> audit_pb2.AuditEntry:
    try:
        return audit_pb2.AuditEntry.FromString(entry.leaf)
    except DecodeError:
        raise StoreDamaged(f"entry {entry.at}") from None


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CLOEXEC, 0o600)
