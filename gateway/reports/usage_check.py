"""Sums up once more what the log has, and compares it with `usage.db`: what is missing there is put back.

Entries come in the order of the log, some at a time, round and round: `gateway.audit.projections.projection`.

1. They are summed in memory, by the code that `usage.db` is made with. A day is over when entries of the
   second day after it come; then it is compared and dropped.
2. No sum may be less than that of the entries that are there. It may be more where some were erased: sums
   outlive them. Where none is missing it must be the same; that is only known when the round ends, for times
   may go backward: a day that differs is held until then.
3. Applications and tickets are compared when the round ends.
4. What is wrong is mended, not made anew: sums of erased entries are nowhere else. Rows of days and ids of
   which the log has nothing are not looked for.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gateway.audit.projections.projection_file import Projected, held

DAYS_OPEN = 2
"""A day is over when entries so many days later come."""

Add = Callable[[sqlite3.Connection, Sequence[Projected]], None]
Rows = Mapping[tuple[object, ...], tuple[int, ...]]


class _Table(NamedTuple):
    """A table of sums by day: how many of its columns are the key, the day first."""

    name: str
    keys: int


_DAILY = (_Table("usage", 5), _Table("answer", 3), _Table("age", 3))
_ACTS = ("application", "ticket")


class _Wrong(NamedTuple):
    """A day whose sums are wrong; `exact` where they must be those of the entries that are there."""

    day: int
    exact: bool


class Recount:
    """One round after the other.

    Args:
        schema: of `usage.db`.
        add: adds entries to a database of that schema.
        day_of: returns the day of Unix milliseconds.
    """

    def __init__(self, *, schema: str, add: Add, day_of: Callable[[int], int]) -> None:
        self._schema = schema
        self._add = add
        self._day_of = day_of
        self._begin()

    def _begin(self) -> None:
        # Used by the projection's thread alone, which is another one after a restart of it.
        self._sums = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._sums.execute("CREATE TABLE progress (next INTEGER)")
        self._sums.execute("INSERT INTO progress VALUES (0)")
        self._sums.executescript(self._schema)
        self._next = self._day = self._newest = 0
        self._open: set[int] = set()
        self._doubtful: set[int] = set()
        self._closed: set[int] = set()
        self._holes: list[range] = []
        self._gaps = False
        self._wrong: list[_Wrong] = []
        self._acts_wrong = False

    def differs(self, db: sqlite3.Connection, entries: Sequence[Projected]) -> bool:
        """Take the next entries; return whether something is wrong, again until it is mended.

        Args:
            db: `usage.db`, which holds these entries and perhaps more.
            entries: ascending; where they are before the last ones, a new round begins.

        Raises:
            sqlite3.Error: it cannot be read.
        """
        if not self._wrong and not self._acts_wrong:
            if entries and entries[0].index < self._next:
                self._begin()
            for one in entries:
                self._see(one.index, self._day_of(one.entry.time_ms))
            self._add(self._sums, entries)
            self._compare(db)
        return bool(self._wrong) or self._acts_wrong

    def mend(self, db: sqlite3.Connection) -> None:
        """Put right what is wrong, and begin a new round.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        for wrong in self._wrong:
            for table in _DAILY:
                self._mend(db, table, wrong)
        if self._acts_wrong:
            for name in _ACTS:
                # What the log has nothing of any more stays as it is.
                how = "IGNORE" if self._gaps else "REPLACE"
                self._copy(db, name, f"INSERT OR {how} INTO", self._sums.execute(f"SELECT * FROM {name}"))  # noqa: S608  constant names
        self._begin()

    def _see(self, index: int, day: int) -> None:
        if index > self._next:
            self._gaps = True
            # Entries of these days may be missing; from the beginning on, of every day before.
            first = min(self._day, day) - 1 if self._next else 0
            last = max(self._day, day) + 2
            if self._holes and first <= self._holes[-1].stop:
                before = self._holes.pop()
                first, last = min(first, before.start), max(last, before.stop)
            self._holes.append(range(first, last))
        self._next, self._day, self._newest = index + 1, day, max(self._newest, day)
        self._open.add(day)

    def _compare(self, db: sqlite3.Connection) -> None:
        for day in sorted(self._open - self._doubtful):
            if day <= self._newest - DAYS_OPEN:
                self._close(db, day)
        if self._next < held(db):
            return
        # The round ends: everything that is summed in the file was seen.
        for day in sorted(self._open):
            if self._day_differs(db, day, exact=self._whole(day)):
                self._wrong.append(_Wrong(day, self._whole(day)))
        self._acts_wrong = any(self._act_differs(db, name) for name in _ACTS)

    def _close(self, db: sqlite3.Connection, day: int) -> None:
        if self._day_differs(db, day, exact=False):
            self._wrong.append(_Wrong(day, exact=False))
            return
        if self._whole(day) and self._day_differs(db, day, exact=True):
            self._doubtful.add(day)
            return
        for table in _DAILY:
            self._sums.execute(f"DELETE FROM {table.name} WHERE day = ?", (day,))  # noqa: S608  constant names
        self._open.discard(day)
        self._closed.add(day)

    def _whole(self, day: int) -> bool:
        """Whether every entry of a day is summed here, once the round ends."""
        return day not in self._closed and not any(day in hole for hole in self._holes)

    def _day_differs(self, db: sqlite3.Connection, day: int, *, exact: bool) -> bool:
        for table in _DAILY:
            due, found = _rows(self._sums, table, day), _rows(db, table, day)
            if exact and due != found:
                return True
            for key, sums in due.items():
                there = found.get(key)
                if there is None or any(one < least for one, least in zip(there, sums, strict=True)):
                    return True
        return False

    def _act_differs(self, db: sqlite3.Connection, name: str) -> bool:
        for row in self._sums.execute(f"SELECT * FROM {name}"):  # noqa: S608  constant names
            key = "grant_id" if name == "application" else "ticket_id"
            found = db.execute(f"SELECT * FROM {name} WHERE {key} = ?", row[:1]).fetchone()  # noqa: S608
            if found is None or (not self._gaps and found != row):
                return True
        return False

    def _mend(self, db: sqlite3.Connection, table: _Table, wrong: _Wrong) -> None:
        due = _rows(self._sums, table, wrong.day)
        found = {} if wrong.exact else _rows(db, table, wrong.day)
        if wrong.exact:
            db.execute(f"DELETE FROM {table.name} WHERE day = ?", (wrong.day,))  # noqa: S608  constant names
        rows = [(*key, *map(max, sums, found.get(key, sums))) for key, sums in due.items()]
        self._copy(db, table.name, "INSERT OR REPLACE INTO", rows)

    def _copy(
        self,
        db: sqlite3.Connection,
        name: str,
        how: str,
        rows: "Sequence[tuple[object, ...]] | sqlite3.Cursor",
    ) -> None:
        for row in rows:
            db.execute(f"{how} {name} VALUES ({', '.join('?' * len(row))})", row)


def _rows(db: sqlite3.Connection, table: _Table, day: int) -> Rows:
    found = db.execute(f"SELECT * FROM {table.name} WHERE day = ?", (day,))  # noqa: S608  constant names
    return {row[: table.keys]: row[table.keys :] for row in found}
