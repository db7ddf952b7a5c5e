"""The findings and what people decided about them, folded from the log.

1. A finding is the gateway's own entry: nobody can hand one in.
2. An officer decides on any finding; a steward on one whose every resource its organisation provides.
3. A decision is dated, ends within 30 days, and stands in the log with its signer.
4. At most 10,000 findings are held, the newest; the log keeps all.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from exchange.bodies import read_body
from exchange.canonical import NONCE_BYTES
from exchange.errors import Malformed, Oversized, RoleNotAllowed, UnknownFinding
from exchange.grants import check_issued
from exchange.identity import Identity, Role
from exchange.resources import Resource, check_text
from exchange.subject_tags import names_a_person
from exchange.timestamps import milliseconds
from exchange.v1 import audit_pb2, common_pb2, risk_pb2
from gateway.audience import NOBODY, Audience
from gateway.register import Submitted

MAX_FINDINGS = 10_000
MAX_DECISIONS = 64
MAX_BODY_BYTES = 8192
MAX_NOTE = 500
MAX_NAMED = 16
MAX_DECISION_MS = 30 * 86_400_000
ID_BYTES = 16
APPROVE = risk_pb2.FINDING_VERDICT_APPROVE
UPHOLD = risk_pb2.FINDING_VERDICT_UPHOLD
DISMISS = risk_pb2.FINDING_VERDICT_DISMISS
_VERDICTS = frozenset({APPROVE, UPHOLD, DISMISS})


@dataclass(slots=True)
class Row:
    """A finding and what was decided.

    Attributes:
        index: of its entry.
        time_ms: of its entry, Unix milliseconds.
        decisions: signed FindingDecisionBody, oldest first.
        verdict: decided last; 0 where nothing was.
        until_ms: until when that holds.
    """

    index: int
    time_ms: int
    record: audit_pb2.FindingRecord
    decisions: list[common_pb2.Statement] = field(default_factory=list)
    verdict: int = 0
    until_ms: int = 0

    @property
    def held_until_ms(self) -> int:
        """Until when it holds something back, Unix milliseconds; 0 where it does not."""
        if self.record.action == "alert" or self.verdict in (APPROVE, DISMISS):
            return 0
        return self.until_ms if self.verdict == UPHOLD else self.record.until_ms

    @property
    def passes_until_ms(self) -> int:
        """Until when its rule finds nothing under the same key, Unix milliseconds; 0 where it may."""
        if self.verdict == APPROVE:
            return self.until_ms
        if self.verdict == DISMISS:
            return max(self.record.until_ms, self.time_ms + int(self.record.window_s) * 1000)
        return 0


Told = Callable[[Row], None]


def read_decision(body: bytes) -> risk_pb2.FindingDecisionBody:
    """Return a decision that is well formed; who signed it and when is not looked at.

    Raises:
        Malformed, Oversized: a part breaks its bound.
    """
    told = read_body(risk_pb2.FindingDecisionBody, body, "decision", most=MAX_BODY_BYTES)
    if len(told.nonce) != NONCE_BYTES or len(told.finding_id) != ID_BYTES or not told.HasField("issued_at"):
        raise Malformed("nonce, finding_id or issued_at")
    if told.verdict not in _VERDICTS or (told.verdict != DISMISS and not told.HasField("until")):
        raise Malformed("verdict or until")
    check_text(told.note, "note", most=MAX_NOTE)
    if names_a_person(told.note):
        raise Malformed("note: no personal data")
    return told


class FindingsRegister:
    """Holds the findings.

    Args:
        resource: finds the resource that an id resolves to.
    """

    acts: Collection["audit_pb2.Act.ValueType"] = frozenset(
        {audit_pb2.ACT_FINDING, audit_pb2.ACT_FINDING_DECISION}
    )

    def __init__(self, *, resource: Callable[[str], Resource | None]) -> None:
        self._resource = resource
        self._rows: OrderedDict[bytes, Row] = OrderedDict()
        self._told: list[Told] = []

    def __iter__(self) -> Iterator[Row]:
        """Yield the findings, newest first."""
        return reversed(self._rows.values())

    def get(self, finding_id: bytes) -> Row | None:
        """Return a finding, None where there is none."""
        return self._rows.get(finding_id)

    def subscribe(self, told: Told) -> None:
        """Have a function called with every finding entered or decided on, and with those there are."""
        self._told.append(told)
        for row in self._rows.values():
            told(row)

    def answers_for(self, identity: Identity, record: audit_pb2.FindingRecord) -> bool:
        """Return whether a steward's organisation provides every resource that a finding is about.

        A finding that names as many as it can may be about more.
        """
        named = record.resources
        return 0 < len(named) < MAX_NAMED and all(
            self._provider(resource) == identity.organisation for resource in named
        )

    def concerns(self, identity: Identity, record: audit_pb2.FindingRecord) -> bool:
        """Return whether a steward's organisation provides one of the resources that a finding is about."""
        return any(self._provider(resource) == identity.organisation for resource in record.resources)

    def check(self, submitted: Submitted) -> str:
        """Refuse a decision that breaks a rule, and every finding that somebody hands in."""
        if submitted.act != audit_pb2.ACT_FINDING_DECISION or submitted.others:
            raise Malformed("act")
        told = read_decision(submitted.statement.body)
        row = self._rows.get(told.finding_id)
        if row is None:
            raise UnknownFinding(told.finding_id.hex())
        signer = submitted.signer.identity
        if signer.role is not Role.OFFICER and not (
            signer.role is Role.STEWARD and self.answers_for(signer, row.record)
        ):
            raise RoleNotAllowed(str(signer))
        check_issued(milliseconds(told.issued_at, "issued_at"), submitted.now_ms)
        left_ms = milliseconds(told.until, "until") - submitted.now_ms
        if told.verdict != DISMISS and not 0 < left_ms <= MAX_DECISION_MS:
            raise Malformed("until")
        if len(row.decisions) >= MAX_DECISIONS:
            raise Oversized("decisions")
        return told.finding_id.hex()

    def apply(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Take over a finding or a decision of the log."""
        act = entry.administrative
        if act.act == audit_pb2.ACT_FINDING:
            record = act.finding
            if record.finding_id in self._rows:
                # Entered again because it was in doubt whether it had been.
                return
            row = self._rows[record.finding_id] = Row(index, entry.time_ms, record)
            if len(self._rows) > MAX_FINDINGS:
                self._rows.popitem(last=False)
        else:
            told = read_decision(act.statement.body)
            found = self._rows.get(told.finding_id)
            if found is None:
                return
            row = found
            row.decisions.append(act.statement)
            row.verdict, row.until_ms = told.verdict, milliseconds(told.until)
        for callback in self._told:
            callback(row)

    def audience(self, entry: audit_pb2.AuditEntry) -> Audience:
        """Findings are for officers, who follow the log; no agent acts on them."""
        return NOBODY

    def _provider(self, resource: str) -> str:
        found = self._resource(resource)
        return found.provider if found is not None else ""
