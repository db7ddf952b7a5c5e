"""The context file: where the gateway, the authority and the agent are, and who is asking.

One TOML; every fault in it is reported at once and unknown keys are refused. Paths are relative to the
file. An annotated example is deploy/examples/context.toml.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from exchange.configuration import faults_of
from exchange.errors import BadConfiguration

VARIABLE = "SHUQIAO_CONTEXT"
DEFAULT = Path(".config") / "shuqiao" / "context.toml"


class ContextFile(BaseModel):
    """What a context file may say; see deploy/examples/context.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gateway: str = ""
    log: str = ""
    authority: str = ""
    enrolment: str = ""
    identity: Path | None = None
    keys: Path | None = None
    passphrase_file: Path | None = None
    agent: str = ""
    agent_token_file: Path | None = None


class Context:
    """A context file that was read.

    Args:
        path: the file.
        told: what it says.
    """

    def __init__(self, *, path: Path, told: ContextFile) -> None:
        self.path = path
        self._told = told

    @property
    def gateway(self) -> str:
        """Address of the gateway, "host:port"."""
        return self._needed("gateway", self._told.gateway)

    @property
    def log(self) -> str:
        """Address of the gateway's log over HTTPS, "host:port"; empty where the file names none."""
        return self._told.log

    @property
    def authority(self) -> str:
        """Address of the authority over mutual TLS, "host:port"."""
        return self._needed("authority", self._told.authority)

    @property
    def enrolment(self) -> str:
        """Address of the authority's enrolment service, "host:port"."""
        return self._needed("enrolment", self._told.enrolment)

    @property
    def agent(self) -> str:
        """Local address of the agent, "host:port" or "unix:///path"."""
        return self._needed("agent", self._told.agent)

    @property
    def identity(self) -> Path:
        """Folder with the certificate and the encrypted key of whoever acts."""
        return self._file("identity", self._told.identity)

    @property
    def keys(self) -> Path | None:
        """Folder of the encrypted keys, where it is not the one inside the identity folder."""
        return self._file("keys", self._told.keys) if self._told.keys else None

    @property
    def passphrase_file(self) -> Path:
        """File with the passphrase of the key."""
        return self._file("passphrase_file", self._told.passphrase_file)

    @property
    def agent_token_file(self) -> Path:
        """File with the local credential for the agent."""
        return self._file("agent_token_file", self._told.agent_token_file)

    def has(self, key: str) -> bool:
        """Return whether the file names a key."""
        return bool(getattr(self._told, key))

    def _needed(self, key: str, value: str) -> str:
        if not value:
            raise BadConfiguration(f"{self.path}: {key}")
        return value

    def _file(self, key: str, value: Path | None) -> Path:
        if value is None:
            raise BadConfiguration(f"{self.path}: {key}")
        return (self.path.parent / value.expanduser()).absolute()


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file that a person wrote.

    Raises:
        BadConfiguration: it cannot be read or parsed; says where.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfiguration(f"{path}: {os.strerror(error.errno or 0)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{path}: {error}") from error


def find_context(option: Path | None, environ: Mapping[str, str]) -> Path:
    """Return which context file counts: the option, then SHUQIAO_CONTEXT, then the one in the home folder.

    A folder stands for the context.toml inside it.

    Raises:
        BadConfiguration: nobody said who acts, and the home folder has none; names the three ways to say it.
    """
    if option is not None:
        found = option
    elif environ.get(VARIABLE):
        found = Path(environ[VARIABLE])
    else:
        found = Path(environ.get("HOME", ".")) / DEFAULT
        if not found.exists():
            raise BadConfiguration(f"--as DIR / {VARIABLE} / {found}")
    return found / DEFAULT.name if found.is_dir() else found


def read_context(path: Path) -> Context:
    """Read a context file.

    Raises:
        BadConfiguration: with every fault at once.
    """
    try:
        return Context(path=path, told=ContextFile.model_validate(read_toml(path)))
    except ValidationError as error:
        raise BadConfiguration(f"{path}: {faults_of(error)}") from error
