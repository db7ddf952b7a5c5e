"""How a grant is packed into a row of the projection, and made of it again without parsing its body.

What many grants have alike, their terms, is kept once and parsed once: the body without nonce, parties,
resource, times and justification. A row holds the rest, and whatever events have changed:

    grant id 32 | consumer, provider, resource, terms: numbers of 4 bytes
    not before, not after, since, deleted before: Unix milliseconds, 8 bytes
    state 1 | revision 4 | length of the history 4
    history | JSON of what else differs from the terms, empty where nothing does

Big-endian. A row is read again by whoever wrote it: where grants consist of other attributes, the projection
is thrown away. Of a million rows at a start only the head is read (`Unpacker.heads`); a grant is made when it
is asked for.
"""

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from exchange.canonical import NONCE_BYTES
from exchange.errors import ExchangeError, StoreDamaged
from exchange.grant_events import PENDING, SUPERVISING
from exchange.grants import Grant, read_grant
from exchange.v1 import common_pb2, grant_pb2
from gateway.access.grants import INDEX_BYTES, STEP_BYTES, layout

_FIXED = struct.Struct(">32sIIIIqqqqBII")
_ROW = frozenset(
    (
        "grant_id",
        "consumer",
        "provider",
        "resource",
        "not_before_ms",
        "not_after_ms",
        "since_ms",
        "deleted_before_ms",
        "state",
        "revision",
        "record",
    )
)
_REST = tuple(one.name for one in fields(Grant) if one.name not in _ROW)
_OWN = ("nonce", "consumer", "provider", "resource", "not_before", "not_after", "justification")
SHAPE = ",".join(one.name for one in fields(Grant))
"""Names what a grant consists of; part of the projection's version."""

_LIMITS = _REST.index("limits")
_WAITING = (PENDING, SUPERVISING)
_NO_ROW = (struct.error, LookupError, TypeError, ValueError, AttributeError)
MAX_ALIKE = 32_768
MAX_MOMENTS = 65_536

Put = Callable[[Grant, Any], None]


def _slot(name: str) -> Put:
    put: Put = vars(Grant)[name].__set__
    return put


_PUT_REST = (*map(_slot, _REST), _slot("record"))
_BLANK: Callable[[type[Grant]], Grant] = object.__new__
_PUT_ID, _PUT_STATE, _PUT_REVISION = _slot("grant_id"), _slot("state"), _slot("revision")
_PUT_CONSUMER, _PUT_PROVIDER, _PUT_RESOURCE = _slot("consumer"), _slot("provider"), _slot("resource")
_PUT_START, _PUT_END = _slot("not_before_ms"), _slot("not_after_ms")
_PUT_SINCE, _PUT_DELETED = _slot("since_ms"), _slot("deleted_before_ms")


class Numbers(NamedTuple):
    """The numbers by which a row names what is kept once."""

    consumer: int
    provider: int
    resource: int
    terms: int


def terms_of(body: bytes) -> bytes:
    """Return the terms of a GrantBody: what it may have alike with other grants."""
    terms = grant_pb2.GrantBody.FromString(body)
    for name in _OWN:
        terms.ClearField(name)  # type: ignore[arg-type]
    return terms.SerializeToString(deterministic=True)


def template(terms: bytes) -> Grant:
    """Return a grant of these terms; what is not theirs means nothing in it.

    Raises:
        ExchangeError: no body of a grant has such terms.
    """
    body = grant_pb2.GrantBody.FromString(terms)
    body.nonce = bytes(NONCE_BYTES)
    body.consumer = body.provider = "-"
    body.resource = "000000/a/a"
    body.not_before.seconds, body.not_after.seconds = 0, 1
    return read_grant(common_pb2.Statement(body=body.SerializeToString()))


def pack(grant: Grant, numbers: Numbers, alike: Grant, history: bytes) -> bytes:
    """Return the row of a grant.

    Args:
        alike: the template of its terms.
        history: as `GrantIndex.history`.

    Raises:
        TypeError: what differs is neither a text nor a number.
    """
    differs = {name: getattr(grant, name) for name in _REST if getattr(grant, name) != getattr(alike, name)}
    for name, value in differs.items():
        if not isinstance(value, (int, str)):
            raise TypeError(f"{name} of a grant does not fit into a row")
    more = json.dumps(differs, separators=(",", ":"), sort_keys=True).encode() if differs else b""
    times = grant.not_before_ms, grant.not_after_ms, grant.since_ms, grant.deleted_before_ms
    fixed = _FIXED.pack(grant.grant_id, *numbers, *times, grant.state, grant.revision, len(history))
    return fixed + history + more


def terms_number(row: bytes) -> int:
    """Return the number of the terms of a row."""
    return int(_FIXED.unpack_from(row)[4])


