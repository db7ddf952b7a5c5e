"""The house with a third department: two consumers and two providers, and people who trace."""

import asyncio
import io
import json
import secrets
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.app import Agent
from exchange import canonical
from exchange.clock import SystemClock, system_random
from exchange.enrolment import IdentityFolder
from exchange.identity import Role
from exchange.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    agent_pb2,
    audit_pb2,
    common_pb2,
    directory_pb2,
    directory_pb2_grpc,
    grant_pb2,
    grant_pb2_grpc,
)
from shuqiao.cli.app import run
from tests.support.house import DAY_MS, HOUSEHOLD, House, house_at, moment, question
from tests.support.running_authority import POLICE

CIVIL = "11980000MB1A0001X9"
MARRIAGE = "970100/civil-affairs/marriage"
WHY = "complaint 17"


@dataclass
class Told:
    """What a command printed, as a program reads it."""

    code: int
    document: Any
    text: str


class TracedHouse:
    """What happens between three departments, and what officers find of it.

    Args:
        house: the region.
    """

    def __init__(self, house: House) -> None:
        self.house = house
        self.people = house.people
        self.civil: Agent

    async def open(self) -> None:
        """Bring civil affairs up: it provides marriages and asks for households."""
        house = self.house
        couples = [(self.people[n].citizen_id, self.people[n + 1].citizen_id) for n in range(0, 40, 2)]
        _write_marriages(house.folder / "marriage.db", couples)
        await house.enrol(Role.STEWARD, "civil-steward", CIVIL)
        await self._add_civil()
        await self._publish_marriage()
        for steward, provider, fields, resource in (
            ("civil-steward", "police-steward", ["name"], HOUSEHOLD),
            ("health-steward", "civil-steward", ["married", "spouse_id"], MARRIAGE),
        ):
            await self._grant(steward, provider, fields, resource)
        await house.enrol(Role.AGENT, "civil-1", CIVIL)
        self.civil = await house.start_agent("civil-1", resources=[marriage_source(house.folder)])
        for name, role in (("zhao", Role.OFFICER), ("sun", Role.AUDITOR)):
            await house.enrol(role, name)
        for name in ("zhao", "sun", "wang", "li"):
            self._write_context(name)

    async def household(self, agent: Agent, person: int, **changes: Any) -> int:
        """Ask public security about somebody; return the entry's index."""
        told = question(self.people[person], **({"fields": ["name"]} | changes))
        return self._entry(await agent.consumer.ask(told))

    async def marriage(self, person: int, **changes: Any) -> int:
        """Have health ask civil affairs about somebody; return the entry's index."""
        told = {"resource": MARRIAGE, "fields": ["married", "spouse_id"]} | changes
        return self._entry(await self.house.consumer.consumer.ask(question(self.people[person], **told)))

    def _entry(self, response: agent_pb2.AskResponse) -> int:
        assert response.HasField("receipt"), response
        return response.receipt.index

    def entry(self, index: int) -> audit_pb2.ExchangeEntry:
        leaf = self.house.gateway.sequencer.leaves(index, 1)[0]
        return audit_pb2.AuditEntry.FromString(leaf).exchange

    async def shuqiao(self, who: str, *arguments: str) -> Told:
        """Run the command as somebody, as a program would."""
        return await asyncio.to_thread(self._run, who, arguments)

    async def trace(self, person: int, who: str = "zhao") -> list[int]:
        """Trace somebody by the command; return the entries' indexes."""
        file = self.house.folder / "subject"
        file.write_text(self.people[person].citizen_id + "\n")
        told = await self.shuqiao(who, "audit", "trace", "--subject", f"@{file}", "--why", WHY)
        file.unlink()
        assert told.code == 0, told.text
        return [one["index"] for one in told.document["entries"]]

    def _run(self, who: str, arguments: Sequence[str]) -> Told:
        out, err = io.StringIO(), io.StringIO()
        environ = {"SHUQIAO_CONTEXT": str(self.house.folder / f"{who}.toml"), "SHUQIAO_LANG": "en"}
        code = run(
            [*arguments, "--json"], stdout=out, stderr=err, environ=environ,
            clock=SystemClock(), random=system_random,
        )  # fmt: skip
        lines = out.getvalue().splitlines()
        return Told(code, json.loads(lines[-1]) if lines else None, out.getvalue() + err.getvalue())

    def _write_context(self, name: str) -> None:
        folder, where = self.house.folder, self.house.region.addresses
        # Administrators are founded into one folder, everybody else is enrolled into two.
        identity = f"{name}/identity" if (folder / name / "identity").exists() else name
        (folder / f"{name}.toml").write_text(
            f'gateway = "127.0.0.1:{self.house.port}"\n'
            f'authority = "{where["service_address"]}"\nenrolment = "{where["enrolment_address"]}"\n'
            f'identity = "{identity}"\nkeys = "{name}/keys"\npassphrase_file = "passphrase"\n'
        )

    # -- governance --------------------------------------------------------------------------------------

    async def _add_civil(self) -> None:
        admin = self.house.identities["wang"]
        body = directory_pb2.OrganisationBody(
            nonce=secrets.token_bytes(16),
            credit_code=CIVIL,
            alias="civil-affairs",
            name_zh="民政",
            name_en="civil affairs",
            division="970100",
            issued_at=moment(self.house.region.clock.now_ms()),
        ).SerializeToString()
        stub = admin_pb2_grpc.AdminServiceStub(await self.house.channel(admin))
        statement = admin.statement_signer().sign(canonical.ORGANISATION, body)
        await stub.AddOrganisation(admin_pb2.AddOrganisationRequest(organisation=statement))

    async def _publish_marriage(self) -> None:
        steward = self.house.identities["civil-steward"]
        fields = [
            directory_pb2.Field(name=name, title_zh=name, type="text", level=level, share_type=2)
            for name, level in (("married", 3), ("spouse_id", 4))
        ]
        body = directory_pb2.ResourceBody(
            nonce=secrets.token_bytes(16),
            id=MARRIAGE,
            provider=CIVIL,
            title_zh="婚姻",
            title_en="marriage",
            version=1,
            fields=fields,
            parameters=[
                directory_pb2.Parameter(name="citizen_id", type="text", level=4, format="citizen_id")
            ],
            kinds=[common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY],
            row_cap=3,
            issued_at=moment(self.house.region.clock.now_ms()),
        ).SerializeToString()
        stub = directory_pb2_grpc.DirectoryServiceStub(await self.house.channel(steward))
        statement = steward.statement_signer().sign(canonical.RESOURCE, body)
        await stub.PublishResource(directory_pb2.PublishResourceRequest(resource=statement))

    async def _grant(self, consumer: str, provider: str, fields: list[str], resource: str) -> None:
        asks, decides = self.house.identities[consumer], self.house.identities[provider]
        now_ms = self.house.region.clock.now_ms()
        body = grant_pb2.GrantBody(
            nonce=secrets.token_bytes(16),
            consumer=asks.identity().organisation,
            provider=decides.identity().organisation,
            resource=resource,
            fields=fields,
            kinds=[common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY],
            purposes=["newborn", "investigation"],
            matters=["newborn"],
            not_before=moment(now_ms - 1000),
            not_after=moment(now_ms + DAY_MS),
            justification="newborn",
        ).SerializeToString()
        stub = grant_pb2_grpc.GrantServiceStub(await self.house.channel(asks))
        grant = asks.statement_signer().sign(canonical.GRANT, body)
        grant_id = (await stub.ApplyGrant(grant_pb2.ApplyGrantRequest(grant=grant))).grant_id
        await self._accept(decides, grant_id)
        for agent in (self.house.consumer, self.house.provider):
            if agent.identity.identity().organisation in (
                asks.identity().organisation,
                decides.identity().organisation,
            ):
                await self.house.knows(agent, grant_id, 1)

    async def _accept(self, steward: IdentityFolder, grant_id: bytes) -> None:
        body = grant_pb2.GrantEventBody(
            nonce=secrets.token_bytes(16),
            grant_id=grant_id,
            revision=1,
            action=grant_pb2.GRANT_ACTION_ACCEPT,
            issued_at=moment(self.house.region.clock.now_ms()),
        ).SerializeToString()
        stub = grant_pb2_grpc.GrantServiceStub(await self.house.channel(steward))
        statement = steward.statement_signer().sign(canonical.GRANT_EVENT, body)
        await stub.DecideGrant(grant_pb2.DecideGrantRequest(event=statement))


