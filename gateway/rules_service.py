"""Serves the region's rules: which hold, what they decide, and how two administrators set others."""

from typing import Any

from exchange.errors import Malformed
from exchange.identity import Identity
from exchange.v1 import audit_pb2, rules_pb2, rules_pb2_grpc
from gateway.calls import Calls
from gateway.registrar import Registrar
from gateway.rules.dry_run import DryRuns
from gateway.rules.explain import Explainer
from gateway.rules.register import RulesRegister

SERVICE = "/exchange.v1.RulesService"


class RulesService(rules_pb2_grpc.RulesServiceServicer):
    """Serves the rules.

    Args:
        registrar: enters them.
        rules: in force.
        explainer: says what they would decide.
        dry_runs: say what others would have decided.
        calls: what every call has around it.
    """

    def __init__(
        self,
        *,
        registrar: Registrar,
        rules: RulesRegister,
        explainer: Explainer,
        dry_runs: DryRuns,
        calls: Calls,
    ) -> None:
        self._registrar = registrar
        self._rules = rules
        self._explainer = explainer
        self._dry_runs = dry_runs
        self._calls = calls

    async def GetRules(self, request: rules_pb2.GetRulesRequest, context: Any) -> rules_pb2.GetRulesResponse:
        """Return the rules in force."""
        return await self._calls.run(f"{SERVICE}/GetRules", request, context, self._get)

    async def SetRules(self, request: rules_pb2.SetRulesRequest, context: Any) -> rules_pb2.SetRulesResponse:
        """Set the rules."""
        return await self._calls.run(f"{SERVICE}/SetRules", request, context, self._set)

    async def Explain(self, request: rules_pb2.ExplainRequest, context: Any) -> rules_pb2.ExplainResponse:
        """Say whether an exchange would pass."""
        return await self._calls.run(f"{SERVICE}/Explain", request, context, self._explainer.answer)

    async def DryRun(self, request: rules_pb2.DryRunRequest, context: Any) -> rules_pb2.DryRunResponse:
        """Say what other rules would have decided."""
        return await self._calls.run(f"{SERVICE}/DryRun", request, context, self._dry_runs.answer)

    async def _get(self, request: rules_pb2.GetRulesRequest, caller: Identity) -> rules_pb2.GetRulesResponse:
        return rules_pb2.GetRulesResponse(rules=self._rules.statements, index=self._rules.index)

    async def _set(self, request: rules_pb2.SetRulesRequest, caller: Identity) -> rules_pb2.SetRulesResponse:
        if not request.rules:
            raise Malformed("rules")
        own, *others = request.rules
        index = await self._registrar.record(audit_pb2.ACT_RULES, caller, own, countersignatures=others)
        return rules_pb2.SetRulesResponse(index=index)
