"""Tickets for tests: bodies, and a region in miniature that serves them over a log with tagged exchanges."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from exchange import canonical
from exchange.clock import system_random
from exchange.errors import AuditUnavailable
from exchange.identity import Role
from exchange.keystore import MemoryKeyStore
from exchange.statement import StatementSigner
from exchange.subject_tags import inner_tag, padded, period_of, tag_root
from exchange.v1 import audit_pb2, common_pb2, ticket_pb2, ticket_pb2_grpc, trust_pb2
from gateway.audit.keeping.tag_terms import TagTerms
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.search import SEARCH, Searches
from gateway.audit.projections.search_rows import SearchContent
from gateway.audit.projections.trace_rows import TRACE, TraceContent
from gateway.audit.writing.sequencer import Sequencer
from gateway.calls import Calls
from gateway.subject_tags import GatewayTagKeys
from gateway.ticket_service import TicketService
from gateway.tickets.clocks import TicketClocks
from gateway.tickets.corrections import Corrections
from gateway.tickets.recipients import Recipients
from gateway.tickets.subjects import CorrectedSubjects
from tests.support.audit import MemoryAuditStore, MemoryHighWater, Outcome, memory_sequencer
from tests.support.callers import by, peer
from tests.support.region import CIVIL, HEALTH, ORIGIN, POLICE, RESOURCE, Authority, Region, moment, nonce
from tests.support.sealing import NOW_MS

SCHOOL = "11970200MB1A0001XF"
AUTHORITY = Authority()
CHEN = AUTHORITY.person(Role.STEWARD, "chen", HEALTH)
WU = AUTHORITY.person(Role.STEWARD, "wu", CIVIL)
HE = AUTHORITY.person(Role.STEWARD, "he", SCHOOL)
LI = AUTHORITY.person(Role.STEWARD, "li", POLICE)
WANG = AUTHORITY.person(Role.ADMIN, "wang")
SUN = AUTHORITY.person(Role.AUDITOR, "sun")
ZHOU = AUTHORITY.person(Role.OPERATOR, "zhou")
GATEWAY = AUTHORITY.person(Role.GATEWAY, "gateway-1", hosts=["localhost"])
HEALTH_AGENT = AUTHORITY.person(Role.AGENT, "health-1", HEALTH)
MOTHER, FATHER = "970102199001010011", "97010219900101002X"
DAY_MS = 86_400_000


def providers_key(period: str) -> bytes:
    """Return the providers' tag key of a quarter."""
    return period.encode().ljust(32, b"p")


def subject_tags(
    ticket_id: bytes,
    identifier: str,
    periods: Sequence[str],
    *,
    signer: StatementSigner = AUTHORITY.signer,
    **changes: Any,
) -> common_pb2.Statement:
    """Return whom a corrected value is about, as the authority derives and signs it."""
    tags = [
        trust_pb2.DerivedTag(period=one, tag=inner_tag(providers_key(one), "citizen_id", identifier))
        for one in periods
    ]
    held: dict[str, Any] = {"ticket_id": ticket_id, "organisation": POLICE, "issued_at": moment(NOW_MS)}
    body = trust_pb2.SubjectTagsBody(tags=tags, **(held | changes))
    return signer.sign(canonical.SUBJECT_TAGS, body.SerializeToString())


def dispute(exchange_id: bytes, **changes: Any) -> ticket_pb2.TicketBody:
    """Return a dispute about the name that an exchange brought."""
    told = {
        name: changes.pop(name) for name in list(changes) if name not in ("raised_by", "text", "issued_at")
    }
    held: dict[str, Any] = {"resource": RESOURCE, "provider": POLICE, "exchange_id": exchange_id}
    about = ticket_pb2.Dispute(**(held | {"fields": ["name"]} | told))
    body: dict[str, Any] = {"raised_by": HEALTH, "text": "姓名与证件不符", "issued_at": moment(NOW_MS)}
    return ticket_pb2.TicketBody(nonce=nonce(), dispute=about, **(body | changes))


def demand(**changes: Any) -> ticket_pb2.TicketBody:
    """Return a demand for school records."""
    told = {
        name: changes.pop(name) for name in list(changes) if name not in ("raised_by", "text", "issued_at")
    }
    held: dict[str, Any] = {"title": "学籍信息", "wanted": ["在读学校"], "division": "970100"}
    body: dict[str, Any] = {"raised_by": HEALTH, "text": "入学一件事需要", "issued_at": moment(NOW_MS)}
    return ticket_pb2.TicketBody(nonce=nonce(), demand=ticket_pb2.Demand(**(held | told)), **(body | changes))


