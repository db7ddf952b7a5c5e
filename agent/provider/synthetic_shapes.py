"""Synthetic sources in an agent's configuration: what is known of their columns, and where they may be."""

import json
from collections.abc import Sequence

from agent.provider.connectors.synthetic import Shape, resolved
from agent.provider.sources_config import ResourceConfig, SyntheticSource
from exchange.errors import BadConfiguration

SANDBOX = "sandbox."
"""How the trust domain of a sandbox begins."""


def check_sandboxed(resources: Sequence[ResourceConfig], trust_domain: str) -> None:
    """Refuse synthetic sources anywhere but in a sandbox: invented records would pass for real ones.

    Args:
        resources: of an agent's configuration.
        trust_domain: of its identity.

    Raises:
        BadConfiguration.
    """
    if trust_domain.startswith(SANDBOX):
        return
    for resource in resources:
        if isinstance(resource.source, SyntheticSource):
            raise BadConfiguration(f"{resource.id}: synthetic records outside a sandbox")


def shapes_of(config: ResourceConfig, source: SyntheticSource) -> list[Shape]:
    """Return what is known of each column, once each.

    Raises:
        BadConfiguration: the schema refers to what it does not hold.
    """
    told = json.loads(source.record_schema) if source.record_schema else {}
    formats = {parameter.column: parameter.format for parameter in config.parameters}
    shapes: dict[str, Shape] = {}
    for field in config.fields:
        known = resolved(told, told.get("properties", {}).get(field.name, {}))
        form = field.subject or formats.get(field.column, "")
        shape = Shape(column=field.column, type=field.type, format=form, schema=known)
        shapes.setdefault(field.column, shape)
    return list(shapes.values())
