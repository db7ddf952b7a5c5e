"""`search.db`: which entries fit a filter, and where an exchange is; so that the log itself needs no index.

1. A row holds what can be filtered by (`search_rows`). It tells only where to look: what is
   answered is the log's own bytes, compared with the filter again.
2. A page is looked for along one index in the order of the log, the one that promises most, in windows that
   are as wide as some milliseconds allow: whatever the filter, a page takes bounded time. Where that is over
   the page is short, or empty, with a token to go on from.
3. A token names position, direction and filter, and is good for nothing else; it grants nothing.
"""

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from exchange.errors import AuditUnavailable, EntryErased, TooMany
from exchange.v1 import audit_pb2
from gateway import pages
from gateway.audit.entries.filter_words import words
from gateway.audit.entries.filters import Filter, facts_of
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.projection_file import Log, held
from gateway.audit.projections.search_query import walk
from gateway.audit.projections.search_rows import exchange_key

SEARCH = "search.db"
CAUGHT_UP_S = 1.0
_NAME = "search"
MAX_ALIKE = 1024
"""Entries whose exchange ids begin alike and are compared: consumers choose ids, and may choose them so."""
MAX_FINDS = 16
"""Look-ups of exchanges at a time, which agents may ask for too: half of all places are left to officers."""
_FIND = f"""
SELECT idx, decision FROM entry WHERE exchange = ? AND exchange != 0
    ORDER BY decision = 1 DESC, idx LIMIT {MAX_ALIKE + 1}
"""  # noqa: S608  a number


class Asked(NamedTuple):
    """A search that was checked.

    Attributes:
        position: the index from which on it goes on, or before which where the newest come first; None at
            the beginning.
    """

    filter: Filter
    newest_first: bool
    page_size: int
    position: int | None

    def words(self) -> str:
        """Return what the log says is searched for."""
        start = "" if self.position is None else f" from {self.position}"
        return f"Search{start}: {words(self.filter)}"

    @property
    def scope(self) -> str:
        """What a token of this search is good for: its direction and filter."""
        return f"{'-' if self.newest_first else '+'}{self.filter.digest.hex()[:32]}"


class Found(NamedTuple):
    """Some entries that fit, and from where to go on; None at the end."""

    entries: list[tuple[int, bytes]]
    position: int | None
    searched_size: int

    @property
    def told(self) -> list[audit_pb2.FoundEntry]:
        """The entries as they travel."""
        return [audit_pb2.FoundEntry(index=index, leaf=leaf) for index, leaf in self.entries]


def read(request: audit_pb2.SearchRequest) -> Asked:
    """Check what is asked for.

    Raises:
        Malformed: the filter, the page size or the token is none, or the token is another search's.
    """
    asked = Asked(Filter(request.filter), request.newest_first, pages.page_size(request.page_size), None)
    return asked._replace(position=pages.position_of(_NAME, asked.scope, request.page_token))


class Searches:
    """Answers searches.

    Args:
        projection: of a `SearchContent`.
        log: the audit log.
        witnessed: returns the size of the newest head that witnesses have cosigned, 0 for none.
    """

    def __init__(self, *, projection: Projection, log: Log, witnessed: Callable[[], int]) -> None:
        self._projection = projection
        self._log = log
        self._witnessed = witnessed
        self._finding = 0

    async def find(self, exchange_id: bytes) -> int | None:
        """Return the index of an exchange's entry, None where the log has none.

        An id may be in several entries (a replay is refused under the id it repeats): a released exchange
        goes before others, among equals the first.

        Args:
            exchange_id: 16 bytes.

        Raises:
            AuditUnavailable, StoreDamaged: it cannot be told now.
            TooMany: too many look exchanges up, or too many have ids that begin like this one.
        """
        if self._finding >= MAX_FINDS:
            raise TooMany("look-ups")
        self._finding += 1
        try:
            return await self._find(exchange_id)
        finally:
            self._finding -= 1

    async def _find(self, exchange_id: bytes) -> int | None:
        size = self._log.head.size
        await self._projection.caught_up(size)
        reached, found = await self._projection.query(lambda db: (held(db), self._named(db, exchange_id)))
        if reached < size and (found is None or found[1] != audit_pb2.DECISION_RELEASED):
            # What was not looked at yet may hold it, or its release.
            raise AuditUnavailable(f"{SEARCH}: {reached} of {size} entries")
        return found[0] if found else None

    async def answer(self, asked: Asked, size: int) -> audit_pb2.SearchResponse:
        """Return a page as it travels; see `page`."""
        found = await self.page(asked, size)
        return audit_pb2.SearchResponse(
            entries=found.told,
            next_page_token=pages.token_at(_NAME, asked.scope, found.position),
            searched_size=found.searched_size,
            witnessed_size=self._witnessed(),
        )

    async def page(self, asked: Asked, size: int) -> Found:
        """Return a page.

        Args:
            asked: see `read`.
            size: the log's; what comes later is not looked at.

        Raises:
            AuditUnavailable, StoreDamaged: log or projection cannot be read now.
            TooMany: too many search.
        """
        await self._projection.caught_up(size, timeout_s=CAUGHT_UP_S)
        return await self._projection.query(lambda db: self._page(db, asked, min(size, held(db))))

    def _page(self, db: sqlite3.Connection, asked: Asked, end: int) -> Found:
        """Look for a page, in the projection's reading thread."""
        low, high = 0, end
        if asked.position is not None:
            low, high = (0, min(end, asked.position)) if asked.newest_first else (asked.position, end)
        entries: list[tuple[int, bytes]] = []
        total, position = 0, asked.position
        for step in walk(
            db, asked.filter, low=low, high=high, newest_first=asked.newest_first, limit=asked.page_size
        ):
            leaf = None if step.index is None else self._leaf(step.index, asked.filter)
            if step.index is not None and leaf is not None:
                total += len(leaf)
                if entries and total > pages.MAX_BYTES:
                    break
                entries.append((step.index, leaf))
            position = step.position
            if len(entries) == asked.page_size:
                break
        return Found(entries, position, end)

    def _named(self, db: sqlite3.Connection, exchange_id: bytes) -> tuple[int, int] | None:
        """Return index and decision of an exchange; an erased entry is taken at its row's word."""
        rows: list[tuple[int, int]] = db.execute(_FIND, (exchange_key(exchange_id),)).fetchall()
        erased: tuple[int, int] | None = None
        for index, decision in rows[:MAX_ALIKE]:
            try:
                leaf = self._log.leaves(index, 1)[0]
            except EntryErased:
                erased = erased or (index, decision)
                continue
            if facts_of(leaf).exchange_id == exchange_id:
                return index, decision
        if erased is None and len(rows) > MAX_ALIKE:
            # Not "none": an entry must not be hidden behind others.
            raise TooMany("exchanges whose ids begin alike")
        return erased

    def _leaf(self, index: int, wanted: Filter) -> bytes | None:
        """Return an entry that fits; None where it was erased, or a digest fits by chance only."""
        try:
            leaf = self._log.leaves(index, 1)[0]
        except EntryErased:
            return None
        return leaf if wanted.fits(facts_of(leaf)) else None
