"""Traces: who received what about a subject, and the course of a case.

1. A subject comes as inner tags, which the authority derives for officers and auditors; the gateway makes the
   outer ones and finds the entries that bear them. It never learns whom they stand for.
2. That somebody traces is an entry before anything is found: with the justification and a keyed mark by which
   two traces of one target are seen to be the same. Neither tag nor case number is in it.
3. Entries of marked purposes show to officers only after so many days; auditors see them all. Which purposes
   are marked, and for how long, is always told: what is missing tells nothing. Pages are as full as if what
   is held back were not there.
4. A case is traced by its number, with every exchange and refusal that claims it, in the order of the log;
   what is held back, here too.
"""

import hashlib
import hmac
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import NamedTuple

from exchange.clock import Clock
from exchange.errors import EntryErased, Malformed, StoreDamaged
from exchange.identity import Identity, Role
from exchange.subject_tags import TAG_BYTES, check_period, names_a_person
from exchange.v1 import audit_pb2
from gateway import pages
from gateway.audit.entries.filters import Filter
from gateway.audit.keeping.terms import DAY_MS
from gateway.audit.projections import search
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.projection_file import Log, held
from gateway.audit.projections.search import Searches
from gateway.audit.projections.search_rows import digest
from gateway.audit.projections.trace_rows import TRACE
from gateway.subject_tags import GatewayTagKeys

MAX_PERIODS = 64
MAX_WHY = 200
MAX_CASE = 200
MAX_ROUNDS = 8
"""Searches for one page of a case, of which some entries are held back."""
CAUGHT_UP_S = 5.0
MARK_DIGITS = 16
_NAME = "trace"
_MARK = b"shuqiao/trace-mark/1\0"

RecordRead = Callable[[Identity, str], Awaitable[object]]
"""Enters that somebody reads the log; durable when it returns."""


class Arm(NamedTuple):
    """One period's tag of a subject, as the log has it."""

    period: str
    tag: bytes


