"""Serves the findings of the risk rules: what was found, and what people decide about it."""

from typing import Any

from exchange.clock import Clock
from exchange.errors import Malformed
from exchange.identity import Identity, Role
from exchange.v1 import audit_pb2, risk_pb2, risk_pb2_grpc
from gateway import pages
from gateway.calls import Calls
from gateway.registrar import Registrar
from gateway.risk.register import FindingsRegister, Row

SERVICE = "/exchange.v1.RiskService"
LIST = "findings"
MAX_RULE = 40


class RiskService(risk_pb2_grpc.RiskServiceServicer):
    """Serves the findings.

    Args:
        registrar: enters decisions.
        findings: of the region.
        calls: what every call has around it.
        clock: the time.
    """

    def __init__(
        self, *, registrar: Registrar, findings: FindingsRegister, calls: Calls, clock: Clock
    ) -> None:
        self._registrar = registrar
        self._findings = findings
        self._calls = calls
        self._clock = clock

    async def ListFindings(
        self, request: risk_pb2.ListFindingsRequest, context: Any
    ) -> risk_pb2.ListFindingsResponse:
        """List findings, newest first."""
        return await self._calls.run(f"{SERVICE}/ListFindings", request, context, self._list)

    async def DecideFinding(
        self, request: risk_pb2.DecideFindingRequest, context: Any
    ) -> risk_pb2.DecideFindingResponse:
        """Decide on a finding."""
        return await self._calls.run(f"{SERVICE}/DecideFinding", request, context, self._decide)

    async def _list(
        self, request: risk_pb2.ListFindingsRequest, caller: Identity
    ) -> risk_pb2.ListFindingsResponse:
        most = pages.page_size(request.page_size)
        if len(request.rule) > MAX_RULE:
            raise Malformed("rule")
        scope = f"{request.holding:d}/{request.rule}"
        before = pages.position_of(LIST, scope, request.page_token)
        now_ms = self._clock.now_ms()
        fitting = (
            row
            for row in self._findings
            if (before is None or row.index < before) and self._fits(row, request, caller, now_ms)
        )
        taken = pages.fitting(fitting, lambda row: _told(row, now_ms).ByteSize(), most=most)
        last = taken[-1].index if taken else 0
        more = any(row.index < last and self._fits(row, request, caller, now_ms) for row in self._findings)
        return risk_pb2.ListFindingsResponse(
            findings=[_told(row, now_ms) for row in taken],
            next_page_token=pages.token_at(LIST, scope, last if more else None),
        )

    def _fits(self, row: Row, request: risk_pb2.ListFindingsRequest, caller: Identity, now_ms: int) -> bool:
        if request.rule and row.record.rule != request.rule:
            return False
        if request.holding and row.held_until_ms <= now_ms:
            return False
        return caller.role is not Role.STEWARD or self._findings.concerns(caller, row.record)

    async def _decide(
        self, request: risk_pb2.DecideFindingRequest, caller: Identity
    ) -> risk_pb2.DecideFindingResponse:
        index = await self._registrar.record(audit_pb2.ACT_FINDING_DECISION, caller, request.decision)
        return risk_pb2.DecideFindingResponse(index=index)


def _told(row: Row, now_ms: int) -> risk_pb2.FindingRow:
    return risk_pb2.FindingRow(
        index=row.index,
        finding=row.record,
        decisions=row.decisions,
        holds=row.held_until_ms > now_ms,
    )
