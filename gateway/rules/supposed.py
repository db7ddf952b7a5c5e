"""An exchange that nobody asks for: shown to the guards of step 4, forwarded to nobody, entered nowhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exchange.errors import ExchangeError
from exchange.identity import Identity, Role
from exchange.trust import TrustList
from exchange.v1 import common_pb2, exchange_pb2, reason_pb2
from gateway.access.guards import Guard, trust_is_fresh
from gateway.audit.log.logged import Logged
from gateway.record import Exchange
from gateway.state import RegionState

REQUEST = "request"
"""Step 2 and 3, as entries name them: an id that resolves to no resource is refused there."""

ANY_AGENT = "any"
"""Stands for the name of an agent where none is asked about."""


@dataclass(slots=True)
class Nobody:
    """Stands where the caller of an exchange stands; it is never told an outcome."""

    identity: Identity
    serial: int = 0
    not_after_ms: int = 1 << 62
    in_flight: int = 0
    consumer_window: int = 1

    def settle(self, exchange: Exchange, leaf: bytes, logged: Logged | None) -> None:
        """Fail: what nobody asked for has no outcome."""
        raise AssertionError("a supposed exchange was concluded")


class Step(NamedTuple):
    """One rule that was asked, and why it refused."""

    rule: str
    error: ExchangeError | None

    @property
    def reason(self) -> "reason_pb2.Reason.ValueType":
        """Why it refused."""
        return self.error.reason if self.error else reason_pb2.REASON_UNSPECIFIED


def suppose(state: RegionState, consumer: Identity, header: exchange_pb2.RequestHeader) -> Exchange:
    """Return the record of an exchange as it stands before step 4, made from the present catalogue.

    Args:
        state: of the region.
        consumer: identity of an agent of the consumer's.
        header: what is asked; provider and digest of the resource are filled in here.

    Raises:
        UnknownResource, BadIdentifier: the id resolves to nothing.
    """
    exchange = Exchange(Nobody(consumer), common_pb2.Signed(), 0, header)
    exchange.exchange_id, exchange.deadline_ms = header.exchange_id, header.deadline_ms
    exchange.rule, exchange.rules_version = REQUEST, state.rules.current.version
    exchange.resource = resource = state.resource(header.resource)
    header.provider_organisation, header.resource_digest = resource.provider, resource.digest
    return exchange


def consumer_of(caller: Identity, organisation: str, agent: str = ANY_AGENT) -> Identity:
    """Return the identity of an organisation's agent in the caller's region."""
    return Identity(caller.trust_domain, caller.division, Role.AGENT, organisation, agent)


def walk(
    exchange: Exchange, guards: Sequence[Guard], trust: TrustList | None, *, now_ms: int, trust_ms: int
) -> list[Step]:
    """Ask the guards in their order, up to the one that refuses; none of them holds anything back.

    Args:
        exchange: as `suppose` makes it.
        guards: of step 4.
        trust: the newest trust list.
        now_ms: when the exchange is supposed to be.
        trust_ms: when the age of the trust list counts.
    """
    steps = []
    for guard in guards:
        ask = getattr(guard, "peek", guard)
        try:
            ask(exchange, trust, trust_ms if guard is trust_is_fresh else now_ms)
        except ExchangeError as error:
            steps.append(Step(exchange.rule, error))
            break
        steps.append(Step(exchange.rule, None))
    return steps
