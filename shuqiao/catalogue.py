"""What people do to the catalogue, as calls: shared by the command and the demo.

Every function takes an open channel to the gateway; those that change something also take the signer whose
statement the log will hold. Failures are ExchangeErrors; a gateway that cannot be reached is GatewayAway.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import grpc

from exchange import canonical
from exchange.clock import Clock, Random
from exchange.errors import UnknownResource, Withdrawn, WrongState
from exchange.timestamps import timestamp
from exchange.v1 import directory_pb2, directory_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, HOP, Signer, all_pages, calling

PAGE = 500
VERSIONS_PAGE = 100
SUSPENSION = directory_pb2.RESOURCE_ACTION_UNSPECIFIED
IN_FORCE = frozenset({directory_pb2.RESOURCE_STANDING_PUBLISHED, directory_pb2.RESOURCE_STANDING_SUSPENDED})
ONCE_IN_FORCE = IN_FORCE | {directory_pb2.RESOURCE_STANDING_WITHDRAWN}
IN_REVIEW = directory_pb2.RESOURCE_STANDING_IN_REVIEW


class Listed(NamedTuple):
    """A catalogue entry and whether it is suspended."""

    body: directory_pb2.ResourceBody
    suspended: bool


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a resource: where it stands, the entry that handed it in, the state's last revision."""

    body: directory_pb2.ResourceBody
    standing: "directory_pb2.ResourceStanding.ValueType"
    index: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is looked for; every part that is set must fit."""

    words: Sequence[str] = ()
    code: str = ""
    provider: str = ""
    division: str = ""
    share: str = ""
    category: str = ""
    standing: str = ""


def publish_resource(channel: grpc.Channel, signer: Signer, body: directory_pb2.ResourceBody) -> int:
    """Hand in a version as the provider's steward; return the index of its log entry."""
    statement = signer.sign(canonical.RESOURCE, body.SerializeToString())
    stub = directory_pb2_grpc.DirectoryServiceStub(channel)
    with calling():
        request = directory_pb2.PublishResourceRequest(resource=statement)
        return stub.PublishResource(request, timeout=CALL_TIMEOUT_S).index


def list_resources(channel: grpc.Channel) -> list[Listed]:
    """Return the catalogue of the region: what is in force."""
    stub = directory_pb2_grpc.DirectoryServiceStub(channel)

    def page(token: str) -> tuple[list[Listed], str]:
        request = directory_pb2.ListResourcesRequest(page_size=PAGE, page_token=token)
        answer = stub.ListResources(request, timeout=CALL_TIMEOUT_S)
        suspended = frozenset(answer.suspended)
        bodies = [directory_pb2.ResourceBody.FromString(s.body) for s in answer.resources]
        return [Listed(body, body.id in suspended) for body in bodies], answer.next_page_token

    return all_pages(page)


def search(channel: grpc.Channel, wanted: Search) -> list[Version]:
    """Return the resources that fit.

    Args:
        channel: to the gateway.
        wanted: share type and standing as the contract's words, for example "conditional", "in_review".
    """
    stub = directory_pb2_grpc.DirectoryServiceStub(channel)
    share = (wanted.share or "unspecified").upper()
    standing = (wanted.standing or "unspecified").upper()

    def page(token: str) -> tuple[list[Version], str]:
        request = directory_pb2.SearchResourcesRequest(
            words=wanted.words,
            code=wanted.code,
            provider=wanted.provider,
            division=wanted.division,
            share_type=directory_pb2.ShareType.Value(f"SHARE_TYPE_{share}"),
            category=wanted.category,
            standing=directory_pb2.ResourceStanding.Value(f"RESOURCE_STANDING_{standing}"),
            page_size=PAGE,
            page_token=token,
        )
        answer = stub.SearchResources(request, timeout=CALL_TIMEOUT_S)
        return [_version(record) for record in answer.resources], answer.next_page_token

    return all_pages(page)


def versions(channel: grpc.Channel, resource: str) -> list[Version]:
    """Return every version of a resource that the caller may see, oldest first.

    Raises:
        UnknownResource: none was ever handed in.
    """
    stub = directory_pb2_grpc.DirectoryServiceStub(channel)

    def page(token: str) -> tuple[list[Version], str]:
        request = directory_pb2.ListVersionsRequest(
            resource=resource, page_size=VERSIONS_PAGE, page_token=token
        )
        answer = stub.ListVersions(request, timeout=CALL_TIMEOUT_S)
        return [_version(record) for record in answer.versions], answer.next_page_token

    return all_pages(page)


def versions_or_none(channel: grpc.Channel, resource: str) -> list[Version]:
    """Return every version of a resource, none where it was never handed in."""
    try:
        return versions(channel, resource)
    except UnknownResource:
        return []


