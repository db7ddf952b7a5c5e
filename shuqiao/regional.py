"""What people do to a region, as calls: shared by the command and the demo.

Every function takes an open channel to the gateway; those that change something also take the signer whose
statement the log will hold. Failures are ExchangeErrors; a gateway that cannot be reached is GatewayAway.
"""

from typing import NamedTuple

import grpc

from exchange import canonical
from exchange.clock import Clock, Random
from exchange.timestamps import timestamp
from exchange.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    directory_pb2,
    directory_pb2_grpc,
    grant_pb2,
    grant_pb2_grpc,
)
from shuqiao.calling import CALL_TIMEOUT_S, calling
from shuqiao.calling import Signer as Signer
from shuqiao.calling import all_pages as _pages
from shuqiao.catalogue import find_once_in_force as find_once_in_force
from shuqiao.catalogue import find_resource as find_resource
from shuqiao.catalogue import list_resources as list_resources
from shuqiao.catalogue import next_version as next_version
from shuqiao.catalogue import publish_resource as publish_resource
from shuqiao.catalogue import set_resource_state as set_resource_state
from shuqiao.following import follow as follow
from shuqiao.following import search as search

PAGE = 500


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
