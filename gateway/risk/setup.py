"""Puts risk together: rules, windows, holds, findings, and what rebuilds and enters them."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from exchange.clock import Clock, Random
from exchange.identity import Identity
from exchange.trust import TrustList
from exchange.v1 import audit_pb2, exchange_pb2
from gateway.metrics import RiskMetrics
from gateway.record import Exchange
from gateway.risk.engine import Engine, check_rules
from gateway.risk.rebuild import Rebuild
from gateway.risk.recorder import FindingRecorder
from gateway.risk.tail import Log
from gateway.state import RegionState

RISK_MARKS = "risk-marks"
"""Name of the key of the marks in the key store."""


class RiskLog(Log, Protocol):
    """The audit log, with its origin."""

    @property
    def origin(self) -> str:
        """Name of the log."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskParts:
    """What risk is made of.

    Attributes:
        enter: appends an entry, waits until it is durable, and folds it.
        key: of the marks, 32 bytes.
    """

    state: RegionState
    log: RiskLog
    enter: Callable[[audit_pb2.AuditEntry], Awaitable[object]]
    gateway: Identity
    key: bytes
    registry: CollectorRegistry
    clock: Clock
    random: Random


class Risk:
    """The gateway's risk rules at work.

    Args:
        parts: see `RiskParts`.
    """

    def __init__(self, parts: RiskParts) -> None:
        state = parts.state
        self.recorder = FindingRecorder(
            enter=parts.enter,
            known=lambda finding_id: state.findings.get(finding_id) is not None,
            gateway=parts.gateway,
            origin=parts.log.origin,
            clock=parts.clock,
            random=parts.random,
        )
        self.engine = Engine(
            resource=state.catalogue.find,
            found=self.recorder.take,
            key=parts.key,
            clock=parts.clock,
            random=parts.random,
        )
        self.rebuild = Rebuild(
            log=parts.log, engine=self.engine, resource=state.catalogue.find, clock=parts.clock
        )
        self._metrics = RiskMetrics(parts.registry)
        state.rules.require(check_rules)
        state.rules.subscribe(self.engine.use_rules)
        state.findings.subscribe(self.engine.decided)

    def guard(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        """Refuse what is held back (step 4)."""
        self.engine.holds.guard(exchange, trust, now_ms)

    def release(self, exchange: Exchange, body: exchange_pb2.ResponseBody) -> None:
        """Hold back an answer that completes a combination (step 7); the last guard there."""
        self.engine.release(exchange, body)

    def concluded(self, exchanges: Sequence[Exchange]) -> None:
        """Take in a batch whose entries are durable."""
        self.engine.concluded(exchanges)

    def duties(self) -> list[Coroutine[Any, Any, None]]:
        """Return what must run for as long as the gateway does."""
        return [self.recorder.run(), self.rebuild.run()]

    def measure(self) -> None:
        """Set what is read when it is scraped."""
        m, engine = self._metrics, self.engine
        m.findings.set(self.recorder.entered)
        m.holds.set(engine.holds.size)
        m.cells.set(engine.windows.held)
        m.lost.set(engine.windows.evicted + engine.holds.evicted + self.recorder.dropped + self.rebuild.lost)
        m.rebuilt.set(not self.rebuild.behind)
        m.readable.set(not engine.fault)
