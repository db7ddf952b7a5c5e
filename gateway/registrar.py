"""The one way into the region's state: verify → check against the state → durable in the log → fold → tell.

What people sign comes by `record`, with the signatures of others under the same body where an act needs two
people; who must sign is the rule of its register or of `gateway/admission.py`. What the gateway itself finds
comes by `record_made`. What changes no state (reads, refusals) is only entered.

1. One change at a time: what is checked is what is changed, also when administrators race.
2. What is durable is folded (`gateway/folded_log.py`), also when the caller is gone by then.
3. The same body again gives the same index and no second entry.
4. A crash between log and fold loses nothing: the next start folds the log.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

from exchange.canonical import TRUST_LIST, digest
from exchange.clock import Clock, Random, system_random
from exchange.errors import ExchangeError, Malformed, Oversized, RoleNotAllowed, TrustStale
from exchange.identity import Identity
from exchange.statement import check_one_body
from exchange.trust import TrustAnchor, TrustList, Verified
from exchange.trust_feed import TrustFeed
from exchange.v1 import audit_pb2, common_pb2, reason_pb2, trust_pb2
from gateway.access.refusals import RefusalLimiter
from gateway.act_entries import ActEntries
from gateway.admission import MAX_STATEMENT_BYTES, Admission, check_size
from gateway.directory.key_bundles import read_bundle
from gateway.fold import Log
from gateway.folded_log import FoldedLog
from gateway.state import DOMAINS, RegionState
from gateway.state_store import StateStore

MAX_COUNTERSIGNATURES = 4

OwnEntry = Callable[[ActEntries], audit_pb2.AuditEntry | None]
"""Makes an entry of the gateway's own, or None."""

T = TypeVar("T")


