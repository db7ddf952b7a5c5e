"""Takes orders to stop: verify → apply in memory → tell every link → conclude what is under way → log.

1. What is applied holds at once, also where neither log nor file can be written; the answer then says so.
2. A stop that is not in the log is kept in a small file and entered as soon as the log takes it (`run`).
3. A lift goes the other way round: log first; it takes effect when it is folded.

A crash after 'apply' and before anything is durable loses the stop; the officer has no answer and asks again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from exchange.clock import Clock
from exchange.errors import (
    AuditUnavailable,
    ExchangeError,
    Malformed,
    RoleNotAllowed,
    TrustStale,
)
from exchange.identity import Identity
from exchange.statement import check_one_body
from exchange.stops import MAX_SIGNERS, Stop, read_stop
from exchange.trust import TrustAnchor
from exchange.trust_feed import TrustFeed
from exchange.v1 import audit_pb2, common_pb2, link_pb2
from gateway.admission import check_size
from gateway.record import Exchange
from gateway.register import Submitted
from gateway.registrar import Registrar
from gateway.routing.links import Links
from gateway.stops.pending_file import PendingFile
from gateway.stops.register import StopRegister, domain_of

LOG_PATIENCE_S = 2.0
"""How long an order waits for the log before it answers that the stop holds unlogged."""
FILE_PATIENCE_S = 1.0
AGAIN_S = 1.0
Statements = Sequence[common_pb2.Statement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an order to stop came to.

    Attributes:
        index: of its log entry; None while it is not in the log.
        told: links that were told.
        caught: exchanges under way that it caught.
    """

    stop: Stop
    index: int | None
    told: int
    caught: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskParts:
    """What the desk is made of.

    Attributes:
        conclude: takes exchanges that were stopped to their entries.
        hop: name of this gateway in refusals.
    """

    register: StopRegister
    registrar: Registrar
    links: Links
    conclude: Callable[[list[Exchange]], None]
    anchor: TrustAnchor
    trust_feed: TrustFeed
    file: PendingFile
    clock: Clock
    hop: str


