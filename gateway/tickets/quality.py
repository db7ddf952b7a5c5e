"""Quality of resources, folded from what consumers' agents report: sums per resource, consumer and day.

1. A report is signed by the consumer's agent that it names, about a resource for which its organisation has,
   or had, a grant. Periods of one agent and resource follow each other: none is counted twice.
2. A report counts on the day (UTC+8) on which its period ends. Sums are kept for 400 days.
3. Numbers come from consumers: they are shown per resource, summed; nothing is decided by them.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from exchange.errors import ClockSkew, Malformed, NoGrant, RoleNotAllowed, WrongState
from exchange.grants import MAX_STATEMENT_SKEW_MS, check_issued
from exchange.identity import Role
from exchange.quality_report import QualityReport, read_quality
from exchange.resources import Resource
from exchange.v1 import audit_pb2
from gateway.access.grants import GrantIndex
from gateway.audience import NOBODY, Audience
from gateway.directory.resources import Catalogue
from gateway.register import Submitted

KEPT_DAYS = 400
DAY_MS = 86_400_000
OFFSET_MS = 8 * 3_600_000


@dataclass(slots=True)
class FieldSums:
    """Sums of one field: values, missing ones, ones that break the schema."""

    values: int = 0
    missing: int = 0
    invalid: int = 0


@dataclass(slots=True)
class Sums:
    """What was reported of a resource."""

    reports: int = 0
    exchanges: int = 0
    dated: int = 0
    stale: int = 0
    fields: dict[str, FieldSums] = field(default_factory=dict)

    def add(self, other: "Sums") -> None:
        """Add further sums."""
        self.reports += other.reports
        self.exchanges += other.exchanges
        self.dated += other.dated
        self.stale += other.stale
        for name, found in other.fields.items():
            sums = self.fields.setdefault(name, FieldSums())
            sums.values += found.values
            sums.missing += found.missing
            sums.invalid += found.invalid


def day_of(ms: int) -> int:
    """Return the number of the day, UTC+8, of Unix milliseconds."""
    return (ms + OFFSET_MS) // DAY_MS


class QualityRegister:
    """Holds what was reported.

    Args:
        catalogue, grants: of the region, as folded so far.
    """

    acts: Collection["audit_pb2.Act.ValueType"] = frozenset({audit_pb2.ACT_QUALITY})

    def __init__(self, *, catalogue: Catalogue, grants: GrantIndex) -> None:
        self._catalogue = catalogue
        self._grants = grants
        self._days: dict[str, dict[int, dict[str, Sums]]] = {}
        self._ends: dict[tuple[str, str, str], int] = {}
        self._newest_day = 0

    def check(self, submitted: Submitted) -> str:
        """Refuse a report that breaks a rule; see `gateway.register.Register`.

        Raises:
            Malformed, RoleNotAllowed, UnknownResource, NoGrant, WrongState, ClockSkew.
        """
        if submitted.others:
            raise Malformed("countersignatures")
        report, signer = read_quality(submitted.statement), submitted.signer.identity
        named = report.consumer, report.agent
        if signer.role is not Role.AGENT or (signer.organisation, signer.name) != named:
            raise RoleNotAllowed(f"{report.consumer}/{report.agent}")
        check_issued(report.issued_at_ms, submitted.now_ms)
        if report.until_ms > submitted.now_ms + MAX_STATEMENT_SKEW_MS:
            raise ClockSkew("until")
        self._catalogue.exactly(report.resource)
        if not self._grants.find(report.consumer, report.resource):
            raise NoGrant(report.resource)
        if report.since_ms < self._ends.get((*named, report.resource), 0):
            raise WrongState(f"{report.resource} period")
        return report.resource

    def apply(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Take over a report; see `gateway.register.Register`."""
        report = read_quality(entry.administrative.statement)
        self._ends[report.consumer, report.agent, report.resource] = report.until_ms
        day = day_of(report.until_ms - 1)
        self._newest_day = max(self._newest_day, day)
        if day <= self._newest_day - KEPT_DAYS:
            return
        days = self._days.setdefault(report.resource, {})
        for old in [one for one in days if one <= self._newest_day - KEPT_DAYS]:
            del days[old]
        sums = days.setdefault(day, {}).setdefault(report.consumer, Sums())
        sums.add(_sums(report, self._catalogue.by_id.get(report.resource)))

    def audience(self, entry: audit_pb2.AuditEntry) -> Audience:
        """Reports are for those who ask for sums of them."""
        return NOBODY

    def resources(self) -> Collection[str]:
        """Return the resources of which anything was reported."""
        return self._days.keys()

    def summed(self, resource: str, since_ms: int, until_ms: int) -> Sums:
        """Return what was reported of a resource on the days from one time to another, both included."""
        total = Sums()
        for sums in self._between(resource, day_of(since_ms), day_of(until_ms)):
            total.add(sums)
        return total

    def _between(self, resource: str, first: int, last: int) -> Iterator[Sums]:
        for day, consumers in self._days.get(resource, {}).items():
            if first <= day <= last:
                yield from consumers.values()


def _sums(report: QualityReport, resource: Resource | None) -> Sums:
    """Return a report's sums; fields that the resource does not have are left out."""
    known = resource.fields if resource else {}
    return Sums(
        reports=1,
        exchanges=report.exchanges,
        dated=report.dated,
        stale=report.stale,
        fields={
            name: FieldSums(counts.values, counts.missing, counts.invalid)
            for name, counts in report.fields.items()
            if name in known
        },
    )
