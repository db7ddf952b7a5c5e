"""What people do to a region, as calls: shared by the command and the demo.

Every function takes an open channel to the gateway; those that change something also take the signer whose
statement the log will hold. Failures are ExchangeErrors; a gateway that cannot be reached is GatewayAway.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import grpc

from exchange import canonical
from exchange.clock import Clock, Random
from exchange.errors import UnknownResource
from exchange.identity import Identity
from exchange.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    common_pb2,
    directory_pb2,
    directory_pb2_grpc,
    grant_pb2,
    grant_pb2_grpc,
)
from shuqiao.calling import CALL_TIMEOUT_S, HOP, calling
from shuqiao.following import follow as follow
from shuqiao.following import search as search
from shuqiao.forms import timestamp

PAGE = 500

M = TypeVar("M")


class Signer(Protocol):
    """Whoever signs; exchange.statement.StatementSigner is one."""

    @property
    def identity(self) -> Identity:
        """Who that is."""
        ...

    def sign(self, domain: bytes, body: bytes) -> common_pb2.Statement:
        """Sign a body under its domain."""
        ...


class Listed(NamedTuple):
    """A catalogue entry and where it stands."""

    body: directory_pb2.ResourceBody
    suspended: bool


class Applied(NamedTuple):
    """A grant that was applied for."""

    grant_id: bytes
    entry: int


class Decided(NamedTuple):
    """A grant that something was done to."""

    state: "grant_pb2.GrantState.ValueType"
    entry: int


def add_organisation(channel: grpc.Channel, signer: Signer, body: directory_pb2.OrganisationBody) -> int:
    """Add an organisation as an administrator; return the index of its log entry."""
    statement = signer.sign(canonical.ORGANISATION, body.SerializeToString())
    request = admin_pb2.AddOrganisationRequest(organisation=statement)
    with calling():
        return admin_pb2_grpc.AdminServiceStub(channel).AddOrganisation(request, timeout=CALL_TIMEOUT_S).index


def list_organisations(channel: grpc.Channel) -> list[directory_pb2.OrganisationBody]:
    """Return the organisations of the region."""
    stub = directory_pb2_grpc.DirectoryServiceStub(channel)

    def page(token: str) -> tuple[list[directory_pb2.OrganisationBody], str]:
        request = directory_pb2.ListOrganisationsRequest(page_size=PAGE, page_token=token)
        answer = stub.ListOrganisations(request, timeout=CALL_TIMEOUT_S)
        bodies = [directory_pb2.OrganisationBody.FromString(s.body) for s in answer.organisations]
        return bodies, answer.next_page_token

    return _pages(page)


def publish_resource(channel: grpc.Channel, signer: Signer, body: directory_pb2.ResourceBody) -> int:
    """Publish a catalogue entry as the provider's steward; return the index of its log entry."""
    statement = signer.sign(canonical.RESOURCE, body.SerializeToString())
    stub = directory_pb2_grpc.DirectoryServiceStub(channel)
    with calling():
        request = directory_pb2.PublishResourceRequest(resource=statement)
        return stub.PublishResource(request, timeout=CALL_TIMEOUT_S).index


def list_resources(channel: grpc.Channel) -> list[Listed]:
    """Return the catalogue of the region."""
    stub = directory_pb2_grpc.DirectoryServiceStub(channel)

    def page(token: str) -> tuple[list[Listed], str]:
        request = directory_pb2.ListResourcesRequest(page_size=PAGE, page_token=token)
        answer = stub.ListResources(request, timeout=CALL_TIMEOUT_S)
        suspended = frozenset(answer.suspended)
        bodies = [directory_pb2.ResourceBody.FromString(s.body) for s in answer.resources]
        return [Listed(body, body.id in suspended) for body in bodies], answer.next_page_token

    return _pages(page)


def find_resource(channel: grpc.Channel, resource: str) -> Listed:
    """Return one catalogue entry by its exact id, whether or not its provider has an agent yet.

    Raises:
        UnknownResource: there is none.
    """
    for listed in list_resources(channel):
        if listed.body.id == resource:
            return listed
    raise UnknownResource(resource, hop=HOP)


def next_version(channel: grpc.Channel, resource: str) -> int:
    """Return the version that the next publication of a resource has: one more than the last."""
    versions = [listed.body.version for listed in list_resources(channel) if listed.body.id == resource]
    return max(versions, default=0) + 1


def set_resource_state(
    channel: grpc.Channel, signer: Signer, resource: str, *, suspended: bool, clock: Clock, random: Random
) -> int:
    """Suspend or resume a resource as the provider's steward; return the index of its log entry.

    Raises:
        UnknownResource: there is none of that id.
    """
    body = directory_pb2.ResourceStateBody(
        nonce=random(canonical.NONCE_BYTES),
        id=resource,
        version=find_resource(channel, resource).body.version,
        suspended=suspended,
        revision=_state_revision(channel, resource) + 1,
        issued_at=timestamp(clock.now_ms()),
    )
    statement = signer.sign(canonical.RESOURCE_STATE, body.SerializeToString())
    stub = directory_pb2_grpc.DirectoryServiceStub(channel)
    with calling():
        request = directory_pb2.SetResourceStateRequest(state=statement)
        return stub.SetResourceState(request, timeout=CALL_TIMEOUT_S).index


def apply_grant(channel: grpc.Channel, signer: Signer, body: grant_pb2.GrantBody) -> Applied:
    """Apply for a grant as the consumer's steward."""
    statement = signer.sign(canonical.GRANT, body.SerializeToString())
    stub = grant_pb2_grpc.GrantServiceStub(channel)
    with calling():
        answer = stub.ApplyGrant(grant_pb2.ApplyGrantRequest(grant=statement), timeout=CALL_TIMEOUT_S)
        return Applied(answer.grant_id, answer.index)


