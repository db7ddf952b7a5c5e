"""A gateway's log as officers reach it: AuditService over a real server and a real log on disk."""

from pathlib import Path
from typing import Any

import grpc

from exchange.errors import EntryErased
from exchange.identity import Role
from exchange.v1 import audit_pb2, audit_pb2_grpc
from gateway.audit.following.tail import Tails
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.search import SEARCH, Searches
from gateway.audit.projections.search_rows import SearchContent
from gateway.audit.writing.folder import sequencer_in
from gateway.audit.writing.sequencer import Sequencer
from gateway.audit_service import AuditService
from gateway.calls import Calls
from tests.support.audit import SIGNER, submit
from tests.support.callers import nothing_traced, peer
from tests.support.region import HEALTH, POLICE, Authority, Region

MAX_TAILS = 4

AUTHORITY = Authority()
OFFICER = AUTHORITY.person(Role.OFFICER, "officer-1")
AUDITOR = AUTHORITY.person(Role.AUDITOR, "auditor-1")


def exchange(number: int, **changes: Any) -> bytes:
    """Return the leaf of an exchange."""
    held: dict[str, Any] = {
        "exchange_id": number.to_bytes(16, "big"),
        "consumer_organisation": HEALTH,
        "provider_organisation": POLICE,
        "resource": "970100/police/household",
        "decision": audit_pb2.DECISION_RELEASED,
    }
    told = audit_pb2.ExchangeEntry(**(held | changes))
    return audit_pb2.AuditEntry(version=1, time_ms=number, exchange=told).SerializeToString()


class RetainedLog:
    """The log, of which a range may be erased.

    Attributes:
        erased: indexes of entries that are gone.
        reads: how many times leaves were read.
    """

    def __init__(self, log: Sequencer) -> None:
        self.log = log
        self.erased = range(0)
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    def leaves(self, first: int, count: int) -> list[bytes]:
        self.reads += 1
        leaves = self.log.leaves(first, count)
        if any(index in self.erased for index in range(first, first + len(leaves))):
            raise EntryErased(str(first))
        return leaves


class Office:
    """The service, started and stopped as often as a test wants.

    Attributes:
        witnessed: size of the newest witnessed head.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.witnessed = 0
        self.port = 0

    async def open(self) -> None:
        """Start, or start again on the same port."""
        self.sequencer = sequencer_in(self.folder, signer=SIGNER)
        await self.sequencer.open()
        self.log = RetainedLog(self.sequencer)
        self.region = Region(self.folder, authority=AUTHORITY, log=self.log)
        self.projection = Projection(path=self.folder / SEARCH, log=self.log, content=SearchContent())
        self.projection.start()
        self.searches = Searches(projection=self.projection, log=self.log, witnessed=lambda: self.witnessed)
        self.tails = Tails(
            log=self.log, witnessed=lambda: self.witnessed, clock=self.region.clock, max_tails=MAX_TAILS
        )
        calls = Calls(registrar=self.region.registrar, peer=peer)
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service = AuditService(
            registrar=self.region.registrar,
            calls=calls,
            log=self.log,
            find=self.searches.find,
            tails=self.tails,
            searches=self.searches,
            trace=nothing_traced,
            witnessed=lambda: "",
            log_port=lambda: 0,
        )
        audit_pb2_grpc.add_AuditServiceServicer_to_server(service, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(self.address, options=[("grpc.enable_http_proxy", 0)])
        self.audit = audit_pb2_grpc.AuditServiceStub(self.channel)

    async def close(self) -> None:
        """Stop as the gateway does."""
        await self.channel.close()
        self.tails.drain()
        await self.server.stop(1.0)
        await self.region.registrar.close()
        await self.projection.close()
        await self.sequencer.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def enter(self, *leaves: bytes) -> int:
        """Append entries; return the index of the first."""
        return (await submit(self.sequencer, leaves).places())[0].index

    def reads(self) -> list[audit_pb2.AdministrativeEntry]:
        """Return the entries that say that the log was read."""
        leaves = self.sequencer.leaves(0, self.sequencer.head.size)
        acts = [audit_pb2.AuditEntry.FromString(leaf).administrative for leaf in leaves]
        return [act for act in acts if act.act == audit_pb2.ACT_READ]
