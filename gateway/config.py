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
    log_host: str = "0.0.0.0"  # noqa: S104  tiles and checkpoints are for everybody
    log_port: Port = 7445
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


class Witnesses(Section):
    """Who cosigns the log, and what happens while too few do.

    Attributes:
        policy_file: a C2SP tlog-policy, relative to the configuration; none where the log has no witnesses.
        max_unwitnessed_age_s: how old the oldest entry without a quorum may be before the alert.
        refuse: whether exchanges are then refused, too.
    """

    policy_file: Path | None = None
    interval_s: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    timeout_s: Annotated[float, Field(ge=0.1, le=60)] = 5.0
    max_unwitnessed_age_s: Annotated[int, Field(ge=1, le=7 * 86_400)] = 300
    refuse: bool = False


class Keeping(Section):
    """How long entries are kept, and in which form.

    Attributes:
        seal_after_days: entries older than this are moved into sealed segments.
        keep_days: segments older than this are erased; hash tiles stay, and administrative entries save for
            readings and refusals.
        segment_entries: entries of one segment; a multiple of 256.
    """

    seal_after_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    keep_days: Annotated[int, Field(ge=1, le=36_500)] = 1096
    segment_entries: Annotated[int, Field(ge=256, le=1 << 20, multiple_of=256)] = 65_536


class Tracing(Section):
    """What a trace shows.

    Attributes:
        delayed_purpose_days: purposes whose entries a trace shows only after so many days.
    """

    delayed_purpose_days: dict[str, Annotated[int, Field(ge=1, le=36_500)]] = Field(default_factory=dict)


class Scrub(Section):
    """How fast the log is read again and hashed again in the background."""

    entries_per_s: Annotated[int, Field(ge=0, le=1_000_000)] = 2000


class GatewayConfig(ProcessConfig):
    """A gateway's whole configuration.

    Attributes:
        folder: where audit.db, state.db, identity and trust list are.
    """

    listen: Listen = Listen()
    authority: AuthorityAddress
    limits: Limits = Limits()
    witnesses: Witnesses = Witnesses()
    keeping: Keeping = Keeping()
    tracing: Tracing = Tracing()
    scrub: Scrub = Scrub()


def load(path: Path) -> GatewayConfig:
    """Read a configuration; see `exchange.configuration.read_configuration`."""
    config = read_configuration(GatewayConfig, path)
    policy = config.witnesses.policy_file
    if policy is None:
        return config
    resolved = {"policy_file": path.parent.resolve() / policy}
    return config.model_copy(update={"witnesses": config.witnesses.model_copy(update=resolved)})
