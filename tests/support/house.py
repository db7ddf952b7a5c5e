"""A whole region in one process: authority, gateway and two agents over real TLS on loopback.

For tests that must reach into a part (a source that hangs, a store that fails) while the others stay real.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from agent.app import Agent
from agent.config import AgentConfig
from exchange import canonical
from exchange.enrolment import IdentityFolder, enrol
from exchange.identity import Role
from exchange.keystore import FileKeyStore
from exchange.tls import CHANNEL_OPTIONS, channel_credentials
from exchange.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    agent_pb2,
    common_pb2,
    directory_pb2,
    directory_pb2_grpc,
    grant_pb2,
    grant_pb2_grpc,
)
from gateway.app import Gateway
from gateway.config import AuthorityAddress, GatewayConfig, Limits, Listen, Witnesses
from shuqiao.demo.people import Person, create_household_db, people
from tests.support.running_authority import (
    HEALTH,
    PASSPHRASE,
    POLICE,
    Region,
    admin_folder,
    cheap_derivations,
    found_region,
    region_at,
)

HOUSEHOLD = "970100/public-security/household"
STATIONS = "970100/public-security/stations"
FIELDS = {"name": 3, "address": 4, "household_no": 3, "police_station": 2}
DAY_MS = 86_400_000
PATIENCE_S = 20.0


def moment(ms: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMilliseconds(ms)
    return stamp


async def until(true: Callable[[], object], what: str) -> None:
    """Wait for a condition; fail with its name when it does not come."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            # Any part of the region may make it true; none announces it.
            while not true():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


def question(person: Person, **changes: Any) -> agent_pb2.AskRequest:
    """Return the question for a person's household record."""
    told: dict[str, Any] = {
        "resource": HOUSEHOLD,
        "kind": common_pb2.KIND_QUERY,
        "parameters": [agent_pb2.NamedValue(name="citizen_id", value=person.citizen_id)],
        "purpose": "newborn",
        "matter": "newborn",
        "case_number": "LJ-2026-1",
    }
    return agent_pb2.AskRequest(**(told | changes))


