"""What is stopped now, matched with an exchange in constant time: a few look-ups, none where nothing is.

Invariants: a stop counts until its end or until it is lifted, whichever comes first; stops and rehearsals
never mix; a count is kept for each.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exchange.errors import Stopped
from exchange.stops import (
    AGENT,
    FIELD,
    GRANT,
    ORGANISATION,
    REGION,
    RESOURCE,
    Stop,
    split_agent,
    split_field,
)
from exchange.v1 import exchange_pb2

Key = str | bytes | tuple[str, str]
Index = dict[int, dict[Key, tuple["Held", ...]]]
"""By scope, then by what of an exchange it catches; scopes under which nothing is stopped are not in it."""


@dataclass(frozen=True, slots=True)
class Held:
    """A stop and when it ends by itself, Unix milliseconds."""

    stop: Stop
    ends_ms: int


class StopSet:
    """Stops in force, and rehearsals beside them.

    Attributes:
        quiet: whether nothing is stopped and nothing rehearsed: then no exchange need be asked about.
    """

    def __init__(self) -> None:
        self._held: dict[bytes, Held] = {}
        self._real: Index = {}
        self._rehearsed: Index = {}
        self._caught: dict[bytes, int] = {}
        self.quiet = True

    def __iter__(self) -> Iterator[Held]:
        return iter(list(self._held.values()))

    def get(self, stop_id: bytes) -> Held | None:
        """Return a stop of an id of 32 bytes that was not taken out; it may have ended."""
        return self._held.get(stop_id)

    def caught(self, stop_id: bytes) -> int:
        """Return how many exchanges a stop refused, or as a rehearsal would have."""
        return self._caught.get(stop_id, 0)

    def add(self, stop: Stop, ends_ms: int) -> None:
        """Put a stop in force; again is no change."""
        if stop.stop_id in self._held:
            return
        held = self._held[stop.stop_id] = Held(stop, ends_ms)
        found, key = self._index(stop).setdefault(stop.scope, {}), _key(stop)
        found[key] = (*found.get(key, ()), held)
        self.quiet = False

    def remove(self, stop_id: bytes) -> None:
        """Take a stop out of force; what it caught stays known."""
        held = self._held.pop(stop_id, None)
        if held is None:
            return
        index, key = self._index(held.stop), _key(held.stop)
        found = index[held.stop.scope]
        found[key] = tuple(one for one in found[key] if one is not held)
        if not found[key]:
            del found[key]
        if not found:
            del index[held.stop.scope]
        self.quiet = not self._held

    def sweep(self, now_ms: int) -> list[Stop]:
        """Take out what has ended by itself, and return it."""
        ended = [held.stop for held in self._held.values() if held.ends_ms <= now_ms]
        for stop in ended:
            self.remove(stop.stop_id)
        return ended

    def find(self, header: exchange_pb2.RequestHeader, resource: str, now_ms: int) -> Stop | None:
        """Return a stop in force that catches an exchange.

        Args:
            header: of the request.
            resource: id that it resolves to.
            now_ms: Unix milliseconds.
        """
        return next(_matching(self._real, header, resource, now_ms), None) if self._real else None

    def check(self, header: exchange_pb2.RequestHeader, resource: str, now_ms: int) -> None:
        """Refuse an exchange that is stopped; count it for whatever caught it, rehearsals too.

        Raises:
            Stopped.
        """
        stop = self.find(header, resource, now_ms)
        if stop is not None:
            raise self.refusal(stop)
        self.rehearse(header, resource, now_ms)

    def rehearse(self, header: exchange_pb2.RequestHeader, resource: str, now_ms: int) -> None:
        """Count an exchange for every rehearsal that would have stopped it."""
        if self._rehearsed:
            for stop in _matching(self._rehearsed, header, resource, now_ms):
                self.count(stop)

    def catches(self, stop: Stop, header: exchange_pb2.RequestHeader, resource: str) -> bool:
        """Return whether one stop catches an exchange; its end is not looked at."""
        return _key(stop) in _KEYS[stop.scope](header, resource)

    def count(self, stop: Stop, exchanges: int = 1) -> None:
        """Count exchanges that a stop caught."""
        self._caught[stop.stop_id] = self._caught.get(stop.stop_id, 0) + exchanges

    def refusal(self, stop: Stop) -> Stopped:
        """Return the refusal of one exchange, counted."""
        self.count(stop)
        return Stopped(stop.name)

    def _index(self, stop: Stop) -> Index:
        return self._rehearsed if stop.rehearsal else self._real


def _matching(index: Index, header: exchange_pb2.RequestHeader, resource: str, now_ms: int) -> Iterator[Stop]:
    for scope, found in index.items():
        for key in _KEYS[scope](header, resource):
            for held in found.get(key, ()):
                if now_ms < held.ends_ms:
                    yield held.stop


def _key(stop: Stop) -> Key:
    """Return under which of its scope's keys a stop is found; a region's catches all: there is one region."""
    if stop.scope == REGION:
        return ""
    if stop.scope == FIELD:
        return split_field(stop.target)
    if stop.scope == AGENT:
        return split_agent(stop.target)
    return bytes.fromhex(stop.target) if stop.scope == GRANT else stop.target


_KEYS: Mapping[int, Callable[[exchange_pb2.RequestHeader, str], Sequence[Key]]] = {
    REGION: lambda header, resource: ("",),
    ORGANISATION: lambda header, resource: (header.consumer_organisation, header.provider_organisation),
    AGENT: lambda header, resource: (
        (header.consumer_organisation, header.consumer_agent),
        (header.provider_organisation, header.provider_agent),
    ),
    RESOURCE: lambda header, resource: (resource,),
    GRANT: lambda header, resource: (header.grant_id,),
    FIELD: lambda header, resource: [(resource, name) for name in header.fields],
}
"""By scope: everything of an exchange by which it can be stopped."""
