"""Everything that the catalogue holds about one id.

Of a version that was in force at the start only what it is filed by is read; the rest when somebody asks for
it first (ADR 0027).
"""

from array import array
from dataclasses import dataclass, field
from typing import ClassVar

from google.protobuf.message import DecodeError

from exchange.errors import ExchangeError, StoreDamaged, UnknownResource
from exchange.resources import Resource, own_item, parse_resource
from exchange.v1 import common_pb2, directory_pb2

DIVISION_DIGITS = 6


@dataclass(slots=True, kw_only=True)
class PackedResource:
    """A version as the projection has it: it was checked before it was logged.

    Any thread may open it: that changes what is in here and nothing of the entry, which is the fold's.

    Attributes:
        content: the ResourceBody, verbatim; what it holds, once it was opened.
    """

    suspended: ClassVar[bool] = False

    id: str
    provider: str
    version: int
    item: str
    content: bytes | Resource = field(repr=False)

    def opened(self) -> Resource:
        """Return the catalogue entry.

        Raises:
            StoreDamaged: it is none.
        """
        content = self.content
        if isinstance(content, bytes):
            try:
                content = self.content = parse_resource(common_pb2.Statement(body=content), keep=False)
            except ExchangeError as error:
                raise StoreDamaged(self.id) from error
        return content


def pack_resource(body: bytes) -> PackedResource:
    """Return a version without reading more of it than it is filed by.

    Args:
        body: a ResourceBody, from the projection.

    Raises:
        StoreDamaged: it is none.
    """
    try:
        head = directory_pb2.ResourceHead.FromString(body)
    except DecodeError as error:
        raise StoreDamaged("catalogue entry") from error
    item = head.item or own_item(head.id)
    return PackedResource(id=head.id, provider=head.provider, version=head.version, item=item, content=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A version that waits for review.

    Attributes:
        reviewer: credit code of whose stewards review it.
        handed_in_by: SPIFFE id.
    """

    resource: Resource
    reviewer: str
    handed_in_by: str


@dataclass(slots=True, kw_only=True)
class Entry:
    """Everything about one id.

    Attributes:
        kept: the version in force, or the one that was when it was withdrawn; None before the first. Only the
            fold sets it.
        waiting: the version in review.
        revision: of the last change of state, 0 before the first.
        indexes: of the log entry of each version, the first version's first.
        rejected: versions that never were in force and will not be.
        text: by which it is found, of a version; made when it is first searched.
    """

    id: str
    provider: str
    kept: Resource | PackedResource | None = None
    waiting: Waiting | None = None
    revision: int = 0
    withdrawn: bool = False
    indexes: "array[int]" = field(default_factory=lambda: array("Q"))
    rejected: tuple[int, ...] = ()
    text: tuple[int, str] | None = None

    @property
    def held(self) -> Resource | None:
        """The version that is kept, opened.

        Raises:
            StoreDamaged: it cannot be read.
        """
        return None if self.kept is None else opened(self.kept)

    @property
    def newest(self) -> Resource:
        """The version in force; the one in review where none is."""
        if self.held is not None:
            return self.held
        if self.waiting is not None:
            return self.waiting.resource
        raise UnknownResource(self.id)

    def standing(self, version: int) -> "directory_pb2.ResourceStanding.ValueType":
        """Return where a version that was handed in stands."""
        if self.waiting is not None and self.waiting.resource.version == version:
            return directory_pb2.RESOURCE_STANDING_IN_REVIEW
        if version in self.rejected:
            return directory_pb2.RESOURCE_STANDING_REJECTED
        if self.kept is None or self.kept.version != version:
            return directory_pb2.RESOURCE_STANDING_SUPERSEDED
        if self.withdrawn:
            return directory_pb2.RESOURCE_STANDING_WITHDRAWN
        if self.kept.suspended:
            return directory_pb2.RESOURCE_STANDING_SUSPENDED
        return directory_pb2.RESOURCE_STANDING_PUBLISHED

    def sources(self) -> set[tuple[str, str]]:
        """Return (division, item) of each version that is in force or may come to be."""
        if self.withdrawn:
            return set()
        found = {source_of(self.kept)} if self.kept is not None else set()
        if self.waiting is not None:
            found.add(source_of(self.waiting.resource))
        return found


def opened(version: Resource | PackedResource) -> Resource:
    """Return all of a version.

    Raises:
        StoreDamaged: it cannot be read.
    """
    return version.opened() if isinstance(version, PackedResource) else version


def source_of(resource: Resource | PackedResource) -> tuple[str, str]:
    """Return the division and the item that a resource is the authoritative source of."""
    return resource.id[:DIVISION_DIGITS], resource.item
