"""What a resource's configuration tells of the columns of a synthetic source."""

import json

from agent.provider.connectors.synthetic import Shape, resolved
from agent.provider.sources_config import ResourceConfig, SyntheticSource


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
