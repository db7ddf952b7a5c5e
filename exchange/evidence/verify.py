"""Verifies a bundle of evidence with nothing but the bundle and what is brought along (`Trusted`).

 1  format       every byte belongs to a record of a known kind, in its one form and its order
 2  manifest     the exporter, an auditor or officer, signed exactly these records
 3  trust        each trust list is the authority's under the pinned root; numbers only go up
 4  head         each checkpoint is signed by a key of the log that a trust list names
 5  witness      each cosignature verifies; quorum yes or no, by the policy that was brought or the bundle's
 6  consistency  every head, and every head known before, is one history with the newest
 7  inclusion    every entry lies at its index in the newest head
 8  selection    a range has no gap; entries, heads and the rest are as many as the description says
 9  entry        every entry can be read and is of this log
10  act          statements of administrative entries: signature, signer, role, at the time of the entry
11  request      the consumer's signature, by a key that was its own and in force then
12  response     the provider's signature, likewise
13  grant        the grant that the entry names was in force at that revision and covers the exchange
14  attachment   bodies and receipts that were added fit their entries
15  case         a case of which the entry says that it was open was so, where the bundle has its steps

2 and 3 to 15 do not depend on each other: the manifest shows what was changed after the export, the log's
proofs and the signatures what was changed before. Nothing is read of an entry before 7 held for it. One pass,
one record in memory at a time; what grows with the bundle is 32 bytes per record and the keys then in force.
No input raises: what does not hold is a fault with its place, and verification goes on as far as it can.
"""

from dataclasses import dataclass, field
from typing import BinaryIO

from exchange.errors import BadConfiguration, EvidenceBroken, ExchangeError, ReceiptBroken, TrustRollback
from exchange.evidence.acts import Acts
from exchange.evidence.attachments import Attachments
from exchange.evidence.blocks import proven_entries
from exchange.evidence.exchanges import Exchanges
from exchange.evidence.findings import Check, Findings, Report
from exchange.evidence.heads import Heads
from exchange.evidence.manifest import Ledger, check_manifest
from exchange.evidence.records import Kind, Record, parse, read_records
from exchange.evidence.selection import Selection
from exchange.evidence.sentences import Outcome, report_of
from exchange.evidence.trusted import Trusted, keys_of_epochs, log_keys
from exchange.identity import Identity
from exchange.lineage import Lineage
from exchange.receipt import parse_entry
from exchange.trust import TrustAnchor, TrustList, read_trust_list
from exchange.v1 import common_pb2, evidence_pb2
from exchange.witness_policy import WitnessPolicy, parse_policy

MAX_TIME_MS = 253_370_764_800_000
"""The year 9999: later times are no times of entries."""


def verify_bundle(file: BinaryIO, trusted: Trusted) -> Report:
    """Verify a bundle and say what it proves, what it does not, and what does not hold.

    Args:
        file: at its beginning; read forward only.
        trusted: what is brought along.

    Raises:
        BadConfiguration: what is brought along will not do: root, trust list or policy.
    """
    passing = _Pass(trusted)
    try:
        for record in read_records(file):
            passing.take(record)
    except EvidenceBroken as error:
        passing.broken(error)
    return passing.end()


