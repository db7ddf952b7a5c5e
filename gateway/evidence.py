"""Wires what stands around the log: witnesses, scrub, keeping, the officers' stream, traces, tiles.

`gateway/app.py` wires the exchange itself; what is here reads the log, vouches for it and keeps it. Nothing
of it is on the path of an exchange but the reason to hold exchanges back.
"""

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry

from exchange.clock import Clock, NonceSource
from exchange.errors import ExchangeError
from exchange.identity import Identity
from exchange.keystore import KeyStore, secret_in
from exchange.trust import TrustAnchor, TrustList
from gateway.act_entries import ActEntries
from gateway.audit.entries.alerts import Alerts
from gateway.audit.following.tail import Tails
from gateway.audit.keeping.keeper import Keeper
from gateway.audit.keeping.scrub import Scrub
from gateway.audit.keeping.tag_terms import TagTerms
from gateway.audit.keeping.terms import terms_of, trusted_now
from gateway.audit.log.tiles import Tiles
from gateway.audit.projections.alterations import Alterations
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.search import SEARCH, Searches
from gateway.audit.projections.search_rows import SearchContent
from gateway.audit.projections.trace import Traces
from gateway.audit.projections.trace_rows import TRACE, TraceContent
from gateway.audit.witnessing.setup import witnessing_of
from gateway.audit.writing.sequencer import Sequencer
from gateway.audit_service import AuditService
from gateway.calls import Calls
from gateway.config import GatewayConfig
from gateway.log_face import LogFace, LogFaceParts
from gateway.metrics import GatewayMetrics
from gateway.registrar import Registrar
from gateway.reports.usage_rows import USAGE, UsageContent
from gateway.storage.segments import SegmentFiles
from gateway.subject_tags import GatewayTagKeys

TRACE_MARKS = "trace-marks"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceParts:
    """What the log's surroundings are made of."""

    config: GatewayConfig
    gateway: Identity
    keystore: KeyStore
    log: Sequencer
    segments: SegmentFiles
    registrar: Registrar
    tag_keys: GatewayTagKeys
    anchor: TrustAnchor
    trust: Callable[[], TrustList | None]
    tls: Callable[[], tuple[bytes, bytes]]
    registry: CollectorRegistry
    clock: Clock
    random: NonceSource


class Evidence:
    """Everything around the log.

    Args:
        parts: see `EvidenceParts`.
    """

    def __init__(self, parts: EvidenceParts) -> None:
        self._parts = parts
        self._log_port = 0
        config, log, folder = parts.config, parts.log, parts.config.folder
        self.witnessing = witnessing_of(
            config.witnesses,
            folder=folder,
            log=log,
            log_keys=lambda: log.public_keys,
            gateway=parts.gateway,
            append=log.append,
            clock=parts.clock,
            random=parts.random,
            registry=parts.registry,
        )
        log.hold_exchanges_back(self.witnessing.fault)
        self.scrub = Scrub(log=log, entries_per_s=config.scrub.entries_per_s)
        alerts = Alerts(
            append=log.append,
            gateway=parts.gateway,
            origin=log.origin,
            clock=parts.clock,
            random=parts.random,
        )
        self.alterations = Alterations(alerts=alerts, clock=parts.clock)
        told = self.alterations.notice
        self._found = Projection(path=folder / SEARCH, log=log, content=SearchContent(), altered=told)
        self.tagged = Projection(path=folder / TRACE, log=log, content=TraceContent(log), altered=told)
        self.usage = Projection(path=folder / USAGE, log=log, content=UsageContent())
        self.keeper = self._make_keeper()
        self.tag_terms = self._make_tag_terms()
        self._read_by_officers()
        self.log_face = LogFace(
            LogFaceParts(
                shard=parts.gateway.name,
                log=Tiles(log),
                registrar=parts.registrar,
                anchor=parts.anchor,
                trust=parts.trust,
                clock=parts.clock,
                tls=parts.tls,
                witnessed=self.witnessing.witnessed_note,
            )
        )

    def _make_keeper(self) -> Keeper:
        p = self._parts
        return Keeper(
            log=p.log,
            files=p.segments,
            terms=terms_of(p.config.keeping),
            entries=ActEntries(origin=p.log.origin, clock=p.clock, random=p.random),
            actor=p.gateway,
            now=lambda: trusted_now(p.clock, p.trust()),
            forget=(self._found.forget, self.tagged.forget, self.usage.forget),
        )

    def _make_tag_terms(self) -> TagTerms:
        p = self._parts
        return TagTerms(
            keys=p.tag_keys,
            append=p.log.append,
            gateway=p.gateway,
            origin=p.log.origin,
            keep_days=p.config.keeping.keep_days,
            clock=p.clock,
            random=p.random,
            now=lambda: trusted_now(p.clock, p.trust()),
        )

    def _read_by_officers(self) -> None:
        p, witnessed = self._parts, self.witnessing.witnessed_size
        self.tails = Tails(log=p.log, clock=p.clock, witnessed=witnessed)
        self.witnessing.subscribe(lambda size: self.tails.wake())
        self.searches = Searches(projection=self._found, log=p.log, witnessed=witnessed)
        self.traces = Traces(
            projection=self.tagged,
            searches=self.searches,
            log=p.log,
            keys=p.tag_keys,
            delayed_days=p.config.tracing.delayed_purpose_days,
            mark_key=secret_in(p.keystore, TRACE_MARKS, p.random),
            record_read=p.registrar.record_read,
            clock=p.clock,
        )

    def service(self, calls: Calls) -> AuditService:
        """Return what serves the log to people and agents."""
        return AuditService(
            registrar=self._parts.registrar,
            calls=calls,
            log=self._parts.log,
            find=self.searches.find,
            tails=self.tails,
            searches=self.searches,
            trace=self.traces.answer,
            witnessed=self.witnessing.witnessed_note,
            log_port=lambda: self._log_port,
        )

    async def open(self, stack: AsyncExitStack) -> None:
        """Compare the log with what witnesses hold, and begin to project it; the stack ends both.

        Raises:
            LogBehind, LogForked: witnesses, or a head that they cosigned, contradict the log.
        """
        stack.push_async_callback(self.witnessing.close)
        await self.witnessing.before_signing()
        for projection in (self._found, self.tagged, self.usage):
            projection.start()
            stack.push_async_callback(projection.close)

    async def serve(self, stack: AsyncExitStack) -> int:
        """Serve tiles and checkpoints; return the port."""
        stack.callback(self.tails.drain)
        listen = self._parts.config.listen
        self._log_port = await self.log_face.start(listen.log_host, listen.log_port)
        stack.push_async_callback(self.log_face.stop)
        return self._log_port

    def duties(self) -> list[Coroutine[Any, Any, None]]:
        """Return what must run for as long as the gateway does."""
        return [
            self.witnessing.run(),
            self.tag_terms.run(),
            self.keeper.run(),
            self.scrub.run(),
            self.alterations.run(),
        ]

    def faults(self) -> list[ExchangeError]:
        """Return what keeps exchanges from succeeding, the log's writer first."""
        log = self._parts.log
        return [fault for fault in (log.fault, log.damage, self.keeper.fault) if fault is not None]

    def measure(self, metrics: GatewayMetrics) -> None:
        """Set what is only read when it is scraped."""
        metrics.log_size.set(self._parts.log.head.size)
        metrics.scrub_position.set(self.scrub.position)
        metrics.scrub_passes.set(self.scrub.passes)
        self.witnessing.measure()
