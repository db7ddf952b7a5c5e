"""The heads of a bundle: signed by the log, cosigned by witnesses, and all of one history.

Every signature line must be known: by a key of the log or by a witness of a policy, in a fixed order, each
key once. So no line of a note is without meaning, and none can be lost or added unseen.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from exchange.checkpoint import (
    ID_BYTES,
    MARK,
    Checkpoint,
    decode_base64,
    key_id,
    open_checkpoint,
    parse_checkpoint,
    part_note,
)
from exchange.cosignature import WitnessKey, cosignatures_of
from exchange.errors import EvidenceBroken, ExchangeError, LogForked, ReceiptBroken
from exchange.evidence.findings import Check, Findings
from exchange.evidence.records import Kind, Record, parse
from exchange.evidence.trusted import KnownHead
from exchange.merkle import split_hashes, verify_consistency
from exchange.v1 import evidence_pb2
from exchange.witness_policy import WitnessPolicy

MAX_HEADS = 1024
UNKNOWN_SIGNATURE = "a signature of nobody known, twice, or out of order"


@dataclass(frozen=True, slots=True)
class Head:
    """A head whose form is right; `signed` tells whether a key of the log has signed it."""

    record: int
    checkpoint: Checkpoint
    note: str
    proof: bytes
    signed: bool
    cosigned: tuple[tuple[WitnessKey, int], ...]


def normal_note(note: str, *, origin: str, log_keys: Iterable[bytes], witnesses: Iterable[WitnessKey]) -> str:
    """Return a note with the lines that a bundle may hold, in their order; others are left out.

    Args:
        note: a checkpoint as a signed note.
        origin: of the log.
        log_keys: of the log, 32 bytes each.
        witnesses: that are known.

    Raises:
        ReceiptBroken: the form is wrong.
    """
    text, lines = part_note(note)
    ids = {(origin, key_id(origin, key)) for key in log_keys}
    named = {(one.name, one.key_id) for one in witnesses}
    by_log = sorted({line for line in lines if _signer(line) in ids})
    by_witness = sorted({line for line in lines if _signer(line) in named})
    return f"{text}\n" + "".join(f"{line}\n" for line in (*by_log, *by_witness))


def _signer(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix(MARK).partition(" ")
    return name, decode_base64(encoded)[:ID_BYTES]


@dataclass(slots=True, kw_only=True)
class Heads:
    """Takes the heads of a bundle, then compares them.

    Attributes:
        origin: of the log.
        target_keys: of which one must have signed the newest head.
        newest_keys: of which one should have, unless the log's key was changed since.
        log_keys: by origin, of the log and of its earlier epochs, of which one must have signed any other.
        policies: whose witnesses are known; the first is the one whose quorum counts.
        quorum_demanded: whether it is a fault that there is none.
        findings: takes what does not hold.
        target: the newest head, once `close` has found it sound; entries are proven against it.
    """

    origin: str
    target_keys: Sequence[bytes]
    newest_keys: Sequence[bytes]
    log_keys: Mapping[str, Sequence[bytes]]
    policies: Sequence[WitnessPolicy]
    quorum_demanded: bool
    findings: Findings
    heads: list[Head] = field(default_factory=list)
    target: Head | None = None
    quorum: bool = False
    closed: bool = False

    @property
    def witnesses(self) -> list[WitnessKey]:
        """The witnesses of all policies, each once."""
        return list(dict.fromkeys(key for policy in self.policies for key in policy.keys))

    def add(self, record: Record) -> None:
        """Take a record of a head."""
        with self.findings.during(Check.HEAD):
            if len(self.heads) >= MAX_HEADS:
                raise EvidenceBroken("too many heads")
            told = parse(record.content, evidence_pb2.EvidenceHead)
            if told.ordinal != len(self.heads):
                self.findings.fault(Check.SELECTION, f"head {told.ordinal} where {len(self.heads)} is due")
            head = self._read(record.number, told)
            if self.heads and head.checkpoint.size <= self.heads[-1].checkpoint.size:
                self.findings.fault(Check.CONSISTENCY, "heads are not in their order")
            self.heads.append(head)

    def _read(self, number: int, told: evidence_pb2.EvidenceHead) -> Head:
        note = told.checkpoint
        checkpoint = parse_checkpoint(part_note(note)[0])
        if checkpoint.origin not in self.log_keys:
            raise EvidenceBroken("another log")
        if checkpoint.size < 1:
            raise EvidenceBroken("an empty log")
        signed = False
        cosigned: tuple[tuple[WitnessKey, int], ...] = ()
        with self.findings.during(Check.HEAD):
            self._open(note)
            signed = True
        with self.findings.during(Check.WITNESS):
            cosigned = tuple(cosignatures_of(note, self.witnesses))
        if note != self._normal(note):
            self.findings.fault(Check.WITNESS, UNKNOWN_SIGNATURE)
        if len(cosigned) != told.cosignatures:
            self.findings.fault(
                Check.WITNESS, f"{len(cosigned)} cosignatures hold, {told.cosignatures} were there"
            )
        return Head(number, checkpoint, note, told.proof, signed, cosigned)

    def close(self, known: Sequence[KnownHead]) -> None:
        """Compare all heads with the newest and with those that were known before."""
        self.closed = True
        if not self.heads:
            self.findings.fault(Check.HEAD, "no head")
            return
        target = self.heads[-1]
        if target.proof:
            self._fault(Check.CONSISTENCY, "a proof where none belongs", target)
        self._check_target_key(target)
        for head in self.heads[:-1]:
            self._at(head, Check.CONSISTENCY, partial(_extends, head, target.checkpoint))
        for one in known:
            self._compare(one, target)
        self._check_quorum(target)
        self.target = target if target.signed else None

    def opened(self, note: str) -> Checkpoint:
        """Return the head of a checkpoint inside another record: it must be one of the bundle's heads.

        Raises:
            ReceiptBroken: the log did not sign it, or a cosignature does not verify.
            LogForked: the bundle has another root at that size.
            EvidenceBroken: the bundle has no head of that size, or a signature is of nobody known.
        """
        head = self._open(note)
        cosignatures_of(note, self.witnesses)
        if note != self._normal(note):
            raise EvidenceBroken(UNKNOWN_SIGNATURE)
        self._tie(head)
        return head

    def _tie(self, checkpoint: Checkpoint) -> None:
        for head in self.heads:
            if head.checkpoint.size == checkpoint.size:
                if head.checkpoint.root != checkpoint.root:
                    raise LogForked(f"two roots at size {checkpoint.size}")
                return
        raise EvidenceBroken(f"no head of size {checkpoint.size} in the bundle")

    def _normal(self, note: str) -> str:
        origin = note.partition("\n")[0]
        keys = self.log_keys.get(origin, ())
        return normal_note(note, origin=origin, log_keys=keys, witnesses=self.witnesses)

    def _open(self, note: str) -> Checkpoint:
        origin = note.partition("\n")[0]
        return open_checkpoint(note, origin=origin, log_keys=self.log_keys.get(origin, ()))

    def _check_target_key(self, target: Head) -> None:
        def opened() -> object:
            return open_checkpoint(target.note, origin=self.origin, log_keys=self.target_keys)

        if target.signed:
            self._at(target, Check.HEAD, opened)
        try:
            open_checkpoint(target.note, origin=self.origin, log_keys=self.newest_keys)
        except ReceiptBroken:
            self.findings.counted["older_log_key"] += 1

    def _compare(self, known: KnownHead, target: Head) -> None:
        if known.head.origin not in self.log_keys:
            return

        def compared() -> None:
            head = self._open(known.note)
            if head.size > target.checkpoint.size:
                raise EvidenceBroken(f"older than the head of size {head.size} from {known.source}")
            if head.size and head.size not in {one.checkpoint.size for one in self.heads}:
                raise EvidenceBroken(
                    f"no proof of the head of size {head.size} from {known.source}: export with --head"
                )
            if head.size:
                self._tie(head)

        self._at(target, Check.CONSISTENCY, compared)
        self.findings.counted["known_heads"] += 1

    def _check_quorum(self, target: Head) -> None:
        if not self.policies:
            return
        self.quorum = self.policies[0].reached([key for key, _ in target.cosigned])
        if self.quorum_demanded and not self.quorum:
            self._fault(Check.WITNESS, f"no quorum: {len(target.cosigned)} cosigned", target)

    def _at(self, head: Head, check: Check, run: Callable[[], object]) -> None:
        try:
            run()
        except ExchangeError as error:
            self._fault(check, f"{error.name}: {error.subject}", head)

    def _fault(self, check: Check, about: str, head: Head) -> None:
        self.findings.fault(check, about, record=head.record, kind=Kind.HEAD)


def _extends(head: Head, target: Checkpoint) -> None:
    old = head.checkpoint
    verify_consistency(old.size, old.root, target.size, target.root, split_hashes(head.proof))
