"""The catalogue of the region, folded from signed ResourceBody and ResourceStateBody statements.

1. A resource's division is its organisation's or below it, its alias the organisation's.
2. Versions count up; the provider of an id never changes.
3. One authoritative source per item and division.
4. A suspension holds until it is lifted, whatever versions are published meanwhile.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from exchange.canonical import NONCE_BYTES
from exchange.errors import BadIdentifier, Malformed, NotAuthoritative, UnknownResource, WrongState
from exchange.identity import division_covers
from exchange.resources import Resource, split_id, wider_divisions
from exchange.v1 import common_pb2, directory_pb2
from gateway.directory.organisations import Organisation


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceState:
    """A suspension or its end: a ResourceStateBody, well formed."""

    id: str
    version: int
    suspended: bool
    revision: int
    issued_at_ms: int


def read_state(statement: common_pb2.Statement) -> ResourceState:
    """Return the change of state that a statement holds. Signature and signer are not looked at.

    Raises:
        Malformed, BadIdentifier: the body breaks a rule.
    """
    try:
        body = directory_pb2.ResourceStateBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("resource state") from error
    split_id(body.id)
    if len(body.nonce) != NONCE_BYTES or not body.HasField("issued_at"):
        raise Malformed("nonce or issued_at")
    return ResourceState(
        id=body.id,
        version=body.version,
        suspended=body.suspended,
        revision=body.revision,
        issued_at_ms=body.issued_at.ToMilliseconds(),
    )


class Catalogue:
    """Every resource by id; built by `apply` and `apply_state`, read by everybody."""

    def __init__(self) -> None:
        self._by_id: dict[str, Resource] = {}
        self._ids: list[str] = []
        self._unsorted = False
        self._sources: dict[tuple[str, str], str] = {}
        self._revisions: dict[str, int] = {}
        self._indexes: dict[str, int] = {}

    @property
    def by_id(self) -> Mapping[str, Resource]:
        """The resources by id."""
        return self._by_id

    def resolve(self, requested: str) -> Resource:
        """Return the resource of that id, or of the narrowest wider division that has it.

        Args:
            requested: "<6-digit division>/<organisation alias>/<name>".

        Raises:
            UnknownResource, BadIdentifier.
        """
        exact = self._by_id.get(requested)
        if exact is not None:
            return exact
        division, alias, name = split_id(requested)
        for wider in wider_divisions(division):
            found = self._by_id.get(f"{wider}/{alias}/{name}")
            if found is not None:
                return found
        raise UnknownResource(requested)

    def exactly(self, resource_id: str) -> Resource:
        """Return the resource of exactly that id.

        Raises:
            UnknownResource.
        """
        found = self._by_id.get(resource_id)
        if found is None:
            raise UnknownResource(resource_id)
        return found

    def revision(self, resource_id: str) -> int:
        """Return the revision of a resource's last change of state; 0 before the first."""
        return self._revisions.get(resource_id, 0)

    def index(self, resource_id: str) -> int:
        """Return the index of the entry that published the version in force; its statement is read there.

        Raises:
            UnknownResource.
        """
        found = self._indexes.get(resource_id)
        if found is None:
            raise UnknownResource(resource_id)
        return found

    def page(self, after: str, limit: int) -> Sequence[Resource]:
        """Return at most `limit` resources whose id comes after `after`."""
        if self._unsorted:
            # A start brings thousands in a row; sorting once is cheaper than putting each in its place.
            self._ids.sort()
            self._unsorted = False
        start = bisect_right(self._ids, after)
        return [self._by_id[key] for key in self._ids[start : start + limit]]

    def check(self, new: Resource, provider: Organisation) -> None:
        """Refuse a publication that breaks the catalogue's rules.

        Args:
            provider: the organisation that the entry names.

        Raises:
            BadIdentifier: division or alias is not the provider's.
            NotAuthoritative: another organisation provides this item in this division.
            WrongState: the version does not follow the one held.
        """
        division, alias, name = split_id(new.id)
        if alias != provider.alias or not division_covers(provider.division, division):
            raise BadIdentifier(new.id)
        if self._sources.get((division, name), new.provider) != new.provider:
            raise NotAuthoritative(f"{division}/{name}")
        held = self._by_id.get(new.id)
        if held is not None and held.provider != new.provider:
            raise NotAuthoritative(new.id)
        if new.version != (held.version if held else 0) + 1:
            raise WrongState(f"{new.id} version {new.version}")

    def apply(self, index: int, new: Resource) -> None:
        """Take over a publication that was checked before it was logged at that index."""
        division, _, name = split_id(new.id)
        if new.statement is not None:
            new = replace(new, statement=None)
        held = self._by_id.get(new.id)
        if held is None:
            self._unsorted = self._unsorted or bool(self._ids and new.id < self._ids[-1])
            self._ids.append(new.id)
        else:
            new = new.with_suspended(held.suspended)
        self._by_id[new.id] = new
        self._indexes[new.id] = index
        self._sources[division, name] = new.provider

    def check_state(self, change: ResourceState) -> Resource:
        """Refuse a change of state that does not follow the last one.

        Returns:
            The resource it is about.

        Raises:
            UnknownResource, WrongState.
        """
        held = self.exactly(change.id)
        if change.version != held.version or change.suspended == held.suspended:
            raise WrongState(change.id)
        if change.revision != self.revision(change.id) + 1:
            raise WrongState(f"{change.id} revision {change.revision}")
        return held

    def apply_state(self, change: ResourceState) -> None:
        """Take over a change of state that was checked before it was logged."""
        self._by_id[change.id] = self._by_id[change.id].with_suspended(change.suspended)
        self._revisions[change.id] = change.revision