def event(ticket_id: bytes, action: int, revision: int, **changes: Any) -> ticket_pb2.TicketEventBody:
    """Return a step."""
    held: dict[str, Any] = {"ticket_id": ticket_id, "revision": revision, "action": action}
    if action in (ticket_pb2.TICKET_ACTION_CORRECT, ticket_pb2.TICKET_ACTION_DECLINE):
        held["text"] = "已核实"
    if action == ticket_pb2.TICKET_ACTION_CORRECT:
        held["fields"] = ["name"]
    return ticket_pb2.TicketEventBody(nonce=nonce(), **({"issued_at": moment(NOW_MS)} | held | changes))


def quality(**changes: Any) -> ticket_pb2.QualityReportBody:
    """Return a report of a day."""
    held: dict[str, Any] = {
        "nonce": nonce(),
        "resource": RESOURCE,
        "version": 1,
        "consumer": HEALTH,
        "agent": "health-1",
        "since": moment(NOW_MS - DAY_MS),
        "until": moment(NOW_MS),
        "exchanges": 10,
        "records": 10,
        "fields": [ticket_pb2.FieldQuality(name="name", values=10, missing=2, invalid=1)],
        "issued_at": moment(NOW_MS),
    }
    return ticket_pb2.QualityReportBody(**(held | changes))


def dying(record_made: Callable[[Any], Awaitable[int | None]], done: int) -> Callable[[Any], Any]:
    """Return what enters so many entries as that does, and then none."""
    entered = 0

    async def record(make: Any) -> int | None:
        nonlocal entered
        if entered == done:
            raise AuditUnavailable("down")
        entered += 1
        return await record_made(make)

    return record


