"""A real authority over loopback TLS, with people to act on it and a clock that tests turn."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from nacl.pwhash import argon2id

from certs.client import AuthorityClient, NewToken
from certs.config import AuthorityConfig, Life, Listen, Trust
from certs.founding import initialise
from certs.process import Running, running
from exchange import keystore
from exchange.clock import SystemClock
from exchange.enrolment import IdentityFolder, enrol
from exchange.enrolment_file import EnrolmentFile
from exchange.identity import Identity, Role
from exchange.keystore import FileKeyStore, MemoryKeyStore
from exchange.trust import TrustAnchor, Verified

DIVISION = "970100"
DOMAIN = "yunchuan.example"
HEALTH = "11970100MB1A0001XA"
POLICE = "11970000MB1A0001X5"
PASSPHRASE = b"a passphrase for tests"


class TurnedClock:
    """The machine's clock, turned forward by a test."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.ahead_ms


@dataclass
class Region:
    """A running authority and its first administrators."""

    folder: Path
    config: AuthorityConfig
    running: Running
    clock: TurnedClock
    wang: AuthorityClient
    li: AuthorityClient

    @property
    def anchor(self) -> TrustAnchor:
        return self.running.authority.keys.anchor

    @property
    def addresses(self) -> dict[str, str]:
        return {
            "service_address": f"localhost:{self.running.service_port}",
            "enrolment_address": f"localhost:{self.running.enrolment_port}",
        }

    def client(self, held: IdentityFolder) -> AuthorityClient:
        return AuthorityClient(held, clock=self.clock, **self.addresses)

    async def approved(self, role: Role, name: str, organisation: str = "", **more: object) -> NewToken:
        """Return a token that two administrators agreed on."""
        made = await self.wang.create_token(role, name=name, organisation=organisation, **more)  # type: ignore[arg-type]
        await self.li.approve(made.token_id)
        return made

    async def enrol(self, file: EnrolmentFile, place: str = "") -> tuple[IdentityFolder, Verified]:
        """Enrol from a file into a folder of its own."""
        who = file.identity
        folder = self.folder / (place or f"{who.role}-{who.organisation[:6]}-{who.name}")
        keystore = MemoryKeyStore()
        verified = await enrol(file, keystore, folder, clock=self.clock)
        return IdentityFolder(folder, keystore), verified

    async def member(self, role: Role, name: str, organisation: str = "", **more: object) -> IdentityFolder:
        """Return the folder of somebody enrolled by two administrators."""
        made = await self.approved(role, name, organisation, **more)
        return (await self.enrol(made.file))[0]


@contextmanager
def cheap_derivations() -> Iterator[None]:
    """Derive keys of passphrases at the least cost: whoever opens these folders is in this process.

    At the real cost a region's dozen folders take three quarters of the time that it takes to stand.
    """
    with patch.object(keystore, "COST", (argon2id.OPSLIMIT_MIN, argon2id.MEMLIMIT_MIN)):
        yield


def found_region(folder: Path, *, enrolment_port: int = 0, service_port: int = 0) -> AuthorityConfig:
    """Make an authority's folder with the administrators wang and li; return its configuration."""
    (folder / "passphrase").write_bytes(PASSPHRASE + b"\n")
    initialise(
        folder / "authority",
        division=DIVISION,
        trust_domain=DOMAIN,
        passphrase=PASSPHRASE,
        root_passphrase=b"kept elsewhere",
        admins={name: (folder / name, PASSPHRASE) for name in ("wang", "li")},
        hosts=["localhost", "127.0.0.1"],
    )
    return AuthorityConfig(
        folder=folder / "authority",
        passphrase_file=folder / "passphrase",
        division=DIVISION,
        trust_domain=DOMAIN,
        listen=Listen(
            host="127.0.0.1",
            enrolment_port=enrolment_port,
            service_port=service_port,
            hosts=["localhost", "127.0.0.1"],
        ),
        lifetimes=Life.model_validate({"authority": "400d"}),
        trust_list=Trust(max_watchers=2),
    )


def admin_folder(folder: Path, name: str) -> IdentityFolder:
    """Open an administrator's identity folder."""
    store = FileKeyStore(folder=folder / name / "keys", passphrase=PASSPHRASE)
    return IdentityFolder(folder / name, store)


@asynccontextmanager
async def region_at(folder: Path, config: AuthorityConfig | None = None) -> AsyncIterator[Region]:
    """Run an authority in a folder as long as the context lasts."""
    config = config or found_region(folder)
    clock = TurnedClock()
    async with running(config, clock=clock) as where:
        addresses = {
            "service_address": f"localhost:{where.service_port}",
            "enrolment_address": f"localhost:{where.enrolment_port}",
        }
        wang, li = (
            AuthorityClient(admin_folder(folder, name), clock=clock, **addresses) for name in ("wang", "li")
        )
        yield Region(folder=folder, config=config, running=where, clock=clock, wang=wang, li=li)


def identity(role: Role, name: str = "", organisation: str = "") -> Identity:
    """Return an identity of the region."""
    return Identity(DOMAIN, DIVISION, role, organisation, name)
