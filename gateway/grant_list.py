"""One page of a list of grants: who may see what, and which are asked for.

A list has parts, one after the other: the grants of which the caller's organisation is a party (or all, for
overseers), in order of application; then those that it supervises, in order of id. Those for which a clock
runs, or has run out, are a list of their own, in order of id. A token names the part and the last key told; a
page may be short or empty though more follow, for at most so many grants are looked at in one call.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exchange.errors import Malformed
from exchange.grants import Grant
from exchange.v1 import grant_pb2
from gateway import pages
from gateway.access.supervised import Supervised
from gateway.clocks.grants import GrantClocks
from gateway.state import RegionState

NAME = "grants"
LOOKED_AT = 10_000
CHUNK = 500
PARTY, SUPERVISED, TIMED = "p", "s", "t"

_INDEX = re.compile(r"[0-9]{1,18}")
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A grant and the place in the list after which to go on: part and key."""

    place: str
    grant: Grant


@dataclass(frozen=True, slots=True)
class GrantPage:
    """Some grants, and where to go on; empty at the end."""

    grants: list[Listed]
    next_place: str


class GrantLists:
    """Makes pages.

    Args:
        state: of the region.
        clocks: of the grants.
        supervised: who supervises what.
    """

    def __init__(self, *, state: RegionState, clocks: GrantClocks, supervised: Supervised) -> None:
        self._state = state
        self._clocks = clocks
        self._supervised = supervised

    def page(self, request: grant_pb2.ListGrantsRequest, party: str | None, most: int) -> GrantPage:
        """Return the next page.

        Args:
            request: its filters and token.
            party: credit code of the caller's organisation; None for overseers, who see all.
            most: at most so many grants.

        Raises:
            Malformed: the token is none of this list.
        """
        fits = _filter(request)
        timed = request.timed or request.overdue
        part, key = _place(pages.key_of(NAME, request.page_token), timed=timed)
        found: list[Listed] = []
        looked_at, last = 0, ""
        listing = self._timed(key, party, request.overdue) if timed else self._from(part, key, party)
        for listed in listing:
            if len(found) == most or looked_at == LOOKED_AT:
                return GrantPage(found, last)
            looked_at, last = looked_at + 1, listed.place
            if fits(listed.grant):
                found.append(listed)
        return GrantPage(found, "")

    def _from(self, part: str, key: str, party: str | None) -> Iterator[Listed]:
        if part == PARTY:
            yield from self._of_party(int(key or -1), party)
            key = ""
        if party is not None:
            yield from self._supervised_by(party, key)

    def _of_party(self, after: int, party: str | None) -> Iterator[Listed]:
        while True:
            chunk = self._state.grants.page(party, after, CHUNK)
            for placed in chunk:
                yield Listed(f"{PARTY}{placed.index}", placed.grant)
            if len(chunk) < CHUNK:
                return
            after = chunk[-1].index

    def _supervised_by(self, party: str, key: str) -> Iterator[Listed]:
        after = bytes.fromhex(key)
        while True:
            chunk = self._supervised.page(party, after, CHUNK)
            for grant_id in chunk:
                grant = self._state.grants.get(grant_id)
                if grant is not None and party not in (grant.consumer, grant.provider):
                    yield Listed(f"{SUPERVISED}{grant_id.hex()}", grant)
            if len(chunk) < CHUNK:
                return
            after = chunk[-1]

    def _timed(self, key: str, party: str | None, overdue: bool) -> Iterator[Listed]:
        after, now_ms = bytes.fromhex(key), self._clocks.now_ms()
        waiting = [
            grant
            for grant, clock in self._clocks.running()
            if grant.grant_id > after and sees(grant, party) and (clock.due_ms <= now_ms or not overdue)
        ]
        for grant in sorted(waiting, key=lambda one: one.grant_id):
            yield Listed(f"{TIMED}{grant.grant_id.hex()}", grant)


def sees(grant: Grant, party: str | None) -> bool:
    """Return whether an organisation may see a grant; None for overseers, who see all."""
    return party is None or party in (grant.consumer, grant.provider, grant.supervisor)


def _place(text: str, *, timed: bool) -> tuple[str, str]:
    """Return part and key of a place, where it is one of the list that is asked for."""
    if not text:
        return (TIMED if timed else PARTY), ""
    part, key = text[0], text[1:]
    form = _INDEX if part == PARTY else _ID
    if (part == TIMED) != timed or part not in (PARTY, SUPERVISED, TIMED) or not form.fullmatch(key):
        raise Malformed("page_token")
    return part, key


def _filter(request: grant_pb2.ListGrantsRequest) -> Callable[[Grant], bool]:
    state, resource, consumer = request.state, request.resource, request.consumer
    return lambda grant: (
        (not state or grant.state == state)
        and (not resource or grant.resource == resource)
        and (not consumer or grant.consumer == consumer)
    )
