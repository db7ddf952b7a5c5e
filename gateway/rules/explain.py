"""Says whether an exchange would pass and which rule decides, by the very guards that the path asks.

1. Nothing is forwarded, reserved or entered as an exchange.
2. An organisation asks about exchanges of its own, as consumer or provider; overseers about all, and that
   they looked is an entry before they see anything.
3. Without a grant in the question, the consumer's grant for the resource that goes furthest answers.
4. Each question walks the guards for up to 64 grants: a caller may ask so often and no oftener.
5. The trust list counts with its present age, whatever time is asked about: of a later one nothing is known.
"""

from collections.abc import Callable, Sequence

from exchange.canonical import DIGEST_BYTES
from exchange.clock import Clock
from exchange.codes import credit_code
from exchange.errors import ExchangeError, Malformed, Oversized, RoleNotAllowed
from exchange.identity import OF_ORGANISATION, Identity, Role
from exchange.trust import TrustList
from exchange.v1 import exchange_pb2, rules_pb2
from gateway.access.call_rate import CallRate
from gateway.access.guards import Guard
from gateway.access.requests import KINDS, MAX_FIELDS, MAX_TEXT
from gateway.registrar import Registrar
from gateway.rules.supposed import ANY_AGENT, REQUEST, Step, consumer_of, suppose, walk
from gateway.state import RegionState

MAX_TRIED = 64
"""Grants of a consumer for one resource that are tried, the newest first."""
MAX_SUBJECT = 200
LAST_MS = 4_102_444_800_000
"""The year 2100: nobody asks about later times, and calendars end."""


class Explainer:
    """Answers what would happen.

    Args:
        registrar: enters that an overseer looked.
        state: of the region.
        guards: of step 4, the path's own.
        trust: returns the newest trust list.
        clock: the time.
        rate: how often one caller may ask.
    """

    def __init__(
        self,
        *,
        registrar: Registrar,
        state: RegionState,
        guards: Sequence[Guard],
        trust: Callable[[], TrustList | None],
        clock: Clock,
        rate: CallRate,
    ) -> None:
        self._registrar = registrar
        self._state = state
        self._guards = guards
        self._trust = trust
        self._clock = clock
        self._rate = rate

    async def answer(self, request: rules_pb2.ExplainRequest, caller: Identity) -> rules_pb2.ExplainResponse:
        """Return which rules an exchange would pass.

        Raises:
            Malformed, Oversized, BadIdentifier: the question is none.
            RoleNotAllowed: it is about other organisations than the caller's.
            TooMany: the caller has asked too often.
            AuditUnavailable: that an overseer looked could not be entered.
        """
        # First: also what is refused costs, and beyond the rate an overseer's questions fill no log.
        self._rate.admit(caller, self._clock.now_ms())
        _check(request)
        if caller.role in OF_ORGANISATION:
            self._check_party(request, caller)
        else:
            subject = f"Explain {request.consumer} {request.resource}"
            await self._registrar.record_read(caller, subject)
        steps, grant_id = self._steps(request, caller)
        return rules_pb2.ExplainResponse(
            allowed=all(step.error is None for step in steps),
            steps=map(_told, steps),
            grant_id=grant_id,
            rules_version=self._state.rules.current.version,
        )

    def _check_party(self, request: rules_pb2.ExplainRequest, caller: Identity) -> None:
        if caller.organisation == request.consumer:
            return
        try:
            provider = self._state.resource(request.resource).provider
        except ExchangeError:
            provider = ""
        if caller.organisation != provider:
            # The same whether or not there is such a resource.
            raise RoleNotAllowed(caller.organisation)

    def _steps(self, request: rules_pb2.ExplainRequest, caller: Identity) -> tuple[list[Step], bytes]:
        try:
            resource = self._state.resource(request.resource)
        except ExchangeError as error:
            return [Step(REQUEST, error)], b""
        if request.grant_id:
            return self._walk(request, caller, request.grant_id), request.grant_id
        best, found = self._walk(request, caller, bytes(DIGEST_BYTES)), b""
        for grant in reversed(self._state.grants.find(request.consumer, resource.id)[-MAX_TRIED:]):
            steps = self._walk(request, caller, grant.grant_id)
            if not found or _further(steps, best):
                best, found = steps, grant.grant_id
        return best, found

    def _walk(self, request: rules_pb2.ExplainRequest, caller: Identity, grant_id: bytes) -> list[Step]:
        present_ms = self._clock.now_ms()
        at_ms = request.at_ms or present_ms
        header = exchange_pb2.RequestHeader(
            division=caller.division,
            issued_at_ms=at_ms,
            deadline_ms=at_ms,
            kind=request.kind,
            consumer_organisation=request.consumer,
            resource=request.resource,
            fields=request.fields,
            grant_id=grant_id,
            purpose=request.purpose,
            matter=request.matter,
            step=request.step,
            case_number=request.case_number,
        )
        own = caller.role is Role.AGENT and caller.organisation == request.consumer
        agent = caller.name if own else ANY_AGENT
        exchange = suppose(self._state, consumer_of(caller, request.consumer, agent), header)
        return walk(exchange, self._guards, self._trust(), now_ms=at_ms, trust_ms=present_ms)


def _further(steps: Sequence[Step], best: Sequence[Step]) -> bool:
    """Return whether one walk went further than another."""
    return _length(steps) > _length(best)


def _length(steps: Sequence[Step]) -> int:
    return sum(step.error is None for step in steps)


def _check(request: rules_pb2.ExplainRequest) -> None:
    """Refuse what no request could say: the bounds of `gateway.access.requests`."""
    if request.kind not in KINDS or not 0 < len(request.fields) <= MAX_FIELDS:
        raise Malformed("kind or fields")
    if len(request.grant_id) not in (0, DIGEST_BYTES) or not 0 <= request.at_ms < LAST_MS:
        raise Malformed("grant_id or at_ms")
    texts = (request.consumer, request.resource, request.purpose, request.matter, request.step)
    if max(map(len, (*texts, request.case_number, *request.fields))) > MAX_TEXT:
        raise Oversized("text")
    credit_code(request.consumer)


def _told(step: Step) -> rules_pb2.ExplainStep:
    subject = step.error.subject[:MAX_SUBJECT] if step.error else ""
    return rules_pb2.ExplainStep(
        rule=step.rule, passed=step.error is None, reason=step.reason, subject=subject
    )