def waits(channel: grpc.Channel, resource: str, version: int) -> bool:
    """Return whether a version waits for its review."""
    told = versions_or_none(channel, resource)
    return any(one.body.version == version and one.standing == IN_REVIEW for one in told)


def in_force(told: Sequence[Version]) -> Version | None:
    """Return which of a resource's versions is in force, suspended or not; None where none is."""
    return next((one for one in reversed(told) if one.standing in IN_FORCE), None)


def _found(channel: grpc.Channel, resource: str) -> Version:
    told = versions(channel, resource)
    found = in_force(told)
    if found is not None:
        return found
    if any(one.standing == directory_pb2.RESOURCE_STANDING_WITHDRAWN for one in told):
        raise Withdrawn(resource, hop=HOP)
    raise UnknownResource(resource, hop=HOP)


def find_resource(channel: grpc.Channel, resource: str) -> Listed:
    """Return one catalogue entry in force by its exact id, whether or not its provider has an agent yet.

    Raises:
        UnknownResource: there is none.
        Withdrawn: it was taken out of the catalogue.
    """
    found = _found(channel, resource)
    return Listed(found.body, found.standing == directory_pb2.RESOURCE_STANDING_SUSPENDED)


def find_once_in_force(channel: grpc.Channel, resource: str) -> directory_pb2.ResourceBody:
    """Return one catalogue entry by its exact id: in force, or as it was when it was withdrawn.

    Raises:
        UnknownResource: none ever was in force.
    """
    for version in reversed(versions(channel, resource)):
        if version.standing in ONCE_IN_FORCE:
            return version.body
    raise UnknownResource(resource, hop=HOP)


def next_version(channel: grpc.Channel, resource: str) -> int:
    """Return the number of the next version of a resource: one more than the last that was handed in."""
    told = versions_or_none(channel, resource)
    return told[-1].body.version + 1 if told else 1


def set_resource_state(
    channel: grpc.Channel, signer: Signer, resource: str, *, suspended: bool, clock: Clock, random: Random
) -> int:
    """Suspend or resume a resource as the provider's steward; return the index of its log entry.

    Raises:
        UnknownResource: none of that id is in force.
        Withdrawn: it was taken out of the catalogue.
    """
    found = _found(channel, resource)
    return _set(channel, signer, found, SUSPENSION, suspended=suspended, clock=clock, random=random)


def review_resource(
    channel: grpc.Channel,
    signer: Signer,
    resource: str,
    *,
    approve: bool,
    note: str,
    clock: Clock,
    random: Random,
) -> tuple[Version, int]:
    """Approve or reject the version that waits for review; return it and the index of the log entry.

    Raises:
        WrongState: none waits, as far as the signer may see.
    """
    found = next((one for one in versions(channel, resource) if one.standing == IN_REVIEW), None)
    if found is None:
        raise WrongState(resource, hop=HOP)
    action = directory_pb2.RESOURCE_ACTION_APPROVE if approve else directory_pb2.RESOURCE_ACTION_REJECT
    return found, _set(channel, signer, found, action, note=note, clock=clock, random=random)


def withdraw_resource(
    channel: grpc.Channel, signer: Signer, resource: str, *, note: str, clock: Clock, random: Random
) -> int:
    """Take a resource out of the catalogue for good; return the index of the log entry."""
    told = versions(channel, resource)
    found = in_force(told) or told[-1]
    action = directory_pb2.RESOURCE_ACTION_WITHDRAW
    return _set(channel, signer, found, action, note=note, clock=clock, random=random)


def _set(
    channel: grpc.Channel,
    signer: Signer,
    about: Version,
    action: "directory_pb2.ResourceAction.ValueType",
    *,
    clock: Clock,
    random: Random,
    suspended: bool = False,
    note: str = "",
) -> int:
    body = directory_pb2.ResourceStateBody(
        nonce=random(canonical.NONCE_BYTES),
        id=about.body.id,
        version=about.body.version,
        suspended=suspended,
        revision=about.revision + 1,
        issued_at=timestamp(clock.now_ms()),
        action=action,
        note=note,
    )
    statement = signer.sign(canonical.RESOURCE_STATE, body.SerializeToString())
    stub = directory_pb2_grpc.DirectoryServiceStub(channel)
    with calling():
        request = directory_pb2.SetResourceStateRequest(state=statement)
        return stub.SetResourceState(request, timeout=CALL_TIMEOUT_S).index


def _version(record: directory_pb2.VersionRecord) -> Version:
    body = directory_pb2.ResourceBody.FromString(record.resource.body)
    return Version(body, record.standing, record.index, record.revision)
