"""Cases as the agent knows them: those its organisation takes part in, from statements it verified itself.

1. A statement is signed by an agent or steward of the case's lead, and the region's rules let that lead.
2. Revisions of a case count up; its lead may open it anew, for its gateway may have lost it. Closing is
   final. A number is free again a day after its case has ended.
3. A case that has ended is forgotten a day later. A statement that was signed long before one that is known
   already is left out: a gateway that shows again how a case was opened, after it was closed and forgotten,
   opens nothing. The clock of both is what was signed (`mark`), not this machine's.
4. A provider that was not told of a case refuses (agent/provider/inspection.py).

A gateway that withholds the closing leaves the case open here until its expiry, as with every event.
"""

from collections.abc import Collection
from heapq import heappop, heappush

from agent.region import RegionView
from agent.region_rules import AgentRules
from exchange import canonical
from exchange.cases import OPEN, REMEMBERED_MS, Case, check, check_signer, read_case
from exchange.errors import Replayed, WrongState
from exchange.v1 import audit_pb2, common_pb2, exchange_pb2

KIND = "case"
LATE_MS = 15 * 60 * 1000
"""Statements enter the log within five minutes of their signature, so in about the order of their signing."""


class AgentCases:
    """Holds the cases that this organisation takes part in.

    Args:
        region: tells of events and keeps what was taken.
        rules: the region's.
        organisation: credit code of the agent's own.

    Attributes:
        mark: when the newest statement known was signed, Unix milliseconds; 0 where there is none.
    """

    acts: Collection[int] = frozenset({audit_pb2.ACT_CASE})

    def __init__(self, *, region: RegionView, rules: AgentRules, organisation: str) -> None:
        self._region = region
        self._rules = rules
        self._organisation = organisation
        self._cases: dict[str, Case] = {}
        self._ends: list[tuple[int, str]] = []
        self.mark = 0
        for body in region.kept(KIND).values():
            self._hold(read_case(body))
        region.add(self)

    def __len__(self) -> int:
        return len(self._cases)

    def get(self, number: str) -> Case | None:
        """Return a case by its number; None where none is known."""
        return self._cases.get(number)

    def check(self, header: exchange_pb2.RequestHeader, now_ms: int) -> None:
        """Refuse a request for a case that is not open for its parties and matter.

        Raises:
            CaseNotOpen.
        """
        if header.case_number and not self._rules.current.claims:
            check(
                self._cases.get(header.case_number),
                consumer=header.consumer_organisation,
                provider=header.provider_organisation,
                matter=header.matter,
                now_ms=now_ms,
            )

    def take(self, act: audit_pb2.AdministrativeEntry, index: int, at_ms: int) -> None:
        """Take over a step; one that is known already is passed over."""
        self.take_statement(act.statement, at_ms)

    def take_statement(self, statement: common_pb2.Statement, at_ms: int) -> None:
        """Take over a step that proves itself.

        Args:
            statement: a signed CaseEventBody.
            at_ms: when it was entered, Unix milliseconds, not after now.

        Raises:
            ExchangeError: it does not verify, or does not follow.
        """
        case = read_case(statement.body)
        (signer,) = self._region.signers([statement], canonical.CASE, at_ms=at_ms)
        check_signer(case, signer, self._rules.current.case_services)
        held = self._cases.get(case.number)
        if held == case:
            return
        self._check(held, case, at_ms)
        # A crash before this line leaves what was before; the backlog brings the step again.
        self._region.keep(KIND, case.number, statement.body)
        self._hold(case)
        self._forget()

    def _check(self, held: Case | None, case: Case, at_ms: int) -> None:
        if case.issued_at_ms < self.mark - LATE_MS:
            raise Replayed(case.number)
        if held is None:
            return
        later = case.issued_at_ms > held.issued_at_ms
        if later and held.ended_ms + REMEMBERED_MS <= at_ms:
            return
        if held.lead != case.lead:
            # Of a case in which this organisation takes no part any more it is not told how it ended.
            if self._organisation in held.parties or case.action != OPEN or not later:
                raise WrongState(f"{case.number}: another leads it")
        elif held.closed or (case.revision <= held.revision and not (case.action == OPEN and later)):
            raise WrongState(f"{case.number}: an older step")

    def _hold(self, case: Case) -> None:
        self._cases[case.number] = case
        self.mark = max(self.mark, case.issued_at_ms)
        heappush(self._ends, (case.ended_ms, case.number))

    def _forget(self) -> None:
        while self._ends and self._ends[0][0] + REMEMBERED_MS <= self.mark:
            _, number = heappop(self._ends)
            case = self._cases.get(number)
            if case is not None and case.ended_ms + REMEMBERED_MS <= self.mark:
                self._region.forget(KIND, number)
                del self._cases[number]
