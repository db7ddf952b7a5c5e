"""The authority's configuration: one TOML file, every fault reported at once, unknown keys refused.

An annotated example is deploy/authority.toml. Secrets are named by path.
"""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from certs.profiles import DAY_MS, MINUTE_MS, Lifetimes
from exchange.configuration import ProcessConfig, Section, read_configuration
from exchange.identity import DIVISION, TRUST_DOMAIN

_UNITS_MS = {"s": 1000, "m": MINUTE_MS, "h": 60 * MINUTE_MS, "d": DAY_MS}
_SPAN = re.compile(r"([1-9][0-9]{0,5})([smhd])")


def span_ms(text: Any) -> int:
    """Return a span such as "30d", "12h", "5m" or "90s" as milliseconds.

    Raises:
        ValueError: it is none.
    """
    found = _SPAN.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('a span such as "30d", "12h", "5m" or "90s" is needed')
    return int(found[1]) * _UNITS_MS[found[2]]


Port = Annotated[int, Field(ge=0, le=65535)]
Leaf = Annotated[int, BeforeValidator(span_ms), Field(ge=MINUTE_MS, le=400 * DAY_MS)]
Issuer = Annotated[int, BeforeValidator(span_ms), Field(ge=DAY_MS, le=30 * 365 * DAY_MS)]


class Listen(Section):
    """Where the authority listens. Port 0 takes a free one.

    Attributes:
        hosts: DNS names and IP addresses in the server's certificate, at least one.
    """

    host: str = "0.0.0.0"  # noqa: S104  an authority serves the network
    enrolment_port: Port = 7440
    service_port: Port = 7441
    hosts: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)] = ("localhost",)


class Life(Section):
    """How long certificates are valid."""

    agent: Leaf = 30 * DAY_MS
    gateway: Leaf = 30 * DAY_MS
    person: Leaf = 90 * DAY_MS
    authority: Leaf = 30 * DAY_MS

    def lifetimes(self) -> Lifetimes:
        """Return them as the profiles take them."""
        return Lifetimes(
            agent_ms=self.agent,
            gateway_ms=self.gateway,
            person_ms=self.person,
            authority_ms=self.authority,
        )


class Trust(Section):
    """The trust list."""

    max_age_s: Annotated[int, Field(ge=60, le=24 * 3600)] = 300
    resign_s: Annotated[int, Field(ge=1, le=3600)] = 60
    suite: Annotated[int, Field(ge=1, le=0xFFFF)] = 0x0002
    max_watchers: Annotated[int, Field(ge=1, le=65536)] = 4096

    @model_validator(mode="after")
    def _in_time(self) -> "Trust":
        if self.resign_s * 2 > self.max_age_s:
            raise ValueError("resign_s must be at most half of max_age_s")
        return self


class Tags(Section):
    """The tags of subjects.

    Attributes:
        derivations_per_hour: how many subjects one officer or auditor may have derived in an hour, and one
            steward for corrections.
    """

    derivations_per_hour: Annotated[int, Field(ge=1, le=10_000)] = 60


class AuthorityConfig(ProcessConfig):
    """An authority's whole configuration.

    Attributes:
        folder: as `certs init` made it.
    """

    division: Annotated[str, Field(pattern=f"^{DIVISION.pattern}$")]
    trust_domain: Annotated[str, Field(pattern=f"^(?:{TRUST_DOMAIN.pattern})$", max_length=200)]
    listen: Listen = Listen()
    lifetimes: Life = Life()
    trust_list: Trust = Trust()
    tags: Tags = Tags()


def load(path: Path) -> AuthorityConfig:
    """Read a configuration; see `exchange.configuration.read_configuration`."""
    return read_configuration(AuthorityConfig, path)