def marriage_source(folder: Path) -> dict[str, object]:
    """Return the block of an agent's configuration that provides marriages and marks the spouse a subject."""
    return {
        "id": MARRIAGE,
        "row_cap": 3,
        "timeout_s": 2,
        "source": {"kind": "sql", "url": f"sqlite:///{folder}/marriage.db", "table": "marriage"},
        "parameter": [{"name": "citizen_id", "column": "citizen_id", "format": "citizen_id"}],
        "field": [
            {"name": "married", "column": "married", "level": "L3"},
            {"name": "spouse_id", "column": "spouse_id", "level": "L4", "subject": "citizen_id"},
        ],
    }


def _write_marriages(path: Path, couples: Sequence[tuple[str, str]]) -> None:
    database = sqlite3.connect(path)
    try:
        database.execute("CREATE TABLE marriage (citizen_id TEXT, married TEXT, spouse_id TEXT)")
        database.execute("CREATE INDEX by_id ON marriage (citizen_id)")
        database.executemany("INSERT INTO marriage VALUES (?, 'yes', ?)", couples)
        database.commit()
    finally:
        database.close()


@asynccontextmanager
async def traced_house(folder: Path) -> AsyncIterator[TracedHouse]:
    """Run the region with three departments as long as the context lasts."""
    async with house_at(folder) as house:
        made = TracedHouse(house)
        await made.open()
        yield made


__all__ = ["CIVIL", "MARRIAGE", "POLICE", "TracedHouse", "traced_house"]
