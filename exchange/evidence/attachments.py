"""What parties kept and added, held to its entries: the bodies they signed and the receipts they were given.

The entry carries digest and signature of each body, so a body that fits is what was exchanged; the claims of
the entry are compared with the header that the consumer signed. A receipt must hold by itself, lead to a head
of the bundle and repeat the entry to the byte.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from exchange import canonical
from exchange.checkpoint import Checkpoint
from exchange.entries import check_entry
from exchange.errors import EvidenceBroken, Malformed
from exchange.evidence.findings import Check, Findings
from exchange.evidence.records import Kind, Record, parse
from exchange.receipt import from_tlog_proof, to_tlog_proof, verify_receipt
from exchange.v1 import audit_pb2, common_pb2, evidence_pb2, exchange_pb2

MAX_ATTACHMENTS = 4096
MAX_ALL_BYTES = 64 * 1024 * 1024

_ORDER = {"": 0, "request": 1, "response": 2, "receipt": 3}
Compare = Callable[[bytes, audit_pb2.AuditEntry], None]
"""Takes an entry's bytes and the entry; raises where the attachment does not fit."""


@dataclass(slots=True, kw_only=True)
class Attachments:
    """Takes the attachments, which come before the entries, then compares them as the entries come.

    Attributes:
        findings: takes what does not hold.
    """

    findings: Findings
    _waiting: dict[int, list[tuple[int, str, Compare]]] = field(default_factory=dict)
    _order: tuple[int, int] = (-1, 0)
    _count: int = 0
    _bytes: int = 0

    def add(self, record: Record, opened: Callable[[str], Checkpoint]) -> None:
        """Take a record of an attachment.

        Args:
            record: the record.
            opened: opens a checkpoint and refuses a head that is none of the bundle's.
        """
        with self.findings.during(Check.ATTACHMENT):
            told = parse(record.content, evidence_pb2.EvidenceAttachment)
            if told.ordinal != self._count:
                self.findings.fault(Check.SELECTION, f"attachment {told.ordinal} where {self._count} is due")
            self._bound(record, told)
            what = told.WhichOneof("what")
            if what == "receipt":
                compare = _receipt(told.receipt, told.index, opened)
            elif what == "request":
                compare = _request(told.request)
            elif what == "response":
                compare = _response(told.response)
            else:
                raise EvidenceBroken("nothing attached")
            self._waiting.setdefault(told.index, []).append((record.number, what, compare))

    def take(self, index: int, leaf: bytes, entry: audit_pb2.AuditEntry) -> None:
        """Compare what is attached to an entry with it."""
        for number, what, compare in self._waiting.pop(index, ()):
            held = self.findings.record, self.findings.kind
            self.findings.record, self.findings.kind = number, Kind.ATTACHMENT
            with self.findings.during(Check.ATTACHMENT):
                compare(leaf, entry)
                self.findings.counted["attachments_hold"] += 1
                self.findings.counted["bodies"] += what == "response"
            self.findings.record, self.findings.kind = held

    def close(self) -> None:
        """Tell of attachments whose entry is not in the bundle."""
        for index, waiting in self._waiting.items():
            for number, _, _ in waiting:
                about = f"entry {index} is not in the bundle"
                self.findings.fault(Check.ATTACHMENT, about, record=number, kind=Kind.ATTACHMENT)

    def _bound(self, record: Record, told: evidence_pb2.EvidenceAttachment) -> None:
        self._count += 1
        self._bytes += len(record.content)
        if self._count > MAX_ATTACHMENTS or self._bytes > MAX_ALL_BYTES:
            raise EvidenceBroken("too many attachments")
        order = told.index, _ORDER[told.WhichOneof("what") or ""]
        if order <= self._order:
            self.findings.fault(Check.ATTACHMENT, "out of order")
        self._order = order


def _request(signed: common_pb2.Signed) -> Compare:
    digest = canonical.digest(canonical.REQUEST, signed.body)
    header = _request_header(signed.body)
    signature = signed.signature

    def compare(leaf: bytes, entry: audit_pb2.AuditEntry) -> None:
        if entry.exchange.request_digest != digest or entry.exchange.request_signature != signature:
            raise EvidenceBroken("another request")
        check_entry(entry, header)

    return compare


def _response(signed: common_pb2.Signed) -> Compare:
    digest = canonical.digest(canonical.RESPONSE, signed.body)
    header = _response_header(signed.body)
    signature = signed.signature

    def compare(leaf: bytes, entry: audit_pb2.AuditEntry) -> None:
        said = entry.exchange
        if said.response_digest != digest or said.response_signature != signature:
            raise EvidenceBroken("another response")
        if (header.exchange_id, header.request_digest) != (said.exchange_id, said.request_digest):
            raise EvidenceBroken("a response to another request")

    return compare


def _request_header(body: bytes) -> exchange_pb2.RequestHeader:
    try:
        return exchange_pb2.RequestHeader.FromString(exchange_pb2.RequestBody.FromString(body).header)
    except DecodeError:
        raise Malformed("attached request") from None


def _response_header(body: bytes) -> exchange_pb2.ResponseHeader:
    try:
        return exchange_pb2.ResponseHeader.FromString(exchange_pb2.ResponseBody.FromString(body).header)
    except DecodeError:
        raise Malformed("attached response") from None


def _receipt(text: str, index: int, opened: Callable[[str], Checkpoint]) -> Compare:
    receipt, note = from_tlog_proof(text)
    if to_tlog_proof(receipt, note) != text or receipt.index != index:
        raise EvidenceBroken("receipt: form or index")
    verify_receipt(receipt, opened(note))
    held = receipt.leaf

    def compare(leaf: bytes, entry: audit_pb2.AuditEntry) -> None:
        if leaf != held:
            raise EvidenceBroken("the receipt's entry is another")

    return compare
