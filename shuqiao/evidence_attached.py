"""What parties kept and an auditor adds to a bundle: signed bodies, found by digest, and receipts."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from exchange import canonical
from exchange.errors import BadConfiguration, ExchangeError
from exchange.receipt import from_tlog_proof
from exchange.v1 import audit_pb2, common_pb2, evidence_pb2


@dataclass(slots=True)
class Attached:
    """Collects attachments and finds the entries they belong to.

    Attributes:
        notes: checkpoints of the receipts; each must become a head of the bundle.
    """

    notes: list[str] = field(default_factory=list)
    _signed: dict[bytes, tuple[str, common_pb2.Signed]] = field(default_factory=dict)
    _found: dict[tuple[int, int], evidence_pb2.EvidenceAttachment] = field(default_factory=dict)
    _placed: set[str] = field(default_factory=set)

    def add(self, content: bytes, source: str) -> None:
        """Take a file: a receipt (C2SP tlog-proof), or a Signed message of a request or response.

        Raises:
            BadConfiguration: it is neither.
        """
        try:
            if content.startswith(b"c2sp.org/tlog-proof"):
                self._receipt(content.decode("utf-8"))
                return
            signed = common_pb2.Signed.FromString(content)
        except (ExchangeError, DecodeError, UnicodeDecodeError) as error:
            raise BadConfiguration(f"{source}: neither receipt nor signed body") from error
        if not signed.body or not signed.HasField("signature"):
            raise BadConfiguration(f"{source}: neither receipt nor signed body")
        # Which of the two it is shows when an entry has one of its digests.
        for domain in (canonical.REQUEST, canonical.RESPONSE):
            self._signed[canonical.digest(domain, signed.body)] = source, signed

    def look(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Find what belongs to an entry."""
        said = entry.exchange
        if (held := self._signed.get(said.request_digest)) is not None:
            self._place(index, 1, held[0], evidence_pb2.EvidenceAttachment(index=index, request=held[1]))
        if (held := self._signed.get(said.response_digest)) is not None:
            self._place(index, 2, held[0], evidence_pb2.EvidenceAttachment(index=index, response=held[1]))

    def placed(self) -> Iterable[evidence_pb2.EvidenceAttachment]:
        """Yield the attachments in their order.

        Raises:
            BadConfiguration: a body belongs to no selected entry.
        """
        lost = {source for source, _ in self._signed.values()} - self._placed
        if lost:
            raise BadConfiguration(f"of no selected entry: {', '.join(sorted(lost))}")
        for ordinal, place in enumerate(sorted(self._found)):
            self._found[place].ordinal = ordinal
            yield self._found[place]

    def _receipt(self, text: str) -> None:
        receipt, note = from_tlog_proof(text)
        self.notes.append(note)
        made = evidence_pb2.EvidenceAttachment(index=receipt.index, receipt=text)
        self._found[receipt.index, 3] = made

    def _place(self, index: int, kind: int, source: str, made: evidence_pb2.EvidenceAttachment) -> None:
        self._placed.add(source)
        self._found[index, kind] = made
