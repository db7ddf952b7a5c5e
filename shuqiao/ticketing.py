"""What people do about disputes, demands and quality, as calls: shared by the commands and whoever else does.

Every function takes an open channel to the gateway; those that change something also take the signer whose
statement the log will hold. Failures are ExchangeErrors. What is wrong with a value is sealed here, before it
leaves this machine: the gateway gets it as it stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import grpc

from exchange import canonical
from exchange.clock import Clock, Random
from exchange.errors import BundleStale, UnknownTicket
from exchange.keys import PeerKeys, open_bundle
from exchange.resources import parse_resource
from exchange.sealed_text import seal_text
from exchange.tickets import ACKNOWLEDGE
from exchange.timestamps import timestamp
from exchange.trust import TrustAnchor, TrustList
from exchange.v1 import common_pb2, directory_pb2, directory_pb2_grpc, ticket_pb2, ticket_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, HOP, calling, not_one
from shuqiao.regional import PAGE, Signer, find_once_in_force

ID_BYTES = 32


class Raised(NamedTuple):
    """A ticket that was raised."""

    ticket_id: bytes
    entry: int


class Acted(NamedTuple):
    """A ticket after a step; `told` is how many recipients were told of a correction so far."""

    ticket_id: bytes
    state: "ticket_pb2.TicketState.ValueType"
    entry: int
    told: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """By what the keys of a provider's agent are verified before anything is sealed to them."""

    anchor: TrustAnchor
    trust: TrustList


def raise_dispute(
    channel: grpc.Channel,
    signer: Signer,
    *,
    exchange_id: bytes,
    resource: str,
    fields: Sequence[str],
    text: str,
    clock: Clock,
    random: Random,
    detail: bytes = b"",
    agent: str = "",
    trusted: Trusted | None = None,
) -> Raised:
    """Dispute values that an exchange brought, as a steward of the consumer.

    Args:
        channel: to the gateway.
        signer: the steward.
        exchange_id: 16 bytes.
        resource: as the catalogue has it, or had it before it was withdrawn.
        fields: that are wrong.
        text: in words; no personal data.
        clock, random: for time, nonce and secret.
        detail: what is wrong, with personal data; sealed to one agent of the provider. Empty for none.
        agent: whose; the first that is there where empty.
        trusted: needed for a detail.

    Raises:
        UnknownResource: there is no such resource, nor was there one.
        BundleStale: no agent of the provider has a key that it can be sealed to.
    """
    nonce, now_ms = random(canonical.NONCE_BYTES), clock.now_ms()
    organisation = signer.identity.organisation
    dispute = ticket_pb2.Dispute(
        resource=resource,
        provider=find_once_in_force(channel, resource).provider,
        exchange_id=exchange_id,
        fields=fields,
    )
    if detail:
        assert trusted is not None
        keys = _provider_keys(channel, resource, agent, trusted, now_ms)
        kid = _newest(keys, now_ms)
        sealing = keys.sealing[kid]
        dispute.sealed.CopyFrom(
            seal_text(
                detail,
                suite_id=sealing.suite,
                public=sealing.public,
                kid=kid,
                agent=keys.agent,
                raised_by=organisation,
                provider=dispute.provider,
                nonce=nonce,
                exchange_id=exchange_id,
                random=random,
            )
        )
    body = ticket_pb2.TicketBody(nonce=nonce, raised_by=organisation, text=text, dispute=dispute)
    return _raise(channel, signer, body, now_ms)


def raise_demand(
    channel: grpc.Channel,
    signer: Signer,
    demand: ticket_pb2.Demand,
    *,
    text: str,
    clock: Clock,
    random: Random,
) -> Raised:
    """Ask for data that nobody offers yet, as a steward."""
    body = ticket_pb2.TicketBody(
        nonce=random(canonical.NONCE_BYTES),
        raised_by=signer.identity.organisation,
        text=text,
        demand=demand,
    )
    return _raise(channel, signer, body, clock.now_ms())


def act(
    channel: grpc.Channel,
    signer: Signer,
    ticket_id: bytes,
    action: "ticket_pb2.TicketAction.ValueType",
    *,
    clock: Clock,
    random: Random,
    text: str = "",
    assigned_to: str = "",
    resource: str = "",
    fields: Sequence[str] = (),
    subjects: Sequence[common_pb2.Statement] = (),
) -> Acted:
    """Take a ticket a step further; the arguments as in TicketEventBody.

    Args:
        subjects: of a correction, whom the value is about, as the authority signed it.
    """
    revision = 0 if action == ACKNOWLEDGE else get_ticket(channel, ticket_id).revision + 1
    body = ticket_pb2.TicketEventBody(
        nonce=random(canonical.NONCE_BYTES),
        ticket_id=ticket_id,
        revision=revision,
        action=action,
        issued_at=timestamp(clock.now_ms()),
        text=text,
        assigned_to=assigned_to,
        resource=resource,
        fields=fields,
    )
    statement = signer.sign(canonical.TICKET_EVENT, body.SerializeToString())
    with calling():
        stub = ticket_pb2_grpc.TicketServiceStub(channel)
        request = ticket_pb2.ActOnTicketRequest(event=statement, subjects=subjects)
        answer = stub.ActOnTicket(request, timeout=CALL_TIMEOUT_S)
    return Acted(ticket_id, answer.state, answer.index, answer.told)


