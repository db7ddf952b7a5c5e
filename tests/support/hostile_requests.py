"""Requests made by hand, as a consumer that keeps no rule would make them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import uuid_utils

from exchange import canonical
from exchange.envelope import ColumnPlan, direction_key, seal
from exchange.errors import by_reason
from exchange.resources import DEFAULT_PADDING
from exchange.session import ConsumerSessions, Parties, Session
from exchange.signing import BatchSigner
from exchange.suites import suite
from exchange.v1 import common_pb2, exchange_pb2, link_pb2, reason_pb2
from tests.support.hostile import PERSON, Collector, Department, World, error_of, until
from tests.support.region import DIVISION, ORIGIN, RESOURCE, nonce

Change = Callable[[exchange_pb2.RequestBody], None]


def session_of(world: World, who: Department) -> Session:
    """Return a new sealing session of a consumer with public security's agent."""
    held = world.region.state.bundles.newest(world.police.identity.organisation, "police-1")
    assert held is not None
    kid, key = held.sealing_key(2, now_ms=world.clock.ms)
    parties = Parties(
        who.identity.organisation,
        who.identity.name,
        who.keys.signing_kid,
        world.police.identity.organisation,
        "police-1",
        kid,
    )
    sessions = ConsumerSessions(clock=world.clock)
    return sessions.current(suite(2), parties, key.public, until_ms=key.not_after_ms)


def signed_request(
    world: World,
    *,
    who: Department | None = None,
    session: Session | None = None,
    change: Change | None = None,
    signer: BatchSigner | None = None,
    parameters: Sequence[ColumnPlan] | None = None,
    **header_changes: Any,
) -> common_pb2.Signed:
    """Return a request that is right in everything but what the test changes, signed."""
    who = who or world.health
    session = session or session_of(world, who)
    held = world.region.state.bundles.newest(world.police.identity.organisation, "police-1")
    assert held is not None
    kid, _ = held.sealing_key(2, now_ms=world.clock.ms)
    header: dict[str, Any] = {
        "nonce": nonce(),
        "exchange_id": uuid_utils.uuid7().bytes,
        "division": DIVISION,
        "gateway": ORIGIN,
        "issued_at_ms": world.clock.ms,
        "deadline_ms": world.clock.ms + 10_000,
        "kind": common_pb2.KIND_QUERY,
        "consumer_organisation": who.identity.organisation,
        "consumer_agent": who.identity.name,
        "consumer_kid": who.keys.signing_kid,
        "provider_organisation": world.police.identity.organisation,
        "provider_agent": "police-1",
        "provider_kid": kid,
        "resource": RESOURCE,
        "resource_digest": world.region.state.resource(RESOURCE).digest,
        "fields": ["name", "address"],
        "grant_id": world.grant,
        "grant_revision": 1,
        "purpose": "birth",
        "matter": "newborn",
        "case_number": "C-1",
        "suite": 2,
        "consumer_bundle": who.keys.bundle_digest,
        "provider_bundle": held.digest,
        "session_id": session.id,
        "session_expiry_ms": session.expiry_ms,
    }
    raw = exchange_pb2.RequestHeader(**(header | header_changes)).SerializeToString()
    body = exchange_pb2.RequestBody(header=raw, wrap=session.wrap)
    columns = parameters or [ColumnPlan("id", [PERSON.encode()], DEFAULT_PADDING)]
    key = direction_key(suite(2), session.secret, raw, "request")
    body.sealed.CopyFrom(seal(key, columns, len(columns[0].values)))
    if change is not None:
        change(body)
    return sign(who, body.SerializeToString(), signer)


def sign(who: Department, raw: bytes, signer: BatchSigner | None = None) -> common_pb2.Signed:
    """Return a body signed by a department's agent, or another signer."""
    chosen = signer or BatchSigner(kid=who.keys.signing_kid, key=who.keys.signing_key)
    return common_pb2.Signed(body=raw, signature=chosen.sign([canonical.digest(canonical.REQUEST, raw)])[0])


async def gateway_reason(world: World, *requests: common_pb2.Signed, caller: Collector | None = None) -> str:
    """Hand requests to the gateway's path and return the last one's reason; "" for an answer.

    Every request has exactly one outcome.
    """
    collector = caller or world.collector(world.health)
    before = len(collector.outcomes)
    world.path.admit(collector, requests)
    async with asyncio.timeout(20):
        await until(lambda: len(collector.outcomes) - before >= len(requests))
    assert len(collector.outcomes) - before == len(requests)
    assert collector.in_flight == 0
    return error_of(collector.outcomes[-1][0])


async def provider_reason(world: World, *requests: common_pb2.Signed) -> str:
    """Hand requests to public security's agent as a gateway that checks nothing would; return its answer.

    The name of the last one's reason, "" for an answer.
    """
    seen: list[Any] = []

    def watch(frame: link_pb2.LinkRequest) -> link_pb2.LinkRequest:
        seen.extend(item for item in frame.items)
        return frame

    world.police.wire.up = watch
    deliveries = [link_pb2.Delivery(request=signed) for signed in requests]
    world.police.wire.push(link_pb2.LinkResponse(items=deliveries))
    await until(lambda: len(seen) >= len(requests))
    world.police.wire.honest()
    last: link_pb2.LinkItem = seen[-1]
    if last.HasField("failure"):
        return by_reason(last.failure.reason)().name
    body = exchange_pb2.ResponseBody.FromString(last.response.body)
    if body.failure == reason_pb2.REASON_UNSPECIFIED:
        return ""
    assert not body.sealed.columns and not body.clear
    return by_reason(body.failure)().name
