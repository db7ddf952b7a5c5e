"""The epochs of a log, told from its entries in order: which origin each names, and who opened which."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from exchange.errors import ExchangeError, ReceiptBroken
from exchange.lineage import split_origin
from exchange.log_keys import SIGNERS, Epoch, check_opening, read_epoch
from exchange.receipt import ENTRY_VERSION, parse_entry
from exchange.trust import TrustAnchor
from exchange.v1 import audit_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedEpoch:
    """An epoch that an entry opened.

    Attributes:
        index: of the entry.
        people: SPIFFE ids of the two administrators; empty where no root was given to check them against.
    """

    index: int
    epoch: Epoch
    people: tuple[str, ...]


class EpochWalk:
    """Says of each entry in turn whether it is one of the log.

    Args:
        origin: under which the log's head is signed.
        anchor: against which the openings' signatures are checked; None where none is given.
    """

    def __init__(self, *, origin: str, anchor: TrustAnchor | None) -> None:
        self._base, self._newest = split_origin(origin)
        self._anchor = anchor
        self._present = ""
        self.opened: list[OpenedEpoch] = []

    @property
    def present(self) -> str:
        """Origin that the next entry is expected to name; empty before the first."""
        return self._present

    def admit(self, index: int, leaf: bytes) -> None:
        """Refuse an entry that is none of the log at that place.

        Raises:
            ReceiptBroken: its form, version or origin is wrong, or it opens an epoch that it may not.
        """
        if not self._present:
            self._present = self._first(leaf)
        try:
            entry = parse_entry(leaf, origin=self._present)
        except ReceiptBroken:
            if not self._opens(index, leaf):
                raise
            return
        if entry.administrative.act == audit_pb2.ACT_LOG_EPOCH:
            opened = self.opened[-1].index if self.opened else -1
            if index != opened and not (index == 0 and self._opens(index, leaf)):
                raise ReceiptBroken("epoch opened twice")

    def _first(self, leaf: bytes) -> str:
        """Return the origin of the oldest epoch: the first entry's, which nothing before it contradicts."""
        named = _entry(leaf).gateway
        base, epoch = split_origin(named)
        return named if base == self._base and epoch <= self._newest else self._base

    def _opens(self, index: int, leaf: bytes) -> bool:
        entry = _entry(leaf)
        act = entry.administrative
        if entry.version != ENTRY_VERSION or act.act != audit_pb2.ACT_LOG_EPOCH:
            return False
        try:
            epoch, people = self._read(entry)
        except ExchangeError as error:
            raise ReceiptBroken(f"epoch: {error}") from error
        base, _ = split_origin(epoch.origin)
        after = split_origin(self._present)[1] if index else 0
        if epoch.origin != entry.gateway or base != self._base or epoch.kept_size != index:
            raise ReceiptBroken("epoch: origin or place")
        if not after < epoch.epoch <= self._newest:
            raise ReceiptBroken("epoch: number")
        self.opened.append(OpenedEpoch(index=index, epoch=epoch, people=people))
        self._present = epoch.origin
        return True

    def _read(self, entry: audit_pb2.AuditEntry) -> tuple[Epoch, tuple[str, ...]]:
        act = entry.administrative
        statements = [act.statement, *act.countersignatures]
        if self._anchor is not None:
            # Revocations counted when the authority took the opening; here the certificates of that time do.
            epoch, people = check_opening(statements, self._anchor, at_ms=entry.time_ms, trust=None)
            return epoch, tuple(person.uri for person in people)
        bodies = {one.body for one in statements}
        certificates = {one.chain[0] for one in statements if one.chain and one.signature}
        if len(bodies) != 1 or len(certificates) != SIGNERS:
            raise ReceiptBroken("epoch: two signatures of one body")
        return read_epoch(act.statement.body), ()


def _entry(leaf: bytes) -> audit_pb2.AuditEntry:
    try:
        return audit_pb2.AuditEntry.FromString(leaf)
    except DecodeError:
        raise ReceiptBroken("entry") from None
