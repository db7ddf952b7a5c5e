"""Which clock runs for a grant, until when, and whose turn it is.

1. decide: from the entry of the application until the provider decides. Where nobody has to decide, within
   the region's `unconditional_days`; otherwise within what the provider promises, or `conditional_days`.
2. supervise: from the provider's signature under an acceptance or extension, within `supervise_days`.
3. delete: deletion is to be attested within `attest_days`, from when it was due. Received data live for
   `data_life_days`: while a grant is in force what was received is attested once a year, so the clock begins
   `data_life_days` and 365 days after the last attestation, or after the grant came into force. Of a grant
   that has ended it begins `data_life_days` after the end, and runs until all up to the end is attested.

A clock of 0 days does not run. An application whose term is over waits for nobody, nor does what cannot come
into force any more because its resource was withdrawn from the catalogue. Times are those of the
fold, so that every gateway over the same log finds the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import DecodeError

from exchange.canonical import GRANT, digest
from exchange.grant_events import ACTIVE, PAUSED, PENDING, SUPERVISING
from exchange.grants import DAY_MS, Grant, automatic
from exchange.region_rules import MAX_CLOCK_DAYS, RegionRules
from exchange.resources import Resource
from exchange.v1 import audit_pb2, grant_pb2
from gateway.access.supervised import Supervised
from gateway.clocks.escalation import Due
from gateway.clocks.workdays import Workdays

DECIDE, SUPERVISE, DELETE = "decide", "supervise", "delete"
ROUND_DAYS = 365
LAST_MS = 4_102_444_800_000
"""The year 2100: what begins later is not counted."""

_IN_TERM = (ACTIVE, PAUSED)


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that runs.

    Attributes:
        name: "decide", "supervise" or "delete".
        since_ms: when it began, Unix milliseconds.
        due_ms: when it runs out, Unix milliseconds.
        waits_for: credit code of whose turn it is.
    """

    name: str
    since_ms: int
    due_ms: int
    waits_for: str


class Grants(Protocol):
    """Where grants are found."""

    def get(self, grant_id: bytes) -> Grant | None:
        """Return the grant of an id of 32 bytes as it stands now, None where there is none."""
        ...

    def opened(self) -> Iterator[Grant]:
        """Yield grants, among them every one for which anything can wait."""
        ...


