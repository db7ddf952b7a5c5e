"""Keys to ask a sandbox for: some that find a record, one that finds none."""

import random
from typing import NamedTuple

from agent.config import load
from agent.provider.connectors.synthetic import SyntheticConnector
from agent.provider.connectors.synthetic_text import text_of
from agent.provider.sources_config import ResourceConfig, SyntheticSource
from agent.provider.synthetic_shapes import shapes_of
from shuqiao.demo.files import Layout

TRIES = 1000
_TYPED = {"integer": "7", "decimal": "7.5", "boolean": "true", "date": "2020-01-02"}


class Sample(NamedTuple):
    """A resource, parameters that find a record, and parameters that find none."""

    resource: str
    found: dict[str, str]
    nobody: dict[str, str]


def samples(layout: Layout, agent: str) -> list[Sample]:
    """Return a sample of each resource that a provider's configuration names."""
    return [_sample(config) for config in load(layout.config(agent)).resource]


def _sample(config: ResourceConfig) -> Sample:
    source = config.source
    assert isinstance(source, SyntheticSource)
    made = SyntheticConnector(
        name=config.id, shapes=shapes_of(config, source), seed=source.seed, missing=source.missing
    )
    found: dict[bool, dict[str, str]] = {}
    for number in range(TRIES):
        chance = random.Random(f"{config.id}\0{number}")  # noqa: S311 - reproducible by intent
        key = {
            parameter.column: _TYPED.get(parameter.type)
            or text_of(parameter.column, parameter.format, {}, chance)
            for parameter in config.parameters
        }
        told = {parameter.name: key[parameter.column] for parameter in config.parameters}
        found.setdefault(bool(made.records(key)), told)
        if len(found) == 2:
            break
    return Sample(config.id, found.get(True, {}), found.get(False, {}))
