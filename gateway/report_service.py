"""Serves the reports: who may have what, who used how much, what was promised, figures for evaluation.

A steward sees what concerns its own organisation; others who may ask see everything. A reading by officer or
auditor is entered in the log, as every reading of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from exchange.clock import BEIJING_MS, Clock
from exchange.errors import Malformed
from exchange.identity import Identity, Role
from exchange.resources import Resource
from exchange.timestamps import milliseconds
from exchange.v1 import report_pb2, report_pb2_grpc
from gateway import pages
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.projection_file import held
from gateway.calls import Calls
from gateway.registrar import Registrar
from gateway.reports import disclosure, performance, responsibility, sums
from gateway.reports.responsibility import Calendar
from gateway.reports.sums import Period
from gateway.reports.usage_rows import DAY_MS, day_of
from gateway.reports.usage_table import usage_rows
from gateway.state import RegionState

SERVICE = "/exchange.v1.ReportService"
DEFAULT_DAYS = 30
MAX_DAYS = 3 * 366
TURN = 64
"""So many catalogue entries are looked at before exchanges have their turn."""
_LOG_READERS = frozenset({Role.OFFICER, Role.AUDITOR})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportParts:
    """What reports are made of.

    Attributes:
        usage: projection of a `gateway.reports.usage_rows.UsageContent`.
        log_size: returns the size of the log.
        calendar: returns the region's, by its rules now.
    """

    registrar: Registrar
    state: RegionState
    usage: Projection
    log_size: Callable[[], int]
    calendar: Callable[[], Calendar]
    calls: Calls
    clock: Clock


class ReportService(report_pb2_grpc.ReportServiceServicer):
    """Serves reports.

    Args:
        parts: see `ReportParts`.
    """

    def __init__(self, parts: ReportParts) -> None:
        self._ = parts

    async def ListDisclosures(
        self, request: report_pb2.ListDisclosuresRequest, context: Any
    ) -> report_pb2.ListDisclosuresResponse:
        """Return a page of the grants, as they are disclosed."""
        return await self._.calls.run(f"{SERVICE}/ListDisclosures", request, context, self._disclosures)

    async def GetUsage(
        self, request: report_pb2.GetUsageRequest, context: Any
    ) -> report_pb2.GetUsageResponse:
        """Return who used how much."""
        return await self._.calls.run(f"{SERVICE}/GetUsage", request, context, self._usage)

    async def GetResponsibilities(
        self, request: report_pb2.GetResponsibilitiesRequest, context: Any
    ) -> report_pb2.GetResponsibilitiesResponse:
        """Return the responsibility list with what was measured."""
        return await self._.calls.run(
            f"{SERVICE}/GetResponsibilities", request, context, self._responsibilities
        )

    async def GetPerformance(
        self, request: report_pb2.GetPerformanceRequest, context: Any
    ) -> report_pb2.GetPerformanceResponse:
        """Return figures for evaluation."""
        return await self._.calls.run(f"{SERVICE}/GetPerformance", request, context, self._performance)

    async def _disclosures(
        self, request: report_pb2.ListDisclosuresRequest, caller: Identity
    ) -> report_pb2.ListDisclosuresResponse:
        most = pages.page_size(request.page_size)
        position = pages.position_of("disclosures", str(int(request.all)), request.page_token)
        await self._enter_reading(caller, "ListDisclosures")
        found, after = disclosure.page(
            self._.state,
            party=caller.organisation or None,
            after=-1 if position is None else position,
            most=most,
            ended_too=request.all,
            now_ms=self._.clock.now_ms(),
        )
        token = pages.token_at("disclosures", str(int(request.all)), after)
        return report_pb2.ListDisclosuresResponse(disclosures=found, next_page_token=token)

    async def _usage(
        self, request: report_pb2.GetUsageRequest, caller: Identity
    ) -> report_pb2.GetUsageResponse:
        now_ms = self._.clock.now_ms()
        period = _period(request, now_ms, default_ms=_first_of_month(now_ms), party=caller.organisation)
        group = request.group or report_pb2.USAGE_GROUP_CONSUMER_RESOURCE
        if group not in report_pb2.UsageGroup.values():
            raise Malformed("group")
        await self._enter_reading(caller, "GetUsage")
        await self._caught_up()
        rows, size = await self._.usage.query(
            lambda db: (usage_rows(db, period, group, self._division), held(db))
        )
        return report_pb2.GetUsageResponse(rows=rows, counted_size=size)

    async def _responsibilities(
        self, request: report_pb2.GetResponsibilitiesRequest, caller: Identity
    ) -> report_pb2.GetResponsibilitiesResponse:
        period = self._recent(request, caller)
        if request.resource:
            self._.state.catalogue.exactly(request.resource)
        await self._enter_reading(caller, "GetResponsibilities")
        rows, size = await self._promises(period, request.resource)
        wanted = [row for row in rows if row.breaches or not request.breaches]
        return report_pb2.GetResponsibilitiesResponse(rows=wanted[: sums.MAX_ROWS], counted_size=size)

    async def _performance(
        self, request: report_pb2.GetPerformanceRequest, caller: Identity
    ) -> report_pb2.GetPerformanceResponse:
        p, period = self._, self._recent(request, caller)
        await self._enter_reading(caller, "GetPerformance")
        promises, size = await self._promises(period, "")
        totals, applications, tickets = await p.usage.query(
            lambda db: (sums.totals(db, period), sums.applications(db, period), sums.tickets(db, period))
        )
        organisations = p.state.organisations.by_code
        rows = performance.rows(
            [organisations[code] for code in sorted(organisations) if period.party in ("", code)],
            totals,
            promises,
            applications,
            tickets,
            days_for=self._days_for,
            dispute_days=p.state.rules.current.clocks.dispute_days,
            calendar=p.calendar(),
            now_ms=min(period.until_ms, p.clock.now_ms()),
        )
        return report_pb2.GetPerformanceResponse(rows=rows, counted_size=size)

    async def _promises(
        self, period: Period, resource: str
    ) -> tuple[Sequence[report_pb2.ResponsibilityRow], int]:
        p = self._
        await self._caught_up()
        measured, applications, size = await p.usage.query(
            lambda db: (
                sums.measured(db, period, resource),
                sums.applications(db, period),
                held(db),
            )
        )
        resources = [one async for one in self._provided(period.party, resource)]
        rows = responsibility.rows(
            resources,
            measured,
            applications,
            days_for=self._days_for,
            calendar=p.calendar(),
            now_ms=min(period.until_ms, p.clock.now_ms()),
        )
        return rows, size

    async def _provided(self, provider: str, resource: str) -> AsyncIterator[Resource]:
        """Yield the resources in force, by id: one, or all that an organisation provides, or all.

        Many are opened for the first time here: exchanges go on meanwhile.
        """
        catalogue = self._.state.catalogue
        ids = [resource] if resource else [one.id for one in list(catalogue.entries())]
        for place, key in enumerate(ids):
            if provider in ("", catalogue.entry(key).provider):
                found = catalogue.by_id.get(key)
                if found is not None:
                    yield found
            if place % TURN == 0:
                await asyncio.sleep(0)

    def _days_for(self, application: sums.Application) -> int:
        """Return the working days within which an application is due; 0 for no clock."""
        state, clocks = self._.state, self._.state.rules.current.clocks
        resource = state.catalogue.by_id.get(application.resource)
        promised = resource.responsibility if resource is not None else None
        if promised is not None and promised.decide_within_days:
            return promised.decide_within_days
        grant = state.grants.get(application.grant_id)
        if resource is not None and grant is not None and grant.fields <= resource.unconditional:
            return clocks.unconditional_days
        return clocks.conditional_days

    def _division(self, code: str) -> str:
        found = self._.state.organisations.by_code.get(code)
        return found.division if found is not None else ""

    def _recent(self, request: Any, caller: Identity) -> Period:
        now_ms = self._.clock.now_ms()
        return _period(request, now_ms, default_ms=now_ms - DEFAULT_DAYS * DAY_MS, party=caller.organisation)

    async def _caught_up(self) -> None:
        await self._.usage.caught_up(self._.log_size())

    async def _enter_reading(self, caller: Identity, subject: str) -> None:
        if caller.role in _LOG_READERS:
            await self._.registrar.record_read(caller, subject)


def _period(request: Any, now_ms: int, *, default_ms: int, party: str) -> Period:
    until_ms = milliseconds(request.until, "until") if request.HasField("until") else now_ms
    since_ms = (
        milliseconds(request.since, "since") if request.HasField("since") else min(default_ms, until_ms - 1)
    )
    if not 0 <= since_ms < until_ms or until_ms - since_ms > MAX_DAYS * DAY_MS:
        raise Malformed("since or until")
    return Period(since_ms, until_ms, party)


def _first_of_month(now_ms: int) -> int:
    local = datetime.fromtimestamp((now_ms + BEIJING_MS) / 1000, UTC)
    first = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return day_of(int(first.timestamp() * 1000) - BEIJING_MS) * DAY_MS - BEIJING_MS
