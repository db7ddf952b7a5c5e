"""What a resource is made from may be others': it is passed on only as far as their grants allow (ADR 0024).

1. Whoever publishes a resource derived from another's needs a grant on that one, in force, which allows data
   to be passed on at all; by default none does.
2. A grant on the derived resource is for those alone whom each such grant names, and for the source's own
   provider.
3. This holds for sources of sources: what passed through several hands is still its first provider's.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from exchange.errors import Redisclosure
from exchange.grants import ACTIVE, Grant
from exchange.resources import Resource

MAX_SOURCES = 256
"""So many resources at most are followed; with more the answer is no."""


class Catalogue(Protocol):
    """The resources in force."""

    def exactly(self, resource_id: str) -> Resource:
        """Return the resource of exactly that id; raises UnknownResource or Withdrawn where there is none."""
        ...


class Grants(Protocol):
    """The region's grants."""

    def find(self, consumer: str, resource: str) -> Sequence[Grant]:
        """Return the grants of a consumer for a resource."""
        ...


def check_sources(resource: Resource, catalogue: Catalogue, grants: Grants, *, now_ms: int) -> None:
    """Refuse a catalogue entry whose sources are not there or may not be passed on to anybody.

    Raises:
        UnknownResource, Withdrawn: a source is not in the catalogue.
        Redisclosure: no grant on a source lets the publisher pass it on; the subject names the source.
    """
    for holder, source in _steps(resource, catalogue):
        if not _allowed(holder, source, grants, now_ms):
            raise Redisclosure(source.id)


def check_passing_on(
    resource: Resource, consumer: str, catalogue: Catalogue, grants: Grants, *, now_ms: int
) -> None:
    """Refuse that a consumer gets a resource whose sources' grants do not name it.

    Args:
        consumer: credit code.
        now_ms: Unix milliseconds.

    Raises:
        UnknownResource, Withdrawn, Redisclosure: as `check_sources`.
    """
    for holder, source in _steps(resource, catalogue):
        if consumer not in (source.provider, holder) and consumer not in _allowed(
            holder, source, grants, now_ms
        ):
            raise Redisclosure(source.id)


def _steps(resource: Resource, catalogue: Catalogue) -> Iterator[tuple[str, Resource]]:
    """Yield who passes on which source of another, sources of sources included."""
    seen, ahead = {resource.id}, [resource]
    while ahead:
        made = ahead.pop()
        for name in made.derived_from:
            source = catalogue.exactly(name)
            if source.provider != made.provider:
                yield made.provider, source
            if name not in seen:
                seen.add(name)
                ahead.append(source)
        if len(seen) > MAX_SOURCES:
            raise Redisclosure(f"{resource.id}: more than {MAX_SOURCES} sources")


def _allowed(holder: str, source: Resource, grants: Grants, now_ms: int) -> frozenset[str]:
    """Return to whom a holder may pass on a source."""
    found: frozenset[str] = frozenset()
    for grant in grants.find(holder, source.id):
        in_force = grant.state == ACTIVE and grant.not_before_ms <= now_ms < grant.not_after_ms
        if in_force and grant.provider == source.provider:
            found |= redisclosure_to(grant)
    return found


def redisclosure_to(grant: Grant) -> frozenset[str]:
    """Return the credit codes of those to whom a grant lets its consumer pass the data on."""
    return frozenset(grant.limits.redisclosure_to)
