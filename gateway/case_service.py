"""Serves cases: their leads open, change and close them; who takes part and who oversees reads them."""

from typing import Any

from exchange.clock import Clock
from exchange.errors import UnknownCase
from exchange.identity import Identity
from exchange.timestamps import timestamp
from exchange.v1 import audit_pb2, case_pb2, case_pb2_grpc
from gateway.calls import Calls
from gateway.cases.register import CaseRegister
from gateway.registrar import Registrar

SERVICE = "/exchange.v1.CaseService"


class CaseService(case_pb2_grpc.CaseServiceServicer):
    """Serves the cases.

    Args:
        registrar: enters their steps.
        cases: as they stand.
        calls: what every call has around it.
        clock: the time.
    """

    def __init__(self, *, registrar: Registrar, cases: CaseRegister, calls: Calls, clock: Clock) -> None:
        self._registrar = registrar
        self._cases = cases
        self._calls = calls
        self._clock = clock

    async def SubmitCaseEvent(
        self, request: case_pb2.SubmitCaseEventRequest, context: Any
    ) -> case_pb2.SubmitCaseEventResponse:
        """Open, change or close a case."""
        return await self._calls.run(f"{SERVICE}/SubmitCaseEvent", request, context, self._submit)

    async def GetCase(self, request: case_pb2.GetCaseRequest, context: Any) -> case_pb2.GetCaseResponse:
        """Return one case."""
        return await self._calls.run(f"{SERVICE}/GetCase", request, context, self._get)

    async def _submit(
        self, request: case_pb2.SubmitCaseEventRequest, caller: Identity
    ) -> case_pb2.SubmitCaseEventResponse:
        index = await self._registrar.record(audit_pb2.ACT_CASE, caller, request.event)
        return case_pb2.SubmitCaseEventResponse(index=index)

    async def _get(self, request: case_pb2.GetCaseRequest, caller: Identity) -> case_pb2.GetCaseResponse:
        held = self._cases.held(request.case_number)
        party = caller.organisation  # Of nobody who oversees.
        if held is None or (party and party not in held.case.parties):
            # Whoever takes no part learns nothing of a case, not even that it is there.
            raise UnknownCase("case")
        leaf = self._registrar.leaf(held.indexes[-1])
        record = case_pb2.CaseRecord(
            newest=audit_pb2.AuditEntry.FromString(leaf).administrative.statement,
            open=held.case.is_open(self._clock.now_ms()),
            opened_at=timestamp(held.opened_ms),
        )
        return case_pb2.GetCaseResponse(record=record)
