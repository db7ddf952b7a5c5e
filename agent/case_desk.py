"""Opens and closes cases on behalf of the department's own systems, signed with the agent's certificate key.

What the gateway has entered the agent takes over at once, not only when it is told: who opens a case may
close it in the next moment.
"""

from collections.abc import Awaitable, Callable

from agent.cases import AgentCases
from exchange import canonical
from exchange.cases import CLOSE, DAY_MS, OPEN, Case
from exchange.clock import Clock, Random
from exchange.errors import UnknownCase
from exchange.statement import StatementSigner
from exchange.timestamps import timestamp
from exchange.v1 import agent_pb2, case_pb2, common_pb2

DEFAULT_DAYS = 30

Submit = Callable[[common_pb2.Statement], Awaitable[int]]
"""Has a signed CaseEventBody entered in the region's log; returns the index of its entry."""


class CaseDesk:
    """Takes steps in the cases that this department leads.

    Args:
        signer: of the agent, as its certificate stands now.
        cases: those that are known.
        submit: enters a step.
        clock, random: time, and what nonces are made of.
    """

    def __init__(
        self,
        *,
        signer: Callable[[], StatementSigner],
        cases: AgentCases,
        submit: Submit,
        clock: Clock,
        random: Random,
    ) -> None:
        self._signer = signer
        self._cases = cases
        self._submit = submit
        self._clock = clock
        self._random = random

    def case(self, number: str) -> Case | None:
        """Return a case that this organisation takes part in, None where it is not known."""
        return self._cases.get(number)

    async def open_case(self, request: agent_pb2.OpenCaseRequest) -> agent_pb2.OpenCaseResponse:
        """Open a case.

        Raises:
            ExchangeError: what the gateway says, or that it is away.
        """
        signer = self._signer()
        lead, now_ms = signer.identity.organisation, self._clock.now_ms()
        body = case_pb2.CaseEventBody(
            case_number=request.case_number,
            revision=1,
            action=OPEN,
            lead=lead,
            matter=request.matter,
            participants=[code for code in request.participants if code != lead],
            expires_at=timestamp(now_ms + (request.days or DEFAULT_DAYS) * DAY_MS),
        )
        index = await self._step(signer, body, now_ms)
        return agent_pb2.OpenCaseResponse(index=index, expires_at=body.expires_at)

    async def close_case(self, request: agent_pb2.CloseCaseRequest) -> agent_pb2.CloseCaseResponse:
        """Close a case.

        Raises:
            UnknownCase: this organisation takes no part in one of that number.
            ExchangeError: what the gateway says, or that it is away.
        """
        held = self._cases.get(request.case_number)
        if held is None:
            raise UnknownCase("case")
        signer, now_ms = self._signer(), self._clock.now_ms()
        body = case_pb2.CaseEventBody(
            case_number=held.number,
            revision=held.revision + 1,
            action=CLOSE,
            lead=held.lead,
            matter=held.matter,
            participants=sorted(held.parties - {held.lead}),
            expires_at=timestamp(held.expires_at_ms),
        )
        return agent_pb2.CloseCaseResponse(index=await self._step(signer, body, now_ms))

    async def _step(self, signer: StatementSigner, body: case_pb2.CaseEventBody, now_ms: int) -> int:
        body.nonce = self._random(canonical.NONCE_BYTES)
        body.issued_at.FromMilliseconds(now_ms)
        statement = signer.sign(canonical.CASE, body.SerializeToString())
        index = await self._submit(statement)
        self._cases.take_statement(statement, now_ms)
        return index
