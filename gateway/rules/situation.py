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
from exchange.resources import Resource, split_id
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2
from gateway.directory.organisations import Organisation
from gateway.record import Exchange
from gateway.rules.facts import Facts
from gateway.rules.working_days import HOURS_A_DAY, is_working_day, local_day, local_hours
from gateway.state import RegionState

MAX_KEPT = 4096
PROVINCE = slice(0, 2)
_KINDS = {
    directory_pb2.ORGANISATION_KIND_UNSPECIFIED: "government",
    directory_pb2.ORGANISATION_KIND_GOVERNMENT: "government",
    directory_pb2.ORGANISATION_KIND_PUBLIC: "public",
}
_OTHER = "other"
_SCOPES = {
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
        levels: 1 to 4, by field.
        important, derived: names of such fields.
    """

    levels: dict[str, int]
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
        self._resources: Kept[bytes, ResourceFacts] = Kept(MAX_KEPT)
        self._grants: Kept[tuple[bytes, int], GrantFacts] = Kept(MAX_KEPT)
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
        of_grant = self._grants.get((grant.grant_id, grant.revision), lambda: grant_facts(grant))
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
            resource_division=split_id(resource.id).division,
            resource_level=max(of_resource.levels.values()),
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
            level=max(of_resource.levels[name] for name in fields),
            important=not fields.isdisjoint(of_resource.important),
            derived=fields <= of_resource.derived,
            hour=hour,
            working_day=working_day,
            same_division=consumer.division == provider.division != "",
            same_province=consumer.division[PROVINCE] == provider.division[PROVINCE] != "",
        )

    def _turn(self, hours: int) -> None:
        self._hours = hours
        self._time = hours % HOURS_A_DAY, is_working_day(local_day(hours), self._rules)

    def _organisation(self, code: str) -> OrganisationFacts:
        found = self._organisations.by_code.get(code)
        return organisation_facts(found) if found else UNKNOWN


def organisation_facts(organisation: Organisation) -> OrganisationFacts:
    """Return what guards read of an organisation."""
    body = directory_pb2.OrganisationBody.FromString(organisation.statement.body)
    return OrganisationFacts(organisation.division, _KINDS.get(body.kind, _OTHER))


def resource_facts(resource: Resource) -> ResourceFacts:
    """Return what guards read of a catalogue entry."""
    body = directory_pb2.ResourceBody.FromString(resource.statement.body)
    ordinary = (directory_pb2.DATA_CLASS_UNSPECIFIED, directory_pb2.DATA_CLASS_GENERAL)
    return ResourceFacts(
        levels={field.name: int(field.level) for field in body.fields},
        important=frozenset(field.name for field in body.fields if field.data_class not in ordinary),
        derived=frozenset(field.name for field in body.fields if field.derived),
    )


def grant_facts(grant: Grant) -> GrantFacts:
    """Return what guards read of a grant, as it stands."""
    body = grant_pb2.GrantBody.FromString(grant.record.grant.body)
    usual = "scenario" if body.matters else "whole"
    return GrantFacts(
        scope=_SCOPES.get(body.scope, usual),
        supervised=any(
            grant_pb2.GrantEventBody.FromString(event.body).action == grant_pb2.GRANT_ACTION_SUPERVISE
            for event in grant.record.events
        ),
        on_demand=_ON_DEMAND.issuperset(body.fetch_modes),
    )


def _case(exchange: Exchange) -> str:
    if not exchange.header.case_number.strip():
        return "none"
    return _CASES.get(exchange.case_standing, "claim")