class Traces:
    """Answers traces.

    Args:
        projection: of a `TraceContent`.
        searches: finds the entries of a case.
        log: the audit log.
        keys: the gateway's tag keys.
        delayed_days: marked purposes, and after how many days their entries show.
        mark_key: for marks, 32 bytes.
        record_read: enters a trace.
        clock: the time.
    """

    def __init__(
        self,
        *,
        projection: Projection,
        searches: Searches,
        log: Log,
        keys: GatewayTagKeys,
        delayed_days: Mapping[str, int],
        mark_key: bytes,
        record_read: RecordRead,
        clock: Clock,
    ) -> None:
        self._projection = projection
        self._searches = searches
        self._log = log
        self._keys = keys
        self._delayed_days = dict(delayed_days)
        self._mark_key = mark_key
        self._record_read = record_read
        self._clock = clock

    async def answer(self, request: audit_pb2.TraceRequest, caller: Identity) -> audit_pb2.TraceResponse:
        """Return a page of a trace.

        Args:
            request: what is traced and why.
            caller: an officer or auditor.

        Raises:
            Malformed: target, justification or page; nothing was entered.
            AuditUnavailable: the trace could not be entered, or log or projection cannot be read now.
            StoreDamaged: the tags beside an entry are not those that it names; no trace would be whole.
            TooMany: too many ask.
        """
        why, size = check_why(request.justification), pages.page_size(request.page_size)
        which = request.WhichOneof("target")
        if which == "subject":
            check_subject(request.subject)
        elif which != "case_number" or not 0 < len(request.case_number) <= MAX_CASE:
            raise Malformed("target")
        scope = self._mark(request)
        position = pages.position_of(_NAME, scope, request.page_token)
        await self._record_read(caller, f"Trace {which} {scope} {why}")
        until = self._log.head.size
        erased: set[str] = set()
        if which == "subject":
            found, erased = await self._subject(request.subject, caller, position, until, size)
        else:
            found = await self._case(request.case_number, caller, position, until, size)
        return audit_pb2.TraceResponse(
            entries=found.told,
            next_page_token=pages.token_at(_NAME, scope, found.position),
            searched_size=found.searched_size,
            erased_periods=sorted(erased),
            delayed_purpose_days=self._delayed_days,
        )

    def _mark(self, request: audit_pb2.TraceRequest) -> str:
        if request.HasField("subject"):
            # The newest period alone: a further period must not make another mark of the same subject.
            newest = max(request.subject.tags, key=lambda one: one.period)
            told = b"subject\0" + newest.SerializeToString(deterministic=True)
        else:
            told = b"case\0" + request.case_number.encode()
        return hmac.new(self._mark_key, _MARK + told, hashlib.sha256).hexdigest()[:MARK_DIGITS]

    # -- a case ------------------------------------------------------------------------------------------

    async def _case(
        self, case_number: str, caller: Identity, position: int | None, until: int, size: int
    ) -> search.Found:
        fitting = Filter(audit_pb2.EntryFilter(case_number=case_number))
        held_back = self._held_back(caller)
        shown: list[tuple[int, bytes]] = []
        found = search.Found([], position, 0)
        for _ in range(MAX_ROUNDS):
            asked = search.Asked(
                filter=fitting, newest_first=False, page_size=size - len(shown), position=found.position
            )
            found = await self._searches.page(asked, until)
            shown += [(index, leaf) for index, leaf in found.entries if not held_back(leaf)]
            if found.position is None or len(shown) >= size:
                break
        return found._replace(entries=shown)

    def _held_back(self, caller: Identity) -> Callable[[bytes], bool]:
        """Return what tells whether an entry is held back from a caller."""
        hidden = {} if caller.role is Role.AUDITOR else self._delayed_days
        now_ms = self._clock.now_ms()

        def held_back(leaf: bytes) -> bool:
            entry = audit_pb2.AuditEntry.FromString(leaf)
            days = hidden.get(entry.exchange.purpose)
            return days is not None and entry.time_ms > now_ms - days * DAY_MS

        return held_back

    # -- a subject ---------------------------------------------------------------------------------------

    async def _subject(
        self, subject: audit_pb2.SubjectTags, caller: Identity, position: int | None, until: int, size: int
    ) -> tuple[search.Found, set[str]]:
        """Return a page, and the periods of which nothing can be found any more."""
        end = min(until, await self._projection.caught_up(until))
        tags = [(one.period, self._keys.outer(one.period, one.tag)) for one in subject.tags]
        arms = [Arm(period, tag) for period, tag in tags if tag is not None]
        hidden = self._hidden(caller)
        found, erased = await self._projection.query(
            lambda db: (self._page(db, arms, hidden, position or 0, end, size), _erased(db))
        )
        # Of a period that the gateway tagged in and the authority gives no tag for, that key is gone.
        return found, erased | (set(self._keys.periods) - {one.period for one in subject.tags})

    def _hidden(self, caller: Identity) -> list[tuple[int, int]]:
        """Return what is held back from a caller: digests of purposes, and since when."""
        if caller.role is Role.AUDITOR:
            return []
        now_ms = self._clock.now_ms()
        return [(digest(name), now_ms - days * DAY_MS) for name, days in self._delayed_days.items()]

    def _page(
        self,
        db: sqlite3.Connection,
        arms: Sequence[Arm],
        hidden: Sequence[tuple[int, int]],
        position: int,
        end: int,
        size: int,
    ) -> search.Found:
        """Look for a page, in the projection's reading thread."""
        # The file may have been made anew since it was caught up: it says itself how far it goes.
        end = min(end, held(db))
        broken = db.execute("SELECT min(idx) FROM broken").fetchone()[0]
        if broken is not None:
            raise StoreDamaged(f"{TRACE}: tags beside entry {broken}")
        more = " AND NOT (purpose = ? AND time_ms > ?)" * len(hidden)
        # A constant text so many times, and a number; everything from outside is a value.
        rest = f"{more} ORDER BY idx LIMIT {size + 1}"
        statement = f"SELECT idx FROM tag WHERE period = ? AND tag = ? AND idx >= ? AND idx < ?{rest}"  # noqa: S608
        values = [value for pair in hidden for value in pair]
        lists = [
            [row[0] for row in db.execute(statement, (arm.period, arm.tag, position, end, *values))]
            for arm in arms
        ]
        rows = list(islice(merge(*lists), size + 1))
        entries: list[tuple[int, bytes]] = []
        total = 0
        for place, index in enumerate(rows):
            leaf = self._leaf(index)
            total += len(leaf or b"")
            if place == size or (entries and total > pages.MAX_BYTES):
                return search.Found(entries, index, end)
            if leaf is not None:
                entries.append((index, leaf))
        return search.Found(entries, None, end)

    def _leaf(self, index: int) -> bytes | None:
        try:
            return self._log.leaves(index, 1)[0]
        except EntryErased:
            return None


def check_why(justification: str) -> str:
    """Return a justification that may be entered in the log.

    Raises:
        Malformed: it is empty, too long, not printable, or names a person.
    """
    why = justification.strip()
    if not 0 < len(why) <= MAX_WHY or not why.isprintable() or names_a_person(why):
        raise Malformed("justification")
    return why


def check_subject(subject: audit_pb2.SubjectTags) -> None:
    """Refuse tags of a subject that are none, too many, malformed or two of one period.

    Raises:
        Malformed.
    """
    if not 0 < len(subject.tags) <= MAX_PERIODS:
        raise Malformed("number of tags")
    for one in subject.tags:
        check_period(one.period)
        if len(one.tag) != TAG_BYTES:
            raise Malformed("tag")
    if len({one.period for one in subject.tags}) != len(subject.tags):
        raise Malformed("a period twice")


def _erased(db: sqlite3.Connection) -> set[str]:
    """Return the periods whose keys were erased, as the file says."""
    return {row[0] for row in db.execute("SELECT period FROM erased")}