def get_ticket(channel: grpc.Channel, ticket_id: bytes) -> ticket_pb2.TicketRecord:
    """Return one ticket."""
    with calling():
        stub = ticket_pb2_grpc.TicketServiceStub(channel)
        request = ticket_pb2.GetTicketRequest(ticket_id=ticket_id)
        return stub.GetTicket(request, timeout=CALL_TIMEOUT_S).ticket


def list_tickets(
    channel: grpc.Channel,
    *,
    demands: bool,
    state: "ticket_pb2.TicketState.ValueType" = ticket_pb2.TICKET_STATE_UNSPECIFIED,
    overdue: bool = False,
) -> list[ticket_pb2.TicketRecord]:
    """Return the disputes, or the demands, that the caller may see, oldest first."""
    stub, token = ticket_pb2_grpc.TicketServiceStub(channel), ""
    found: list[ticket_pb2.TicketRecord] = []
    while True:
        request = ticket_pb2.ListTicketsRequest(
            page_size=PAGE,
            page_token=token,
            state=state,
            demands=demands,
            disputes=not demands,
            overdue=overdue,
        )
        with calling():
            answer = stub.ListTickets(request, timeout=CALL_TIMEOUT_S)
        found += answer.tickets
        token = answer.next_page_token
        if not token:
            return found


def list_quality(
    channel: grpc.Channel, *, resource: str = "", since_ms: int = 0
) -> list[ticket_pb2.ResourceQuality]:
    """Return the quality of resources, of one where it is named.

    Args:
        channel: to the gateway.
        resource: its id; empty for every one.
        since_ms: from when on, Unix milliseconds; 0 for the last 30 days.
    """
    request = ticket_pb2.ListQualityRequest(resource=resource)
    if since_ms:
        request.since.CopyFrom(timestamp(since_ms))
    with calling():
        stub = ticket_pb2_grpc.TicketServiceStub(channel)
        return list(stub.ListQuality(request, timeout=CALL_TIMEOUT_S).resources)


def find_ticket(channel: grpc.Channel, text: str, *, demands: bool) -> bytes:
    """Return the id that a text begins, or is.

    Args:
        channel: to the gateway.
        text: hexadecimal.
        demands: whether it is looked for among the demands, else the disputes.

    Raises:
        UnknownTicket: none begins so, or several do.
    """
    wanted = text.lower()
    if len(wanted) == 2 * ID_BYTES and not set(wanted) - set("0123456789abcdef"):
        return bytes.fromhex(wanted)
    fitting = [one.ticket_id for one in list_tickets(channel, demands=demands) if wanted]
    fitting = [one for one in fitting if one.hex().startswith(wanted)]
    if len(fitting) != 1:
        raise UnknownTicket(not_one(text, len(fitting)), hop=HOP)
    return fitting[0]


def _raise(channel: grpc.Channel, signer: Signer, body: ticket_pb2.TicketBody, now_ms: int) -> Raised:
    body.issued_at.FromMilliseconds(now_ms)
    statement = signer.sign(canonical.TICKET, body.SerializeToString())
    with calling():
        stub = ticket_pb2_grpc.TicketServiceStub(channel)
        answer = stub.RaiseTicket(ticket_pb2.RaiseTicketRequest(ticket=statement), timeout=CALL_TIMEOUT_S)
    return Raised(answer.ticket_id, answer.index)


def _provider_keys(
    channel: grpc.Channel, resource: str, agent: str, trusted: Trusted, now_ms: int
) -> PeerKeys:
    """Return the verified keys of an agent of a resource's provider: its signed word, not the gateway's."""
    with calling():
        stub = directory_pb2_grpc.DirectoryServiceStub(channel)
        request = directory_pb2.GetResourceRequest(resource=resource, even_withdrawn=True)
        answer = stub.GetResource(request, timeout=CALL_TIMEOUT_S)
    provider = parse_resource(answer.resource).provider
    for statement in answer.bundles:
        keys = open_bundle(statement, trusted.anchor, at_ms=now_ms, trust=trusted.trust)
        if keys.organisation == provider and agent in ("", keys.agent):
            return keys
    raise BundleStale(agent or provider, hop=HOP)


def _newest(keys: PeerKeys, now_ms: int) -> bytes:
    """Return the id of the sealing key that lives longest."""
    alive = {kid: key for kid, key in keys.sealing.items() if key.not_before_ms <= now_ms < key.not_after_ms}
    if not alive:
        raise BundleStale(keys.agent, hop=HOP)
    return max(alive, key=lambda kid: alive[kid].not_after_ms)
