"""A region for measuring: authority and gateway as real processes, certificates from the authority's keys.

Tokens are left out: identities are issued by the authority's issuing key while the world is built, and what
the region must know (organisations, catalogue, grants, bundles) is entered through the gateway's services.
"""

import asyncio
import datetime
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
from cryptography.hazmat.primitives.asymmetric import ec

from certs.founding import initialise
from certs.own_keys import KEYS, OwnKeys, plain_key
from certs.profiles import Lifetimes
from exchange import canonical
from exchange.clock import SystemClock, system_random
from exchange.enrolment import TLS_KEY, IdentityFolder, pem_of
from exchange.enrolment_file import EnrolmentFile
from exchange.identity import Identity, Role
from exchange.keystore import FileKeyStore
from exchange.statement import StatementSigner
from exchange.timestamps import timestamp
from exchange.tls import CHANNEL_OPTIONS, channel_credentials
from exchange.v1 import common_pb2, directory_pb2, grant_pb2
from shuqiao import regional
from tests.benchmarks.processes import Child, Children

DIVISION, DOMAIN = "970100", "yunchuan.example"
GATEWAY = "gateway-1"
ORIGIN = f"{DIVISION}.{DOMAIN}/{GATEWAY}"
HEALTH, POLICE = "11970100MB1A0001XA", "11970000MB1A0001X5"
ALIASES = {HEALTH: "health", POLICE: "police"}
ITEMS = {HEALTH: "births", POLICE: "household"}
PASSPHRASE = b"benchmarks"
PURPOSE, MATTER = "newborn", "newborn"
FIELDS = ("name", "sex", "address", "household_no")
KEY = "citizen_id"
TRUST_WAIT_S = 30.0


def resource_of(organisation: str) -> str:
    """Return the id of the one resource that an organisation provides."""
    return f"{DIVISION}/{ALIASES[organisation]}/{ITEMS[organisation]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An identity with its key and chain."""

    identity: Identity
    key_pem: bytes
    chain: Sequence[bytes]
    signer: StatementSigner

    @property
    def chain_pem(self) -> bytes:
        return pem_of(self.chain)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A running region.

    Attributes:
        address: of the gateway.
        grants: the id of the grant by (consumer, resource).
        resources: the catalogue's digest by resource.
    """

    folder: Path
    children: Children
    keys: OwnKeys
    gateway: Child
    address: str
    authority: tuple[str, str]
    grants: dict[tuple[str, str], bytes]
    resources: dict[str, bytes]

    def issue(self, role: Role, name: str, organisation: str = "", hosts: Sequence[str] = ()) -> Held:
        """Make a key and its certificate."""
        return issue(self.keys, role, name, organisation, hosts)

    def enter(self, who: Held, folder: Path) -> IdentityFolder:
        """Write an identity folder as enrolment would."""
        return write_identity(self.keys, who, folder, self.authority)

    def credentials(self, who: Held) -> grpc.ChannelCredentials:
        """Return the channel credentials of an identity."""
        return channel_credentials(root_pem=self.keys.root_pem, key_pem=who.key_pem, chain_pem=who.chain_pem)

    def channel(self, who: Held) -> grpc.Channel:
        """Open a synchronous channel to the gateway."""
        return grpc.secure_channel(self.address, self.credentials(who), options=CHANNEL_OPTIONS)


def issue(keys: OwnKeys, role: Role, name: str, organisation: str = "", hosts: Sequence[str] = ()) -> Held:
    """Make a key and its certificate by the authority's profile of the role."""
    who = Identity(DOMAIN, DIVISION, role, organisation, name)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = keys.issue(who, key.public_key(), now_ms=SystemClock().now_ms(), hosts=hosts)
    chain = keys.chain(certificate)
    return Held(
        identity=who, key_pem=plain_key(key), chain=chain, signer=StatementSigner(key=key, chain=chain)
    )


def write_identity(keys: OwnKeys, who: Held, folder: Path, authority: tuple[str, str]) -> IdentityFolder:
    """Write an identity folder and its key store."""
    keystore = FileKeyStore(folder=folder / "keys", passphrase=PASSPHRASE)
    keystore.put(TLS_KEY, who.key_pem)
    held = IdentityFolder(folder / "identity", keystore)
    file = EnrolmentFile(
        enrolment_address=authority[0],
        service_address=authority[1],
        root_pem=keys.root_pem,
        gateways=(),
        identity=who.identity,
    )
    held.write(file, who.chain)
    return held


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[World]:
    """Found a region in a folder and run it as long as the context lasts."""
    keys = _found(folder)
    children = Children(folder)
    try:
        authority = await children.start("authority", "authority", folder / "authority.toml")
        places = (authority.told["enrolment"], authority.told["service"])
        write_identity(
            keys, issue(keys, Role.GATEWAY, GATEWAY, hosts=["localhost"]), folder / "gateway", places
        )
        (folder / "gateway.toml").write_text(
            'folder = "gateway"\npassphrase_file = "passphrase"\n'
            '[listen]\nhost = "127.0.0.1"\nport = 0\nmetrics_port = 0\nlog_port = 0\n'
            f'[authority]\nenrolment = "{places[0]}"\nservice = "{places[1]}"\n'
            "[limits]\nconsumer_window = 1024\nprovider_window = 1024\n"
        )
        gateway = await children.start("gateway", "gateway", folder / "gateway.toml")
        await _wait_ready(gateway)
        world = World(
            folder=folder,
            children=children,
            keys=keys,
            gateway=gateway,
            address=f"localhost:{gateway.told['port']}",
            authority=places,
            grants={},
            resources={},
        )
        await asyncio.to_thread(_settle, world)
        yield world
    except Exception as error:
        # The folder goes with the run: what the gateway said last may be why.
        error.add_note(children.said_last("gateway"))
        raise
    finally:
        await children.stop_all()


