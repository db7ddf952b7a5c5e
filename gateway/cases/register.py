"""The region's cases, folded from CaseEventBody statements that agents and stewards of their leads signed.

1. What follows what is `exchange.cases`; of two who close one case, the second is refused.
2. Cases come by the hundred thousand a day. One that has ended is remembered for a day and then let go:
   from memory, from the projection, from what agents are told; its entries stay in the log for their term.
   The clock of that is the log's own, so that the same entries make the same state at every start.
3. What is let go nobody can bring back: a statement is entered within minutes of its signature only. But its
   number may be opened anew (docs/adr/0031-cases-as-events.md).
4. What is applied is never refused: a case's earlier entries may be gone with their segment, and each
   statement says everything about the case.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from exchange.cases import OPEN, REMEMBERED_MS, Case, check_signer, follows, read_case
from exchange.codes import holds_citizen_id
from exchange.errors import Malformed, QueueFull
from exchange.grants import check_issued
from exchange.v1 import audit_pb2
from gateway.audience import Audience
from gateway.directory.organisations import Organisations
from gateway.register import Forgotten, Submitted
from gateway.rules.register import RulesRegister

MAX_CASES = 4_000_000
MAX_CASES_OF_LEAD = 2_000_000
LET_GO = 512
"""So many entries are let go at a time: what is removed from long lists is removed together."""


@dataclass(frozen=True, slots=True)
class Held:
    """A case and where the log has it.

    Attributes:
        opened_ms: by the log, Unix milliseconds; of the oldest entry known.
        indexes: of its entries, oldest first.
        before: who took part before the last step.
    """

    case: Case
    opened_ms: int
    indexes: tuple[int, ...]
    before: frozenset[str]


class CaseRegister:
    """Holds the cases that are open, and for a day those that were.

    Args:
        rules: the region's: who may open cases.
        organisations: of the region.
        most: cases that are held at once.
        most_of_lead: of these, led by one organisation.
    """

    acts: Collection["audit_pb2.Act.ValueType"] = frozenset({audit_pb2.ACT_CASE})

    def __init__(
        self,
        *,
        rules: RulesRegister,
        organisations: Organisations,
        most: int = MAX_CASES,
        most_of_lead: int = MAX_CASES_OF_LEAD,
    ) -> None:
        self._rules = rules
        self._organisations = organisations
        self._most = most
        self._most_of_lead = most_of_lead
        self._held: dict[str, Held] = {}
        self._led: Counter[str] = Counter()
        self._ends: list[tuple[int, str]] = []
        self._let_go: list[Forgotten] = []

    def __len__(self) -> int:
        return len(self._held)

    def get(self, number: str) -> Case | None:
        """Return a case by its number; None where none is remembered."""
        held = self._held.get(number)
        return None if held is None else held.case

    def held(self, number: str) -> Held | None:
        """Return a case and where the log has it; None where none is remembered."""
        return self._held.get(number)

    def index_of(self, body: bytes) -> int | None:
        """Return the index of the newest entry of a case where it says the same as a body.

        Raises:
            Malformed, Oversized, BadIdentifier: the body is none of a case.
        """
        case = read_case(body)
        held = self._held.get(case.number)
        return held.indexes[-1] if held is not None and held.case == case else None

    def check(self, submitted: Submitted) -> str:
        """Refuse a step that does not follow, or that its signer may not take."""
        case, now_ms = read_case(submitted.statement.body), submitted.now_ms
        if holds_citizen_id(case.number):
            raise Malformed("case_number: a citizen id")
        check_issued(case.issued_at_ms, now_ms)
        check_signer(case, submitted.signer.identity, self._rules.current.case_services)
        held = self._held.get(case.number)
        if held is not None and _over(held.case, now_ms):
            held = None
        follows(None if held is None else held.case, case, now_ms)
        for organisation in sorted(case.parties):
            self._organisations.get(organisation)
        full = len(self._held) >= self._most or self._led[case.lead] >= self._most_of_lead
        if case.action == OPEN and full:
            raise QueueFull("cases")
        return case.number

    def apply(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Take over a step that was checked before it was logged, and let go what ended a day before it."""
        case = read_case(entry.administrative.statement.body)
        self._forget(entry.time_ms)
        held = self._held.get(case.number)
        if held is None or case.action == OPEN:
            if held is not None:
                self._drop(held)
            self._held[case.number] = Held(case, entry.time_ms, (index,), frozenset())
            self._led[case.lead] += 1
        else:
            indexes = (*held.indexes, index)
            self._held[case.number] = Held(case, held.opened_ms, indexes, held.case.parties)
        heappush(self._ends, (case.ended_ms, case.number))

    def audience(self, entry: audit_pb2.AuditEntry) -> Audience:
        """Those who take part are told, and at a change those who did."""
        case = read_case(entry.administrative.statement.body)
        held = self._held.get(case.number)
        before = held.before if held is not None and held.case == case else frozenset()
        return Audience(organisations=case.parties | before)

    def forgotten(self) -> Sequence[Forgotten]:
        """Return entries that count no more, once there are enough of them."""
        if len(self._let_go) < LET_GO:
            return ()
        gone, self._let_go = self._let_go, []
        return gone

    def _forget(self, time_ms: int) -> None:
        while self._ends and self._ends[0][0] + REMEMBERED_MS <= time_ms:
            _, number = heappop(self._ends)
            held = self._held.get(number)
            # A change may have put its end off: then a later one stands in the heap as well.
            if held is not None and _over(held.case, time_ms):
                self._drop(held)

    def _drop(self, held: Held) -> None:
        del self._held[held.case.number]
        self._led[held.case.lead] -= 1
        told = held.case.parties | held.before
        self._let_go += [Forgotten(index, told) for index in held.indexes]


def _over(case: Case, time_ms: int) -> bool:
    """Whether a case ended so long ago that it need not be remembered."""
    return case.ended_ms + REMEMBERED_MS <= time_ms
