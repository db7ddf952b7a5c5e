"""Finds who received a value that was corrected, by the tags beside the log's entries.

A recipient is whoever was released an exchange of the disputed one's resource before the correction that
bears one of the tags looked for and asked for a corrected field. Looked for are, quarter by quarter:

1. in the disputed exchange's quarter, the tags beside its entry. Decoys are tags that nothing else bears; an
   exchange about several subjects has the tags of all of them: all their recipients are found;
2. in every quarter whose tag keys are kept, the tags of whom the provider named (`gateway.tickets.subjects`).

A quarter that was searched before (`Held.told_periods`) is not searched again. Which quarters could not be
searched, and why, is always told. The work goes page by page in other threads, and lets exchanges pass in
between.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from exchange.errors import AuditUnavailable, EntryErased, StoreDamaged
from exchange.subject_tags import period_of
from exchange.v1 import audit_pb2
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.projection_file import held as projected
from gateway.audit.projections.trace import MAX_PERIODS
from gateway.subject_tags import SKEW_MS, GatewayTagKeys, check_list
from gateway.tickets.held import Held
from gateway.tickets.subjects import CorrectedSubjects

PAGE = 256
"""Entries that are looked at in one question to the projection."""

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


class Arm(NamedTuple):
    """What is looked for in one quarter."""

    period: str
    tags: Sequence[bytes]


class Sought(NamedTuple):
    """What is looked for, and what cannot be.

    Attributes:
        arms: by quarter, oldest first.
        end: up to which entry.
        own_period: of the disputed exchange's tags; empty where these find nobody.
        erased: quarters of the log that can be searched no more: a key of theirs is erased, or one of the
            disputed exchange's quarter, so that nothing shows whose the tags are.
        unsearched: quarters of the log that are not searched, for the provider named nobody.
    """

    arms: Sequence[Arm]
    end: int
    own_period: str
    erased: Sequence[str]
    unsearched: Sequence[str]


class Received(NamedTuple):
    """An exchange that brought a value that was corrected."""

    recipient: str
    exchange_id: bytes


class Recipients:
    """Finds recipients.

    Args:
        log: the audit log.
        tagged: `trace.db`.
        find: finds an exchange.
        keys: the gateway's tag keys.
        subjects: whom providers named.
    """

    def __init__(
        self,
        *,
        log: Log,
        tagged: Projection,
        find: Find,
        keys: GatewayTagKeys,
        subjects: CorrectedSubjects,
    ) -> None:
        self._log = log
        self._tagged = tagged
        self._find = find
        self._keys = keys
        self._subjects = subjects

    async def disputed(self, exchange_id: bytes) -> Arm | None:
        """Return the tags beside a disputed exchange, which may be none; None where it was erased meanwhile.

        Raises:
            StoreDamaged: they are not those that its entry names.
        """
        index = await self._find(exchange_id)
        if index is None:
            return None
        try:
            leaf = self._log.leaves(index, 1)[0]
        except EntryErased:
            return None
        exchange = audit_pb2.AuditEntry.FromString(leaf).exchange
        return Arm(exchange.tag_period, check_list(exchange, self._log.beside(index, 1).get(index, b"")))

    async def sought(self, held: Held) -> Sought:
        """Return what to look for.

        Args:
            held: a dispute that was upheld.

        Raises:
            AuditUnavailable: the projection is not so far yet.
            StoreDamaged: the tags beside the disputed exchange are not those that its entry names.
        """
        dispute = held.ticket.dispute
        assert dispute is not None
        own, end = await self.disputed(dispute.exchange_id), held.corrected_index
        if await self._tagged.caught_up(end) < end:
            raise AuditUnavailable(self._tagged.path.name)
        gone = await self._tagged.query(_erased)
        named = self._subjects.of(held.ticket.ticket_id)
        arms = {period: list(tags) for period, tags in (named or {}).items() if period not in gone}
        own_period = own.period if own is not None and own.period not in gone else ""
        if own is not None and own_period:
            arms[own_period] = list({*own.tags, *arms.get(own_period, ())})
        for done in held.told_periods:
            arms.pop(done, None)
        gone.difference_update(held.told_periods)
        # A quarter that began after the correction holds nobody who could be told.
        last = period_of(held.since_ms + SKEW_MS)
        missing = {one for one in self._keys.periods if one <= last} - arms.keys() - gone
        missing.difference_update(held.told_periods)
        return Sought(
            arms=[Arm(period, arms[period]) for period in sorted(arms)],
            end=end,
            own_period=own_period,
            # Of whom the provider named, the authority gave every tag that it could still make.
            erased=sorted(gone if named is None else gone | missing)[-MAX_PERIODS:],
            unsearched=sorted(missing)[-MAX_PERIODS:] if named is None else [],
        )

    async def received(self, held: Held, sought: Sought) -> AsyncIterator[Received]:
        """Yield every exchange that brought a corrected value, quarter by quarter, in the order of the log.

        Raises:
            AuditUnavailable, TooMany: not now.
            StoreDamaged: tags beside an entry are not those that it names.
        """
        for arm in sought.arms:
            position = 0
            while position < sought.end:
                page = partial(_page, arm=arm, position=position, end=sought.end)
                indexes = await self._tagged.query(page)
                for one in await asyncio.to_thread(self._fitting, indexes, held):
                    yield one
                position = indexes[-1] + 1 if len(indexes) == PAGE else sought.end

    def _fitting(self, indexes: Sequence[int], held: Held) -> list[Received]:
        """Return those of some exchanges that brought a corrected value; runs in a thread."""
        found: list[Received] = []
        dispute, corrected = held.ticket.dispute, held.standing.corrected
        assert dispute is not None
        for index in indexes:
            try:
                exchange = audit_pb2.AuditEntry.FromString(self._log.leaves(index, 1)[0]).exchange
            except EntryErased:
                continue
            released = exchange.decision == audit_pb2.DECISION_RELEASED
            if released and exchange.resource == dispute.resource and corrected & set(exchange.fields):
                found.append(Received(exchange.consumer_organisation, exchange.exchange_id))
        return found


def _erased(db: sqlite3.Connection) -> set[str]:
    return {row[0] for row in db.execute("SELECT period FROM erased")}


def _page(db: sqlite3.Connection, *, arm: Arm, position: int, end: int) -> list[int]:
    """Return the next entries that bear one of the tags, ascending, at most PAGE; in the reading thread."""
    if projected(db) < end:
        # Made anew since it was caught up.
        raise AuditUnavailable("trace.db")
    broken = db.execute("SELECT min(idx) FROM broken").fetchone()[0]
    if broken is not None:
        raise StoreDamaged(f"trace.db: tags beside entry {broken}")
    places = ", ".join("?" * len(arm.tags))
    # Question marks and a number; everything from outside is a value.
    statement = (
        f"SELECT DISTINCT idx FROM tag WHERE period = ? AND tag IN ({places}) AND idx >= ? AND idx < ?"  # noqa: S608
        f" ORDER BY idx LIMIT {PAGE}"
    )
    return [row[0] for row in db.execute(statement, (arm.period, *arm.tags, position, end))]
