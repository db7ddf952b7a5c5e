"""Which local system is calling, and what it may ask.

A token is 32 random bytes in URL-safe base64. The agent keeps its SHA-256 only: with that much entropy a slow
hash adds nothing, and a stolen configuration opens no door.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from exchange.clock import Random, system_random
from exchange.errors import ApplicationNotAllowed, BadConfiguration, NoIdentity

TOKEN_BYTES = 32
MAX_TOKEN_CHARS = 256
ANY = "*"
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_PREFIX = "sha256:"

Name = Annotated[str, Field(min_length=1, max_length=128)]
TokenHash = Annotated[str, Field(pattern=f"^{_HASH.pattern}$")]


def new_token(random: Random = system_random) -> tuple[str, str]:
    """Make a token.

    Returns:
        The token, 43 characters, for the caller's file; and its hash, for the agent's configuration.
    """
    token = base64.urlsafe_b64encode(random(TOKEN_BYTES)).rstrip(b"=").decode()
    return token, hash_token(token)


def hash_token(token: str) -> str:
    """Return "sha256:" and 64 hexadecimal digits."""
    return _PREFIX + hashlib.sha256(token.encode()).hexdigest()


class ApplicationSettings(BaseModel):
    """One local system: `[[local.application]]`. "*" allows any; "970100/*" any resource under a prefix.

    Without `matters` any may be named, also none; `cases` lets it open and close cases of its matters.
    `at_once` is how many questions it may have under way; 0 for the agent's `per_application`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    token_hash: TokenHash | None = None
    token_hash_file: Path | None = None
    purposes: Annotated[list[Name], Field(min_length=1)]
    resources: Annotated[list[Name], Field(min_length=1)]
    operators: list[Name] = []
    matters: list[Name] = [ANY]
    cases: bool = False
    at_once: Annotated[int, Field(ge=0, le=65_536)] = 0

    @model_validator(mode="after")
    def _one_source_of_hashes(self) -> "ApplicationSettings":
        if (self.token_hash is None) == (self.token_hash_file is None):
            raise ValueError("name either token_hash or token_hash_file")
        return self

    def hashes(self) -> list[str]:
        """Return the hashes of the tokens that are this application's.

        Returns:
            One; or as many as the file has lines, so that a token can be changed without a gap.

        Raises:
            BadConfiguration: the file cannot be read, is empty or holds something that is no hash.
        """
        if self.token_hash is not None:
            return [self.token_hash]
        assert self.token_hash_file is not None
        try:
            lines = self.token_hash_file.read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError) as fault:
            raise BadConfiguration(f"token_hash_file of application {self.name}") from fault
        if not lines or not all(_HASH.fullmatch(line) for line in lines):
            raise BadConfiguration(f"token_hash_file of application {self.name}: no sha256 hash")
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A local system and what it may ask. An empty operator is allowed where no operators are listed."""

    name: str
    purposes: frozenset[str]
    resources: frozenset[str]
    prefixes: tuple[str, ...]
    operators: frozenset[str]
    matters: frozenset[str] = frozenset({ANY})
    cases: bool = False
    at_once: int = 0

    @classmethod
    def of(cls, settings: ApplicationSettings) -> "Application":
        """Return the application that the settings describe."""
        return cls(
            name=settings.name,
            purposes=frozenset(settings.purposes),
            resources=frozenset(settings.resources),
            prefixes=tuple(each[:-1] for each in settings.resources if each.endswith("/*")),
            operators=frozenset(settings.operators or [""]),
            matters=frozenset(settings.matters),
            cases=settings.cases,
            at_once=settings.at_once,
        )

    def check(self, resource: str, purpose: str, matter: str, operator: str) -> None:
        """Refuse what the application may not ask.

        Raises:
            ApplicationNotAllowed: names the application and which of the four is out of bounds.
        """
        if not self.reaches(resource):
            raise ApplicationNotAllowed(f"application {self.name}: resource")
        if purpose not in self.purposes and ANY not in self.purposes:
            raise ApplicationNotAllowed(f"application {self.name}: purpose")
        if matter not in self.matters and ANY not in self.matters:
            raise ApplicationNotAllowed(f"application {self.name}: matter")
        if operator not in self.operators and ANY not in self.operators:
            raise ApplicationNotAllowed(f"application {self.name}: operator")

    def check_case(self, matter: str) -> None:
        """Refuse a step in a case of a matter that is not the application's.

        Raises:
            ApplicationNotAllowed.
        """
        if not self.cases:
            raise ApplicationNotAllowed(f"application {self.name}: cases")
        if matter not in self.matters and ANY not in self.matters:
            raise ApplicationNotAllowed(f"application {self.name}: matter")

    def reaches(self, resource: str) -> bool:
        """Return whether the application may ask for a resource at all."""
        resources = self.resources
        return resource in resources or ANY in resources or self._below(resource)

    def _below(self, resource: str) -> bool:
        return bool(self.prefixes) and resource.startswith(self.prefixes)


class Credentials:
    """Finds the application that a token belongs to.

    Args:
        settings: the applications; names and tokens must be unique.

    Raises:
        BadConfiguration: two applications share a name or a token, or a hash file is unusable.
    """

    def __init__(self, *, settings: Sequence[ApplicationSettings]) -> None:
        self._by_hash: dict[str, Application] = {}
        names: set[str] = set()
        for each in settings:
            application = Application.of(each)
            if each.name in names:
                raise BadConfiguration(f"two applications are named {each.name}")
            names.add(each.name)
            for token_hash in each.hashes():
                if token_hash in self._by_hash:
                    raise BadConfiguration(f"application {each.name} shares its token with another")
                self._by_hash[token_hash] = application

    @property
    def applications(self) -> Mapping[str, Application]:
        """The applications by name."""
        return {each.name: each for each in self._by_hash.values()}

    def application(self, authorization: str | None) -> Application:
        """Return whose token it is.

        Every stored hash is compared, each in constant time, so the time taken tells nothing of them.

        Args:
            authorization: the header's value, "Bearer <token>".

        Raises:
            NoIdentity: there is no token, or it is nobody's.
        """
        if not authorization:
            raise NoIdentity("bearer token missing")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS:
            raise NoIdentity("bearer token malformed")
        presented = _PREFIX + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        found: Application | None = None
        for token_hash, application in self._by_hash.items():
            if hmac.compare_digest(token_hash, presented):
                found = application
        if found is None:
            raise NoIdentity("bearer token unknown")
        return found
