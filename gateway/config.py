"""The gateway's configuration: one TOML file, every fault reported at once, unknown keys refused."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exchange.errors import BadConfiguration
from exchange.link import DEFAULT_WINDOW

Port = Annotated[int, Field(ge=0, le=65535)]
Window = Annotated[int, Field(ge=1, le=65536)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(_Section):
    """Where the gateway listens. Port 0 takes a free one."""

    host: str = "0.0.0.0"  # noqa: S104  a gateway serves the network
    port: Port = 7443
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 7444
    advertise: list[str] = []


class AuthorityAddress(_Section):
    """Where the authority of the division is."""

    enrolment: str
    service: str


class Limits(_Section):
    """Bounds of queues and windows."""

    consumer_window: Window = DEFAULT_WINDOW
    provider_window: Window = DEFAULT_WINDOW
    audit_queue: Annotated[int, Field(ge=256, le=1_000_000)] = 16_384
    min_free_mib: Annotated[int, Field(ge=1)] = 64
    max_links: Annotated[int, Field(ge=1, le=65_536)] = 4096


class GatewayConfig(_Section):
    """A gateway's whole configuration.

    Attributes:
        folder: where audit.db, state.db, identity and trust list are.
        passphrase_file: the passphrase of the keys at rest, one line.
    """

    folder: Path
    passphrase_file: Path
    listen: Listen = Listen()
    authority: AuthorityAddress
    limits: Limits = Limits()


def load(path: Path) -> GatewayConfig:
    """Read a configuration.

    Args:
        path: the TOML file; relative paths in it are relative to its folder.

    Raises:
        BadConfiguration: it cannot be read, or every fault found in it.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        config = GatewayConfig.model_validate(raw)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadConfiguration(f"{path}: {error}") from None
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_input=False)
        )
        raise BadConfiguration(f"{path}: {faults}") from None
    base = path.parent.resolve()
    return config.model_copy(
        update={"folder": base / config.folder, "passphrase_file": base / config.passphrase_file}
    )
