"""What the faces see of the agent: it asks, it shows the catalogue it knows, and it tells how it is."""

from collections.abc import Callable, Mapping, Sequence

from agent.consumer.ask import Consumer
from agent.consumer.asker import Deliver
from agent.link import GatewayLink
from agent.provider.answer import Provider
from agent.provider.source import Source
from agent.region import RegionView
from exchange import grants
from exchange.clock import Clock
from exchange.enrolment import IdentityFolder
from exchange.errors import CertificateExpired, ClockSkew, ExchangeError, TrustStale
from exchange.trust import TrustList
from exchange.v1 import agent_pb2, common_pb2

KINDS: dict[int, str] = {
    number: name.removeprefix("KIND_").lower() for name, number in common_pb2.Kind.items()
}


class AgentDesk:
    """The agent as its faces see it.

    Args:
        identity: of the agent.
        consumer: asks.
        provider: for its alarm.
        link: for its fault.
        region: for catalogue and grants.
        sources: by resource.
        trust: the newest trust list.
        authority_fault: why the authority's stream is down, if it is.
        keys_fault: whether somebody else publishes keys in this agent's name.
        clock: the time.
    """

    def __init__(
        self,
        *,
        identity: IdentityFolder,
        consumer: Consumer,
        provider: Provider,
        link: GatewayLink,
        region: RegionView,
        sources: Mapping[str, Source],
        trust: Callable[[], TrustList | None],
        authority_fault: Callable[[], ExchangeError | None],
        keys_fault: Callable[[], ExchangeError | None],
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._consumer = consumer
        self._provider = provider
        self._link = link
        self._region = region
        self._sources = sources
        self._trust = trust
        self._authority_fault = authority_fault
        self._keys_fault = keys_fault
        self._clock = clock

    async def ask(self, question: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
        """See Consumer.ask."""
        return await self._consumer.ask(question)

    def submit(self, questions: Sequence[agent_pb2.AskRequest], deliver: Deliver) -> None:
        """See Consumer.submit."""
        self._consumer.submit(questions, deliver)

    async def resources(self) -> Sequence[Mapping[str, object]]:
        """Return the catalogue as this agent knows it."""
        return [
            {
                "id": resource.id,
                "provider": resource.provider,
                "title": {"zh": resource.title_zh, "en": resource.title_en},
                "version": resource.version,
                "suspended": resource.suspended,
                "case_required": resource.case_required,
                "kinds": [KINDS[kind] for kind in sorted(resource.kinds)],
                "fields": [
                    {"name": name, "type": rule.type, "level": f"L{rule.level}"}
                    for name, rule in resource.fields.items()
                ],
                "parameters": [
                    {"name": name, "type": rule.type, "format": rule.format}
                    for name, rule in resource.parameters.items()
                ],
            }
            for resource in self._region.resources()
        ]

    async def status(self) -> agent_pb2.GetAgentStatusResponse:
        """Return how the agent is, hop by hop."""
        status = agent_pb2.GetAgentStatusResponse(spiffe_id=self._identity.identity().uri)
        now_ms = self._clock.now_ms()
        self._note(status, "certificate", self._certificate(now_ms), self._certificate_end())
        self._note(status, "authority", self._authority_fault(), self._identity.enrolment().enrolment_address)
        self._note(status, "trust-list", self._trust_fault(now_ms), self._trust_detail())
        skew_ms = self._link.skew_ms
        clock = ClockSkew(f"{skew_ms} ms") if abs(skew_ms) > 60_000 else None
        self._note(status, "clock", clock, f"{skew_ms} ms")
        self._note(status, "link", self._link.fault, self._link.hop)
        self._note(status, "keys", self._keys_fault(), "published by this agent alone")
        active = sum(1 for grant in self._region.grants() if grant.state == grants.ACTIVE)
        self._note(status, "grants", self._provider.fault, f"{active} in force")
        for resource, source in self._sources.items():
            if self._region.withdrawn(resource):
                self._note(status, f"source:{resource}", None, "withdrawn from the catalogue: not asked")
                continue
            fault: ExchangeError | None = None
            try:
                await source.check()
            except ExchangeError as error:
                fault = error
            self._note(status, f"source:{resource}", fault, resource)
        return status

    @staticmethod
    def _note(
        status: agent_pb2.GetAgentStatusResponse, hop: str, fault: ExchangeError | None, detail: str
    ) -> None:
        status.hops.add(
            hop=hop,
            ok=fault is None,
            detail=fault.subject or detail if fault else detail,
            reason=fault.name if fault else "",
        )

    def _certificate_end(self) -> str:
        return self._identity.certificate().not_valid_after_utc.isoformat(timespec="seconds")

    def _certificate(self, now_ms: int) -> ExchangeError | None:
        end_ms = self._identity.certificate().not_valid_after_utc.timestamp() * 1000
        return CertificateExpired(self._certificate_end()) if end_ms <= now_ms else None

    def _trust_fault(self, now_ms: int) -> ExchangeError | None:
        trust = self._trust()
        return None if trust is not None and trust.fresh(now_ms) else TrustStale(self._trust_detail())

    def _trust_detail(self) -> str:
        trust = self._trust()
        return f"number {trust.number}" if trust else "none"
