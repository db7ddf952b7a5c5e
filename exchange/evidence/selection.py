"""What the description says of the content, held against what is there: order, gaps, numbers, indexes."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from exchange.errors import EvidenceBroken
from exchange.evidence.findings import Check, Findings
from exchange.evidence.records import Kind
from exchange.v1 import evidence_pb2

MAX_WORDS = 64
MAX_TEXT = 300
MAX_INDEX = 2**63


def index_bytes(index: int) -> bytes:
    """Return an index as it goes into the digests of a description: 8 bytes, big-endian."""
    return index.to_bytes(8, "big")


@dataclass(slots=True)
class Selection:
    """Follows the entries of a bundle.

    Attributes:
        told: the description.
        findings: takes what does not hold.
        kinds: how many records of each kind came.
    """

    told: evidence_pb2.EvidenceDescription
    findings: Findings
    kinds: Counter[Kind] = field(default_factory=Counter)
    selected: int = 0
    supporting: int = 0
    next_index: int = 0
    _digests: dict[bool, Any] = field(
        default_factory=lambda: {False: hashlib.sha256(), True: hashlib.sha256()}
    )
    _due: int | None = None

    def open(self) -> None:
        """Check the description itself."""
        told = self.told
        texts = (told.origin, told.exporter, told.tool, *told.picked.words)
        if max(map(len, texts)) > MAX_TEXT or len(told.picked.words) > MAX_WORDS:
            raise EvidenceBroken("description: a text is too long")
        if len(told.nonce) != 16 or not told.origin or told.WhichOneof("selection") is None:
            raise EvidenceBroken("description: nonce, origin or selection")
        if told.HasField("range"):
            if not told.range.first < told.range.end <= MAX_INDEX:
                raise EvidenceBroken("description: range")
            self._due = told.range.first

    def take(self, block: evidence_pb2.EvidenceBlock) -> None:
        """Follow a block: entries only go forward, and a range has no gap."""
        first, count = block.first, len(block.leaves)
        if first >= MAX_INDEX:
            raise EvidenceBroken("index")
        if block.ordinal != self.selected + self.supporting:
            self._fault(
                f"entry number {block.ordinal} of the bundle where {self.selected + self.supporting} is due"
            )
        peers = self.supporting if block.supporting else self.selected
        if block.peers != peers:
            self._fault(f"number {block.peers} of its role where {peers} is due")
        if first < self.next_index:
            self._fault(f"entry {first} after entry {self.next_index - 1}")
        self.next_index = max(self.next_index, first + count)
        digest = self._digests[block.supporting]
        digest.update(b"".join(index_bytes(index) for index in range(first, first + count)))
        if block.supporting:
            self.supporting += count
            return
        self.selected += count
        if self._due is not None:
            if first != self._due:
                self.findings.entry = min(first, self._due)
                self._fault(f"entry {self._due} is due, entry {first} comes")
                self.findings.entry = None
            self._due = max(self._due, first + count)

    def close(self) -> None:
        """Compare the numbers; at the record at hand, which is the end of the file."""
        told = self.told
        if self._due is not None and self._due != told.range.end:
            self._fault(f"the range ends at entry {self._due}, not {told.range.end}", after=Kind.ENTRIES)
        for kind, name, due, got in (
            (Kind.ENTRIES, "selected entries", told.selected, self.selected),
            (Kind.ENTRIES, "supporting entries", told.supporting, self.supporting),
            (Kind.TRUST_LIST, "trust lists", told.trust_lists, self.kinds[Kind.TRUST_LIST]),
            (Kind.HEAD, "heads", told.heads, self.kinds[Kind.HEAD]),
            (Kind.ATTACHMENT, "attachments", told.attachments, self.kinds[Kind.ATTACHMENT]),
            (Kind.POLICY, "witness policies", int(bool(told.policy_digest)), self.kinds[Kind.POLICY]),
        ):
            if due != got:
                self._fault(f"{name}: {got}, not {due}", after=kind)
        if told.selected_digest != self._digests[False].digest():
            self._fault("other entries are selected", after=Kind.ENTRIES)
        if told.supporting_digest != self._digests[True].digest():
            self._fault("other entries are supporting", after=Kind.ENTRIES)

    def take_policy(self, content: bytes) -> None:
        """Compare the witness policy with what the description says of it."""
        if hashlib.sha256(content).digest() != self.told.policy_digest:
            self._fault("another witness policy")

    def _fault(self, about: str, *, after: Kind | None = None) -> None:
        """Note a fault at the record at hand, or where the records of a kind end."""
        if after is None:
            self.findings.fault(Check.SELECTION, about)
        else:
            end = sum(count for kind, count in self.kinds.items() if kind <= after)
            self.findings.fault(Check.SELECTION, about, record=end)
