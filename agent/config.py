"""The agent's configuration: one TOML file, every fault reported at once, unknown keys refused."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.consumer.local_api import LocalApiSettings
from agent.provider.sources_config import ResourceConfig
from exchange.errors import BadConfiguration
from exchange.link import DEFAULT_WINDOW

Window = Annotated[int, Field(ge=1, le=65536)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class GatewayAddress(_Section):
    """The gateway this agent links to. Left out, it is the first of the enrolment file.

    Attributes:
        origin: of its log.
        addresses: "host:port"; nothing else is ever dialled.
    """

    origin: str = ""
    addresses: list[str] = []


class Limits(_Section):
    """Bounds of queues and windows."""

    provider_window: Window = DEFAULT_WINDOW
    questions: Window = 4096
    receipt_after_s: Annotated[float, Field(ge=1, le=3600)] = 30.0
    unreceipted_per_hour: Annotated[int, Field(ge=0, le=10_000_000)] = 5000


class AgentConfig(_Section):
    """An agent's whole configuration.

    Attributes:
        folder: where identity, keys, journal and what is known of the region are.
        passphrase_file: the passphrase of the keys at rest, one line.
        local: the faces for the department's own systems.
        resource: what is provided, and from where.
    """

    folder: Path
    passphrase_file: Path
    gateway: GatewayAddress = GatewayAddress()
    limits: Limits = Limits()
    local: LocalApiSettings = LocalApiSettings()
    resource: list[ResourceConfig] = []


def load(path: Path) -> AgentConfig:
    """Read a configuration.

    Args:
        path: the TOML file; relative paths in it are relative to its folder.

    Raises:
        BadConfiguration: it cannot be read, or every fault found in it.
    """
    try:
        config = AgentConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadConfiguration(f"{path}: {error}") from None
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_input=False)
        )
        raise BadConfiguration(f"{path}: {faults}") from None
    base = path.parent.resolve()
    applications = [
        item.model_copy(update={"token_hash_file": item.token_hash_file and base / item.token_hash_file})
        for item in config.local.application
    ]
    return config.model_copy(
        update={
            "folder": base / config.folder,
            "passphrase_file": base / config.passphrase_file,
            "local": config.local.model_copy(update={"application": applications}),
        }
    )
