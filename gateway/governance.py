"""Wires what governs exchanges: risk, quotas, stops, reviews, clocks and their escalation, corrections.

`gateway/app.py` wires the exchange itself. What is here only decides: its registers are parts of the region's
state (`gateway/state.py`), its guards stand in steps 4 and 7 of the path, and its duties read the log and
enter what follows from it.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from exchange.clock import Clock, NonceSource
from exchange.errors import ExchangeError
from exchange.identity import Identity
from exchange.keystore import KeyStore, secret_in
from exchange.statement import StatementSigner
from exchange.trust import TrustAnchor
from exchange.trust_feed import TrustFeed
from gateway.access.guards import Guard, ReleaseGuard, guard_faults, standard_guards
from gateway.access.quota import Quotas
from gateway.access.supervised import Supervised
from gateway.audit.entries.alerts import Alerts
from gateway.audit.writing.sequencer import Sequencer
from gateway.clocks.catalogue import CatalogueClocks
from gateway.clocks.escalation import Escalation
from gateway.clocks.grants import GrantClocks
from gateway.evidence import Evidence
from gateway.record import Exchange
from gateway.registrar import Registrar
from gateway.review.selection import Selection
from gateway.risk.setup import RISK_MARKS, Risk, RiskParts
from gateway.routing.links import Links
from gateway.state import RegionState
from gateway.stops.desk import DeskParts, StopDesk
from gateway.stops.pending_file import PendingFile
from gateway.subject_tags import GatewayTagKeys
from gateway.tickets.clocks import TicketClocks
from gateway.tickets.corrections import Corrections
from gateway.tickets.recipients import Recipients
from gateway.tickets.subjects import CorrectedSubjects


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernanceParts:
    """What governance is made of.

    Attributes:
        folder: of the gateway.
        hop: name of this gateway in refusals.
        conclude: takes exchanges that a stop caught to their entries.
        signer: returns what signs for the gateway.
    """

    folder: Path
    gateway: Identity
    hop: str
    keystore: KeyStore
    log: Sequencer
    state: RegionState
    registrar: Registrar
    evidence: Evidence
    tag_keys: GatewayTagKeys
    links: Links
    conclude: Callable[[list[Exchange]], None]
    signer: Callable[[], StatementSigner]
    anchor: TrustAnchor
    trust_feed: TrustFeed
    registry: CollectorRegistry
    clock: Clock
    random: NonceSource


class Governance:
    """Everything that decides whether an exchange may be, and what follows from it.

    Attributes:
        guards: of step 4, in their order.
        release_guards: of step 7, in their order.

    Args:
        parts: see `GovernanceParts`.
    """

    def __init__(self, parts: GovernanceParts) -> None:
        self._parts = parts
        log, state = parts.log, parts.state
        self.risk = self._make_risk()
        self.quotas = Quotas(state=state, used=log.used)
        # What reserves something comes last.
        self.guards: Sequence[Guard] = (*standard_guards(state), self.risk.guard, self.quotas)
        self.release_guards: Sequence[ReleaseGuard] = (self.risk.release,)
        self.stops = self._make_stops()
        self.selection = Selection(
            log=log,
            reviews=state.reviews,
            registrar=parts.registrar,
            signer=parts.signer,
            clock=parts.clock,
        )
        self.corrections = self._make_corrections()
        self.supervised = Supervised()
        self.grant_clocks = GrantClocks(
            grants=state.grants,
            resource=lambda resource_id: state.catalogue.by_id.get(resource_id),
            rules=lambda: state.rules.current,
            supervised=self.supervised,
            now_ms=parts.clock.now_ms,
        )
        self.ticket_clocks = TicketClocks(tickets=state.tickets, rules=state.rules)
        self.catalogue_clocks = CatalogueClocks(entries=lambda: state.catalogue.entries(), rules=state.rules)
        self.escalation = self._make_escalation()

    def _make_corrections(self) -> Corrections:
        p = self._parts
        subjects = CorrectedSubjects(
            keystore=p.keystore,
            keys=p.tag_keys,
            anchor=p.anchor,
            trust=lambda: p.trust_feed.current,
            clock=p.clock,
        )
        recipients = Recipients(
            log=p.log,
            tagged=p.evidence.tagged,
            find=p.evidence.searches.find,
            keys=p.tag_keys,
            subjects=subjects,
        )
        return Corrections(
            tickets=p.state.tickets,
            registrar=p.registrar,
            recipients=recipients,
            subjects=subjects,
            gateway=p.gateway,
        )

    def _make_risk(self) -> Risk:
        p = self._parts
        return Risk(
            RiskParts(
                state=p.state,
                log=p.log,
                enter=lambda entry: p.registrar.record_made(lambda _: entry),
                gateway=p.gateway,
                key=secret_in(p.keystore, RISK_MARKS, p.random),
                registry=p.registry,
                clock=p.clock,
                random=p.random,
            )
        )

    def _make_stops(self) -> StopDesk:
        p = self._parts
        return StopDesk(
            DeskParts(
                register=p.state.stops,
                registrar=p.registrar,
                links=p.links,
                conclude=p.conclude,
                anchor=p.anchor,
                trust_feed=p.trust_feed,
                file=PendingFile(p.folder / "stops-unlogged.pb"),
                clock=p.clock,
                hop=p.hop,
            )
        )

    def _make_escalation(self) -> Escalation:
        p = self._parts
        self.alerts = Alerts(
            append=p.log.append, gateway=p.gateway, origin=p.log.origin, clock=p.clock, random=p.random
        )
        return Escalation(
            sources=(self.grant_clocks.due, self.ticket_clocks.due, self.catalogue_clocks.due),
            enter=partial(self.alerts.enter, severity="warning"),
            path=p.folder / "overdue.json",
            clock=p.clock,
        )

    def open(self) -> None:
        """Put in force what was stopped and not logged, and set the clocks; after the log was folded.

        Raises:
            StoreDamaged: what was stopped cannot be read; nothing may be served then.
        """
        self.stops.open()
        self.grant_clocks.open()
        self._parts.registrar.subscribe(self.grant_clocks.changed)

    def concluded(self, exchanges: Sequence[Exchange]) -> None:
        """Take in a batch whose entries are durable."""
        self.risk.concluded(exchanges)

    def duties(self) -> list[Coroutine[Any, Any, None]]:
        """Return what must run for as long as the gateway does."""
        return [
            self.selection.run(),
            self.escalation.run(),
            self.stops.run(),
            self.corrections.run(),
            *self.risk.duties(),
        ]

    def faults(self) -> Sequence[ExchangeError]:
        """Return why guards let nothing pass that should."""
        return guard_faults(self.guards)

    def measure(self) -> None:
        """Set what is only read when it is scraped."""
        self.risk.measure()
