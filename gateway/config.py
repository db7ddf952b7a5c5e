"""The gateway's configuration: one TOML file, every fault reported at once, unknown keys refused."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from exchange.configuration import ProcessConfig, Section, read_configuration
from exchange.link import DEFAULT_WINDOW

Port = Annotated[int, Field(ge=0, le=65535)]
Window = Annotated[int, Field(ge=1, le=65536)]


class Listen(Section):
    """Where the gateway listens. Port 0 takes a free one."""

    host: str = "0.0.0.0"  # noqa: S104  a gateway serves the network
    port: Port = 7443
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 7444
    advertise: tuple[str, ...] = ()


class AuthorityAddress(Section):
    """Where the authority of the division is."""

    enrolment: str
    service: str


class Limits(Section):
    """Bounds of queues and windows."""

    consumer_window: Window = DEFAULT_WINDOW
    provider_window: Window = DEFAULT_WINDOW
    audit_queue: Annotated[int, Field(ge=256, le=1_000_000)] = 16_384
    min_free_mib: Annotated[int, Field(ge=1)] = 64
    max_links: Annotated[int, Field(ge=1, le=65_536)] = 4096


class GatewayConfig(ProcessConfig):
    """A gateway's whole configuration.

    Attributes:
        folder: where audit.db, state.db, identity and trust list are.
    """

    listen: Listen = Listen()
    authority: AuthorityAddress
    limits: Limits = Limits()


def load(path: Path) -> GatewayConfig:
    """Read a configuration; see `exchange.configuration.read_configuration`."""
    return read_configuration(GatewayConfig, path)