class GrantClocks:
    """Tells of the clocks that run.

    Args:
        grants: as they stand.
        resource: returns a catalogue entry by its exact id, None where there is none.
        rules: the region's, as they stand.
        supervised: told of every grant as well.
        now_ms: the time, Unix milliseconds.
    """

    def __init__(
        self,
        *,
        grants: Grants,
        resource: Callable[[str], Resource | None],
        rules: Callable[[], RegionRules],
        supervised: Supervised,
        now_ms: Callable[[], int],
    ) -> None:
        self._grants = grants
        self._resource = resource
        self._rules = rules
        self.now_ms = now_ms
        self._supervised = supervised
        self._counted: tuple[RegionRules, Workdays] | None = None
        # When a clock may begin, of each grant for which one may; these are few of a million.
        self._timed: dict[bytes, int] = {}

    def open(self) -> None:
        """Look once through all grants for which a clock may run; `changed` is told of each from then on."""
        self._timed.clear()
        for grant in self._grants.opened():
            self._note(grant)
        self._supervised.open(self._grants.opened())

    def changed(self, index: int, leaf: bytes, entry: audit_pb2.AuditEntry) -> None:
        """Take note of the grant that an entry of the log changed; for `Registrar.subscribe`."""
        grant = self._grants.get(_grant_id(entry.administrative))
        if grant is not None:
            self._note(grant)
            self._supervised.note(grant)

    @property
    def workdays(self) -> Workdays:
        """By the rules in force."""
        rules = self._rules()
        if self._counted is None or self._counted[0] is not rules:
            self._counted = rules, Workdays(rules)
        return self._counted[1]

    def clock(self, grant: Grant) -> Clock | None:
        """Return the clock that runs for a grant now, None where none does."""
        told = self._told(grant, self.now_ms())
        if told is None:
            return None
        name, since_ms, days, waits_for = told
        if not days or not 0 < since_ms < LAST_MS:
            return None
        due_ms = self.workdays.after(since_ms, min(days, MAX_CLOCK_DAYS))
        return Clock(name, since_ms, due_ms, waits_for)

    def running(self) -> Iterator[tuple[Grant, Clock]]:
        """Yield the grants for which a clock runs now, and the clock."""
        now_ms = self.now_ms()
        for grant_id, begins_ms in list(self._timed.items()):
            grant = self._grants.get(grant_id) if begins_ms <= now_ms else None
            clock = self.clock(grant) if grant is not None else None
            if grant is not None and clock is not None:
                yield grant, clock

    def due(self) -> Iterator[Due]:
        """Yield what waits for somebody; see `gateway.clocks.escalation.Source`."""
        for grant, clock in self.running():
            yield Due(
                key=f"grant/{grant.name}/{clock.name}/{clock.since_ms}",
                subject=f"grant {grant.name} {clock.name} {clock.waits_for}",
                due_ms=clock.due_ms,
            )

    def _note(self, grant: Grant) -> None:
        begins_ms = _begins_ms(grant)
        if begins_ms is None:
            self._timed.pop(grant.grant_id, None)
        else:
            self._timed[grant.grant_id] = begins_ms

    def _told(self, grant: Grant, now_ms: int) -> tuple[str, int, int, str] | None:
        """Return name, beginning, working days and whose turn it is."""
        clocks = self._rules().clocks
        if grant.state in (PENDING, SUPERVISING):
            resource = self._resource(grant.resource)
            if now_ms >= grant.not_after_ms or resource is None:
                return None
            if grant.state == SUPERVISING:
                return SUPERVISE, grant.since_ms, clocks.supervise_days, grant.supervisor
            return DECIDE, grant.since_ms, self._decide_days(grant, resource), grant.provider
        extends = grant.extended_at_ms and now_ms < grant.not_after_ms
        if extends and self._resource(grant.resource) is not None:
            return SUPERVISE, grant.extended_at_ms, clocks.supervise_days, grant.supervisor
        begins_ms = _deletion_ms(grant, now_ms)
        if begins_ms is None or now_ms < begins_ms:
            return None
        return DELETE, begins_ms, clocks.attest_days, grant.consumer

    def _decide_days(self, grant: Grant, resource: Resource) -> int:
        clocks = self._rules().clocks
        if automatic(grant, resource):
            return clocks.unconditional_days
        return _promised_days(resource) or clocks.conditional_days


def _begins_ms(grant: Grant) -> int | None:
    """Return the first moment at which a clock may run for a grant as it stands; None for never."""
    if grant.state in (PENDING, SUPERVISING) or grant.extended_at_ms:
        return 0
    if not grant.limits.data_life_days:
        return None
    found = [_deletion_ms(grant, now_ms) for now_ms in (grant.not_after_ms - 1, grant.not_after_ms)]
    return min((at_ms for at_ms in found if at_ms is not None), default=None)


def _deletion_ms(grant: Grant, now_ms: int) -> int | None:
    """Return when the deletion that is not attested yet is due, Unix milliseconds; None for never."""
    life_ms, in_term = grant.limits.data_life_days * DAY_MS, grant.state in _IN_TERM
    if not life_ms or not (in_term or grant.used):
        return None
    if in_term and now_ms < grant.not_after_ms:
        return max(grant.deleted_before_ms, grant.since_ms) + life_ms + ROUND_DAYS * DAY_MS
    # A revoked grant had its end when it was revoked, unless its term was over before.
    end_ms = grant.not_after_ms if in_term else min(grant.since_ms, grant.not_after_ms)
    return None if grant.deleted_before_ms >= end_ms else end_ms + life_ms


def _promised_days(resource: Resource) -> int:
    """Return within how many working days the provider promises to decide; 0 where it promises nothing."""
    return resource.responsibility.decide_within_days if resource.responsibility is not None else 0


def _grant_id(act: audit_pb2.AdministrativeEntry) -> bytes:
    """Return the id of the grant that an entry is about, 32 bytes; empty where it is about none."""
    if act.act == audit_pb2.ACT_GRANT:
        return digest(GRANT, act.statement.body)
    if act.act != audit_pb2.ACT_GRANT_EVENT:
        return b""
    try:
        return grant_pb2.GrantEventBody.FromString(act.statement.body).grant_id
    except DecodeError:
        return b""
