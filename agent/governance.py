"""Wires what an agent checks and counts of governance by itself: it takes no gateway's word for any of it.

What the region signed comes from events of the log that the agent verified (`agent/region.py`): rules, stops,
cases, corrections, disputes. Its own department adds an allow-list. Quality of what it received and counts of
verification are kept here and nowhere else.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from agent.case_desk import CaseDesk, Submit
from agent.cases import AgentCases
from agent.config import AgentConfig
from agent.consumer.quality import HOUR_MS, HandIn, QualityBook
from agent.corrections import AgentCorrections
from agent.disputes import AgentDisputes
from agent.provider.allow_list import AllowList
from agent.provider.verify_limits import VerifyCounts
from agent.provider.verify_store import VerifyStore
from agent.region import RegionView
from agent.region_rules import AgentRules
from agent.stops import AgentStops
from exchange.clock import Clock, NonceSource
from exchange.errors import ExchangeError
from exchange.identity import Identity
from exchange.keys import OwnKeys
from exchange.keystore import KeyStore, secret_in
from exchange.statement import StatementSigner

COUNTS_S = 1.0
QUALITY_S = 30.0
LAST_REPORT_S = 2.0

_log = structlog.get_logger("agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernanceParts:
    """What an agent's governance is made of.

    Attributes:
        signer: returns what signs with the agent's certificate.
    """

    config: AgentConfig
    identity: Identity
    keystore: KeyStore
    keys: OwnKeys
    region: RegionView
    signer: Callable[[], StatementSigner]
    clock: Clock
    random: NonceSource


class Governance:
    """What the agent knows of rules, stops, cases and tickets, and what it counts.

    Args:
        parts: see `GovernanceParts`.
    """

    def __init__(self, parts: GovernanceParts) -> None:
        self._parts = parts
        region, organisation, clock = parts.region, parts.identity.organisation, parts.clock
        self.rules = AgentRules(region=region)
        self.stops = AgentStops(region=region, division=parts.identity.division, clock=clock)
        self.cases = AgentCases(region=region, rules=self.rules, organisation=organisation)
        self.corrections = AgentCorrections(region=region, organisation=organisation, clock=clock)
        self.disputes = AgentDisputes(
            region=region,
            keystore=parts.keystore,
            organisation=organisation,
            agent=parts.identity.name,
            private=parts.keys.sealing_private,
        )
        self.disputes.erase_ended()
        self.allow = AllowList(parts.config.allow)
        self.quality = QualityBook(
            region=region,
            clock=clock,
            random=parts.random,
            signer=parts.signer,
            every_ms=parts.config.quality.report_every_hours * HOUR_MS,
        )
        self._store = VerifyStore(parts.config.folder / "verify-counts.db")
        provides = bool(parts.config.resource)
        self.verify_counts = VerifyCounts(
            limits=lambda: self.rules.current.verify_limits,
            key=secret_in(parts.keystore, "verify-counts", parts.random) if provides else bytes(32),
            store=self._store,
            now_ms=clock.now_ms(),
        )

    def case_desk(self, submit: Submit) -> CaseDesk:
        """Return what opens and closes cases for the department's systems."""
        p = self._parts
        return CaseDesk(signer=p.signer, cases=self.cases, submit=submit, clock=p.clock, random=p.random)

    def duties(self, hand_in: HandIn) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what must run for as long as the agent does.

        Args:
            hand_in: hands a report of quality in.
        """
        return [self._report_quality(hand_in), self._write_counts()]

    def sweep(self) -> None:
        """Take out of force what has ended by itself; called every second."""
        self.stops.sweep()

    async def report_last(self, hand_in: HandIn) -> None:
        """Report what was counted before the agent stops, and keep what could not be reported."""
        try:
            async with asyncio.timeout(LAST_REPORT_S):
                await self.quality.report(hand_in, all_=True)
        except (ExchangeError, TimeoutError) as error:
            _log.info("quality is reported after the next start", error=type(error).__name__)
        try:
            self.quality.keep_now()
        except ExchangeError as error:
            _log.warning("quality not kept", reason=error.name, subject=error.subject)

    async def close(self) -> None:
        """Write the counts and close their file."""
        await self.verify_counts.flush()
        self._store.close()

    async def _report_quality(self, hand_in: HandIn) -> None:
        """Report the quality of what was received when it is due; what fails is tried again."""
        while True:
            await asyncio.sleep(QUALITY_S)
            try:
                self.quality.keep()
                await self.quality.report(hand_in)
            except ExchangeError as error:
                _log.warning("quality not reported", reason=error.name, subject=error.subject)

    async def _write_counts(self) -> None:
        while True:
            await asyncio.sleep(COUNTS_S)
            await self.verify_counts.flush()
