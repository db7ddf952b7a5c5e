"""Reads the facts of an exchange that its grant covers, from its request, the catalogue and the directory.

`key` is cheap and tells apart whatever `facts` would tell apart: a test changes each input of a fact and
looks for another key. What cannot change without one of its parts is left out of it: consumer and provider
are the grant's, a catalogue entry is its digest, a grant its id and revision.
"""

from collections.abc import Hashable

from exchange.region_rules import NO_RULES, RegionRules
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2
from gateway.clocks.workdays import Workdays, day_of
from gateway.record import Exchange
from gateway.rules.facts import Facts
from gateway.state import RegionState

HOUR_MS = 3_600_000
ZONE_HOURS, HOURS_A_DAY = 8, 24
PROVINCE, DIVISION = slice(0, 2), slice(0, 6)
_OTHER = "other"
_KINDS: dict[int, str] = {
    directory_pb2.ORGANISATION_KIND_UNSPECIFIED: "government",
    directory_pb2.ORGANISATION_KIND_GOVERNMENT: "government",
    directory_pb2.ORGANISATION_KIND_PUBLIC: "public",
}
_SCOPES: dict[int, str] = {
    grant_pb2.GRANT_SCOPE_WHOLE: "whole",
    grant_pb2.GRANT_SCOPE_DOMAIN: "domain",
    grant_pb2.GRANT_SCOPE_SCENARIO: "scenario",
}
_CASES = {audit_pb2.CASE_STANDING_OPEN: "open", audit_pb2.CASE_STANDING_NOT_OPEN: "not_open"}
_ACTIONS = {common_pb2.KIND_QUERY: "query", common_pb2.KIND_VERIFY: "verify"}
_ON_DEMAND = frozenset({directory_pb2.FETCH_MODE_UNSPECIFIED, directory_pb2.FETCH_MODE_ON_DEMAND})


class Situation:
    """Reads facts. One thread's.

    Args:
        state: of the region.
    """

    def __init__(self, *, state: RegionState) -> None:
        self._grants = state.grants
        self._organisations = state.organisations
        self._workdays = Workdays(NO_RULES)
        self._hours = -1
        self._time = (0, False)

    def under(self, rules: RegionRules) -> None:
        """Read working days by other rules from here on."""
        self._workdays, self._hours = Workdays(rules), -1

    def key(self, exchange: Exchange, now_ms: int) -> Hashable:
        """Return a key: where it is the same for two exchanges, their facts are the same.

        Args:
            exchange: covered by its grant.
            now_ms: Unix milliseconds.
        """
        header, resource = exchange.header, exchange.resource
        if now_ms // HOUR_MS != self._hours:
            self._turn(now_ms)
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
        assert resource is not None, "the grant guard refuses what has no resource"
        grant = self._grants.one(header.grant_id)
        if now_ms // HOUR_MS != self._hours:
            self._turn(now_ms)
        hour, working_day = self._time
        consumer_division, consumer_kind = self._organisation(grant.consumer)
        provider_division, provider_kind = self._organisation(grant.provider)
        fields, every = frozenset(header.fields), resource.fields.values()
        asked = [resource.fields[name] for name in fields]
        return Facts(
            consumer=grant.consumer,
            consumer_division=consumer_division,
            consumer_province=consumer_division[PROVINCE],
            consumer_kind=consumer_kind,
            provider=grant.provider,
            provider_division=provider_division,
            provider_province=provider_division[PROVINCE],
            provider_kind=provider_kind,
            action=_ACTIONS[header.kind],
            resource=resource.id,
            resource_division=resource.id[DIVISION],
            resource_level=max([rule.level for rule in every]),
            resource_important=any(rule.important for rule in every),
            scope=_SCOPES[grant.limits.scope],
            purposes=grant.purposes,
            supervised=bool(grant.supervisor),
            on_demand=grant.limits.fetch_modes <= _ON_DEMAND,
            purpose=header.purpose,
            matter=header.matter,
            step=header.step,
            case=_case(exchange),
            fields=fields,
            field_count=len(fields),
            level=max([rule.level for rule in asked]),
            important=any(rule.important for rule in asked),
            derived=all(rule.derived for rule in asked),
            hour=hour,
            working_day=working_day,
            same_division=consumer_division == provider_division != "",
            same_province=consumer_division[PROVINCE] == provider_division[PROVINCE] != "",
        )

    def _turn(self, now_ms: int) -> None:
        self._hours = now_ms // HOUR_MS
        hour = (self._hours + ZONE_HOURS) % HOURS_A_DAY
        self._time = hour, self._workdays.worked(day_of(now_ms))

    def _organisation(self, code: str) -> tuple[str, str]:
        """Return division and kind; of one that the directory does not know, what opens nothing."""
        found = self._organisations.by_code.get(code)
        return ("", _OTHER) if found is None else (found.division, _KINDS.get(found.kind, _OTHER))


def _case(exchange: Exchange) -> str:
    if not exchange.header.case_number.strip():
        return "none"
    return _CASES.get(exchange.case_standing, "claim")
