"""The grants in the projection: one row each as it stands, and once what many of them have alike.

Three tables: `name` (codes and ids by number), `terms` (by number, found by digest) and `granted` (rows of
`gateway.grant_rows` by the index of the application). Rows of each are summed (`gateway.row_sum`).
"""

import hashlib
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from sys import intern
from typing import Any

from exchange.errors import StoreDamaged
from exchange.grants import Grant
from gateway.grant_rows import Numbers, Unpacker, pack, template, terms_number
from gateway.row_sum import RowSum

SCHEMA = """
CREATE TABLE name (n INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE terms (n INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, body BLOB NOT NULL) STRICT;
CREATE TABLE granted (idx INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT;
"""
MAX_KNOWN = 8192
ROWS = 1024
"""So many are read and summed at a time."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant as it stands after one more entry.

    Attributes:
        index: of its application.
        terms: of an application, as `terms_of`; None after an event.
        history: as `GrantIndex.history`.
    """

    index: int
    grant: Grant
    history: bytes
    terms: bytes | None


class GrantTable:
    """Writes and reads the grants' tables; within the transaction of whoever calls.

    Args:
        key: of the sums.
    """

    def __init__(self, *, key: bytes) -> None:
        self._names = RowSum(key=key, table="name")
        self._terms = RowSum(key=key, table="terms")
        self._rows = RowSum(key=key, table="granted")
        self._known: OrderedDict[str, int] = OrderedDict()
        self._numbered: OrderedDict[bytes, int] = OrderedDict()
        self._alike: OrderedDict[int, Grant] = OrderedDict()

    def put(self, db: sqlite3.Connection, changes: Iterable[Granted]) -> int:
        """Write grants as they stand.

        Returns:
            By how much the sum has changed.
        """
        change = 0
        try:
            for one in changes:
                change += self._add(db, one) if one.terms is not None else self._replace(db, one)
        except BaseException:
            # Numbers that were noted are gone with the transaction.
            self.forget()
            raise
        return change

    def forget(self) -> None:
        """Read every number anew: a transaction was undone, or the file is another."""
        self._known.clear()
        self._numbered.clear()
        self._alike.clear()

    def _add(self, db: sqlite3.Connection, one: Granted) -> int:
        assert one.terms is not None
        number, change = self._number_of_terms(db, one.terms)
        numbers, more = self._numbers(db, one.grant, number)
        row = pack(one.grant, numbers, self._template(db, number), one.history)
        db.execute("INSERT INTO granted (idx, row) VALUES (?, ?)", (one.index, row))
        return change + more + self._rows.one(one.index, row)

    def _replace(self, db: sqlite3.Connection, one: Granted) -> int:
        found = db.execute("SELECT row FROM granted WHERE idx = ?", (one.index,)).fetchone()
        if found is None:
            raise StoreDamaged("state.db: a grant is missing")
        before: bytes = found[0]
        number = terms_number(before)
        numbers, change = self._numbers(db, one.grant, number)
        row = pack(one.grant, numbers, self._template(db, number), one.history)
        db.execute("UPDATE granted SET row = ? WHERE idx = ?", (row, one.index))
        return change + self._rows.one(one.index, row) - self._rows.one(one.index, before)

    def _numbers(self, db: sqlite3.Connection, grant: Grant, terms: int) -> tuple[Numbers, int]:
        consumer, first = self._number(db, grant.consumer)
        provider, second = self._number(db, grant.provider)
        resource, third = self._number(db, grant.resource)
        return Numbers(consumer, provider, resource, terms), first + second + third

    def _number(self, db: sqlite3.Connection, text: str) -> tuple[int, int]:
        """Return the number of a text, and by how much the sum has changed where it is new."""
        number, change = self._known.get(text), 0
        if number is None:
            row = db.execute("SELECT n FROM name WHERE text = ?", (text,)).fetchone()
            if row is None:
                row = db.execute("INSERT INTO name (text) VALUES (?) RETURNING n", (text,)).fetchone()
                change = self._names.one(row[0], text.encode())
            number = self._known[text] = int(row[0])
            _bound(self._known)
        return number, change

    def _number_of_terms(self, db: sqlite3.Connection, terms: bytes) -> tuple[int, int]:
        """Return the number of terms, and by how much the sum has changed where they are new."""
        digest = hashlib.sha256(terms).digest()
        number, change = self._numbered.get(digest), 0
        if number is None:
            row = db.execute("SELECT n FROM terms WHERE digest = ?", (digest,)).fetchone()
            if row is None:
                sql = "INSERT INTO terms (digest, body) VALUES (?, ?) RETURNING n"
                row = db.execute(sql, (digest, terms)).fetchone()
                change = self._terms.one(row[0], digest + terms)
            number = self._numbered[digest] = int(row[0])
            _bound(self._numbered)
        return number, change

    def _template(self, db: sqlite3.Connection, number: int) -> Grant:
        found = self._alike.get(number)
        if found is None:
            found = self._alike[number] = template(_terms(db, number))
            _bound(self._alike)
        return found

    def load(self, db: sqlite3.Connection, total: bytes) -> tuple[Iterator[tuple[int, bytes]], Unpacker]:
        """Return each row with the index of its application, in order of application, and what reads them.

        Args:
            total: the sum that all rows must have.

        Raises:
            StoreDamaged: what the rows refer to cannot be read; while iterating, at the end at the latest:
                rows were changed, added or taken away.
        """
        left = int.from_bytes(total)
        names, terms = [""], dict[int, bytes]()
        with _damage_told():
            for number, text in db.execute("SELECT n, text FROM name ORDER BY n"):
                left -= self._names.one(number, text.encode())
                if number != len(names):
                    raise StoreDamaged("state.db: names")
                names.append(intern(text))
            for number, digest, body in db.execute("SELECT n, digest, body FROM terms"):
                left -= self._terms.one(number, digest + body)
                terms[number] = body
        return self._checked(db, left, len(total)), Unpacker(names=names, terms=terms)

    def _checked(self, db: sqlite3.Connection, left: int, width: int) -> Iterator[tuple[int, bytes]]:
        with _damage_told():
            found = db.execute("SELECT idx, row FROM granted ORDER BY idx")
            while rows := found.fetchmany(ROWS):
                left -= self._rows.many(rows)
                yield from rows
        if left % (1 << (8 * width)):
            raise StoreDamaged("state.db: grants")


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoreDamaged("state.db") from error


def _terms(db: sqlite3.Connection, number: int) -> bytes:
    row: Sequence[bytes] | None = db.execute("SELECT body FROM terms WHERE n = ?", (number,)).fetchone()
    if row is None:
        raise KeyError(number)
    return row[0]


def _bound(known: "OrderedDict[Any, Any]") -> None:
    if len(known) > MAX_KNOWN:
        known.popitem(last=False)
