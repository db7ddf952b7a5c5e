"""What a guard can read of one exchange, and how Cedar is asked about it.

`deploy/policies/guards.cedarschema` says the same to whoever writes guards; a test holds both together.
Grants are facts here, never policies: the grant index decided about the grant before a guard is asked.
"""

from collections.abc import Mapping
from typing import NamedTuple

FactPath = tuple[str, ...]
"""Where an attribute stands in a policy, for example ("resource", "provider", "kind")."""


class Facts(NamedTuple):
    """Everything that a guard can read. A tuple, for one is made for every new question on the path.

    Attributes:
        consumer, provider: credit codes.
        consumer_kind, provider_kind: "government", "public" or "other".
        action: "query" or "verify".
        resource_level, level: 1 to 4; the highest of all fields, and of those asked for.
        scope: "whole", "domain" or "scenario".
        case: "none", "claim", "open" or "not_open".
        hour: 0 to 23, UTC+8.
    """

    consumer: str
    consumer_division: str
    consumer_province: str
    consumer_kind: str
    provider: str
    provider_division: str
    provider_province: str
    provider_kind: str
    action: str
    resource: str
    resource_division: str
    resource_level: int
    resource_important: bool
    scope: str
    purposes: frozenset[str]
    supervised: bool
    on_demand: bool
    purpose: str
    matter: str
    step: str
    case: str
    fields: frozenset[str]
    field_count: int
    level: int
    important: bool
    derived: bool
    hour: int
    working_day: bool
    same_division: bool
    same_province: bool


PATHS: dict[str, FactPath] = {
    "consumer": ("principal",),
    "consumer_division": ("principal", "division"),
    "consumer_province": ("principal", "province"),
    "consumer_kind": ("principal", "kind"),
    "provider": ("resource", "provider"),
    "provider_division": ("resource", "provider", "division"),
    "provider_province": ("resource", "provider", "province"),
    "provider_kind": ("resource", "provider", "kind"),
    "action": ("action",),
    "resource": ("resource",),
    "resource_division": ("resource", "division"),
    "resource_level": ("resource", "level"),
    "resource_important": ("resource", "important"),
    "scope": ("context", "grant", "scope"),
    "purposes": ("context", "grant", "purposes"),
    "supervised": ("context", "grant", "supervised"),
    "on_demand": ("context", "grant", "on_demand"),
    "purpose": ("context", "purpose"),
    "matter": ("context", "matter"),
    "step": ("context", "step"),
    "case": ("context", "case"),
    "fields": ("context", "fields"),
    "field_count": ("context", "field_count"),
    "level": ("context", "level"),
    "important": ("context", "important"),
    "derived": ("context", "derived"),
    "hour": ("context", "hour"),
    "working_day": ("context", "working_day"),
    "same_division": ("context", "same_division"),
    "same_province": ("context", "same_province"),
}
"""Where each fact stands."""


def request_of(facts: Facts) -> dict[str, object]:
    """Return Cedar's request: who, what, on what, under which circumstances."""
    return {
        "principal": {"type": "Organisation", "id": facts.consumer},
        "action": {"type": "Action", "id": facts.action},
        "resource": {"type": "Resource", "id": facts.resource},
        "context": {
            "grant": {
                "scope": facts.scope,
                "purposes": sorted(facts.purposes),
                "supervised": facts.supervised,
                "on_demand": facts.on_demand,
            },
            "purpose": facts.purpose,
            "matter": facts.matter,
            "step": facts.step,
            "case": facts.case,
            "fields": sorted(facts.fields),
            "field_count": facts.field_count,
            "level": facts.level,
            "important": facts.important,
            "derived": facts.derived,
            "hour": facts.hour,
            "working_day": facts.working_day,
            "same_division": facts.same_division,
            "same_province": facts.same_province,
        },
    }


def entities_of(facts: Facts) -> list[dict[str, object]]:
    """Return the organisations and the resource as Cedar's entities."""
    consumer = {
        "division": facts.consumer_division,
        "province": facts.consumer_province,
        "kind": facts.consumer_kind,
    }
    provider = {
        "division": facts.provider_division,
        "province": facts.provider_province,
        "kind": facts.provider_kind,
    }
    resource = {
        "provider": {"__entity": {"type": "Organisation", "id": facts.provider}},
        "division": facts.resource_division,
        "level": facts.resource_level,
        "important": facts.resource_important,
    }
    entities = [
        _entity("Organisation", facts.consumer, consumer),
        _entity("Resource", facts.resource, resource),
    ]
    if facts.provider != facts.consumer:
        entities.append(_entity("Organisation", facts.provider, provider))
    return entities


def _entity(kind: str, name: str, attributes: Mapping[str, object]) -> dict[str, object]:
    return {"uid": {"type": kind, "id": name}, "attrs": attributes, "parents": []}
