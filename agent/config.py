"""The agent's configuration: one TOML file, every fault reported at once, unknown keys refused."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from agent.consumer.local_api import LocalApiSettings
from agent.provider.allow_list import MAX_RULES, AllowConfig
from agent.provider.sources_config import ResourceConfig
from exchange.configuration import ProcessConfig, Section, read_configuration
from exchange.link import DEFAULT_WINDOW

Window = Annotated[int, Field(ge=1, le=65536)]


class GatewayAddress(Section):
    """The gateway this agent links to. Left out, it is the first of the enrolment file.

    Attributes:
        origin: of its log.
        addresses: "host:port"; nothing else is ever dialled.
    """

    origin: str = ""
    addresses: tuple[str, ...] = ()


class Limits(Section):
    """Bounds of queues and windows."""

    provider_window: Window = DEFAULT_WINDOW
    questions: Window = 4096
    receipt_after_s: Annotated[float, Field(ge=1, le=3600)] = 30.0
    unreceipted_per_hour: Annotated[int, Field(ge=0, le=10_000_000)] = 5000


class Quality(Section):
    """What this agent reports of the quality of what it received: counts, no values.

    Attributes:
        report_every_hours: how long a period is; 0 to count and report nothing.
    """

    report_every_hours: Annotated[int, Field(ge=0, le=31 * 24)] = 24


class AgentConfig(ProcessConfig):
    """An agent's whole configuration.

    Attributes:
        folder: where identity, keys, journal and what is known of the region are.
        local: the faces for the department's own systems.
        resource: what is provided, and from where.
        allow: what may be asked of it at all; None for everything that is granted.
    """

    gateway: GatewayAddress = GatewayAddress()
    limits: Limits = Limits()
    quality: Quality = Quality()
    local: LocalApiSettings = LocalApiSettings()
    resource: tuple[ResourceConfig, ...] = ()
    allow: Annotated[tuple[AllowConfig, ...], Field(max_length=MAX_RULES)] | None = None


def load(path: Path) -> AgentConfig:
    """Read a configuration; see `exchange.configuration.read_configuration`. Files of token hashes too are
    relative to its folder.
    """
    config, base = read_configuration(AgentConfig, path), path.parent.resolve()
    applications = [
        item.model_copy(update={"token_hash_file": item.token_hash_file and base / item.token_hash_file})
        for item in config.local.application
    ]
    local = config.local.model_copy(update={"application": applications})
    return config.model_copy(update={"local": local})
