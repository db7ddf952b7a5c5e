"""The region's catalogue and keys, for whoever holds a certificate of the region."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from exchange.errors import Malformed, ProviderAway, UnknownResource
from exchange.identity import Identity
from exchange.keys import PeerKeys
from exchange.record_schema import read_schema
from exchange.resource_body import read_body
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, directory_pb2_grpc
from gateway import pages
from gateway.admission import check_size
from gateway.calls import Calls
from gateway.directory.catalogue_entry import Entry
from gateway.directory.catalogue_search import read_search, search, sees_review
from gateway.registrar import Registrar
from gateway.state import RegionState

SERVICE = "/exchange.v1.DirectoryService"
DEFAULT_VERSIONS = 20
MAX_VERSIONS = 100

LinkedAgents = Callable[[str], Collection[str]]
"""Returns the names of an organisation's agents that are linked, by its credit code."""


class DirectoryService(directory_pb2_grpc.DirectoryServiceServicer):
    """Serves the directory.

    Args:
        registrar: enters what is published.
        state: of the region.
        calls: what every call has around it.
        linked: which agents are linked.
    """

    def __init__(
        self, *, registrar: Registrar, state: RegionState, calls: Calls, linked: LinkedAgents
    ) -> None:
        self._registrar = registrar
        self._state = state
        self._calls = calls
        self._linked = linked

    async def ListOrganisations(
        self, request: directory_pb2.ListOrganisationsRequest, context: Any
    ) -> directory_pb2.ListOrganisationsResponse:
        """List the organisations by credit code."""
        return await self._calls.run(f"{SERVICE}/ListOrganisations", request, context, self._organisations)

    async def ListResources(
        self, request: directory_pb2.ListResourcesRequest, context: Any
    ) -> directory_pb2.ListResourcesResponse:
        """List the catalogue by id."""
        return await self._calls.run(f"{SERVICE}/ListResources", request, context, self._resources)

    async def GetResource(
        self, request: directory_pb2.GetResourceRequest, context: Any
    ) -> directory_pb2.GetResourceResponse:
        """Return one resource and its provider's bundles."""
        return await self._calls.run(f"{SERVICE}/GetResource", request, context, self._resource)

    async def ListBundles(
        self, request: directory_pb2.ListBundlesRequest, context: Any
    ) -> directory_pb2.ListBundlesResponse:
        """List an agent's bundles by seq."""
        return await self._calls.run(f"{SERVICE}/ListBundles", request, context, self._bundles)

    async def ListEvents(
        self, request: directory_pb2.ListEventsRequest, context: Any
    ) -> directory_pb2.ListEventsResponse:
        """List what the caller's organisation may see of the region's changes."""
        return await self._calls.run(f"{SERVICE}/ListEvents", request, context, self._events)

    async def PublishResource(
        self, request: directory_pb2.PublishResourceRequest, context: Any
    ) -> directory_pb2.PublishResourceResponse:
        """Publish a resource."""
        return await self._calls.run(f"{SERVICE}/PublishResource", request, context, self._publish_resource)

    async def SetResourceState(
        self, request: directory_pb2.SetResourceStateRequest, context: Any
    ) -> directory_pb2.SetResourceStateResponse:
        """Suspend, resume or withdraw a resource, approve or reject a version."""
        return await self._calls.run(f"{SERVICE}/SetResourceState", request, context, self._set_state)

    async def SearchResources(
        self, request: directory_pb2.SearchResourcesRequest, context: Any
    ) -> directory_pb2.SearchResourcesResponse:
        """Find resources."""
        return await self._calls.run(f"{SERVICE}/SearchResources", request, context, self._search)

    async def ListVersions(
        self, request: directory_pb2.ListVersionsRequest, context: Any
    ) -> directory_pb2.ListVersionsResponse:
        """List the versions of a resource."""
        return await self._calls.run(f"{SERVICE}/ListVersions", request, context, self._versions)

    async def PublishBundle(
        self, request: directory_pb2.PublishBundleRequest, context: Any
    ) -> directory_pb2.PublishBundleResponse:
        """Publish a key bundle."""
        return await self._calls.run(f"{SERVICE}/PublishBundle", request, context, self._publish_bundle)

    async def _organisations(
        self, request: directory_pb2.ListOrganisationsRequest, caller: Identity
    ) -> directory_pb2.ListOrganisationsResponse:
        most = pages.page_size(request.page_size)
        after = pages.key_of("organisations", request.page_token)
        found = self._state.organisations.page(after, most + 1)
        taken = pages.fitting(found, lambda one: one.statement.ByteSize(), most=most)
        response = directory_pb2.ListOrganisationsResponse(organisations=[one.statement for one in taken])
        if len(taken) < len(found):
            response.next_page_token = pages.token("organisations", taken[-1].credit_code)
        return response

    async def _resources(
        self, request: directory_pb2.ListResourcesRequest, caller: Identity
    ) -> directory_pb2.ListResourcesResponse:
        most = pages.page_size(request.page_size)
        found = self._state.catalogue.page(pages.key_of("resources", request.page_token), most + 1)
        taken = await pages.read_fitting(
            found, lambda one: self._statement(one.id), lambda one: one.ByteSize(), most=most
        )
        response = directory_pb2.ListResourcesResponse(
            resources=[statement for _, statement in taken],
            suspended=[one.id for one, _ in taken if one.kept is not None and one.kept.suspended],
        )
        if len(taken) < len(found):
            response.next_page_token = pages.token("resources", taken[-1][0].id)
        return response

    def _statement(self, resource_id: str) -> common_pb2.Statement:
        """Read the signed body of a catalogue entry that is or was in force from the log."""
        return self._registrar.statement(self._state.catalogue.index(resource_id))

    async def _resource(
        self, request: directory_pb2.GetResourceRequest, caller: Identity
    ) -> directory_pb2.GetResourceResponse:
        if request.even_withdrawn:
            resource = self._state.catalogue.once_in_force(request.resource)
        else:
            resource = self._state.resource(request.resource)
        bundles = self._in_force(resource.provider)
        if not bundles:
            raise ProviderAway(resource.provider)
        return directory_pb2.GetResourceResponse(
            resource=self._statement(resource.id), bundles=[bundle.statement for bundle in bundles]
        )

    def _in_force(self, organisation: str) -> list[PeerKeys]:
        """Return the newest bundle of each linked agent; of each agent where none is linked.

        The consumer asks all the same where the provider is away: that its request is refused is for the
        gateway to say and to log.
        """
        agents = sorted(self._state.bundles.agents(organisation))
        valid = [keys for agent in agents if (keys := self._state.bundles.newest(organisation, agent))]
        linked = set(self._linked(organisation))
        return [keys for keys in valid if keys.agent in linked] or valid

    async def _bundles(
        self, request: directory_pb2.ListBundlesRequest, caller: Identity
    ) -> directory_pb2.ListBundlesResponse:
        indexes = self._state.bundles.indexes_after(request.organisation, request.agent, request.after_seq)
        entries = (audit_pb2.AuditEntry.FromString(self._registrar.leaf(index)) for index in indexes)
        statements = (entry.administrative.statement for entry in entries)
        taken = pages.fitting(statements, lambda one: one.ByteSize(), most=len(indexes) or 1)
        return directory_pb2.ListBundlesResponse(bundles=taken)

    async def _events(
        self, request: directory_pb2.ListEventsRequest, caller: Identity
    ) -> directory_pb2.ListEventsResponse:
        most = pages.page_size(request.page_size)
        page = self._registrar.events(request.since, most, caller.organisation)
        return directory_pb2.ListEventsResponse(events=page.events, next=page.next, more=page.more)

    async def _search(
        self, request: directory_pb2.SearchResourcesRequest, caller: Identity
    ) -> directory_pb2.SearchResourcesResponse:
        most = pages.page_size(request.page_size)
        wanted = read_search(request)
        found = await search(
            self._state.catalogue,
            wanted,
            caller,
            read=self._registrar.statement,
            after=pages.key_of("search", request.page_token),
            most=most,
        )
        return directory_pb2.SearchResourcesResponse(
            resources=[_record(hit.entry, hit.version, hit.statement) for hit in found.hits],
            next_page_token=pages.token("search", found.next_key) if found.next_key else "",
        )

    async def _versions(
        self, request: directory_pb2.ListVersionsRequest, caller: Identity
    ) -> directory_pb2.ListVersionsResponse:
        if request.page_size > MAX_VERSIONS:
            raise Malformed("page_size")
        entry = self._state.catalogue.entry(request.resource)
        waiting = entry.waiting.resource.version if entry.waiting else 0
        passed = pages.position_of("versions", request.resource, request.page_token) or 0
        last = len(entry.indexes)
        if waiting and not sees_review(entry, caller):
            last = waiting - 1
        if not last:
            raise UnknownResource(request.resource)
        most = request.page_size or DEFAULT_VERSIONS
        told = (
            _record(entry, number, self._registrar.statement(entry.indexes[number - 1]))
            for number in range(passed + 1, min(last, passed + most) + 1)
        )
        taken = pages.fitting(told, lambda one: one.ByteSize(), most=most)
        passed += len(taken)
        return directory_pb2.ListVersionsResponse(
            versions=taken,
            next_page_token=pages.token_at("versions", request.resource, passed if passed < last else None),
        )

    async def _publish_resource(
        self, request: directory_pb2.PublishResourceRequest, caller: Identity
    ) -> directory_pb2.PublishResourceResponse:
        await self._read_schemas(request.resource)
        index = await self._registrar.record(audit_pb2.ACT_RESOURCE, caller, request.resource)
        return directory_pb2.PublishResourceResponse(index=index)

    async def _read_schemas(self, statement: common_pb2.Statement) -> None:
        """Read the schemas of a version and of the one in force beside the loop, for admission to find."""
        check_size(statement)
        new = read_body(statement)
        texts = [new.schema]
        if new.id in self._state.catalogue.by_id:
            held = self._registrar.statement(self._state.catalogue.index(new.id))
            texts.append(directory_pb2.ResourceBody.FromString(held.body).schema)
        for text in filter(None, texts):
            await asyncio.to_thread(read_schema, text)

    async def _set_state(
        self, request: directory_pb2.SetResourceStateRequest, caller: Identity
    ) -> directory_pb2.SetResourceStateResponse:
        index = await self._registrar.record(audit_pb2.ACT_RESOURCE_STATE, caller, request.state)
        return directory_pb2.SetResourceStateResponse(index=index)

    async def _publish_bundle(
        self, request: directory_pb2.PublishBundleRequest, caller: Identity
    ) -> directory_pb2.PublishBundleResponse:
        index = await self._registrar.record(audit_pb2.ACT_BUNDLE, caller, request.bundle)
        return directory_pb2.PublishBundleResponse(index=index)


def _record(entry: Entry, version: int, statement: common_pb2.Statement) -> directory_pb2.VersionRecord:
    return directory_pb2.VersionRecord(
        resource=statement,
        standing=entry.standing(version),
        index=entry.indexes[version - 1],
        revision=entry.revision,
    )
