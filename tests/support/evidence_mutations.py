"""Changes bundles of evidence in eight ways, as people with different keys could, and says where it shows.

Powers: `nobody` has no key (the manifest is kept, recomputed under its old signature, or a stranger's);
`auditor` signs a new manifest; `operator` also holds the log's key, rewrites the log, and signs new heads.
Every change is drawn from a seed. Where it must show is a set of record numbers and of entries.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from nacl.signing import SigningKey

from exchange.checkpoint import Checkpoint, LogSigner
from exchange.evidence.manifest import Ledger
from exchange.evidence.records import MAGIC, Kind, Record, frame
from exchange.evidence.trusted import Trusted
from exchange.identity import Role
from exchange.merkle import leaf_hash
from exchange.v1 import audit_pb2, common_pb2, evidence_pb2
from tests.support.evidence import (
    LOG,
    POLICY,
    WITNESSES,
    Item,
    SmallLog,
    cosigned,
    records_of,
    signed_file,
)
from tests.support.region import ORIGIN, Authority

KINDS = (
    "edit",
    "delete",
    "reorder",
    "truncate",
    "swap signature",
    "swap certificate",
    "older checkpoint",
    "split view",
)
POWERS = ("nobody", "auditor", "operator")
FOREIGN_LOG = LogSigner(origin=ORIGIN, key=SigningKey(b"\x66" * 32))
HEAD_OVERHEAD = 5


@dataclass(frozen=True)
class Mutation:
    """A changed bundle, and where that must show: at one of the records, or at one of the entries."""

    kind: str
    power: str
    how: str
    content: bytes
    trusted: Trusted
    records: frozenset[int]
    entries: frozenset[int] = frozenset()
    manifest: int | None = None


@dataclass
class Changed:
    """Records after a change, and where it must show."""

    items: list[Item]
    how: str
    records: set[int] = field(default_factory=set)
    entries: set[int] = field(default_factory=set)


@dataclass
class Raw:
    """A file after a change of its bytes, and the records where it must show."""

    content: bytes
    how: str
    records: set[int]


@dataclass
class Rewritten:
    """A log as an operator rewrote it."""

    log: SmallLog
    how: str


class Unfit(Exception):
    """The change drawn is not possible here, or changes nothing."""


class Mutator:
    """Draws mutations.

    Args:
        log: the log.
        trusted: makes what is brought along, from keyword arguments of Trusted.
        seed: of the draws.
        changes: of records, by kind.
        raw: of the file's bytes, by kind; whoever has no key makes some of these.
        rewritings: of the log itself, by kind.
    """

    def __init__(
        self,
        *,
        log: SmallLog,
        trusted: Callable[..., Trusted],
        seed: int,
        changes: Mapping[str, Sequence[Callable[["Mutator"], Changed]]],
        raw: Mapping[str, Callable[["Mutator"], "Raw"]],
        rewritings: Mapping[str, Callable[["Mutator"], "Rewritten"]],
    ) -> None:
        self.log = log
        self._changes, self._raw, self._rewritings = changes, raw, rewritings
        self.draw = random.Random(seed)
        self._trusted = trusted
        answered = [index for index, kept in log.kept.items() if kept.response is not None]
        every = list(log.kept)
        self.bases: list[dict[str, Any]] = [
            {"block": 12, "attached": answered[:2], "receipts": answered[1:2]},
            {"block": 8, "first": every[0] - 2, "end": every[-1]},
            {"picked": answered[::3], "attached": answered[3:4], "receipts": answered[:1]},
        ]
        self.items = [records_of(log, **base) for base in self.bases]
        self.files = [signed_file(log, items) for items in self.items]
        self.manifests = [
            _manifest(content, items) for content, items in zip(self.files, self.items, strict=True)
        ]
        self.stranger = Authority().person(Role.AUDITOR, "auditor-1")
        self.base = 0

    def next(self, kind: str, power: str) -> Mutation:
        """Return a mutation of a kind by whoever has a power."""
        while True:
            self.base = self.draw.randrange(len(self.items))
            try:
                if power == "operator":
                    return self._by_operator(kind)
                if power == "nobody" and kind in self._raw and self.draw.random() < 0.4:
                    return self._of_bytes(kind)
                return self._packed(kind, power, self.draw.choice(self._changes[kind])(self))
            except Unfit:
                continue

    def _of_bytes(self, kind: str) -> Mutation:
        made = self._raw[kind](self)
        if made.content == self.files[self.base]:
            raise Unfit
        records = frozenset(made.records)
        return Mutation(kind, "nobody", f"bytes: {made.how}", made.content, self.trust(), records)

    # -- packing -----------------------------------------------------------------------------------------

    def _packed(self, kind: str, power: str, changed: Changed) -> Mutation:
        items = changed.items
        if items == self.items[self.base]:
            raise Unfit
        last = len(items)
        if power == "auditor":
            how, content = "signed again", signed_file(self.log, items)
        else:
            how = self.draw.choice(("kept", "recomputed", "stranger", "agent"))
            if how == "kept":
                content = _file(items) + frame(Kind.MANIFEST, self.manifests[self.base])
            elif how == "recomputed":
                content = _file(items) + frame(Kind.MANIFEST, self._recomputed(items))
            else:
                signer = self.stranger if how == "stranger" else self.log.health_agent
                content = signed_file(self.log, items, signer)
        return Mutation(
            kind,
            power,
            f"{changed.how}, manifest {how}",
            content,
            self.trust(),
            frozenset(changed.records),
            frozenset(changed.entries),
            last if how in ("recomputed", "stranger", "agent") else None,
        )

    def _recomputed(self, items: Sequence[Item]) -> bytes:
        """The manifest of changed records under the signature of the old one."""
        statement = common_pb2.Statement.FromString(self.manifests[self.base])
        body = evidence_pb2.EvidenceManifestBody.FromString(statement.body)
        ledger = Ledger()
        for number, (kind, raw) in enumerate(items):
            ledger.add(Record(number, kind, raw))
        body.records, body.root, body.marks = len(items), ledger.root, ledger.marks
        statement.body = body.SerializeToString(deterministic=True)
        return statement.SerializeToString(deterministic=True)

    def trust(self) -> Trusted:
        """What is brought along: always the root, often a policy, a known head or both."""
        newest = self.log.known(self.log.size)
        return self._trusted(policy=self.draw.choice((POLICY, None)), heads=self.draw.choice(((newest,), ())))

    # -- choosing ----------------------------------------------------------------------------------------

    def of(self, *kinds: Kind) -> int:
        """Choose a record of one of the kinds."""
        found = [n for n, (kind, _) in enumerate(self.items[self.base]) if kind in kinds]
        if not found:
            raise Unfit
        return self.draw.choice(found)

    def copy(self) -> list[Item]:
        return list(self.items[self.base])

    def block(self) -> tuple[int, evidence_pb2.EvidenceBlock]:
        number = self.of(Kind.ENTRIES)
        return number, evidence_pb2.EvidenceBlock.FromString(self.items[self.base][number][1])

    def entry(
        self, fits: Callable[[audit_pb2.AuditEntry], bool]
    ) -> tuple[int, Any, int, audit_pb2.AuditEntry]:
        """Choose an entry: record, block, place in it, entry."""
        found = []
        for number, (kind, raw) in enumerate(self.items[self.base]):
            if kind is Kind.ENTRIES:
                block = evidence_pb2.EvidenceBlock.FromString(raw)
                for place, leaf in enumerate(block.leaves):
                    entry = audit_pb2.AuditEntry.FromString(leaf)
                    if fits(entry):
                        found.append((number, block, place, entry))
        if not found:
            raise Unfit
        return self.draw.choice(found)

    def flipped(self, raw: bytes) -> bytes:
        """Change one byte."""
        if not raw:
            raise Unfit
        at = self.draw.randrange(len(raw))
        return raw[:at] + bytes([raw[at] ^ self.draw.randrange(1, 256)]) + raw[at + 1 :]

    # -- the operator ------------------------------------------------------------------------------------

    def _by_operator(self, kind: str) -> Mutation:
        rewritten = self._rewritings[kind](self)
        clone, size, how = rewritten.log, rewritten.log.size, rewritten.how
        forged = size not in clone.notes
        if forged:
            clone.notes = {one: note for one, note in self.log.notes.items() if one < size}
            note = LOG.sign(Checkpoint(ORIGIN, size, clone.root(size)))
            share = self.draw.choice(("none", "one", "copied"))
            if share == "one":
                note = cosigned(note, clone.clock.ms // 1000, WITNESSES[:1])
            elif share == "copied":
                honest = self.log.notes[self.log.size].rpartition("\n\n")[2].splitlines()
                note += "".join(f"{line}\n" for line in honest[1:])
            clone.notes[size] = note
            how += f", cosignatures {share}"
        items = records_of(clone, block=self.draw.choice((8, 16)), size=size)
        if forged:
            items = _count_cosignatures(items, share)
        # Two histories show at whichever head they part.
        heads = [n for n, (of, _) in enumerate(items) if of is Kind.HEAD]
        newest = self.log.known(self.log.size)
        policies = (POLICY, None) if forged else (POLICY,)
        policy = self.draw.choice(policies)
        known = (newest,) if policy is None or not forged else self.draw.choice(((newest,), ()))
        return Mutation(
            kind,
            "operator",
            how,
            signed_file(clone, items),
            self._trusted(policy=policy, heads=known),
            frozenset(heads if kind == "split view" else heads[-1:]),
        )

    def clone(self, leaves: Sequence[bytes]) -> SmallLog:
        made = copy(self.log)
        made.leaves, made.notes = list(leaves), {}
        return made


def _count_cosignatures(items: list[Item], share: str) -> list[Item]:
    """State honestly how many lines the forged head has that look like cosignatures."""
    number = max(n for n, (of, _) in enumerate(items) if of is Kind.HEAD)
    head = evidence_pb2.EvidenceHead.FromString(items[number][1])
    head.cosignatures = {"none": 0, "one": 1, "copied": 3}[share]
    items[number] = Kind.HEAD, head.SerializeToString(deterministic=True)
    return items


def _file(items: Sequence[Item]) -> bytes:
    return MAGIC + b"".join(frame(kind, raw) for kind, raw in items)


def _manifest(content: bytes, items: Sequence[Item]) -> bytes:
    return content[len(_file(items)) + HEAD_OVERHEAD :]


def put(items: list[Item], number: int, message: Any) -> None:
    """Replace a record's content."""
    raw = message if isinstance(message, bytes) else message.SerializeToString(deterministic=True)
    items[number] = items[number][0], raw


def rehash(block: evidence_pb2.EvidenceBlock) -> None:
    """Make the hashes of a block those of its entries."""
    block.hashes = b"".join(leaf_hash(leaf) for leaf in block.leaves)


def where(content: bytes, offset: int) -> int:
    """Return the number of the record that an offset of a file lies in; 0 for the magic line."""
    at, number = len(MAGIC), 0
    while at < len(content):
        end = at + HEAD_OVERHEAD + int.from_bytes(content[at + 1 : at + 5], "big")
        if offset < end:
            return number
        at, number = end, number + 1
    return max(0, number - 1)
