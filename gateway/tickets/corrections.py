"""Tells past recipients that a disputed value was corrected: an entry for each, which the links bring.

Who they are is found by tags (`gateway.tickets.recipients`), in every quarter that can be searched.

1. Who is told follows from the log, and from whom the provider named, which is durable before its step is. A
   crash between that step and any of these entries, or among them, leaves a dispute that is still to be told;
   the next start goes on and tells nobody twice.
2. An entry holds the provider's signed step: recipients verify that, and need not take the gateway's word.
3. The last entry ends the telling and says which quarters were searched, and which could not be: because one
   of their keys is erased, or because the provider named nobody. Where the disputed exchange's tags are gone
   and nobody is named, only who disputed is told, and that entry says so.
4. Whom the provider names afterwards is looked for in the quarters that are left, up to the same correction;
   that telling ends with an entry of its own, which has the quarters of both.
5. Who is named is kept and erased while nothing else changes the state: of several steps at once the one that
   is entered decides, and no end of a telling erases what the next one needs.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

from exchange.errors import (
    AuditUnavailable,
    ExchangeError,
    Malformed,
    Refused,
    StoreDamaged,
    Unavailable,
    WrongState,
)
from exchange.identity import Identity, Role
from exchange.tickets import ASSIGNED
from exchange.v1 import audit_pb2, common_pb2
from gateway.act_entries import ActEntries
from gateway.registrar import Registrar
from gateway.tickets.held import Held
from gateway.tickets.recipients import Received, Recipients, Sought
from gateway.tickets.register import TicketRegister
from gateway.tickets.subjects import CorrectedSubjects

MOST_IDS = 256
"""Exchanges in one entry."""
PATIENCE_S = 3.0

_log = structlog.get_logger("gateway.tickets")


class Corrections:
    """Tells what is to be told.

    Args:
        tickets: as they are folded.
        registrar: enters corrections.
        recipients: finds who is to be told.
        subjects: whom providers named.
        gateway: who enters.
        retry_s: seconds after which a failure that may pass is tried again.
    """

    def __init__(
        self,
        *,
        tickets: TicketRegister,
        registrar: Registrar,
        recipients: Recipients,
        subjects: CorrectedSubjects,
        gateway: Identity,
        retry_s: float = 5.0,
    ) -> None:
        self._tickets = tickets
        self._registrar = registrar
        self._recipients = recipients
        self._subjects = subjects
        self._gateway = gateway
        self._retry_s = retry_s
        self._woken = asyncio.Event()
        self._told = asyncio.Condition()
        # By ticket and revision: with a later step it is tried again.
        self._given_up: set[tuple[bytes, int]] = set()
        registrar.subscribe(self._changed)

    async def taking(
        self, held: Held, statements: Sequence[common_pb2.Statement], by: Identity, *, afterwards: bool
    ) -> AbstractAsyncContextManager[None]:
        """Read whom a value is about that is about to be corrected, and return what takes it.

        Of anybody but the provider's steward, and where it is not the time for the step, nothing is read: the
        step itself is refused, or is a repetition. Where its time comes in between, entering it is refused.

        Args:
            held: the dispute.
            statements: signed SubjectTagsBody; none where nobody is named.
            by: who corrects.
            afterwards: whether it was corrected without.

        Returns:
            What is to be around the entering of the step (`Registrar.record`); nothing is kept before.

        Raises:
            ExchangeError: as `CorrectedSubjects.read` and `vouched`.
        """
        tags = await self._vouched(held, statements, by, afterwards=afterwards) if statements else None
        return self._entering(held, tags, named=bool(statements))

    async def _vouched(
        self, held: Held, statements: Sequence[common_pb2.Statement], by: Identity, *, afterwards: bool
    ) -> audit_pb2.SubjectTags | None:
        """Return the tags to keep; None where the step is not due."""
        dispute = held.ticket.dispute
        own = dispute is not None and (by.role, by.organisation) == (Role.STEWARD, dispute.provider)
        due = held.may_be_supplemented if afterwards else held.standing.state == ASSIGNED
        if dispute is None or not own or not due:
            return None
        subjects = self._subjects.read(held.ticket.ticket_id, statements, by)
        disputed = await self._recipients.disputed(dispute.exchange_id)
        if disputed is not None and not disputed.tags:
            raise Malformed("subjects: the disputed exchange has no tags")
        period, tags = disputed or ("", ())
        return await asyncio.to_thread(self._subjects.vouched, subjects, period, tags)

    @asynccontextmanager
    async def _entering(
        self, held: Held, tags: audit_pb2.SubjectTags | None, *, named: bool
    ) -> AsyncIterator[None]:
        ticket_id = held.ticket.ticket_id
        if tags is not None:
            await asyncio.to_thread(self._subjects.keep, ticket_id, tags)
        elif named:
            # Not due when it came, due now that everybody else is told: entered so, it would tell nobody.
            raise WrongState(f"ticket {held.ticket.name}")
        else:
            # What a crash, or a step in doubt, has left names nobody for this one.
            await asyncio.to_thread(self._subjects.forget, ticket_id)
        try:
            # A crash from here on: the step is durable with its tags, or the next start erases them.
            yield
        except AuditUnavailable:
            # In doubt: where the step turns out durable it is told by these.
            raise
        except ExchangeError:
            await asyncio.to_thread(self._subjects.forget, ticket_id)
            raise

    async def run(self) -> None:
        """Tell what is to be told, now and whenever a dispute is upheld; never returns."""
        await self._registrar.record_made(self._sweep)
        while True:
            self._woken.clear()
            failed = False
            for held in self._tickets.telling():
                if _step(held) not in self._given_up:
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

    def _sweep(self, _: ActEntries) -> None:
        self._subjects.sweep(self._needed)

    def _needed(self, ticket_id: bytes) -> bool:
        held = self._tickets.get(ticket_id)
        return held is not None and bool(held.corrected_index) and not held.told_all

    async def _try(self, held: Held) -> bool:
        """Return whether nothing is left to be tried with a dispute."""
        step = _step(held)
        try:
            await self.tell(held)
        except ExchangeError as error:
            passing = error.retryable or isinstance(error, (Unavailable, Refused, StoreDamaged))
            _log.warning("correction not told", name=held.ticket.name, reason=error.name)
            if not passing:
                self._given_up.add(step)
            return not passing
        except Exception as error:
            # A dispute must not take exchanges down with it.
            _log.error("correction not told", name=held.ticket.name, error=type(error).__name__)
            self._given_up.add(step)
        return True

    async def tell(self, held: Held) -> None:
        """Enter what is missing of a dispute's corrections, and that the telling has ended.

        Raises:
            AuditUnavailable, TooMany, QueueFull: not now; what was entered stands.
            StoreDamaged: tags are not those that an entry names; nothing is told until that is repaired.
        """
        sought = await self._recipients.sought(held)
        gathered: dict[str, list[bytes]] = {}
        # Who disputed is told in any case, also where nothing else can be found.
        async for one in self._untold(held, sought):
            ids = gathered.setdefault(one.recipient, [])
            ids.append(one.exchange_id)
            if len(ids) == MOST_IDS:
                await self._enter(held, one.recipient, ids)
                del gathered[one.recipient]
        for recipient, ids in gathered.items():
            await self._enter(held, recipient, ids)
        await self._end(held, sought)

        def forget(_: ActEntries) -> None:
            if held.told_all:
                self._subjects.forget(held.ticket.ticket_id)

        # A crash before this line leaves the tags until the next start.
        await self._registrar.record_made(forget)

    async def _untold(self, held: Held, sought: Sought) -> AsyncIterator[Received]:
        dispute = held.ticket.dispute
        assert dispute is not None
        told, own = held.exchanges, bool(dispute.fields & held.standing.corrected)
        if own and not held.supplemented and dispute.exchange_id not in told:
            yield Received(held.ticket.raised_by, dispute.exchange_id)
        async for one in self._recipients.received(held, sought):
            if one.exchange_id not in told and not (own and one.exchange_id == dispute.exchange_id):
                yield one

    async def _enter(self, held: Held, recipient: str, ids: Sequence[bytes]) -> None:
        def make(entries: ActEntries) -> audit_pb2.AuditEntry | None:
            left = [one for one in ids if one not in held.exchanges]
            if not left or held.told_all:
                return None
            return self._entry(held, entries, recipient=recipient, exchange_ids=left)

        await self._registrar.record_made(make)

    async def _end(self, held: Held, sought: Sought) -> None:
        def make(entries: ActEntries) -> audit_pb2.AuditEntry | None:
            if held.told_all:
                return None
            first = not held.supplemented
            return self._entry(
                held,
                entries,
                ends=True,
                tag_period=sought.own_period if first else held.told_period,
                erased=not sought.own_period if first else held.untraceable,
                searched_periods=sorted({*held.told_periods, *(arm.period for arm in sought.arms)}),
                erased_periods=sought.erased,
                unsearched_periods=sought.unsearched,
            )

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


def _step(held: Held) -> tuple[bytes, int]:
    """Return which step of which dispute is told of."""
    return held.ticket.ticket_id, held.standing.revision
