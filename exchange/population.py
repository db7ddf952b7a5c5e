"""The entries of a range that a draw may select, each with its weight and the rules that gave it.

Two passes: `add` takes the entries in order and notes what each shows by itself, `settle` finds what only the
whole range shows. Whoever holds the entries of the range computes the same. Left out are what machines enter
by themselves (the opening, key bundles, sealed segments), and reviews.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice

from google.protobuf.message import DecodeError

from exchange.errors import NoIdentity
from exchange.identity import OF_ORGANISATION, PEOPLE, Identity, parse_uri
from exchange.review import RISK, Draw, Selected
from exchange.risk import OF_RESOURCES, WEIGHTS, shown
from exchange.v1 import audit_pb2, common_pb2
from exchange.v1 import review_pb2 as v

BUSY_LEAST = 20
BUSY_FACTOR = 5
"""Busy is who has at least so many entries and so many times the (lower) median of its kind in the range."""
ENUMERATION_LEAST = 20
ENUMERATION_MS = 10 * 60 * 1000
"""Verifications of one operator on one resource within one period of ten minutes, counted from 1970."""
_ASCENDING = tuple(sorted(WEIGHTS))
_UNDRAWN = frozenset(
    {
        audit_pb2.ACT_UNSPECIFIED,
        audit_pb2.ACT_LOG_OPENED,
        audit_pb2.ACT_BUNDLE,
        audit_pb2.ACT_CASE,
        audit_pb2.ACT_SEGMENT_SEALED,
        audit_pb2.ACT_REVIEW_DRAW,
        audit_pb2.ACT_REVIEW_EVENT,
    }
)
_OPERATOR, _CONSUMER, _READER, _ENUMERATION = "operator", "consumer", "reader", "enumeration"
_BUSY = {
    _OPERATOR: v.REVIEW_RULE_BUSY_OPERATOR,
    _CONSUMER: v.REVIEW_RULE_BUSY_CONSUMER,
    _READER: v.REVIEW_RULE_BUSY_READER,
}
Key = tuple[str, ...]
Rules = tuple["v.ReviewRule.ValueType", ...]


def answerable(index: int, entry: audit_pb2.AuditEntry, rules: Rules = ()) -> Selected:
    """Return an entry with who answers for it: the consumer of an exchange, else whoever acted.

    For an agent or steward that is the organisation; for other people the person; for machines nobody.
    """
    if entry.HasField("exchange"):
        return Selected(index=index, party=entry.exchange.consumer_organisation, rules=rules)
    uri = _actor(entry)
    actor = _identity(uri)
    if actor is None:
        party = ""
    elif actor.role in OF_ORGANISATION:
        party = actor.organisation
    else:
        party = uri if actor.role in PEOPLE else ""
    return Selected(index=index, party=party, rules=rules)


class Population:
    """The entries that a draw may select, with their weights.

    Args:
        draw: what is drawn from.
    """

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._by_risk = draw.strategy == RISK
        self._indexes: array[int] = array("Q")
        self._flags: array[int] = array("I")
        # Per entry, the groups that it counts in: one of operators, consumers or readers each, 0 for none.
        self._groups: tuple[array[int], array[int], array[int]] = (array("I"), array("I"), array("I"))
        self._numbers: dict[Key, int] = {}
        self._counts: array[int] = array("I", [0])
        self._raised: dict[int, int] = {}
        self._actors: dict[str, Identity | None] = {}

    def __len__(self) -> int:
        return len(self._indexes)

    def add(self, index: int, leaf: bytes) -> None:
        """Take the next entry of the range; what the draw does not mean, or cannot be parsed, is left out.

        Args:
            index: higher than the one before.
            leaf: the entry's exact bytes.
        """
        try:
            entry = audit_pb2.AuditEntry.FromString(leaf)
        except DecodeError:
            # A matter of verification: it says nothing that could be reviewed.
            return
        if not self._fits(entry):
            return
        self._indexes.append(index)
        if self._by_risk:
            self._flags.append(self._shown(entry))
            for groups, key in zip(self._groups, self._keys(entry), strict=True):
                groups.append(self._count(key))

    def settle(self) -> None:
        """Find what only the whole range shows; once, after the last entry."""
        for kind, rule in _BUSY.items():
            numbers = [number for key, number in self._numbers.items() if key[0] == kind]
            counts = sorted(self._counts[number] for number in numbers)
            median = counts[(len(counts) - 1) // 2] if counts else 0
            busy = max(BUSY_LEAST, BUSY_FACTOR * median)
            self._raised |= {number: 1 << rule for number in numbers if self._counts[number] >= busy}
        for key, number in self._numbers.items():
            if key[0] == _ENUMERATION and self._counts[number] >= ENUMERATION_LEAST:
                self._raised[number] = 1 << v.REVIEW_RULE_ENUMERATION

    def weighted(self, start: int, limit: int) -> Iterator[tuple[int, int]]:
        """Yield index and weight of at most `limit` members from the one at a position on."""
        for place in islice(range(start, len(self._indexes)), limit):
            weight = sum(WEIGHTS[rule] for rule in self._rules_at(place)) if self._by_risk else 1
            yield self._indexes[place], weight

    def rules(self, index: int) -> Rules:
        """Return the rules that a member fits, ascending; none for random draws."""
        place = bisect_left(self._indexes, index)
        return self._rules_at(place) if self._by_risk else ()

    def _rules_at(self, place: int) -> Rules:
        flags = self._flags[place]
        for groups in self._groups:
            flags |= self._raised.get(groups[place], 0)
        return tuple(rule for rule in _ASCENDING if flags >> rule & 1) if flags else ()

    def _fits(self, entry: audit_pb2.AuditEntry) -> bool:
        which = entry.WhichOneof("subject")
        if which is None or (which == "administrative" and entry.administrative.act in _UNDRAWN):
            return False
        wanted = self._draw
        if wanted.organisation and wanted.organisation not in self._parties(entry):
            return False
        return not wanted.resource or _resource_fits(wanted.resource, _resource(entry))

    def _parties(self, entry: audit_pb2.AuditEntry) -> tuple[str, ...]:
        if entry.HasField("exchange"):
            return entry.exchange.consumer_organisation, entry.exchange.provider_organisation
        actor = self._who(_actor(entry))
        return () if actor is None else (actor.organisation,)

    def _shown(self, entry: audit_pb2.AuditEntry) -> int:
        actor = self._who(entry.administrative.actor)
        return shown(entry, by_person=actor is not None and actor.role in PEOPLE)

    def _keys(self, entry: audit_pb2.AuditEntry) -> tuple[Key, Key, Key]:
        """Return the groups in which an entry counts; an empty one for none."""
        act, told = entry.administrative, entry.exchange
        if act.act == audit_pb2.ACT_READ:
            return (_READER, act.actor), (), ()
        if not entry.HasField("exchange"):
            return (), (), ()
        consumer, operator = told.consumer_organisation, told.operator
        by_operator = (_OPERATOR, consumer, operator) if operator else ()
        listed: Key = ()
        if told.kind == common_pb2.KIND_VERIFY:
            period = str(entry.time_ms // ENUMERATION_MS)
            listed = (_ENUMERATION, consumer, operator, told.resource, period)
        return by_operator, (_CONSUMER, consumer), listed

    def _count(self, key: Key) -> int:
        if not key:
            return 0
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._counts)
            self._counts.append(0)
        self._counts[number] += 1
        return number

    def _who(self, uri: str) -> Identity | None:
        if uri not in self._actors:
            self._actors[uri] = _identity(uri)
        return self._actors[uri]


def _actor(entry: audit_pb2.AuditEntry) -> str:
    return entry.refusals.caller if entry.HasField("refusals") else entry.administrative.actor


def _identity(uri: str) -> Identity | None:
    try:
        return parse_uri(uri)
    except NoIdentity:
        return None


def _resource(entry: audit_pb2.AuditEntry) -> str:
    if entry.HasField("exchange"):
        return entry.exchange.resource
    return entry.administrative.subject if entry.administrative.act in OF_RESOURCES else ""


def _resource_fits(wanted: str, found: str) -> bool:
    return found.startswith(wanted[:-1]) if wanted.endswith("/*") else found == wanted
