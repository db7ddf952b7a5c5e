"""The region's grants: consumers apply, providers decide, supervisors approve, parties and overseers read."""

from collections.abc import Callable, Sequence
from typing import Any

from exchange.canonical import GRANT, digest
from exchange.errors import UnknownGrant
from exchange.grants import Grant, read_event
from exchange.identity import Identity
from exchange.v1 import audit_pb2, grant_pb2, grant_pb2_grpc
from gateway import pages
from gateway.calls import Calls
from gateway.clocks.grants import GrantClocks
from gateway.grant_list import NAME, GrantLists, sees
from gateway.registrar import Registrar
from gateway.state import RegionState

SERVICE = "/exchange.v1.GrantService"


class GrantService(grant_pb2_grpc.GrantServiceServicer):
    """Serves the grants.

    Args:
        registrar: enters applications and decisions.
        state: of the region.
        calls: what every call has around it.
        clocks: of the grants.
        lists: pages of grants.
        taken: returns how much of each quota of a grant is used or reserved now.
    """

    def __init__(
        self,
        *,
        registrar: Registrar,
        state: RegionState,
        calls: Calls,
        clocks: GrantClocks,
        lists: GrantLists,
        taken: Callable[[Grant], Sequence[int]] = lambda grant: (),
    ) -> None:
        self._registrar = registrar
        self._state = state
        self._calls = calls
        self._clocks = clocks
        self._lists = lists
        self._taken = taken

    async def ApplyGrant(
        self, request: grant_pb2.ApplyGrantRequest, context: Any
    ) -> grant_pb2.ApplyGrantResponse:
        """Apply for a grant."""
        return await self._calls.run(f"{SERVICE}/ApplyGrant", request, context, self._apply)

    async def DecideGrant(
        self, request: grant_pb2.DecideGrantRequest, context: Any
    ) -> grant_pb2.DecideGrantResponse:
        """Decide on a grant."""
        return await self._calls.run(f"{SERVICE}/DecideGrant", request, context, self._decide)

    async def GetGrant(self, request: grant_pb2.GetGrantRequest, context: Any) -> grant_pb2.GetGrantResponse:
        """Return one grant."""
        return await self._calls.run(f"{SERVICE}/GetGrant", request, context, self._get)

    async def ListGrants(
        self, request: grant_pb2.ListGrantsRequest, context: Any
    ) -> grant_pb2.ListGrantsResponse:
        """List grants, oldest first."""
        return await self._calls.run(f"{SERVICE}/ListGrants", request, context, self._list)

    async def _apply(
        self, request: grant_pb2.ApplyGrantRequest, caller: Identity
    ) -> grant_pb2.ApplyGrantResponse:
        index = await self._registrar.record(audit_pb2.ACT_GRANT, caller, request.grant)
        return grant_pb2.ApplyGrantResponse(grant_id=digest(GRANT, request.grant.body), index=index)

    async def _decide(
        self, request: grant_pb2.DecideGrantRequest, caller: Identity
    ) -> grant_pb2.DecideGrantResponse:
        index = await self._registrar.record(audit_pb2.ACT_GRANT_EVENT, caller, request.event)
        grant = self._state.grants.one(read_event(request.event).grant_id)
        return grant_pb2.DecideGrantResponse(state=grant_pb2.GrantState.ValueType(grant.state), index=index)

    async def _get(self, request: grant_pb2.GetGrantRequest, caller: Identity) -> grant_pb2.GetGrantResponse:
        grant = self._state.grants.one(request.grant_id)
        if not sees(grant, caller.organisation or None):
            # The same answer as for a grant that is not there.
            raise UnknownGrant(grant.name)
        return grant_pb2.GetGrantResponse(grant=self._told(grant))

    async def _list(
        self, request: grant_pb2.ListGrantsRequest, caller: Identity
    ) -> grant_pb2.ListGrantsResponse:
        page = self._lists.page(request, caller.organisation or None, pages.page_size(request.page_size))
        taken = await pages.read_fitting(
            page.grants,
            lambda one: self._told(one.grant),
            lambda record: record.ByteSize(),
            most=len(page.grants),
        )
        response = grant_pb2.ListGrantsResponse(grants=[record for _, record in taken])
        last = page.next_place if len(taken) == len(page.grants) else taken[-1][0].place
        response.next_page_token = pages.token(NAME, last) if last else ""
        return response

    def _told(self, grant: Grant) -> grant_pb2.GrantRecord:
        """Return a grant's record, with its term, who supervises, the clock that runs and what is used."""
        grants, leaf = self._state.grants, self._registrar.leaf
        record = grants.record(grant.grant_id, leaf)
        record.not_after.FromMilliseconds(grant.not_after_ms)
        if grant.extended_to_ms:
            record.extended_to.FromMilliseconds(grant.extended_to_ms)
        record.supervisor = grant.supervisor
        record.resource_standing = self._state.catalogue.standing(grant.resource)
        applied = audit_pb2.AuditEntry.FromString(leaf(grants.indexes(grant.grant_id)[0]))
        record.applied_at.FromMilliseconds(applied.time_ms)
        clock = self._clocks.clock(grant)
        if clock is not None:
            record.clock, record.waits_for = clock.name, clock.waits_for
            record.due_at.FromMilliseconds(clock.due_ms)
        if grant.quotas:
            record.used.extend(self._taken(grant))
        return record