class StopDesk:
    """Takes stops and lifts."""

    def __init__(self, parts: DeskParts) -> None:
        self._ = parts
        self._log = structlog.get_logger("gateway.stops")
        # In force, not in the log: who ordered it, and what was signed.
        self._waiting: dict[bytes, tuple[Identity, Statements]] = {}
        self._entering: dict[bytes, asyncio.Task[None]] = {}
        self._filed: set[bytes] = set()
        self._writing: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Put in force again what was stopped and not logged; after the log was folded.

        Raises:
            StoreDamaged: the file cannot be read.
        """
        p = self._
        for statements in p.file.read():
            stop = read_stop(statements[0].body)
            known = p.register.get(stop.stop_id)
            if known is not None and known.index is not None:
                continue
            # Verified at the time of signing: whoever has been revoked since has stopped it all the same.
            domain, at_ms = domain_of(audit_pb2.ACT_STOP), stop.issued_at_ms
            found = [p.anchor.verify_statement(one, domain, at_ms=at_ms, trust=None) for one in statements]
            p.register.hold(stop, statements, stop.issued_at_ms)
            self._waiting[stop.stop_id] = found[0].identity, statements
            self._filed.add(stop.stop_id)
        self.sweep()

    def sweep(self) -> None:
        """Take out of force what has ended by itself."""
        for stop in self._.register.force.sweep(self._.clock.now_ms()):
            self._log.info("stop ended", subject=stop.name)

    def notices(self) -> list[link_pb2.StopNotice]:
        """Return what a new link must be told because no event of the log does."""
        return [link_pb2.StopNotice(statements=statements) for _, statements in self._waiting.values()]

    async def order(self, caller: Identity, statements: Statements) -> Outcome:
        """Stop something; it holds on return.

        Args:
            caller: from the certificate; the first signer.
            statements: StopBody, signed by each.

        Raises:
            Malformed, Oversized, BadSignature, RoleNotAllowed, SecondPersonRequired, WrongState, ClockSkew,
            UnknownResource, UnknownGrant, UnknownOrganisation, UnknownField.
        """
        submitted = self._verify(audit_pb2.ACT_STOP, caller, statements)
        p, stop = self._, read_stop(statements[0].body)
        told = caught = 0
        if p.register.get(stop.stop_id) is None:
            p.register.check(submitted)
            p.register.hold(stop, statements, submitted.now_ms)
            self._waiting[stop.stop_id] = caller, statements
            told = self._tell(statements)
            caught = self._catch(stop)
            self._log.warning("stopped", subject=stop.name, number=told, count=caught)
        await self._enter(stop.stop_id)
        ordered = p.register.get(stop.stop_id)
        return Outcome(stop=stop, index=ordered.index if ordered else None, told=told, caught=caught)

    async def lift(self, caller: Identity, statements: Statements) -> int:
        """End a stop; it holds until this is in the log.

        Returns:
            Index of the log entry.

        Raises:
            Malformed, Oversized, BadSignature, RoleNotAllowed, SecondPersonRequired, WrongState, ClockSkew,
            UnknownStop, AuditUnavailable.
        """
        self._verify(audit_pb2.ACT_STOP_LIFTED, caller, statements)
        own, *others = statements
        index = await self._.registrar.record(
            audit_pb2.ACT_STOP_LIFTED, caller, own, countersignatures=others
        )
        for key in [key for key in self._waiting if not self._holds(key)]:
            del self._waiting[key]
        await self._keep()
        return index

    async def run(self) -> None:
        """Enter what waits for the log, and take out what has ended; until cancelled."""
        while True:
            await asyncio.sleep(AGAIN_S)
            self.sweep()
            for stop_id in list(self._waiting):
                await self._enter(stop_id)
            await self._keep()

    def _verify(self, act: "audit_pb2.Act.ValueType", caller: Identity, statements: Statements) -> Submitted:
        p = self._
        if not 0 < len(statements) <= MAX_SIGNERS:
            raise Malformed("signatures")
        trust, now_ms = p.trust_feed.current, p.clock.now_ms()
        if trust is None:
            raise TrustStale("no trust list")
        for one in statements:
            check_size(one)
        check_one_body(statements)
        found = [
            p.anchor.verify_statement(one, domain_of(act), at_ms=now_ms, trust=trust) for one in statements
        ]
        if found[0].identity != caller:
            raise RoleNotAllowed("the signer is not the caller")
        return Submitted(
            act=act, statement=statements[0], signer=found[0], others=found[1:], now_ms=now_ms, trust=trust
        )

    def _tell(self, statements: Statements) -> int:
        """Tell every link, ahead of whatever waits on it."""
        notice = link_pb2.Notice(stop=link_pb2.StopNotice(statements=statements))
        links = list(self._.links)
        for link in links:
            link.notify(notice)
        return len(links)

    def _catch(self, stop: Stop) -> int:
        """Refuse what waits for an answer, and take back answers that wait to be written."""
        p, force = self._, self._.register.force
        caught: list[Exchange] = []
        taken_back = 0

        def hit(exchange: Exchange) -> bool:
            return exchange.resource is not None and force.catches(
                stop, exchange.header, exchange.resource.id
            )

        for link in p.links:
            found = [key for key, exchange in link.pending.items() if hit(exchange)]
            if stop.rehearsal:
                force.count(stop, len(found))
                taken_back += len(found)
                continue
            caught += [
                link.give_up(key).stop(force.refusal(stop), rule=stop.rule, hop=p.hop) for key in found
            ]
            taken_back += link.withdraw(lambda one: force.refusal(stop) if hit(one) else None)
        if caught:
            p.conclude(caught)
        return len(caught) + taken_back

    def _holds(self, stop_id: bytes) -> bool:
        ordered = self._.register.get(stop_id)
        return ordered is not None and ordered.holds(self._.clock.now_ms())

    async def _enter(self, stop_id: bytes) -> None:
        """Have a stop logged, waiting for a while; one that is not is kept in the file."""
        if stop_id not in self._waiting:
            return
        task = self._entering.get(stop_id)
        if task is None:
            task = self._entering[stop_id] = asyncio.create_task(self._record(stop_id))
            task.add_done_callback(lambda _: self._entering.pop(stop_id, None))
        await asyncio.wait({task}, timeout=LOG_PATIENCE_S)
        # What is logged and still in the file a start would pass over.
        await self._keep()

    async def _record(self, stop_id: bytes) -> None:
        actor, (own, *others) = self._waiting[stop_id]
        try:
            await self._.registrar.record(audit_pb2.ACT_STOP, actor, own, countersignatures=others)
        except AuditUnavailable as error:
            self._log.warning("stop not logged yet", subject=stop_id.hex()[:8], reason=error.name)
            return
        except ExchangeError as error:
            # For example signed by somebody revoked since: it holds, and people must order it anew.
            self._log.error("stop not logged", subject=stop_id.hex()[:8], reason=error.name)
            return
        self._waiting.pop(stop_id, None)

    async def _keep(self) -> None:
        """Have what is in force and not logged in the file; where that fails too, memory holds it."""
        if self._writing is None and self._waiting.keys() != self._filed:
            self._writing = asyncio.create_task(self._write(dict(self._waiting)))
        if self._writing is not None:
            # A disk that hangs must not keep the answer back; `run` comes again.
            await asyncio.wait({self._writing}, timeout=FILE_PATIENCE_S)

    async def _write(self, waiting: Mapping[bytes, tuple[Identity, Statements]]) -> None:
        try:
            await asyncio.to_thread(self._.file.write, [signed for _, signed in waiting.values()])
            self._filed = set(waiting)
        except OSError as error:
            self._log.error("stops kept in memory alone", error=type(error).__name__)
        finally:
            self._writing = None