@dataclass(slots=True)
class _Pass:
    """One pass over a bundle."""

    trusted: Trusted
    findings: Findings = field(default_factory=Findings)
    ledger: Ledger = field(default_factory=Ledger)
    lists: list[TrustList] = field(default_factory=list)
    selection: Selection | None = None
    policy: WitnessPolicy | None = None
    anchor: TrustAnchor | None = None
    heads: Heads | None = None
    attachments: Attachments = field(init=False)
    lineage: Lineage = field(default_factory=lambda: Lineage(()))
    acts: Acts | None = None
    exchanges: Exchanges | None = None
    exporter: Identity | None = None
    own: TrustList | None = None
    own_policy: WitnessPolicy | None = None
    taken: int = 0
    highest: Kind | None = None
    highest_record: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def __post_init__(self) -> None:
        self.attachments = Attachments(findings=self.findings)
        trusted = self.trusted
        if trusted.policy is not None:
            self.own_policy = parse_policy(trusted.policy)
        if trusted.trust_list is not None:
            try:
                self.anchor = trusted.anchor(None)
                own = read_trust_list(trusted.trust_list)
                self.own = self.anchor.verify_trust_list(
                    trusted.trust_list, now_ms=own.issued_at_ms, held=None
                )
            except (ExchangeError, ValueError, OverflowError) as error:
                raise BadConfiguration(f"trust list: {error}") from error

    # -- the records -------------------------------------------------------------------------------------

    def take(self, record: Record) -> None:
        """Take the next record."""
        findings = self.findings
        findings.record, findings.kind, findings.entry = record.number, record.kind, None
        self.taken = record.number + 1
        self._order(record)
        with findings.during(Check.FORMAT):
            self._take(record)
        if self.selection is not None:
            self.selection.kinds[record.kind] += 1
        if record.kind is not Kind.MANIFEST:
            self.ledger.add(record)

    def broken(self, error: EvidenceBroken) -> None:
        """Note that the file cannot be read on from the record after the last that was taken."""
        self.findings.record, self.findings.kind, self.findings.entry = self.taken, None, None
        self.findings.fault(Check.FORMAT, error.subject)

    def end(self) -> Report:
        """Compare what only shows at the end, and say everything."""
        findings = self.findings
        findings.entry = None
        if self.highest is not Kind.MANIFEST:
            findings.record, findings.kind = len(self.ledger.hashes), None
            findings.fault(Check.MANIFEST, "no manifest at the end")
        if self.selection is None:
            findings.fault(Check.FORMAT, "no description")
        else:
            self._closed_heads()
            self.selection.close()
            if self.exporter is not None and self.selection.told.exporter != self.exporter.uri:
                findings.fault(Check.SELECTION, "another exporter signed")
        self.attachments.close()
        return report_of(
            findings,
            Outcome(
                selection=self.selection,
                heads=self.heads,
                revocations=self.acts.revocations if self.acts is not None else None,
                exporter=self.exporter,
                policy_brought=self.own_policy is not None,
                trust_brought=self.own,
                newest=self.newest,
                epochs=self.acts.epochs if self.acts is not None else (),
                first_ms=self.first_ms,
                last_ms=self.last_ms,
            ),
        )

    @property
    def newest(self) -> TrustList | None:
        """The trust list with the highest number that is known."""
        known = [*self.lists, *([self.own] if self.own else [])]
        return max(known, key=lambda trust: trust.number, default=None)

    def _order(self, record: Record) -> None:
        """Kinds come in order; description, policy and manifest once; nothing after the manifest."""
        kind, once = record.kind, record.kind in (Kind.DESCRIPTION, Kind.POLICY, Kind.MANIFEST)
        if record.number == 0 and kind is not Kind.DESCRIPTION:
            self.findings.fault(Check.FORMAT, "the description comes first")
        if self.highest is None or kind > self.highest:
            self.highest, self.highest_record = kind, record.number
        elif kind < self.highest or once:
            about = f"{kind.word} after {self.highest.word}"
            self.findings.fault(Check.FORMAT, about)
            self.findings.fault(Check.FORMAT, "too early", record=self.highest_record, kind=self.highest)

    def _take(self, record: Record) -> None:
        if record.kind is Kind.DESCRIPTION:
            self._describe(record)
        elif record.kind is Kind.MANIFEST:
            self._manifest(record)
        elif self.selection is None:
            # Without a description nothing says which log this is; that it lacks is told already.
            return
        elif record.kind is Kind.TRUST_LIST:
            with self.findings.during(Check.TRUST):
                self._trust(parse(record.content, common_pb2.Statement))
        elif record.kind is Kind.POLICY:
            with self.findings.during(Check.WITNESS):
                self.selection.take_policy(record.content)
                self.policy = parse_policy(record.content)
        elif record.kind is Kind.HEAD:
            self._open_heads().add(record)
        elif record.kind is Kind.ATTACHMENT:
            self.attachments.add(record, self._closed_heads().opened)
        else:
            self._entries(parse(record.content, evidence_pb2.EvidenceBlock))

    def _describe(self, record: Record) -> None:
        if self.selection is not None:
            return
        selection = Selection(parse(record.content, evidence_pb2.EvidenceDescription), self.findings)
        selection.open()
        self.selection = selection

    def _trust(self, statement: common_pb2.Statement) -> None:
        """Verify a trust list at the time it was signed: one kept for years still says what it said."""
        told = read_trust_list(statement)
        if self.anchor is None:
            self.anchor = self.trusted.anchor(told)
        held = self.lists[-1] if self.lists else None
        trust = self.anchor.verify_trust_list(statement, now_ms=told.issued_at_ms, held=held)
        if held is trust:
            raise EvidenceBroken("the same list twice")
        own = self.own
        if own is not None and own.number == trust.number and own.statement.body != statement.body:
            raise TrustRollback(f"another trust list {trust.number} than the one brought along")
        self.lists.append(trust)

    def _open_heads(self) -> Heads:
        """Return what takes the heads; made once the trust lists and the policy are known."""
        if self.heads is None:
            assert self.selection is not None
            origin, brought = self.selection.told.origin, self.trusted.log_keys
            known = [*self.lists, *([self.own] if self.own else [])]
            keys = keys_of_epochs(known, origin)
            # A key that was changed since still vouches for what it signed: the list of that time names it.
            target = keys[origin]
            if brought is not None and brought[0] == origin:
                target = brought[1]
                keys[origin] = tuple(sorted({*keys[origin], *target}))
            self.lineage = self.newest.lineage(origin) if self.newest is not None else Lineage(())
            policies = [one for one in (self.own_policy, self.policy) if one is not None]
            self.heads = Heads(
                origin=origin,
                target_keys=target,
                newest_keys=log_keys(self.newest, origin) or target,
                log_keys=keys,
                policies=policies,
                quorum_demanded=self.own_policy is not None,
                findings=self.findings,
            )
        return self.heads

    def _closed_heads(self) -> Heads:
        heads = self._open_heads()
        if not heads.closed:
            heads.close(self.trusted.heads)
        return heads

    def _entries(self, block: evidence_pb2.EvidenceBlock) -> None:
        assert self.selection is not None
        heads = self._closed_heads()
        self.selection.take(block)
        if heads.target is None:
            return
        for index, leaf in proven_entries(block, heads.target.checkpoint, self.findings):
            self.findings.entry = index
            self._entry(index, leaf, self.lineage.origin_at(index, heads.origin))
        self.findings.entry = None

    def _entry(self, index: int, leaf: bytes, origin: str) -> None:
        """Verify what an entry says, which is in the log."""
        try:
            entry = parse_entry(leaf, origin=origin)
        except ReceiptBroken as error:
            self.findings.fault(Check.ENTRY, error.subject)
            return
        if not 0 < entry.time_ms < MAX_TIME_MS:
            self.findings.fault(Check.ENTRY, "time")
            return
        self.first_ms = min(self.first_ms or entry.time_ms, entry.time_ms)
        self.last_ms = max(self.last_ms, entry.time_ms)
        acts, exchanges = self._readers()
        if acts is None or exchanges is None:
            return
        subject = entry.WhichOneof("subject")
        if subject == "exchange":
            exchanges.take(entry)
        elif subject == "administrative":
            acts.take(index, entry)
        self.attachments.take(index, leaf, entry)

    def _readers(self) -> tuple[Acts | None, Exchanges | None]:
        """Return what reads entries; None where no trust list holds, which is told already."""
        if self.acts is None and self.anchor is not None:
            known = [*self.lists, *([self.own] if self.own else [])]
            acts = self.acts = Acts(anchor=self.anchor, newest=known, findings=self.findings)
            self.exchanges = Exchanges(
                keys=acts.keys, grants=acts.grants, cases=acts.cases, findings=self.findings
            )
        return self.acts, self.exchanges

    def _manifest(self, record: Record) -> None:
        self.findings.entry = None
        if self.anchor is None:
            self.findings.fault(Check.MANIFEST, "no trust list to verify it with")
            return
        signed_by = check_manifest(record.content, self.ledger, self.anchor, self.newest, self.findings)
        self.exporter = self.exporter or signed_by
