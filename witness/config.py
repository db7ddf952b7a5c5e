"""The witness's configuration: one TOML file, every fault reported at once, unknown keys refused."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from exchange.checkpoint import check_origin, parse_verifier_key
from exchange.configuration import ProcessConfig, Section, read_configuration
from exchange.errors import BadConfiguration

MAX_LOG_KEYS = 1024


class Listen(Section):
    """Where the witness listens. Port 0 takes a free one; with both files HTTPS is spoken."""

    host: str = "0.0.0.0"  # noqa: S104  a witness serves the network
    port: Annotated[int, Field(ge=0, le=65535)] = 7450
    certificate_file: str = ""
    key_file: str = ""

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file: both or none")
        return self


class WitnessConfig(ProcessConfig):
    """A witness's whole configuration.

    Attributes:
        name: of the witness and its key.
        logs: keys of the logs that it cosigns for, as C2SP text; several of one name while a log changes its
            key.
    """

    name: str
    logs: Annotated[tuple[str, ...], Field(max_length=MAX_LOG_KEYS)] = ()
    listen: Listen = Listen()

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        try:
            check_origin(name)
        except BadConfiguration:
            raise ValueError("no space, plus or control character") from None
        return name

    @field_validator("logs")
    @classmethod
    def _are_keys(cls, logs: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [text[:80] for text in logs if not _is_key(text)]
        if wrong or len(set(logs)) != len(logs):
            raise ValueError(f"not a log's key, or there twice: {', '.join(wrong)}")
        return logs

    @property
    def log_keys(self) -> dict[str, tuple[bytes, ...]]:
        """Keys, Ed25519, 32 bytes each, by origin."""
        found: dict[str, tuple[bytes, ...]] = {}
        for text in self.logs:
            origin, key = parse_verifier_key(text)
            found[origin] = (*found.get(origin, ()), key)
        return found


def load(path: Path) -> WitnessConfig:
    """Read a configuration; see `exchange.configuration.read_configuration`."""
    config = read_configuration(WitnessConfig, path)
    base = path.parent.resolve()
    files = {
        name: str(base / file)
        for name in ("certificate_file", "key_file")
        if (file := getattr(config.listen, name))
    }
    return config.model_copy(update={"listen": config.listen.model_copy(update=files)})


def _is_key(text: str) -> bool:
    try:
        parse_verifier_key(text)
    except BadConfiguration:
        return False
    return True
