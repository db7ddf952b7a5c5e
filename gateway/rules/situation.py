"""Reads the facts of an exchange that its grant covers, from its request, the catalogue and the directory.

1. `key` is cheap and tells apart whatever `facts` would tell apart: a test changes each input of a fact and
   looks for another key. What cannot change without one of its parts is left out of it: consumer and
   provider are the grant's, a catalogue entry is its digest, a grant its id and revision.
2. What a statement says beyond what the path needs is read from it once and kept, within a bound.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from exchange.grants import Grant
from exchange.region_rules import NO_RULES, RegionRules
from exchange.resources import Resource
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2
from gateway.directory.organisations import Organisation
from gateway.record import Exchange
from gateway.rules.facts import Facts
from gateway.rules.working_days import HOURS_A_DAY, is_working_day, local_day, local_hours
from gateway.state import RegionState

MAX_KEPT = 131_072
"""Catalogue entries and grants whose facts are kept: some 150 bytes each, for most share one value."""
PROVINCE, DIVISION = slice(0, 2), slice(0, 6)
_KINDS = {
    directory_pb2.ORGANISATION_KIND_UNSPECIFIED: "government",
    directory_pb2.ORGANISATION_KIND_GOVERNMENT: "government",
    directory_pb2.ORGANISATION_KIND_PUBLIC: "public",
}
_OTHER = "other"
_SCOPES: dict[int, str] = {
    grant_pb2.GRANT_SCOPE_WHOLE: "whole",
    grant_pb2.GRANT_SCOPE_DOMAIN: "domain",
    grant_pb2.GRANT_SCOPE_SCENARIO: "scenario",
}
_CASES = {audit_pb2.CASE_STANDING_OPEN: "open", audit_pb2.CASE_STANDING_NOT_OPEN: "not_open"}
_ACTIONS = {common_pb2.KIND_QUERY: "query", common_pb2.KIND_VERIFY: "verify"}
_ON_DEMAND = frozenset({directory_pb2.FETCH_MODE_UNSPECIFIED, directory_pb2.FETCH_MODE_ON_DEMAND})

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Keeps what is costly to find, the least used leaving first.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, find: Callable[[], V]) -> V:
        """Return what is kept under a key, found first where it is not."""
        held = self._held
        if key in held:
            held.move_to_end(key)
            return held[key]
        found = held[key] = find()
        if len(held) > self._most:
            held.popitem(last=False)
        return found


class ResourceFacts(NamedTuple):
    """What guards read of a catalogue entry.

    Attributes:
        level: 1 to 4, the highest of its fields.
        important, derived: names of such fields.
    """

    level: int
    important: frozenset[str]
    derived: frozenset[str]


class GrantFacts(NamedTuple):
    """What guards read of a grant."""

    scope: str
    supervised: bool
    on_demand: bool


class OrganisationFacts(NamedTuple):
    """What guards read of an organisation."""

    division: str
    kind: str


UNKNOWN = OrganisationFacts("", _OTHER)
"""Of an organisation that the directory does not know: whatever is closed to anybody is closed to it."""


class Situation:
    """Reads facts. One thread's.

    Args:
        state: of the region.
    """

    def __init__(self, *, state: RegionState) -> None:
        self._state = state
        self._organisations = state.organisations
        self._bodies: Kept[tuple[str, int], OrganisationFacts] = Kept(MAX_KEPT)
        self._resources: Kept[bytes, ResourceFacts] = Kept(MAX_KEPT)
        self._grants: Kept[tuple[bytes, int], GrantFacts] = Kept(MAX_KEPT)
        self._values: dict[GrantFacts, GrantFacts] = {}
        self._rules: RegionRules = NO_RULES
        self._hours = -1
        self._time = (0, False)

    def under(self, rules: RegionRules) -> None:
        """Read working days by other rules from here on."""
        self._rules, self._hours = rules, -1

    def key(self, exchange: Exchange, now_ms: int) -> Hashable:
        """Return a key: where it is the same for two exchanges, their facts are the same.

        Args:
            exchange: covered by its grant.
            now_ms: Unix milliseconds.
        """
        header, resource = exchange.header, exchange.resource
        hours = local_hours(now_ms)
        if hours != self._hours:
            self._turn(hours)
        return (
            header.grant_id,
            exchange.grant_revision,
            resource.digest if resource is not None else b"",
            header.kind,
            tuple(header.fields[:]),  # a slice is copied at once, an iterator asks one by one
            header.purpose,
            header.matter,
            header.step,
            exchange.case_standing,
            not header.case_number.strip(),
            self._time,
            self._organisations.changes,
        )

    def facts(self, exchange: Exchange, now_ms: int) -> Facts:
        """Return the facts of an exchange that its grant covers."""
        header, resource = exchange.header, exchange.resource
        grant = self._state.grants.one(header.grant_id)
        assert resource is not None, "the grant guard refuses what has no resource"
        hours = local_hours(now_ms)
        if hours != self._hours:
            self._turn(hours)
        hour, working_day = self._time
        of_resource = self._resources.get(resource.digest, lambda: resource_facts(resource))
        of_grant = self._grants.get(
            (grant.grant_id, grant.revision), lambda: self._shared(grant_facts(grant))
        )
        consumer, provider = self._organisation(grant.consumer), self._organisation(grant.provider)
        fields = frozenset(header.fields)
        return Facts(
            consumer=grant.consumer,
            consumer_division=consumer.division,
            consumer_province=consumer.division[PROVINCE],
            consumer_kind=consumer.kind,
            provider=grant.provider,
            provider_division=provider.division,
            provider_province=provider.division[PROVINCE],
            provider_kind=provider.kind,
            action=_ACTIONS[header.kind],
            resource=resource.id,
            resource_division=resource.id[DIVISION],
            resource_level=of_resource.level,
            resource_important=bool(of_resource.important),
            scope=of_grant.scope,
            purposes=grant.purposes,
            supervised=of_grant.supervised,
            on_demand=of_grant.on_demand,
            purpose=header.purpose,
            matter=header.matter,
            step=header.step,
            case=_case(exchange),
            fields=fields,
            field_count=len(fields),
            level=max([resource.fields[name].level for name in fields]),
            important=not fields.isdisjoint(of_resource.important),
            derived=fields <= of_resource.derived,
            hour=hour,
            working_day=working_day,
            same_division=consumer.division == provider.division != "",
            same_province=consumer.division[PROVINCE] == provider.division[PROVINCE] != "",
        )

    def _shared(self, facts: GrantFacts) -> GrantFacts:
        """Return the one copy of such facts: there are twelve, and a million grants."""
        return self._values.setdefault(facts, facts)

    def _turn(self, hours: int) -> None:
        self._hours = hours
        self._time = hours % HOURS_A_DAY, is_working_day(local_day(hours), self._rules)

    def _organisation(self, code: str) -> OrganisationFacts:
        found = self._organisations.by_code.get(code)
        if found is None:
            return UNKNOWN
        return self._bodies.get((code, found.issued_at_ms), lambda: organisation_facts(found))


def organisation_facts(organisation: Organisation) -> OrganisationFacts:
    """Return what guards read of an organisation."""
    body = directory_pb2.OrganisationBody.FromString(organisation.statement.body)
    return OrganisationFacts(organisation.division, _KINDS.get(body.kind, _OTHER))


def resource_facts(resource: Resource) -> ResourceFacts:
    """Return what guards read of a catalogue entry."""
    rules = resource.fields
    return ResourceFacts(
        level=max(rule.level for rule in rules.values()),
        important=frozenset(name for name, rule in rules.items() if rule.important),
        derived=frozenset(name for name, rule in rules.items() if rule.derived),
    )


def grant_facts(grant: Grant) -> GrantFacts:
    """Return what guards read of a grant, as it stands."""
    limits = grant.limits
    return GrantFacts(
        scope=_SCOPES[limits.scope],
        supervised=bool(grant.supervisor),
        on_demand=_ON_DEMAND.issuperset(limits.fetch_modes),
    )


def _case(exchange: Exchange) -> str:
    if not exchange.header.case_number.strip():
        return "none"
    return _CASES.get(exchange.case_standing, "claim")