Head = tuple[int, bytes, bytes, str, str, Sequence[int], bool]
"""What is read of a row without making its grant: index, row, id, consumer, provider, indexes of its
application and of its events, and whether it rests: it is decided, and nothing about it can wait."""


class Unpacker:
    """Reads rows and makes grants of them; what is equal is held once.

    Args:
        names: codes and ids by number.
        terms: bodies by number.
    """

    def __init__(self, *, names: Mapping[int, str] | Sequence[str], terms: Mapping[int, bytes]) -> None:
        self._names = names
        self._terms = terms
        self._alike: dict[int, Sequence[Any]] = {}
        self._equal: dict[tuple[type, Any], Any] = {}
        self._moments: dict[int, int] = {}
        self._lasting: dict[int, bool] = {}

    def heads(self, rows: Iterable[tuple[int, bytes]]) -> Iterator[Head]:
        """Yield what is read of rows without making their grants; the terms of each are known to be some.

        Args:
            rows: each with the index of its application.

        Raises:
            StoreDamaged: while iterating: one is no row, or names what is not there.
        """
        # A million at a start: what is looked up once here is not looked up for each.
        read, names, lasting, width, layouts = _FIXED.unpack_from, self._names, self._lasting, _FIXED.size, {}
        try:
            for index, row in rows:
                key, consumer, provider, _, terms, _, _, _, _, state, _, length = read(row)
                if terms not in lasting:
                    lasting[terms] = self._parse(terms)[_LIMITS].data_life_days > 0
                if length not in layouts:
                    layouts[length] = _layout(length)
                end = width + length
                if end > len(row):
                    raise ValueError("history")
                rests = end == len(row) and state not in _WAITING and not lasting[terms]
                indexes = layouts[length](row, width)
                yield index, row, key, names[consumer], names[provider], indexes, rests
        except StoreDamaged:
            raise
        except (*_NO_ROW, ExchangeError, DecodeError) as error:
            raise StoreDamaged("row of a grant") from error

    def use(self, row: bytes) -> tuple[str, str]:
        """Return consumer and resource of a row that has a head."""
        _, consumer, _, resource, *_ = _FIXED.unpack_from(row)
        return self._names[consumer], self._names[resource]

    def __call__(self, row: bytes) -> tuple[Grant, bytes]:
        """Return a grant and its history.

        Raises:
            StoreDamaged: it is no row, or names what is not there.
        """
        try:
            return self._unpack(row)
        except (*_NO_ROW, ExchangeError, DecodeError) as error:
            raise StoreDamaged("row of a grant") from error

    def _unpack(self, row: bytes) -> tuple[Grant, bytes]:
        (key, consumer, provider, resource, terms, start, end, since, deleted, state, revision, length) = (
            _FIXED.unpack_from(row)
        )
        names, moments = self._names, self._moments
        alike = self._alike.get(terms)
        if alike is None:
            alike = self._parse(terms)
        if len(moments) > MAX_MOMENTS:
            moments.clear()
        # Slot by slot: the constructor takes three times as long, and a region may have many that wait.
        grant = _BLANK(Grant)
        for put, value in zip(_PUT_REST, alike, strict=True):
            put(grant, value)
        _PUT_ID(grant, key)
        _PUT_CONSUMER(grant, names[consumer])
        _PUT_PROVIDER(grant, names[provider])
        _PUT_RESOURCE(grant, names[resource])
        _PUT_START(grant, moments.setdefault(start, start))
        _PUT_END(grant, moments.setdefault(end, end))
        _PUT_SINCE(grant, since)
        _PUT_DELETED(grant, deleted)
        _PUT_STATE(grant, state)
        _PUT_REVISION(grant, revision)
        rest = _FIXED.size + length
        if rest > len(row) or length % STEP_BYTES != INDEX_BYTES:
            raise ValueError("history")
        if rest < len(row):
            for name, value in json.loads(row[rest:]).items():
                _slot(name)(grant, value)
        return grant, row[_FIXED.size : rest]

    def _parse(self, number: int) -> Sequence[Any]:
        """Return the values of `_PUT_REST` that terms have; equal ones are the same object."""
        alike = template(self._terms[number])
        if len(self._alike) > MAX_ALIKE:
            self._alike.clear()
            self._equal.clear()
        equal = self._equal
        values = [getattr(alike, name) for name in _REST]
        found = (*(equal.setdefault((type(value), value), value) for value in values), None)
        self._alike[number] = found
        return found


def _layout(length: int) -> Callable[[bytes, int], Sequence[int]]:
    """Return what reads the indexes in a history of so many bytes."""
    if length % STEP_BYTES != INDEX_BYTES:
        raise ValueError("history")
    return layout(length).unpack_from