async def _wait_ready(gateway: Child) -> None:
    """Wait until the gateway holds a trust list that names it."""
    url = f"http://127.0.0.1:{gateway.told['metrics_port']}/ready"
    async with httpx.AsyncClient() as client, asyncio.timeout(TRUST_WAIT_S):
        while (await client.get(url)).status_code != 200:  # noqa: ASYNC110  another process has no event
            await asyncio.sleep(0.05)


def _found(folder: Path) -> OwnKeys:
    (folder / "passphrase").write_bytes(PASSPHRASE + b"\n")
    initialise(
        folder / "authority",
        division=DIVISION,
        trust_domain=DOMAIN,
        passphrase=PASSPHRASE,
        admins={name: (folder / name, PASSPHRASE) for name in ("wang", "li")},
        hosts=["localhost", "127.0.0.1"],
    )
    (folder / "authority.toml").write_text(
        f'folder = "authority"\npassphrase_file = "passphrase"\ndivision = "{DIVISION}"\n'
        f'trust_domain = "{DOMAIN}"\n'
        '[listen]\nhost = "127.0.0.1"\nenrolment_port = 0\nservice_port = 0\nhosts = ["localhost"]\n'
    )
    return OwnKeys(
        folder=folder / "authority",
        keystore=FileKeyStore(folder=folder / "authority" / KEYS, passphrase=PASSPHRASE),
        division=DIVISION,
        trust_domain=DOMAIN,
        hosts=["localhost"],
        lifetimes=Lifetimes(),
    )


def _settle(world: World) -> None:
    """Enter two organisations, a resource of each, and a grant for each other and themselves."""
    admin = world.issue(Role.ADMIN, "bench-1")
    stewards = {code: world.issue(Role.STEWARD, "chen", code) for code in ALIASES}
    now_ms = SystemClock().now_ms()
    with world.channel(admin) as channel:
        for code in ALIASES:
            regional.add_organisation(channel, admin.signer, _organisation(code, now_ms))
    for code, steward in stewards.items():
        with world.channel(steward) as channel:
            body = _resource(code, now_ms)
            regional.publish_resource(channel, steward.signer, body)
            world.resources[body.id] = canonical.digest(canonical.RESOURCE, body.SerializeToString())
    for consumer, applicant in stewards.items():
        for provider, decider in stewards.items():
            with world.channel(applicant) as channel:
                grant = _grant(consumer, provider, now_ms)
                applied = regional.apply_grant(channel, applicant.signer, grant)
            with world.channel(decider) as channel:
                regional.decide_grant(
                    channel,
                    decider.signer,
                    applied.grant_id,
                    grant_pb2.GRANT_ACTION_ACCEPT,
                    clock=SystemClock(),
                    random=system_random,
                )
            world.grants[consumer, grant.resource] = applied.grant_id


def _organisation(code: str, now_ms: int) -> directory_pb2.OrganisationBody:
    return directory_pb2.OrganisationBody(
        nonce=system_random(16),
        credit_code=code,
        alias=ALIASES[code],
        name_zh="单位",
        name_en=ALIASES[code],
        division=DIVISION,
        issued_at=timestamp(now_ms),
    )


def _resource(code: str, now_ms: int) -> directory_pb2.ResourceBody:
    return directory_pb2.ResourceBody(
        nonce=system_random(16),
        id=resource_of(code),
        provider=code,
        title_zh="户籍",
        title_en="Household",
        version=1,
        fields=[
            directory_pb2.Field(
                name=name,
                title_zh="项",
                type="text",
                level=common_pb2.LEVEL_L3,
                share_type=directory_pb2.SHARE_TYPE_CONDITIONAL,
                padding=128,
            )
            for name in FIELDS
        ],
        parameters=[directory_pb2.Parameter(name=KEY, type="text", level=common_pb2.LEVEL_L4)],
        kinds=[common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY],
        row_cap=10,
        issued_at=timestamp(now_ms),
    )


def _grant(consumer: str, provider: str, now_ms: int) -> grant_pb2.GrantBody:
    year_ms = int(datetime.timedelta(days=365).total_seconds() * 1000)
    return grant_pb2.GrantBody(
        nonce=system_random(16),
        consumer=consumer,
        provider=provider,
        resource=resource_of(provider),
        fields=FIELDS,
        kinds=[common_pb2.KIND_QUERY],
        purposes=[PURPOSE],
        matters=[MATTER],
        case_required=True,
        not_before=timestamp(now_ms - 1000),
        not_after=timestamp(now_ms + year_ms),
        justification="bench",
    )


def token_hash(token: str) -> str:
    """Return how an agent's configuration names a local token."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()
