"""Tells past recipients that a disputed value was corrected: an entry for each, which the links bring.

Recipients are found by the tags beside the disputed exchange's entry: every released exchange of that
resource before the correction that bears one of them, within the same period of tags, and asked for a
corrected field. Decoys are tags that nothing else bears. An exchange about several subjects has the tags of
all of them: all their recipients are told.

1. Who is told follows from the log alone. A crash between the provider's step and any of these entries, or
   among them, leaves a dispute that is still to be told; the next start goes on and tells nobody twice.
2. An entry holds the provider's signed step: recipients verify that, and need not take the gateway's word.
3. The last entry ends the telling and says within which period of tags was looked. Tags differ by period,
   and the gateway has no key to make one from another: who received it in another quarter is found by an
   officer's trace (docs/disputes.md). Where the tags are gone, nobody but who disputed is told, and that
   entry says so.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import structlog

from exchange.errors import AuditUnavailable, EntryErased, ExchangeError, Refused, StoreDamaged, Unavailable
from exchange.identity import Identity
from exchange.v1 import audit_pb2
from gateway.act_entries import ActEntries
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.projection_file import held as projected
from gateway.registrar import Registrar
from gateway.subject_tags import check_list
from gateway.tickets.held import Held
from gateway.tickets.register import TicketRegister

MOST_IDS = 256
"""Exchanges in one entry."""
PAGE = 256
"""Entries that are looked at in one question to the projection."""
PATIENCE_S = 3.0

_log = structlog.get_logger("gateway.tickets")

Find = Callable[[bytes], Awaitable[int | None]]
"""Returns the index of an exchange's entry by its id, 16 bytes; None where the log has none."""


class Log(Protocol):
    """What is needed of the audit log; used from other threads than the event loop's too."""

    def leaves(self, first: int, count: int) -> Sequence[bytes]:
        """Return at most `count` leaves from an index on; EntryErased where one was erased."""
        ...

    def beside(self, first: int, count: int) -> dict[int, bytes]:
        """Return what is kept beside entries from an index on, by index."""
        ...


class _Sought(NamedTuple):
    """What is looked for: tags of a period, and up to which entry."""

    period: str
    tags: Sequence[bytes]
    end: int


class _Received(NamedTuple):
    """An exchange that brought a value that was corrected."""

    recipient: str
    exchange_id: bytes


