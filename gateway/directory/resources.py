"""The catalogue of the region, folded from signed ResourceBody and ResourceStateBody statements.

1. A resource's division is its organisation's or below it, its alias the organisation's.
2. Versions count up by one with each that is handed in, rejected ones too; the provider never changes.
3. One authoritative source per item and division; what waits for review holds its item already.
4. A suspension holds until it is lifted, whatever versions are published meanwhile.
5. A version in review is not in force before it is approved; the one before stays. One waits at a time.
6. What is withdrawn is out of the catalogue for good.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from exchange.catalogue_review import APPROVE, REJECT, SUSPENSION, WITHDRAW, ResourceState
from exchange.errors import (
    BadIdentifier,
    InReview,
    NotAuthoritative,
    UnknownResource,
    Withdrawn,
    WrongState,
)
from exchange.identity import division_covers
from exchange.resources import Resource, split_id, wider_divisions
from exchange.v1 import directory_pb2
from gateway.directory.catalogue_entry import Entry, PackedResource, Waiting, opened, source_of
from gateway.directory.organisations import Organisation


class _InForce(Mapping[str, Resource]):
    """The resources in force by id; to look for one opens it, to look through the ids opens none."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries

    def __getitem__(self, key: str) -> Resource:
        found = _found(self._entries, key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and _is_in_force(self._entries.get(key))

    def __iter__(self) -> Iterator[str]:
        return (key for key, entry in self._entries.items() if _is_in_force(entry))

    def __len__(self) -> int:
        return sum(map(_is_in_force, self._entries.values()))


class Catalogue:
    """Every resource by id; built by `apply` and `apply_state`, read by everybody."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._in_force = _InForce(self._entries)
        self._ids: list[str] = []
        self._unsorted = False
        self._sources: dict[tuple[str, str], tuple[str, ...]] = {}

    @property
    def by_id(self) -> Mapping[str, Resource]:
        """The resources in force by id."""
        return self._in_force

    def resolve(self, requested: str) -> Resource:
        """Return the resource of that id, or of the narrowest wider division that has it.

        Args:
            requested: "<6-digit division>/<organisation alias>/<name>".

        Raises:
            UnknownResource, Withdrawn, BadIdentifier.
        """
        exact = _found(self._entries, requested)
        if exact is not None:
            return exact
        division, alias, name = split_id(requested)
        ids = [f"{wider}/{alias}/{name}" for wider in wider_divisions(division)]
        for resource_id in ids:
            found = _found(self._entries, resource_id)
            if found is not None:
                return found
        raise self._missing(requested, ids)

    def find(self, requested: str) -> Resource | None:
        """Return what `resolve` does, None where there is nothing."""
        try:
            return self.resolve(requested)
        except (UnknownResource, Withdrawn, BadIdentifier):
            return None

    def exactly(self, resource_id: str) -> Resource:
        """Return the resource of exactly that id.

        Raises:
            UnknownResource, Withdrawn.
        """
        found = _found(self._entries, resource_id)
        if found is None:
            raise self._missing(resource_id, (resource_id,))
        return found

    def once_in_force(self, resource_id: str) -> Resource:
        """Return the version in force of exactly that id, or the one that was when it was withdrawn.

        Raises:
            UnknownResource: no version was ever in force.
        """
        held = self.entry(resource_id).held
        if held is None:
            raise UnknownResource(resource_id)
        return held

    def _missing(self, requested: str, ids: Sequence[str]) -> UnknownResource | Withdrawn:
        """Return why nothing is in force for an id, nor for any of those it resolves to."""
        for resource_id in ids:
            entry = self._entries.get(resource_id)
            if entry is not None and entry.withdrawn:
                return Withdrawn(resource_id)
        return UnknownResource(requested)

    def entry(self, resource_id: str) -> Entry:
        """Return everything about an id, whether or not a version of it is in force.

        Raises:
            UnknownResource: no version was ever handed in.
        """
        found = self._entries.get(resource_id)
        if found is None:
            raise UnknownResource(resource_id)
        return found

    def index(self, resource_id: str) -> int:
        """Return the index of the entry that handed in the version that is or was in force.

        Its statement is read there.

        Raises:
            UnknownResource: as `once_in_force`.
        """
        entry = self.entry(resource_id)
        if entry.kept is None:
            raise UnknownResource(resource_id)
        return entry.indexes[entry.kept.version - 1]

    def standing(self, resource_id: str) -> "directory_pb2.ResourceStanding.ValueType":
        """Return how an entry stands: published, suspended, withdrawn; unspecified before there is one."""
        entry = self._entries.get(resource_id)
        if entry is None or entry.kept is None:
            return directory_pb2.RESOURCE_STANDING_UNSPECIFIED
        return entry.standing(entry.kept.version)

    def revision(self, resource_id: str) -> int:
        """Return the revision of a resource's last change of state; 0 before the first."""
        entry = self._entries.get(resource_id)
        return entry.revision if entry else 0

    def page(self, after: str, limit: int) -> Sequence[Entry]:
        """Return at most `limit` entries of which a version is in force, whose id comes after `after`."""
        return list(islice(filter(_is_in_force, self.entries(after)), limit))

    def entries(self, after: str = "", prefix: str = "") -> Iterator[Entry]:
        """Yield entries by id, from the first after `after` on that begins with `prefix`.

        The catalogue must not change meanwhile.
        """
        if self._unsorted:
            # A start brings thousands in a row; sorting once is cheaper than putting each in its place.
            self._ids.sort()
            self._unsorted = False
        start = max(bisect_right(self._ids, after), bisect_left(self._ids, prefix))
        for position in range(start, len(self._ids)):
            key = self._ids[position]
            if not key.startswith(prefix):
                return
            yield self._entries[key]

    def check(self, new: Resource, provider: Organisation) -> None:
        """Refuse a version that breaks the catalogue's rules.

        Args:
            provider: the organisation that the entry names.

        Raises:
            BadIdentifier: division or alias is not the provider's.
            NotAuthoritative: another organisation provides this item in this division.
            InReview: the version before still waits.
            WrongState: the version does not follow the one before, or the entry was withdrawn.
        """
        division, alias, _ = split_id(new.id)
        if alias != provider.alias or not division_covers(provider.division, division):
            raise BadIdentifier(new.id)
        source = source_of(new)
        if any(self._entries[other].provider != new.provider for other in self._sources.get(source, ())):
            raise NotAuthoritative("/".join(source))
        entry = self._entries.get(new.id)
        if entry is not None and entry.provider != new.provider:
            raise NotAuthoritative(new.id)
        if entry is not None and entry.withdrawn:
            raise WrongState(f"{new.id} is withdrawn")
        if entry is not None and entry.waiting is not None:
            raise InReview(f"{new.id} version {entry.waiting.resource.version}")
        if new.version != (len(entry.indexes) if entry else 0) + 1:
            raise WrongState(f"{new.id} version {new.version}")

    def apply(
        self, index: int, new: Resource | PackedResource, *, reviewer: str = "", handed_in_by: str = ""
    ) -> None:
        """Take over a version that was checked before it was logged at that index.

        Args:
            new: packed where it comes from the projection.
            reviewer: credit code of whose stewards review it first; empty where nobody does.
            handed_in_by: SPIFFE id.
        """
        entry = self._entries.get(new.id)
        if entry is None:
            entry = self._entries[new.id] = Entry(id=new.id, provider=new.provider)
            self._unsorted = self._unsorted or bool(self._ids and new.id < self._ids[-1])
            self._ids.append(new.id)
        if new.version != len(entry.indexes) + 1:
            raise WrongState(f"{new.id} version {new.version}")
        before = entry.sources()
        entry.indexes.append(index)
        if reviewer:
            waiting = _slim(opened(new))
            entry.waiting = Waiting(resource=waiting, reviewer=reviewer, handed_in_by=handed_in_by)
        else:
            _put_in_force(entry, new)
        self._claim(entry, before)

    def check_state(self, change: ResourceState) -> None:
        """Refuse a change of state that does not follow the last one.

        Raises:
            UnknownResource, WrongState.
        """
        entry = self.entry(change.id)
        about = entry.waiting.resource if change.reviews and entry.waiting is not None else None
        if change.action == SUSPENSION:
            about = entry.held
        elif change.action == WITHDRAW:
            about = entry.newest
        if entry.withdrawn:
            raise WrongState(f"{change.id} is withdrawn")
        if about is None or change.version != about.version:
            raise WrongState(change.id)
        if change.action == SUSPENSION and change.suspended == about.suspended:
            raise WrongState(change.id)
        if change.revision != entry.revision + 1:
            raise WrongState(f"{change.id} revision {change.revision}")

    def apply_state(self, change: ResourceState) -> None:
        """Take over a change of state that was checked before it was logged."""
        entry = self.entry(change.id)
        before = entry.sources()
        if change.action == SUSPENSION:
            if entry.held is None:
                raise UnknownResource(change.id)
            entry.kept = entry.held.with_suspended(change.suspended)
        elif change.action == APPROVE:
            if entry.waiting is None:
                raise WrongState(change.id)
            approved, entry.waiting = entry.waiting.resource, None
            _put_in_force(entry, approved)
        elif change.action in (REJECT, WITHDRAW):
            if change.action == WITHDRAW:
                entry.withdrawn = True
            if entry.waiting is not None:
                entry.rejected = (*entry.rejected, entry.waiting.resource.version)
                entry.waiting = None
        entry.revision = change.revision
        self._claim(entry, before)

    def _claim(self, entry: Entry, before: set[tuple[str, str]]) -> None:
        """Keep who provides which item in step with an entry that has changed."""
        now = entry.sources()
        if now == before:
            return
        for source in before - now:
            left = tuple(one for one in self._sources[source] if one != entry.id)
            if left:
                self._sources[source] = left
            else:
                del self._sources[source]
        for source in now - before:
            self._sources[source] = (*self._sources.get(source, ()), entry.id)


def _found(entries: Mapping[str, Entry], key: str) -> Resource | None:
    """Return the resource in force of an id, opened; None where none is."""
    entry = entries.get(key)
    return None if entry is None or entry.withdrawn else entry.held


def _is_in_force(entry: Entry | None) -> bool:
    return entry is not None and entry.kept is not None and not entry.withdrawn


def _put_in_force(entry: Entry, new: Resource | PackedResource) -> None:
    if entry.kept is not None and entry.kept.suspended:
        new = opened(new).with_suspended(True)
    entry.kept = new if isinstance(new, PackedResource) else _slim(new)


def _slim(resource: Resource) -> Resource:
    """Return the same without its statement, which is read from the log."""
    return resource if resource.statement is None else replace(resource, statement=None)