class Registrar(FoldedLog):
    """Enters administrative acts.

    Args:
        log: the audit log, open.
        state: empty; filled by `open`.
        store: the projection.
        anchor: the division's root.
        trust_feed: the newest trust list.
        clock: the time.
        origin: of the log.
        refusals: which refusals become entries of their own.
        random: for salts.
    """

    def __init__(
        self,
        *,
        log: Log,
        state: RegionState,
        store: StateStore,
        anchor: TrustAnchor,
        trust_feed: TrustFeed,
        clock: Clock,
        origin: str,
        refusals: RefusalLimiter | None = None,
        random: Random = system_random,
    ) -> None:
        super().__init__(log=log, state=state, store=store)
        self._origin = origin
        self._anchor = anchor
        self._trust_feed = trust_feed
        self._clock = clock
        self._entries = ActEntries(origin=origin, clock=clock, random=random)
        self._refusals = refusals or RefusalLimiter()
        self._admission = Admission(state=state, anchor=anchor, region=anchor.division, read=self.statement)
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    def open(self) -> list[ExchangeError]:
        """Fold the projection, then the log from there on, and put the newest bundles in force.

        Returns:
            Why bundles that have not expired are not in force; the gateway works without them.

        Raises:
            StoreDamaged: the log itself does not fold.
        """
        self._fold.open()
        trust, now_ms = self._trust_feed.current, self._clock.now_ms()
        return [error for _, error in self._state.bundles.restore(trust, now_ms)]

    async def close(self) -> None:
        """Finish what is under way, note how far the log was read, and close the projection."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._fold.close()

    async def record(
        self,
        act: "audit_pb2.Act.ValueType",
        actor: Identity,
        statement: common_pb2.Statement,
        subject: str = "",
        *,
        countersignatures: Sequence[common_pb2.Statement] = (),
        around: AbstractAsyncContextManager[None] | None = None,
    ) -> int:
        """Enter a signed statement.

        Args:
            act: what it does; one that changes the state.
            actor: the caller, from its certificate; must be the signer.
            statement: what was signed.
            subject: what it is about; found from the statement where empty.
            countersignatures: the same body signed by others, at most 4.
            around: what an admitted statement needs durable before it is entered; held from then until it is
                folded, while nothing else changes the state. What is refused or was entered before does not
                come to it, nor does anything while an entry before is in doubt; what it raises refuses the
                statement.

        Returns:
            Index of its entry: durable and folded. Of the first entry where the same body was entered before.

        Raises:
            Malformed, Oversized, BadSignature, RoleNotAllowed, TrustStale: before the state is looked at.
            ExchangeError: the rule of `gateway.admission` that it breaks.
            AuditUnavailable, QueueFull: it could not be made durable; nothing has changed.
        """
        check_size(statement)
        if len(countersignatures) > MAX_COUNTERSIGNATURES:
            raise Oversized("countersignatures")
        return await self._to_the_end(self._enter(act, actor, statement, subject, countersignatures, around))

    async def record_made(self, make: OwnEntry) -> int | None:
        """Enter what the gateway itself has to say and the state takes over.

        Args:
            make: returns the entry, of an act of `gateway.state.DOMAINS`, asked while nothing else changes
                the state; None where there is nothing left to enter.

        Returns:
            Index of the entry: durable and folded; None where none was made.

        Raises:
            AuditUnavailable, QueueFull: it could not be made durable; nothing has changed.
        """
        return await self._to_the_end(self._enter_made(make))

    async def record_opening(
        self,
        gateway: Identity,
        epoch: Sequence[common_pb2.Statement] = (),
        *,
        opened_by: Identity | None = None,
    ) -> None:
        """Enter that the log, or its present epoch, was opened, as the first entry.

        Args:
            gateway: whose log it is.
            epoch: LogEpochBody, signed by each of those who opened the epoch, whose signatures were checked;
                empty in the first epoch.
            opened_by: who signed the first of these statements.

        Raises:
            AuditUnavailable: it could not be made durable.
        """
        async with self._lock:
            if epoch:
                act = audit_pb2.ACT_LOG_EPOCH
                if self._state.index_of(DOMAINS[act], epoch[0].body) is None:
                    entry = self._entries.act(act, opened_by or gateway, self._origin, statement=epoch[0])
                    entry.administrative.countersignatures.extend(epoch[1:])
                    await self._append(entry)
            elif self._log.head.size == 0:
                await self._append(self._entries.act(audit_pb2.ACT_LOG_OPENED, gateway, self._origin))

    async def record_trust_list(self, trust: TrustList) -> int | None:
        """Enter a trust list that differs in more than number and time from the one entered last.

        Returns:
            Index of its entry; None where nothing but time has changed.
        """
        mark = _mark(trust)
        async with self._lock:
            if mark == self._state.trust_mark:
                return None
            act, statement = audit_pb2.ACT_TRUST_LIST, trust.statement
            now_ms = self._clock.now_ms()
            verified = self._anchor.verify_statement(statement, DOMAINS[act], at_ms=now_ms, trust=trust)
            fits = statement.ByteSize() <= MAX_STATEMENT_BYTES
            entry = self._entries.act(act, verified.identity, mark, statement=statement if fits else None)
            return await self._append(entry)

    async def record_refusal(
        self, actor: Identity, method: str, reason: "reason_pb2.Reason.ValueType"
    ) -> None:
        """Enter that an administrative call was refused, within the caller's rate; count it beyond.

        Raises:
            AuditUnavailable, QueueFull: it could not be made durable.
        """
        if not self._refusals.admit(actor, reason, self._clock.now_ms()):
            return
        entry = self._entries.act(audit_pb2.ACT_REFUSED, actor, method, reason=reason)
        await self._log.append(entry.SerializeToString())

    async def record_read(self, actor: Identity, subject: str) -> int:
        """Enter that somebody reads the log, before it is read.

        Raises:
            AuditUnavailable, QueueFull: it could not be made durable; nothing may be shown then.
        """
        entry = self._entries.act(audit_pb2.ACT_READ, actor, subject)
        return (await self._log.append(entry.SerializeToString())).index

    async def flush_refusals(self) -> int:
        """Enter the refusals that were only counted.

        Returns:
            How many entries were made.

        Raises:
            AuditUnavailable, QueueFull: the rest of the counts is lost, the refusals themselves stand.
        """
        counts = self._refusals.drain(self._clock.now_ms())
        for count in counts:
            await self._log.append(self._entries.counted(count).SerializeToString())
        return len(counts)

    def settle(self) -> None:
        """Note, now and then, how far the log was folded; to be called after a group of entries.

        Does nothing while a change is under way, and costs nothing until some 20,000 entries have come.
        """
        if not self._lock.locked():
            self._fold.settle()

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a change. The caller may go; what has begun ends, for it may be durable already."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def _enter_made(self, make: OwnEntry) -> int | None:
        async with self._lock:
            entry = make(self._entries)
            return None if entry is None else await self._append(entry)

    async def _enter(
        self,
        act: "audit_pb2.Act.ValueType",
        actor: Identity,
        statement: common_pb2.Statement,
        subject: str,
        countersignatures: Sequence[common_pb2.Statement],
        around: AbstractAsyncContextManager[None] | None,
    ) -> int:
        async with self._lock:
            # Read here, not before waiting: a signer revoked meanwhile changes nothing any more.
            trust, now_ms = self._trust_feed.current, self._clock.now_ms()
            if trust is None:
                raise TrustStale("no trust list")
            verified = self._anchor.verify_statement(statement, _domain(act), at_ms=now_ms, trust=trust)
            if verified.identity != actor:
                raise RoleNotAllowed("the signer is not the caller")
            known = self._known(act, statement)
            if known is not None:
                return known
            if around is not None:
                self._check_settled()
            others = self._others(act, statement, countersignatures, now_ms, trust)
            found = self._admission.check(act, statement, verified, now_ms=now_ms, trust=trust, others=others)
            entry = self._entries.act(act, actor, subject or found, statement=statement)
            entry.administrative.countersignatures.extend(countersignatures)
            async with around or nullcontext():
                index = await self._append(entry)
            if act == audit_pb2.ACT_BUNDLE:
                self._state.bundles.put_in_force(read_bundle(statement), trust)
        return index

    def _others(
        self,
        act: "audit_pb2.Act.ValueType",
        statement: common_pb2.Statement,
        countersignatures: Sequence[common_pb2.Statement],
        now_ms: int,
        trust: TrustList,
    ) -> list[Verified]:
        """Return who signed the same body besides."""
        for other in countersignatures:
            check_size(other)
        check_one_body([statement, *countersignatures])
        return [
            self._anchor.verify_statement(other, _domain(act), at_ms=now_ms, trust=trust)
            for other in countersignatures
        ]

    def _known(self, act: "audit_pb2.Act.ValueType", statement: common_pb2.Statement) -> int | None:
        if act != audit_pb2.ACT_BUNDLE:
            return self._state.index_of(_domain(act), statement.body)
        bundle = read_bundle(statement)
        index = self._state.bundles.index_of(bundle.organisation, bundle.agent, bundle.seq)
        if index is None:
            return None
        held = self.statement(index)
        return index if held.body == statement.body else None

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Looked at here, so that a caller who went away leaves no unread error behind.
            task.exception()


def _domain(act: "audit_pb2.Act.ValueType") -> bytes:
    domain = DOMAINS.get(act)
    if domain is None or act == audit_pb2.ACT_TRUST_LIST:
        raise Malformed("act")
    return domain


def _mark(trust: TrustList) -> str:
    """Return the digest of a trust list without what changes each minute, hexadecimal.

    It tells lists apart and proves nothing: the signed statement is in the entry, where it fits.
    """
    body = trust_pb2.TrustListBody.FromString(trust.statement.body)
    body.ClearField("number")
    body.ClearField("issued_at")
    return digest(TRUST_LIST, body.SerializeToString(deterministic=True)).hex()
