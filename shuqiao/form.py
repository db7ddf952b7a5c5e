"""What every form has: how its file is read, and how its words become those of the contract."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from exchange.configuration import faults_of
from exchange.errors import BadConfiguration
from exchange.v1 import common_pb2
from shuqiao.context import read_toml

Kind = Literal["query", "verify"]
ValueType = Literal["text", "integer", "decimal", "boolean", "date", "timestamp", "bytes"]
Level = Literal["L1", "L2", "L3", "L4"]


class Form(BaseModel):
    """A file that a person wrote."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


F = TypeVar("F", bound=Form)


def read_form(form: type[F], path: Path) -> F:
    """Read a form.

    Raises:
        BadConfiguration: with every fault at once.
    """
    try:
        return form.model_validate(read_toml(path))
    except ValidationError as error:
        raise BadConfiguration(f"{path}: {faults_of(error)}") from error


def kinds(words: Sequence[str]) -> "list[common_pb2.Kind.ValueType]":
    """Return kinds of exchange by their names."""
    return [common_pb2.Kind.Value(f"KIND_{word.upper()}") for word in words]


def level(word: str) -> "common_pb2.Level.ValueType":
    """Return a level by its name."""
    return common_pb2.Level.Value(f"LEVEL_{word}")
