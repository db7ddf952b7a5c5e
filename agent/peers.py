"""Resolves whom a question goes to: the catalogue entry and the provider agent's keys, verified end to end.

The gateway hands both out and can falsify neither: the entry is signed by the provider's steward, the bundle
by the provider agent's certificate, both up to the root pinned at enrolment; bundles older than one already
seen are refused.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from agent.region import RegionView
from exchange.clock import Clock
from exchange.errors import BundleStale, GatewayAway, ProviderAway, ResponseMismatch
from exchange.keys import BundleBook, PeerKeys
from exchange.peer_keys import read_bundle_body
from exchange.resources import Resource, split_id, wider_divisions
from exchange.rpc_errors import answered
from exchange.trust import TrustList
from exchange.v1 import common_pb2, directory_pb2, directory_pb2_grpc

FETCH_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Resolved:
    """A resource and the keys of the provider's agent that answers for it."""

    resource: Resource
    keys: PeerKeys


class Peers:
    """Catalogue entries and keys of others, fetched once and remembered while they are valid.

    Args:
        region: what is known of resources.
        book: highest bundles seen, durable.
        trust: the newest trust list.
        clock: the time.
        hop: name of the gateway, for errors.
    """

    def __init__(
        self,
        *,
        region: RegionView,
        book: BundleBook,
        trust: Callable[[], TrustList | None],
        clock: Clock,
        hop: str,
    ) -> None:
        self._region = region
        self._book = book
        self._trust = trust
        self._clock = clock
        self._hop = hop
        self._resolved: dict[str, Resolved] = {}
        self._fetching: dict[str, asyncio.Task[Resolved]] = {}
        self.stub: directory_pb2_grpc.DirectoryServiceAsyncStub | None = None

    def known(self, resource_id: str) -> Resolved | None:
        """Return what is remembered of a resource, if its keys are still valid."""
        found = self._resolved.get(resource_id)
        if found is None:
            return None
        # The book drops what a newer trust list revokes, and what has expired.
        keys = self._book.by_digest(found.keys.digest)
        if keys is None:
            return None
        if keys is not found.keys:
            found = self._resolved[resource_id] = Resolved(found.resource, keys)
        return found

    def forget(self, resource_id: str) -> None:
        """Forget a resource, because the gateway called what is known of it stale."""
        self._resolved.pop(resource_id, None)

    async def resolve(self, resource_id: str) -> Resolved:
        """Fetch a resource and its provider's newest keys; calls for one resource share one fetch.

        Raises:
            UnknownResource, ProviderAway, GatewayAway, BundleRollback, BadSignature, ResponseMismatch.
        """
        task = self._fetching.get(resource_id)
        if task is None:
            task = asyncio.create_task(self._fetch(resource_id))
            self._fetching[resource_id] = task
            task.add_done_callback(lambda _: self._fetching.pop(resource_id, None))
        return await asyncio.shield(task)

    async def _fetch(self, resource_id: str) -> Resolved:
        stub = self._stub()
        request = directory_pb2.GetResourceRequest(resource=resource_id)
        answer = await answered(
            lambda: stub.GetResource(request, timeout=FETCH_TIMEOUT_S), hop=self._hop, away=GatewayAway
        )
        resource = self._region.take_resource(answer.resource)
        wanted = split_id(resource_id)
        found = split_id(resource.id)
        if found[1:] != wanted[1:] or found.division not in set(wider_divisions(wanted.division)):
            raise ResponseMismatch(resource_id)
        for statement in answer.bundles:
            keys = await self.take_bundle(statement)
            if keys.organisation == resource.provider and keys.expires_at_ms > self._clock.now_ms():
                resolved = Resolved(resource, keys)
                self._resolved[resource_id] = resolved
                return resolved
        raise ProviderAway(resource_id, hop=self._hop)

    async def take_bundle(self, statement: common_pb2.Statement) -> PeerKeys:
        """Take over a bundle; where it leaves a gap to the one held, fetch what lies between."""
        body = read_bundle_body(statement)
        mark = self._book.mark(body.organisation, body.agent)
        if mark is not None and mark[0] + 1 < body.seq:
            return await self.newest(body.organisation, body.agent)
        return self._book.accept([statement], self._trust())

    async def keys_by_digest(self, digest: bytes, organisation: str, agent: str) -> PeerKeys:
        """Return an agent's keys by their bundle's digest, fetching them where they are not known.

        Raises:
            BundleStale: the agent has no such bundle in force.
        """
        found = self._book.by_digest(digest)
        if found is None:
            with suppress(ProviderAway):
                await self.newest(organisation, agent)
            found = self._book.by_digest(digest)
        if found is None or found.organisation != organisation or found.agent != agent:
            raise BundleStale(agent)
        return found

    def keys_known(self, digest: bytes) -> PeerKeys | None:
        """Return keys by their bundle's digest, if they are known."""
        return self._book.by_digest(digest)

    async def newest(self, organisation: str, agent: str) -> PeerKeys:
        """Fetch every bundle of an agent that is newer than the one held, and return the newest.

        Raises:
            ProviderAway: the agent has published none.
        """
        held, mark = self._book.newest(organisation, agent), self._book.mark(organisation, agent)
        # A mark without keys is of an earlier process: its bundle is fetched again.
        after = held.seq if held else max(0, mark[0] - 1) if mark else 0
        while True:
            request = directory_pb2.ListBundlesRequest(
                organisation=organisation, agent=agent, after_seq=after
            )
            list_bundles = partial(self._stub().ListBundles, request, timeout=FETCH_TIMEOUT_S)
            answer = await answered(list_bundles, hop=self._hop, away=GatewayAway)
            if not answer.bundles:
                break
            held = self._book.accept(list(answer.bundles), self._trust())
            if (held.organisation, held.agent) != (organisation, agent) or held.seq <= after:
                raise ResponseMismatch(f"{organisation}/{agent}", hop=self._hop)
            after = held.seq
        if held is None:
            raise ProviderAway(f"{organisation}/{agent}", hop=self._hop)
        return held

    def _stub(self) -> "directory_pb2_grpc.DirectoryServiceAsyncStub":
        if self.stub is None:
            raise GatewayAway("no link", hop=self._hop)
        return self.stub