@dataclass
class House:
    """The region while it runs."""

    folder: Path
    region: Region
    people: Sequence[Person]
    stack: AsyncExitStack
    identities: dict[str, IdentityFolder] = field(default_factory=dict)
    witnesses: Witnesses = field(default_factory=Witnesses)
    gateway: Gateway = field(init=False)
    stop_gateway: Callable[[], Awaitable[None]] = field(init=False)
    port: int = 0
    log_port: int = 0
    provider: Agent = field(init=False)
    consumer: Agent = field(init=False)

    @property
    def log_size(self) -> int:
        return self.gateway.sequencer.head.size

    async def enrol(self, role: Role, name: str, organisation: str = "", **more: object) -> IdentityFolder:
        made = await self.region.approved(role, name, organisation, **more)
        store = FileKeyStore(folder=self.folder / name / "keys", passphrase=PASSPHRASE)
        await enrol(made.file, store, self.folder / name / "identity")
        self.identities[name] = IdentityFolder(self.folder / name / "identity", store)
        return self.identities[name]

    async def channel(self, held: IdentityFolder) -> grpc.aio.Channel:
        credentials = channel_credentials(
            root_pem=held.root_pem(), key_pem=held.key_pem(), chain_pem=held.chain_pem()
        )
        channel = grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=CHANNEL_OPTIONS)
        return await self.stack.enter_async_context(channel)

    async def start_gateway(self, **limits: int) -> Callable[[], Awaitable[None]]:
        """Start the gateway; return what stops it."""
        where = self.region.addresses
        config = GatewayConfig(
            folder=self.folder / "gateway-1",
            passphrase_file=self.folder / "passphrase",
            listen=Listen(
                host="127.0.0.1", port=self.port, metrics_port=0, log_host="127.0.0.1", log_port=self.log_port
            ),
            authority=AuthorityAddress(
                enrolment=where["enrolment_address"], service=where["service_address"]
            ),
            limits=Limits(**limits),
            witnesses=self.witnesses,
        )
        self.gateway = Gateway(config)
        listening, stop = await self._run(self.gateway.run)
        self.port, self.log_port = listening.port, listening.log_port
        self.stop_gateway = stop
        await until(lambda: not self.gateway.faults(), "the gateway is ready")
        return stop

    async def start_agent(self, name: str, *, resources: Sequence[object] = ()) -> Agent:
        """Start an agent and wait for its link."""
        config = AgentConfig.model_validate(
            {
                "folder": self.folder / name,
                "passphrase_file": self.folder / "passphrase",
                "resource": list(resources),
            }
        )
        agent = Agent(config, base=self.folder)
        await self._run(agent.run)
        await until(lambda: agent.link.fault is None, f"{name} is linked")
        return agent

    async def _run(self, run: Callable[..., Awaitable[None]]) -> tuple[Any, Callable[[], Awaitable[None]]]:
        stopping, up = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(run(stopping, up.set_result))
        await asyncio.wait({task, up}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()

        async def stop() -> None:
            stopping.set()
            await task

        self.stack.push_async_callback(stop)
        return up.result(), stop

    async def publish(
        self, resource: str = HOUSEHOLD, *, version: int = 1, level: int | None = None, share: int = 2
    ) -> None:
        """Publish the household resource, or another with the same columns."""
        steward = self.identities["police-steward"]
        body = directory_pb2.ResourceBody(
            nonce=secrets.token_bytes(16),
            id=resource,
            provider=POLICE,
            title_zh="户籍",
            title_en="household",
            version=version,
            fields=[
                directory_pb2.Field(
                    name=name, title_zh=name, type="text", level=level or own, share_type=share
                )
                for name, own in FIELDS.items()
            ],
            parameters=[
                directory_pb2.Parameter(name="citizen_id", type="text", level=level or 4, format="citizen_id")
            ],
            kinds=[common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY],
            case_required=level is None,
            row_cap=20,
            issued_at=moment(self.region.clock.now_ms()),
        ).SerializeToString()
        stub = directory_pb2_grpc.DirectoryServiceStub(await self.channel(steward))
        statement = steward.statement_signer().sign(canonical.RESOURCE, body)
        await stub.PublishResource(directory_pb2.PublishResourceRequest(resource=statement))

    async def apply(self, resource: str = HOUSEHOLD, **changes: Any) -> bytes:
        """Apply for a grant; return its id."""
        steward, now_ms = self.identities["health-steward"], self.region.clock.now_ms()
        told: dict[str, Any] = {
            "nonce": secrets.token_bytes(16),
            "consumer": HEALTH,
            "provider": POLICE,
            "resource": resource,
            "fields": list(FIELDS),
            "kinds": [common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY],
            "purposes": ["newborn"],
            "matters": ["newborn"],
            "not_before": moment(now_ms - 1000),
            "not_after": moment(now_ms + DAY_MS),
            "justification": "newborn",
        }
        body = grant_pb2.GrantBody(**(told | changes)).SerializeToString()
        stub = grant_pb2_grpc.GrantServiceStub(await self.channel(steward))
        statement = steward.statement_signer().sign(canonical.GRANT, body)
        return (await stub.ApplyGrant(grant_pb2.ApplyGrantRequest(grant=statement))).grant_id

    async def decide(self, grant_id: bytes, action: int, revision: int) -> None:
        """Have the provider's steward decide, and wait until both agents know."""
        steward = self.identities["police-steward"]
        body = grant_pb2.GrantEventBody(
            nonce=secrets.token_bytes(16),
            grant_id=grant_id,
            revision=revision,
            action=action,
            issued_at=moment(self.region.clock.now_ms()),
        ).SerializeToString()
        stub = grant_pb2_grpc.GrantServiceStub(await self.channel(steward))
        statement = steward.statement_signer().sign(canonical.GRANT_EVENT, body)
        await stub.DecideGrant(grant_pb2.DecideGrantRequest(event=statement))
        for agent in (getattr(self, "provider", None), getattr(self, "consumer", None)):
            if agent is not None:
                await self.knows(agent, grant_id, revision)

    async def knows(self, agent: Agent, grant_id: bytes, revision: int) -> None:
        """Wait until an agent has a grant's revision."""

        def known() -> bool:
            grant = agent.region.grant(grant_id)
            return grant is not None and grant.revision >= revision

        await until(known, f"revision {revision} is known")


def household_source(folder: Path, resource: str = HOUSEHOLD) -> dict[str, object]:
    """Return the block of an agent's configuration that provides the household resource."""
    return {
        "id": resource,
        "row_cap": 20,
        "timeout_s": 2,
        "source": {"kind": "sql", "url": f"sqlite:///{folder}/household.db", "table": "household"},
        "parameter": [{"name": "citizen_id", "column": "citizen_id", "format": "citizen_id"}],
        "field": [{"name": name, "column": name, "level": f"L{level}"} for name, level in FIELDS.items()],
    }


@asynccontextmanager
async def house_at(folder: Path, **limits: int) -> AsyncIterator[House]:
    """Run a region with one granted resource for as long as the context lasts."""
    async with AsyncExitStack() as stack:
        stack.enter_context(cheap_derivations())
        config = found_region(folder)
        config = config.model_copy(
            update={"trust_list": config.trust_list.model_copy(update={"max_watchers": 16})}
        )
        region = await stack.enter_async_context(region_at(folder, config))
        residents = people(200, 7)
        create_household_db(folder / "household.db", residents)
        house = House(folder=folder, region=region, people=residents, stack=stack)
        house.identities["wang"] = admin_folder(folder, "wang")
        await house.enrol(Role.GATEWAY, "gateway-1", hosts=["127.0.0.1", "localhost"])
        await house.start_gateway(**limits)
        for name, organisation in (("police-steward", POLICE), ("health-steward", HEALTH)):
            await house.enrol(Role.STEWARD, name, organisation)
        await add_organisations(house)
        await house.publish()
        grant_id = await house.apply()
        await house.decide(grant_id, grant_pb2.GRANT_ACTION_ACCEPT, 1)
        await house.enrol(Role.AGENT, "police-1", POLICE)
        await house.enrol(Role.AGENT, "health-1", HEALTH)
        house.provider = await house.start_agent("police-1", resources=[household_source(folder)])
        house.consumer = await house.start_agent("health-1")
        yield house


async def add_organisations(house: House) -> None:
    """Enter both departments."""
    admin = house.identities["wang"]
    stub = admin_pb2_grpc.AdminServiceStub(await house.channel(admin))
    for code, alias, name in ((POLICE, "public-security", "公安"), (HEALTH, "health", "卫健")):
        body = directory_pb2.OrganisationBody(
            nonce=secrets.token_bytes(16),
            credit_code=code,
            alias=alias,
            name_zh=name,
            name_en=alias,
            division="970100",
            issued_at=moment(house.region.clock.now_ms()),
        ).SerializeToString()
        statement = admin.statement_signer().sign(canonical.ORGANISATION, body)
        await stub.AddOrganisation(admin_pb2.AddOrganisationRequest(organisation=statement))