class TicketRegion(Region):
    """A region while it runs: a log in memory that survives a restart, its projections, the service."""

    @classmethod
    async def at(cls, folder: Path) -> "TicketRegion":
        made = cls(folder, authority=AUTHORITY, log=await _opened(MemoryAuditStore(), MemoryHighWater()))
        made.keystore = MemoryKeyStore()
        made.keys = GatewayTagKeys(keystore=made.keystore)
        await made.serve()
        for code, alias in ((HEALTH, "health"), (POLICE, "police"), (CIVIL, "civil"), (SCHOOL, "school")):
            await made.add(code, alias, division="970100")
        await made.publish(LI)
        return made

    async def serve(self) -> None:
        self.tagged = Projection(path=self.folder / TRACE, log=self.log, content=TraceContent(self.log))
        self.found = Projection(path=self.folder / SEARCH, log=self.log, content=SearchContent())
        for projection in (self.tagged, self.found):
            projection.start()
        searches = Searches(projection=self.found, log=self.log, witnessed=lambda: 0)
        subjects = CorrectedSubjects(
            keystore=self.keystore, keys=self.keys, anchor=self.anchor, trust=lambda: self.feed.current,
            clock=self.clock,
        )  # fmt: skip
        recipients = Recipients(
            log=self.log, tagged=self.tagged, find=searches.find, keys=self.keys, subjects=subjects
        )
        self.corrections = Corrections(
            tickets=self.state.tickets,
            registrar=self.registrar,
            recipients=recipients,
            subjects=subjects,
            gateway=GATEWAY.identity,
            retry_s=0.01,
        )
        self.clocks = TicketClocks(tickets=self.state.tickets, rules=self.state.rules)
        self.server = grpc.aio.server()
        service = TicketService(
            registrar=self.registrar,
            tickets=self.state.tickets,
            quality=self.state.quality,
            clocks=self.clocks,
            corrections=self.corrections,
            find=searches.find,
            calls=Calls(registrar=self.registrar, peer=peer),
            clock=self.clock,
        )
        ticket_pb2_grpc.add_TicketServiceServicer_to_server(service, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.stub = ticket_pb2_grpc.TicketServiceStub(self.channel)
        self.telling: asyncio.Task[None] | None = None

    def tell_on(self) -> None:
        """Have the gateway tell what is to be told, now and from now on."""
        self.telling = asyncio.create_task(self.corrections.run())

    async def stop(self) -> None:
        if self.telling is not None:
            self.telling.cancel()
            await asyncio.gather(self.telling, return_exceptions=True)
        await self.channel.close()
        await self.server.stop(None)
        await self.tagged.close()
        await self.found.close()
        await self.registrar.close()
        await self.log.close()

    async def restart(self) -> None:
        """Stop, and start again from what is in the log."""
        store, high_water = self.log._store, self.log._high_water
        await self.stop()
        self.log = await _opened(store, high_water)
        self.start()
        await self.serve()

    async def exchange(self, *subjects: str, step: int = 1, **said: Any) -> bytes:
        """Enter an exchange about some subjects; return its id."""
        at_ms = said.pop("at_ms", self.clock.ms)
        entry = audit_pb2.AuditEntry(salt=nonce(), version=1, gateway=ORIGIN, time_ms=at_ms)
        told: dict[str, Any] = {
            "exchange_id": nonce(),
            "consumer_organisation": HEALTH,
            "provider_organisation": POLICE,
            "resource": RESOURCE,
            "fields": ["name"],
            "kind": common_pb2.KIND_QUERY,
            "decision": audit_pb2.DECISION_RELEASED,
        }
        entry.exchange.CopyFrom(audit_pb2.ExchangeEntry(**(told | said)))
        beside = b""
        if subjects:
            period = period_of(at_ms)
            outer = self.keys.present(period)
            tags = [outer.of(inner_tag(providers_key(period), "citizen_id", one)) for one in subjects]
            tags = padded(tags, step, system_random)
            entry.exchange.tag_period, entry.exchange.tag_count = period, len(tags)
            entry.exchange.tag_root, beside = tag_root(tags), b"".join(tags)
        outcome = Outcome()
        self.log.submit([entry.SerializeToString()], outcome, [beside])
        await outcome.places()
        return entry.exchange.exchange_id

    async def erase_tags(self, period: str = "") -> None:
        """Erase the gateway's tag key of a period, this one where none is named."""
        terms = TagTerms(
            keys=self.keys, append=self.log.append, gateway=GATEWAY.identity, origin=ORIGIN, keep_days=1,
            clock=self.clock, random=system_random, now=self.clock.now_ms,
        )  # fmt: skip
        await terms.erase(period or period_of(self.clock.ms))

    async def raised(self, signer: StatementSigner, body: ticket_pb2.TicketBody) -> bytes:
        """Raise a ticket; return its id."""
        statement = signer.sign(canonical.TICKET, body.SerializeToString())
        answer = await self.stub.RaiseTicket(
            ticket_pb2.RaiseTicketRequest(ticket=statement), metadata=by(signer)
        )
        return answer.ticket_id  # type: ignore[no-any-return]

    async def act(
        self, signer: StatementSigner, ticket_id: bytes, action: int, revision: int = 1, **changes: Any
    ) -> ticket_pb2.ActOnTicketResponse:
        subjects = changes.pop("subjects", ())
        body = event(ticket_id, action, revision, **({"issued_at": moment(self.clock.ms)} | changes))
        statement = signer.sign(canonical.TICKET_EVENT, body.SerializeToString())
        return await self.act_on(signer, statement, subjects)

    async def act_on(
        self,
        signer: StatementSigner,
        statement: common_pb2.Statement,
        subjects: Sequence[common_pb2.Statement] = (),
    ) -> ticket_pb2.ActOnTicketResponse:
        request = ticket_pb2.ActOnTicketRequest(event=statement, subjects=subjects)
        return await self.stub.ActOnTicket(request, metadata=by(signer))  # type: ignore[no-any-return]

    async def report(self, body: ticket_pb2.QualityReportBody, signer: StatementSigner = HEALTH_AGENT) -> int:
        statement = signer.sign(canonical.QUALITY, body.SerializeToString())
        request = ticket_pb2.ReportQualityRequest(report=statement)
        return (await self.stub.ReportQuality(request, metadata=by(signer))).index  # type: ignore[no-any-return]

    async def get(self, signer: StatementSigner, ticket_id: bytes) -> ticket_pb2.TicketRecord:
        request = ticket_pb2.GetTicketRequest(ticket_id=ticket_id)
        return (await self.stub.GetTicket(request, metadata=by(signer))).ticket  # type: ignore[no-any-return]

    async def listed(self, signer: StatementSigner, **asked: Any) -> ticket_pb2.ListTicketsResponse:
        request = ticket_pb2.ListTicketsRequest(**asked)
        return await self.stub.ListTickets(request, metadata=by(signer))  # type: ignore[no-any-return]

    def told(self) -> list[audit_pb2.CorrectionRecord]:
        """Return the corrections in the log, without those that end a telling."""
        leaves = self.log.leaves(0, self.log.head.size)
        acts = [audit_pb2.AuditEntry.FromString(leaf).administrative for leaf in leaves]
        return [one.correction for one in acts if one.HasField("correction") and not one.correction.ends]

    async def told_all(self, ticket_id: bytes) -> None:
        """Wait until everybody who was found is told."""
        async with asyncio.timeout(10):
            while not self.state.tickets.one(ticket_id).told_all:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@asynccontextmanager
async def ticket_region(folder: Path) -> AsyncIterator[TicketRegion]:
    made = await TicketRegion.at(folder)
    try:
        yield made
    finally:
        await made.stop()


async def _opened(store: MemoryAuditStore, high_water: MemoryHighWater) -> Sequencer:
    log = memory_sequencer(store, high_water)
    await log.open()
    return log
