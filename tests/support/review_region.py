"""A region whose reviews are served over a real log, with people who review."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
from nacl.signing import SigningKey

from exchange import errors as e
from exchange.checkpoint import LogSigner
from exchange.identity import Role
from exchange.rpc_errors import from_rpc_error
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2, audit_pb2_grpc, common_pb2, review_pb2, review_pb2_grpc
from gateway.audit.following.tail import Tails
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.search import SEARCH, Searches
from gateway.audit.projections.search_rows import SearchContent
from gateway.audit.writing.sequencer import Sequencer
from gateway.audit_service import AuditService
from gateway.calls import Calls
from gateway.review.selection import Selection
from gateway.review_service import ReviewService
from gateway.storage.high_water import HighWaterFile
from gateway.storage.sqlite import SqliteAuditStore
from tests.support.callers import by, nothing_traced, peer
from tests.support.region import CIVIL, HEALTH, ORIGIN, Authority, Region
from tests.support.reviewing import draw_body, event_body, exchange, signed

AUTHORITY = Authority()
ZHAO = AUTHORITY.person(Role.OFFICER, "zhao")
QIAN = AUTHORITY.person(Role.OFFICER, "qian")
SUN = AUTHORITY.person(Role.AUDITOR, "sun")
CHEN = AUTHORITY.person(Role.STEWARD, "chen", HEALTH)
WU = AUTHORITY.person(Role.STEWARD, "wu", CIVIL)
WANG = AUTHORITY.person(Role.ADMIN, "wang")
OPERATOR = AUTHORITY.person(Role.OPERATOR, "zhou")
GATEWAY = AUTHORITY.person(Role.GATEWAY, "gateway-1", hosts=["localhost"])
LOG_KEY = SigningKey(b"k" * 32)


class Served(Region):
    """The region while it runs."""

    selecting: "asyncio.Task[None] | None" = None

    @classmethod
    async def at(cls, folder: Path) -> "Served":
        found = cls(folder, authority=AUTHORITY, log=await cls.opened(folder))
        await found.serve()
        return found

    @staticmethod
    async def opened(folder: Path) -> Sequencer:
        log = Sequencer(
            store=SqliteAuditStore(folder=folder),
            high_water=HighWaterFile(path=folder / "high-water"),
            signer=LogSigner(origin=ORIGIN, key=LOG_KEY),
        )
        await log.open()
        return log

    async def serve(self) -> None:
        calls = Calls(registrar=self.registrar, peer=peer)
        self.selection = Selection(
            log=self.log,
            reviews=self.state.reviews,
            registrar=self.registrar,
            signer=lambda: GATEWAY,
            clock=self.clock,
            retry_s=0.01,
        )
        unread = Projection(path=self.folder / SEARCH, log=self.log, content=SearchContent())
        self.server = grpc.aio.server()
        review_pb2_grpc.add_ReviewServiceServicer_to_server(
            ReviewService(
                registrar=self.registrar,
                reviews=self.state.reviews,
                selection=self.selection,
                calls=calls,
                check_head=self.log.compare_head,
                gaps=self.log.gaps,
            ),
            self.server,
        )
        audit_pb2_grpc.add_AuditServiceServicer_to_server(
            AuditService(
                registrar=self.registrar,
                calls=calls,
                log=self.log,
                find=self.find,
                tails=Tails(log=self.log, witnessed=lambda: 0, clock=self.clock),
                searches=Searches(projection=unread, log=self.log, witnessed=lambda: 0),
                trace=nothing_traced,
                witnessed=lambda: "",
                log_port=lambda: 0,
            ),
            self.server,
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")
        self.reviews = review_pb2_grpc.ReviewServiceStub(self.channel)

    async def find(self, exchange_id: bytes) -> int | None:
        raise AssertionError("nobody looks exchanges up here")

    def draw_on(self) -> None:
        """Have the gateway draw what is to be drawn, now and from now on."""
        self.selecting = asyncio.create_task(self.selection.run())

    async def stop(self) -> None:
        if self.selecting is not None:
            self.selecting.cancel()
            await asyncio.gather(self.selecting, return_exceptions=True)
            self.selecting = None
        await self.channel.close()
        await self.server.stop(None)
        await self.registrar.close()
        await self.log.close()

    async def restart(self) -> None:
        """Stop, and start again from what is on disk."""
        await self.stop()
        self.log = await self.opened(self.folder)
        self.start()
        await self.serve()

    async def exchanges(self, count: int, **changes: Any) -> None:
        leaves = [exchange(**changes).SerializeToString() for _ in range(count)]
        await asyncio.gather(*(self.log.append(leaf) for leaf in leaves))

    def head(self) -> common_pb2.LogHead:
        head = self.log.head
        return common_pb2.LogHead(origin=ORIGIN, size=head.size, root=head.root)

    def draw_statement(self, signer: StatementSigner = SUN, **changes: Any) -> common_pb2.Statement:
        head = self.head()
        held: dict[str, Any] = {"head": head, "end": head.size}
        return signed(signer, draw_body(self.clock.ms, **(held | changes)))

    async def draw(self, signer: StatementSigner = SUN, **changes: Any) -> review_pb2.DrawResponse:
        request = review_pb2.DrawRequest(draw=self.draw_statement(signer, **changes))
        return await self.reviews.Draw(request, metadata=by(signer))  # type: ignore[no-any-return]

    def step_statement(
        self, signer: StatementSigner, review_id: bytes, item: int, revision: int, action: int, **changes: Any
    ) -> common_pb2.Statement:
        told = {"review_id": review_id, "item": item, "revision": revision, "action": action}
        return signed(signer, event_body(self.clock.ms, **(told | changes)))

    async def act(
        self, signer: StatementSigner, review_id: bytes, item: int, revision: int, action: int, **changes: Any
    ) -> review_pb2.ActResponse:
        statement = self.step_statement(signer, review_id, item, revision, action, **changes)
        return await self.reviews.Act(review_pb2.ActRequest(event=statement), metadata=by(signer))  # type: ignore[no-any-return]

    async def get(
        self, signer: StatementSigner, review_id: bytes, **changes: Any
    ) -> review_pb2.GetReviewResponse:
        request = review_pb2.GetReviewRequest(review_id=review_id, **changes)
        return await self.reviews.GetReview(request, metadata=by(signer))  # type: ignore[no-any-return]

    async def listed(self, signer: StatementSigner, **changes: Any) -> review_pb2.ListReviewsResponse:
        request = review_pb2.ListReviewsRequest(**changes)
        return await self.reviews.ListReviews(request, metadata=by(signer))  # type: ignore[no-any-return]

    def acts(self) -> list[audit_pb2.AdministrativeEntry]:
        leaves = self.log.leaves(0, self.log.head.size)
        return [audit_pb2.AuditEntry.FromString(leaf).administrative for leaf in leaves]

    def count(self, act: int) -> int:
        return sum(told.act == act for told in self.acts())


async def refused(call: Any) -> e.ExchangeError:
    """Return the error that a call ends with."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error, hop="gateway")
    raise AssertionError(f"not refused: {answer}")
