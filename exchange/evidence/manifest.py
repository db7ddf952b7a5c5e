"""The manifest: what an auditor or officer signed when the bundle was made.

Its signature shows any change after the export; the marks place it. What was changed before the export, by
whomever, shows in the log's proofs and the parties' signatures, which are checked without the manifest.
"""

from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.message import DecodeError

from exchange.canonical import EVIDENCE, NONCE_BYTES
from exchange.clock import Random
from exchange.errors import EvidenceBroken, RoleNotAllowed
from exchange.evidence.findings import Check, Findings
from exchange.evidence.ranges import range_root
from exchange.evidence.records import Kind, Record, parse
from exchange.identity import Identity, Role
from exchange.merkle import EMPTY_ROOT
from exchange.timestamps import milliseconds
from exchange.trust import TrustAnchor, TrustList
from exchange.v1 import common_pb2, evidence_pb2

MARK_BYTES = 8
MAX_PLACED = 100
EXPORTERS = frozenset({Role.AUDITOR, Role.OFFICER})


class Signer(Protocol):
    """Whoever signs; exchange.statement.StatementSigner is one."""

    def sign(self, domain: bytes, body: bytes) -> common_pb2.Statement:
        """Sign a body under its domain."""
        ...


@dataclass(slots=True)
class Ledger:
    """The hashes of the records so far; 32 bytes are kept of each.

    Attributes:
        kinds: of the records, a byte each.
    """

    hashes: list[bytes] = field(default_factory=list)
    kinds: bytearray = field(default_factory=bytearray)

    def add(self, record: Record) -> None:
        """Take a record into account."""
        self.hashes.append(record.hash)
        self.kinds.append(record.kind)

    @property
    def root(self) -> bytes:
        """RFC 6962 root over the records, 32 bytes."""
        count = len(self.hashes)
        return range_root(0, self.hashes, count, b"", b"") if count else EMPTY_ROOT

    @property
    def marks(self) -> bytes:
        """The first 8 bytes of each hash, one after the other."""
        return b"".join(one[:MARK_BYTES] for one in self.hashes)


def sign_manifest(ledger: Ledger, signer: Signer, *, now_ms: int, random: Random) -> bytes:
    """Return the content of the last record of a bundle.

    Args:
        ledger: of every record before.
        signer: of an auditor or officer.
        now_ms: Unix milliseconds.
        random: for the nonce.
    """
    body = evidence_pb2.EvidenceManifestBody(
        nonce=random(NONCE_BYTES),
        records=len(ledger.hashes),
        root=ledger.root,
        marks=ledger.marks,
    )
    body.issued_at.FromMilliseconds(now_ms)
    statement = signer.sign(EVIDENCE, body.SerializeToString(deterministic=True))
    return statement.SerializeToString(deterministic=True)


def check_manifest(
    content: bytes, ledger: Ledger, anchor: TrustAnchor, trust: TrustList | None, findings: Findings
) -> Identity | None:
    """Compare a bundle with its manifest.

    Args:
        content: of the manifest's record.
        ledger: of every record before it.
        anchor: the pinned root.
        trust: the newest trust list.
        findings: takes what does not hold, each at its record.

    Returns:
        Who signed; None where the signature does not hold.
    """
    signed_by: Identity | None = None
    with findings.during(Check.MANIFEST):
        statement = parse(content, common_pb2.Statement)
        body = _body(statement)
        at_ms = milliseconds(body.issued_at, "issued_at")
        signer = anchor.verify_statement(statement, EVIDENCE, at_ms=at_ms, trust=trust)
        if signer.identity.role not in EXPORTERS:
            raise RoleNotAllowed(str(signer.identity))
        signed_by = signer.identity
        _compare(body, ledger, findings)
    return signed_by


def _body(statement: common_pb2.Statement) -> evidence_pb2.EvidenceManifestBody:
    try:
        body = evidence_pb2.EvidenceManifestBody.FromString(statement.body)
    except DecodeError:
        raise EvidenceBroken("manifest") from None
    if len(body.nonce) != NONCE_BYTES or len(body.marks) != MARK_BYTES * body.records:
        raise EvidenceBroken("manifest")
    return body


def _compare(body: evidence_pb2.EvidenceManifestBody, ledger: Ledger, findings: Findings) -> None:
    """Place every difference; where records were taken out or put in, the first."""
    if body.root == ledger.root and body.records == len(ledger.hashes):
        return
    marks = body.marks
    due = [marks[at : at + MARK_BYTES] for at in range(0, len(marks), MARK_BYTES)]
    got = [one[:MARK_BYTES] for one in ledger.hashes]
    if due == got:
        raise EvidenceBroken("root")
    differing = [at for at, pair in enumerate(zip(due, got, strict=False)) if pair[0] != pair[1]]
    if len(due) != len(got):
        at = differing[0] if differing else min(len(due), len(got))
        findings.fault(
            Check.MANIFEST, f"{len(got)} records, {len(due)} signed", record=at, kind=_kind(ledger, at)
        )
        return
    for at in differing[:MAX_PLACED]:
        findings.fault(Check.MANIFEST, "altered, moved or put in", record=at, kind=_kind(ledger, at))


def _kind(ledger: Ledger, at: int) -> Kind | None:
    return Kind(ledger.kinds[at]) if at < len(ledger.kinds) else None