class Corrections:
    """Tells what is to be told.

    Args:
        tickets: as they are folded.
        registrar: enters corrections.
        log: the audit log.
        tagged: `trace.db`.
        find: finds an exchange.
        gateway: who enters.
        retry_s: seconds after which a failure that may pass is tried again.
    """

    def __init__(
        self,
        *,
        tickets: TicketRegister,
        registrar: Registrar,
        log: Log,
        tagged: Projection,
        find: Find,
        gateway: Identity,
        retry_s: float = 5.0,
    ) -> None:
        self._tickets = tickets
        self._registrar = registrar
        self._log = log
        self._tagged = tagged
        self._find = find
        self._gateway = gateway
        self._retry_s = retry_s
        self._woken = asyncio.Event()
        self._told = asyncio.Condition()
        self._given_up: set[bytes] = set()
        registrar.subscribe(self._changed)

    async def run(self) -> None:
        """Tell what is to be told, now and whenever a dispute is upheld; never returns."""
        while True:
            self._woken.clear()
            failed = False
            for held in self._tickets.telling():
                if held.ticket.ticket_id not in self._given_up:
                    failed |= not await self._try(held)
                async with self._told:
                    self._told.notify_all()
            if failed:
                await asyncio.sleep(self._retry_s)
            else:
                await self._woken.wait()

    async def wait(self, held: Held) -> int:
        """Return how many recipients were told, after a while at most: it goes on without a caller."""
        try:
            async with asyncio.timeout(PATIENCE_S), self._told:
                await self._told.wait_for(lambda: held.told_all)
        except TimeoutError:
            pass  # What was told so far is the answer.
        return len(held.standing.told)

    def _changed(self, index: int, leaf: bytes, entry: audit_pb2.AuditEntry) -> None:
        if entry.administrative.act == audit_pb2.ACT_TICKET_EVENT:
            self._woken.set()

    async def _try(self, held: Held) -> bool:
        """Return whether nothing is left to be tried with a dispute."""
        try:
            await self.tell(held)
        except ExchangeError as error:
            passing = error.retryable or isinstance(error, (Unavailable, Refused, StoreDamaged))
            _log.warning("correction not told", name=held.ticket.name, reason=error.name)
            if not passing:
                self._given_up.add(held.ticket.ticket_id)
            return not passing
        except Exception as error:
            # A dispute must not take exchanges down with it.
            _log.error("correction not told", name=held.ticket.name, error=type(error).__name__)
            self._given_up.add(held.ticket.ticket_id)
        return True

    async def tell(self, held: Held) -> None:
        """Enter what is missing of a dispute's corrections, and that the telling has ended.

        Raises:
            AuditUnavailable, TooMany, QueueFull: not now; what was entered stands.
            StoreDamaged: tags are not those that an entry names; nothing is told until that is repaired.
        """
        dispute = held.ticket.dispute
        assert dispute is not None
        own = await self._disputed(dispute.exchange_id)
        sought = None if own is None else await self._sought(own, held.corrected_index)
        gathered: dict[str, list[bytes]] = {}
        # Who disputed is told in any case, also where nothing else can be found.
        async for one in self._received(held, sought):
            ids = gathered.setdefault(one.recipient, [])
            ids.append(one.exchange_id)
            if len(ids) == MOST_IDS:
                await self._enter(held, one.recipient, ids)
                del gathered[one.recipient]
        for recipient, ids in gathered.items():
            await self._enter(held, recipient, ids)
        await self._end(held, sought)

    async def _disputed(self, exchange_id: bytes) -> int | None:
        """Return where the disputed exchange is; None where it was erased meanwhile."""
        index = await self._find(exchange_id)
        if index is None:
            return None
        try:
            self._log.leaves(index, 1)
        except EntryErased:
            return None
        return index

    async def _sought(self, index: int, end: int) -> _Sought | None:
        """Return what to look for; None where there are no tags, or no more."""
        exchange = audit_pb2.AuditEntry.FromString(self._log.leaves(index, 1)[0]).exchange
        if not exchange.tag_count:
            return None
        if await self._tagged.caught_up(end) < end:
            raise AuditUnavailable(self._tagged.path.name)
        erased = await self._tagged.query(lambda db: _is_erased(db, exchange.tag_period))
        if erased:
            return None
        tags = check_list(exchange, self._log.beside(index, 1).get(index, b""))
        return _Sought(exchange.tag_period, tags, end)

    async def _received(self, held: Held, sought: _Sought | None) -> AsyncIterator[_Received]:
        dispute = held.ticket.dispute
        assert dispute is not None
        told, own = held.exchanges, bool(dispute.fields & held.standing.corrected)
        if own and dispute.exchange_id not in told:
            yield _Received(held.ticket.raised_by, dispute.exchange_id)
        position = 0
        while sought is not None and position < sought.end:
            indexes = await self._tagged.query(partial(_page, sought=sought, position=position))
            for one in await asyncio.to_thread(self._fitting, indexes, held):
                if one.exchange_id not in told and not (own and one.exchange_id == dispute.exchange_id):
                    yield one
            position = indexes[-1] + 1 if len(indexes) == PAGE else sought.end

    def _fitting(self, indexes: Sequence[int], held: Held) -> list[_Received]:
        """Return those of some exchanges that brought a corrected value; runs in a thread."""
        found: list[_Received] = []
        dispute, corrected = held.ticket.dispute, held.standing.corrected
        assert dispute is not None
        for index in indexes:
            try:
                exchange = audit_pb2.AuditEntry.FromString(self._log.leaves(index, 1)[0]).exchange
            except EntryErased:
                continue
            released = exchange.decision == audit_pb2.DECISION_RELEASED
            if released and exchange.resource == dispute.resource and corrected & set(exchange.fields):
                found.append(_Received(exchange.consumer_organisation, exchange.exchange_id))
        return found

    async def _enter(self, held: Held, recipient: str, ids: Sequence[bytes]) -> None:
        def make(entries: ActEntries) -> audit_pb2.AuditEntry | None:
            left = [one for one in ids if one not in held.exchanges]
            if not left or held.told_all:
                return None
            return self._entry(held, entries, recipient=recipient, exchange_ids=left)

        await self._registrar.record_made(make)

    async def _end(self, held: Held, sought: _Sought | None) -> None:
        def make(entries: ActEntries) -> audit_pb2.AuditEntry | None:
            if held.told_all:
                return None
            period = sought.period if sought else ""
            return self._entry(held, entries, ends=True, tag_period=period, erased=sought is None)

        await self._registrar.record_made(make)

    def _entry(self, held: Held, entries: ActEntries, **told: object) -> audit_pb2.AuditEntry:
        dispute = held.ticket.dispute
        assert dispute is not None
        step = audit_pb2.AuditEntry.FromString(self._registrar.leaf(held.corrected_index))
        entry = entries.act(
            audit_pb2.ACT_CORRECTION,
            self._gateway,
            held.ticket.ticket_id.hex(),
            statement=step.administrative.statement,
        )
        entry.administrative.correction.CopyFrom(
            audit_pb2.CorrectionRecord(
                ticket_id=held.ticket.ticket_id,
                resource=dispute.resource,
                fields=sorted(held.standing.corrected),
                **told,  # type: ignore[arg-type]
            )
        )
        return entry


def _is_erased(db: sqlite3.Connection, period: str) -> bool:
    return db.execute("SELECT 1 FROM erased WHERE period = ?", (period,)).fetchone() is not None


def _page(db: sqlite3.Connection, sought: _Sought, position: int) -> list[int]:
    """Return the next entries that bear one of the tags, ascending, at most PAGE; in the reading thread."""
    if projected(db) < sought.end:
        # Made anew since it was caught up.
        raise AuditUnavailable("trace.db")
    broken = db.execute("SELECT min(idx) FROM broken").fetchone()[0]
    if broken is not None:
        raise StoreDamaged(f"trace.db: tags beside entry {broken}")
    places = ", ".join("?" * len(sought.tags))
    # Question marks and a number; everything from outside is a value.
    statement = (
        f"SELECT DISTINCT idx FROM tag WHERE period = ? AND tag IN ({places}) AND idx >= ? AND idx < ?"  # noqa: S608
        f" ORDER BY idx LIMIT {PAGE}"
    )
    return [row[0] for row in db.execute(statement, (sought.period, *sought.tags, position, sought.end))]
