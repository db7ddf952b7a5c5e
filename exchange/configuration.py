"""How every process reads its configuration: one TOML file, every fault reported at once, secrets by path."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from exchange.errors import BadConfiguration

MAX_PASSPHRASE_BYTES = 4096


class Section(BaseModel):
    """A table of a configuration file: unknown keys are refused, nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ProcessConfig(Section):
    """What every process's configuration begins with.

    Attributes:
        folder: where the process keeps what is its own.
        passphrase_file: the passphrase of the keys at rest, one line.
    """

    folder: Path
    passphrase_file: Path


_RULES = {
    "missing": "缺少 is missing",
    "extra_forbidden": "不认识的项 is no known key",
    "too_short": "不得为空或太少 is empty or too few",
}
"""What people get wrong most often, in both languages."""

C = TypeVar("C", bound=ProcessConfig)


def read_configuration(model: type[C], path: Path) -> C:
    """Read a configuration.

    Args:
        model: what it must be.
        path: the TOML file; folder and passphrase file are relative to its folder.

    Raises:
        BadConfiguration: it cannot be read, or every fault found in it.
    """
    try:
        config = model.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadConfiguration(f"{path}: {error}") from None
    except ValidationError as error:
        raise BadConfiguration(f"{path}: {faults_of(error)}") from None
    base = path.parent.resolve()
    return config.model_copy(
        update={"folder": base / config.folder, "passphrase_file": base / config.passphrase_file}
    )


def faults_of(error: ValidationError) -> str:
    """Return every fault that pydantic found, place and rule, without the values.

    The place is the key with dots; tables of a kind are counted from 1, as a person counts them.
    """
    return "; ".join(
        f"{_place(fault['loc'])}: {_RULES.get(fault['type']) or fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors(include_input=False, include_url=False)
    )


def _place(parts: tuple[str | int, ...]) -> str:
    """Return for example "allow[2].consumer" for the second [[allow]]."""
    told = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in parts)
    return told.removeprefix(".") or "."


def read_passphrase(file: Path) -> bytes:
    """Return a passphrase without the line's end.

    Raises:
        BadConfiguration: the file cannot be read, is empty or too long.
    """
    try:
        passphrase = file.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise BadConfiguration(f"{file}: {error.strerror}") from error
    if not 0 < len(passphrase) <= MAX_PASSPHRASE_BYTES:
        raise BadConfiguration(f"{file}: empty or too long")
    return passphrase