def decide_grant(
    channel: grpc.Channel,
    signer: Signer,
    grant_id: bytes,
    action: "grant_pb2.GrantAction.ValueType",
    *,
    clock: Clock,
    random: Random,
    note: str = "",
    not_after_ms: int = 0,
    deleted_before_ms: int = 0,
) -> Decided:
    """Accept, reject, pause, resume, extend, supervise, overrule, revoke or give back a grant, or attest.

    Args:
        channel: to the gateway.
        signer: a steward of the provider, supervisor or consumer, as the action demands.
        grant_id: 32 bytes.
        action: what to do.
        clock: for the time of signing.
        random: for the nonce.
        note: why; no personal data.
        not_after_ms: of an extension: the new end, Unix milliseconds.
        deleted_before_ms: of an attestation: what was received before is deleted, Unix milliseconds.
    """
    event = grant_pb2.GrantEventBody(
        nonce=random(canonical.NONCE_BYTES),
        grant_id=grant_id,
        revision=get_grant(channel, grant_id).revision + 1,
        action=action,
        issued_at=timestamp(clock.now_ms()),
        note=note,
        not_after=timestamp(not_after_ms) if not_after_ms else None,
        deleted_before=timestamp(deleted_before_ms) if deleted_before_ms else None,
    )
    statement = signer.sign(canonical.GRANT_EVENT, event.SerializeToString())
    stub = grant_pb2_grpc.GrantServiceStub(channel)
    with calling():
        answer = stub.DecideGrant(grant_pb2.DecideGrantRequest(event=statement), timeout=CALL_TIMEOUT_S)
        return Decided(answer.state, answer.index)


def get_grant(channel: grpc.Channel, grant_id: bytes) -> grant_pb2.GrantRecord:
    """Return one grant with its history."""
    stub = grant_pb2_grpc.GrantServiceStub(channel)
    with calling():
        return stub.GetGrant(grant_pb2.GetGrantRequest(grant_id=grant_id), timeout=CALL_TIMEOUT_S).grant


def list_grants(
    channel: grpc.Channel,
    *,
    state: "grant_pb2.GrantState.ValueType" = grant_pb2.GRANT_STATE_UNSPECIFIED,
    resource: str = "",
    consumer: str = "",
    overdue: bool = False,
    timed: bool = False,
) -> list[grant_pb2.GrantRecord]:
    """Return the grants that the caller may see.

    Args:
        channel: to the gateway.
        state: only those that stand so; all where it is not set.
        resource: only those of this resource; of all where empty.
        consumer: only those of this consumer, by credit code; of all where empty.
        overdue: only those whose clock has run out.
        timed: only those for which a clock runs.
    """
    stub = grant_pb2_grpc.GrantServiceStub(channel)

    def page(token: str) -> tuple[list[grant_pb2.GrantRecord], str]:
        request = grant_pb2.ListGrantsRequest(
            page_size=PAGE,
            page_token=token,
            state=state,
            resource=resource,
            consumer=consumer,
            overdue=overdue,
            timed=timed,
        )
        answer = stub.ListGrants(request, timeout=CALL_TIMEOUT_S)
        return list(answer.grants), answer.next_page_token

    return _pages(page)


def get_entry(channel: grpc.Channel, key: int | bytes) -> audit_pb2.GetEntryResponse:
    """Return an entry with its proof, by index or by exchange id (16 bytes)."""
    request = (
        audit_pb2.GetEntryRequest(index=key)
        if isinstance(key, int)
        else audit_pb2.GetEntryRequest(exchange_id=key)
    )
    with calling():
        return audit_pb2_grpc.AuditServiceStub(channel).GetEntry(request, timeout=CALL_TIMEOUT_S)


def get_checkpoint(channel: grpc.Channel) -> str:
    """Return the newest checkpoint of the gateway's log, a C2SP signed note."""
    stub = audit_pb2_grpc.AuditServiceStub(channel)
    with calling():
        return stub.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=CALL_TIMEOUT_S).checkpoint


def get_witnessed(channel: grpc.Channel) -> tuple[str, str]:
    """Return the newest checkpoint, and the newest that witnesses cosigned; the latter may be empty."""
    stub = audit_pb2_grpc.AuditServiceStub(channel)
    with calling():
        told = stub.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=CALL_TIMEOUT_S)
    return told.checkpoint, told.witnessed


def get_log_port(channel: grpc.Channel) -> int:
    """Return the port on which the gateway serves checkpoints and tiles, 0 where it does not."""
    stub = audit_pb2_grpc.AuditServiceStub(channel)
    with calling():
        return stub.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=CALL_TIMEOUT_S).log_port


def _state_revision(channel: grpc.Channel, resource: str) -> int:
    """The highest revision of a resource's state, from the events that the signer may see."""
    stub = directory_pb2_grpc.DirectoryServiceStub(channel)
    highest, since, more = 0, 0, True
    while more:
        with calling():
            request = directory_pb2.ListEventsRequest(since=since, page_size=PAGE)
            answer = stub.ListEvents(request, timeout=CALL_TIMEOUT_S)
        for event in answer.events:
            act = audit_pb2.AuditEntry.FromString(event.leaf).administrative
            if act.act == audit_pb2.ACT_RESOURCE_STATE:
                body = directory_pb2.ResourceStateBody.FromString(act.statement.body)
                if body.id == resource:
                    highest = max(highest, body.revision)
        more = answer.more and answer.next > since
        since = answer.next
    return highest


def _pages(page: Callable[[str], tuple[list[M], str]]) -> list[M]:
    found: list[M] = []
    token = ""
    while True:
        with calling():
            items, token = page(token)
        found.extend(items)
        if not token:
            return found
