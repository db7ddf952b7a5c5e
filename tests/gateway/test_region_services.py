"""The region's services over a real server: what is answered, refused and entered."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange import errors as e
from exchange.identity import Role
from exchange.merkle import leaf_hash, root_from_path, root_of
from exchange.rpc_errors import from_rpc_error
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
    reason_pb2,
)
from gateway import pages
from gateway.admin_service import AdminService
from gateway.audit.following.tail import Tails
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.search import SEARCH, Searches
from gateway.audit.projections.search_rows import SearchContent
from gateway.audit_service import AuditService
from gateway.calls import Calls
from gateway.directory_service import DirectoryService
from gateway.trust_watch import TrustWatch
from tests.support.callers import by, nothing_traced, peer
from tests.support.catalogue import ReviewRegion
from tests.support.keeping import KeptLog, present
from tests.support.region import (
    CIVIL,
    HEALTH,
    POLICE,
    RESOURCE,
    Authority,
    Region,
    nonce,
)

ACCEPT = grant_pb2.GRANT_ACTION_ACCEPT
AUTHORITY = Authority()
OFFICER = AUTHORITY.person(Role.OFFICER, "officer-1")
AUDITOR = AUTHORITY.person(Role.AUDITOR, "auditor-1")
OPERATOR = AUTHORITY.person(Role.OPERATOR, "operator-1")
HEALTH_AGENT = AUTHORITY.person(Role.AGENT, "health-1", HEALTH)
CIVIL_STEWARD = AUTHORITY.person(Role.STEWARD, "wang", CIVIL)


class Served(ReviewRegion):
    """A region whose services are served."""

    linked: list[str]
    faults: list[str]

    async def serve(self) -> grpc.aio.Server:
        self.linked, self.faults = [], []
        self.projection = Projection(path=self.folder / SEARCH, log=self.log, content=SearchContent())
        self.projection.start()
        calls = Calls(registrar=self.registrar, peer=peer)
        server = grpc.aio.server()
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(
            DirectoryService(
                registrar=self.registrar, state=self.state, calls=calls, linked=lambda code: self.linked
            ),
            server,
        )
        grant_pb2_grpc.add_GrantServiceServicer_to_server(self.grant_service(calls), server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(
            AdminService(
                registrar=self.registrar,
                calls=calls,
                log=self.log,
                trust_feed=self.feed,
                agents=lambda: [("spiffe://x", 3)],
                faults=lambda: self.faults,
                rotate=lambda overlap_s, by: (bytes(32), f"{overlap_s} {by.name}"),
            ),
            server,
        )
        audit_pb2_grpc.add_AuditServiceServicer_to_server(
            AuditService(
                registrar=self.registrar,
                calls=calls,
                log=self.log,
                find=self.find,
                tails=Tails(log=self.log, witnessed=lambda: 0, clock=self.clock, max_tails=1),
                searches=Searches(projection=self.projection, log=self.log, witnessed=lambda: 0),
                trace=nothing_traced,
                witnessed=lambda: "",
                log_port=lambda: 0,
            ),
            server,
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.directory = directory_pb2_grpc.DirectoryServiceStub(self.channel)
        self.grants = grant_pb2_grpc.GrantServiceStub(self.channel)
        self.admins = admin_pb2_grpc.AdminServiceStub(self.channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self.channel)
        return server

    async def find(self, exchange_id: bytes) -> int | None:
        for index, leaf in enumerate(self.log.entries):
            if audit_pb2.AuditEntry.FromString(leaf).exchange.exchange_id == exchange_id:
                return index
        return None

    def exchange(self, consumer: str, provider: str) -> bytes:
        one = audit_pb2.AuditEntry(salt=nonce(), version=1)
        one.exchange.exchange_id = nonce()
        one.exchange.consumer_organisation, one.exchange.provider_organisation = consumer, provider
        self.log.entries.append(one.SerializeToString())
        return one.exchange.exchange_id


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Served]:
    served = Served(tmp_path, authority=AUTHORITY)
    server = await served.serve()
    yield served
    await served.channel.close()
    await server.stop(None)
    await served.projection.close()


async def refused(call: Any) -> e.ExchangeError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value, hop="gateway")


async def test_an_organisation_is_added_and_listed_page_by_page(region: Served) -> None:
    for code, alias in ((HEALTH, "health"), (POLICE, "police"), (CIVIL, "civil")):
        request = admin_pb2.AddOrganisationRequest(organisation=region.organisation(code, alias))
        await region.admins.AddOrganisation(request, metadata=by(region.admin))
    ask = directory_pb2.ListOrganisationsRequest(page_size=2)
    first = await region.directory.ListOrganisations(ask, metadata=by(OPERATOR))
    ask.page_token = first.next_page_token
    second = await region.directory.ListOrganisations(ask, metadata=by(OPERATOR))
    assert (len(first.organisations), len(second.organisations), second.next_page_token) == (2, 1, "")


async def test_resources_are_found_and_their_versions_listed_page_by_page(region: Served) -> None:
    await region.settled()
    await region.publish(version=2, title_zh="人口")
    found = await region.directory.SearchResources(
        directory_pb2.SearchResourcesRequest(words=["人口"]), metadata=by(OPERATOR)
    )
    assert [(one.standing, one.index) for one in found.resources] == [
        (directory_pb2.RESOURCE_STANDING_PUBLISHED, 3)
    ]
    listing = directory_pb2.ListVersionsRequest(resource=RESOURCE, page_size=1)
    first = await region.directory.ListVersions(listing, metadata=by(OPERATOR))
    listing.page_token = first.next_page_token
    second = await region.directory.ListVersions(listing, metadata=by(OPERATOR))
    told = [*first.versions, *second.versions]
    assert [directory_pb2.ResourceBody.FromString(one.resource.body).version for one in told] == [1, 2]
    assert told[0].standing == directory_pb2.RESOURCE_STANDING_SUPERSEDED
    assert second.next_page_token == ""
    for wrong, error in (
        (directory_pb2.ListVersionsRequest(resource="970100/a/b"), e.UnknownResource),
        (directory_pb2.ListVersionsRequest(resource=RESOURCE, page_size=101), e.Malformed),
        (directory_pb2.ListVersionsRequest(resource=RESOURCE, page_token=pages.token("x", "1")), e.Malformed),
    ):
        call = region.directory.ListVersions(wrong, metadata=by(OPERATOR))
        assert isinstance(await refused(call), error)


async def test_a_schema_that_could_do_harm_is_refused_and_entered(region: Served) -> None:
    await region.settled()
    harmful = region.resource(version=2, schema='{"type": "object", "$ref": "https://example.com/x"}')
    request = directory_pb2.PublishResourceRequest(resource=harmful)
    error = await refused(region.directory.PublishResource(request, metadata=by(region.police)))
    assert isinstance(error, e.Malformed) and error.subject.startswith("schema")
    assert region.log.acts()[-1].act == audit_pb2.ACT_REFUSED
    fits = region.resource(version=2, schema='{"type": "object", "properties": {"name": {"type": "string"}}}')
    request = directory_pb2.PublishResourceRequest(resource=fits)
    await region.directory.PublishResource(request, metadata=by(region.police))
    assert region.state.resource(RESOURCE).version == 2


async def test_a_version_in_review_is_listed_for_its_own_people_alone(region: Served) -> None:
    await region.settled()
    await region.set_rules()
    await region.publish(version=2)
    listing = directory_pb2.ListVersionsRequest(resource=RESOURCE)
    for caller, count in ((OFFICER, 2), (region.police, 2), (region.health, 1), (OPERATOR, 1)):
        answer = await region.directory.ListVersions(listing, metadata=by(caller))
        assert len(answer.versions) == count


async def test_a_refused_change_is_an_entry_with_its_reason(region: Served) -> None:
    request = admin_pb2.AddOrganisationRequest(organisation=region.organisation(HEALTH, "Bad alias"))
    error = await refused(region.admins.AddOrganisation(request, metadata=by(region.admin)))
    assert isinstance(error, e.BadIdentifier)
    act = region.log.acts()[-1]
    assert (act.act, act.actor) == (audit_pb2.ACT_REFUSED, region.admin.identity.uri)
    assert act.subject == "/exchange.v1.AdminService/AddOrganisation"
    assert act.reason == reason_pb2.REASON_BAD_IDENTIFIER


async def test_a_role_without_a_right_is_refused_and_entered(region: Served) -> None:
    request = admin_pb2.AddOrganisationRequest(organisation=region.organisation(HEALTH, "health"))
    error = await refused(region.admins.AddOrganisation(request, metadata=by(OFFICER)))
    assert isinstance(error, e.RoleNotAllowed)
    assert region.log.acts()[-1].reason == reason_pb2.REASON_ROLE_NOT_ALLOWED


async def test_a_refusal_that_cannot_be_entered_is_told_as_unavailable(region: Served) -> None:
    region.log.fails = e.AuditUnavailable("disk")
    request = admin_pb2.AddOrganisationRequest(organisation=region.organisation(HEALTH, "health"))
    error = await refused(region.admins.AddOrganisation(request, metadata=by(OFFICER)))
    assert isinstance(error, e.AuditUnavailable)


async def test_a_caller_without_identity_is_refused_and_leaves_no_entry(region: Served) -> None:
    for call in (
        region.directory.ListResources(directory_pb2.ListResourcesRequest()),
        region.admins.AddOrganisation(admin_pb2.AddOrganisationRequest()),
    ):
        assert isinstance(await refused(call), e.NoIdentity)
    assert not region.log.entries


@pytest.mark.parametrize("mangled", ["x", "AAAA", "é", "A" * 500])
async def test_a_page_token_that_is_not_one_is_refused(region: Served, mangled: str) -> None:
    request = directory_pb2.ListResourcesRequest(page_token=mangled)
    error = await refused(region.directory.ListResources(request, metadata=by(OPERATOR)))
    assert isinstance(error, e.Malformed)


async def test_a_page_token_of_another_list_is_refused(region: Served) -> None:
    token = pages.token("organisations", "x")
    request = directory_pb2.ListResourcesRequest(page_token=token)
    error = await refused(region.directory.ListResources(request, metadata=by(OPERATOR)))
    assert isinstance(error, e.Malformed)
    too_many = grant_pb2.ListGrantsRequest(page_size=501)
    assert isinstance(await refused(region.grants.ListGrants(too_many, metadata=by(AUDITOR))), e.Malformed)


async def test_the_catalogue_is_listed_with_what_is_suspended(region: Served) -> None:
    await region.settled()
    await region.publish(id="970100/police/register")
    await region.suspend()
    ask = directory_pb2.ListResourcesRequest(page_size=1)
    first = await region.directory.ListResources(ask, metadata=by(HEALTH_AGENT))
    assert list(first.suspended) == [RESOURCE]
    ask.page_token = first.next_page_token
    second = await region.directory.ListResources(ask, metadata=by(HEALTH_AGENT))
    assert (len(second.resources), list(second.suspended), second.next_page_token) == (1, [], "")


async def test_what_was_withdrawn_comes_with_its_provider_s_bundles_where_it_is_asked_for(
    region: Served,
) -> None:
    await region.settled()
    agent = AUTHORITY.person(Role.AGENT, "police-1", POLICE)
    bundle = region.own_keys(agent).bundle
    await region.directory.PublishBundle(
        directory_pb2.PublishBundleRequest(bundle=bundle), metadata=by(agent)
    )
    before = await region.directory.GetResource(
        directory_pb2.GetResourceRequest(resource=RESOURCE), metadata=by(HEALTH_AGENT)
    )
    await region.act(region.police, directory_pb2.RESOURCE_ACTION_WITHDRAW)

    async def get(resource: str, even_withdrawn: bool) -> directory_pb2.GetResourceResponse:
        ask = directory_pb2.GetResourceRequest(resource=resource, even_withdrawn=even_withdrawn)
        return await region.directory.GetResource(ask, metadata=by(HEALTH_AGENT))  # type: ignore[no-any-return]

    assert isinstance(await refused(get(RESOURCE, False)), e.Withdrawn)
    assert await get(RESOURCE, True) == before
    # Its id is taken exactly: nothing else is named by it any more.
    assert isinstance(await refused(get("970102/police/household", True)), e.UnknownResource)


async def test_a_version_in_review_is_not_shown_to_who_asks_for_what_was_withdrawn(region: Served) -> None:
    await region.settled()
    await region.set_rules()
    await region.publish(id="970100/police/fresh", item="fresh")
    ask = directory_pb2.GetResourceRequest(resource="970100/police/fresh", even_withdrawn=True)
    assert isinstance(
        await refused(region.directory.GetResource(ask, metadata=by(HEALTH_AGENT))), e.UnknownResource
    )


async def test_a_resource_comes_with_the_bundles_of_its_provider(region: Served) -> None:
    await region.settled()
    ask = directory_pb2.GetResourceRequest(resource="970102/police/household")
    assert isinstance(
        await refused(region.directory.GetResource(ask, metadata=by(HEALTH_AGENT))), e.ProviderAway
    )
    bundles = []
    for name in ("police-1", "police-2"):
        agent = AUTHORITY.person(Role.AGENT, name, POLICE)
        bundles.append(region.own_keys(agent).bundle)
        publish = directory_pb2.PublishBundleRequest(bundle=bundles[-1])
        await region.directory.PublishBundle(publish, metadata=by(agent))
    answer = await region.directory.GetResource(ask, metadata=by(HEALTH_AGENT))
    assert list(answer.bundles) == bundles
    region.linked = ["police-2"]
    answer = await region.directory.GetResource(ask, metadata=by(HEALTH_AGENT))
    assert list(answer.bundles) == bundles[1:]
    listed = await region.directory.ListBundles(
        directory_pb2.ListBundlesRequest(organisation=POLICE, agent="police-1"), metadata=by(HEALTH_AGENT)
    )
    assert list(listed.bundles) == bundles[:1]
    none = directory_pb2.ListBundlesRequest(organisation=POLICE, agent="police-1", after_seq=1)
    assert not (await region.directory.ListBundles(none, metadata=by(HEALTH_AGENT))).bundles


async def test_a_grant_is_read_by_its_parties_and_overseers_only(region: Served) -> None:
    await region.settled()
    applied = await region.grants.ApplyGrant(
        grant_pb2.ApplyGrantRequest(grant=region.grant()), metadata=by(region.health)
    )
    decide = grant_pb2.DecideGrantRequest(event=region.event(applied.grant_id, ACCEPT, 1))
    decided = await region.grants.DecideGrant(decide, metadata=by(region.police))
    assert decided.state == grant_pb2.GRANT_STATE_ACTIVE
    assert (await region.grants.DecideGrant(decide, metadata=by(region.police))).index == decided.index
    one = grant_pb2.GetGrantRequest(grant_id=applied.grant_id)
    for caller in (region.health, region.police, HEALTH_AGENT, AUDITOR, OFFICER, region.admin):
        record = (await region.grants.GetGrant(one, metadata=by(caller))).grant
        assert (record.revision, len(record.events)) == (1, 1)
        assert (
            len((await region.grants.ListGrants(grant_pb2.ListGrantsRequest(), metadata=by(caller))).grants)
            == 1
        )
    assert isinstance(await refused(region.grants.GetGrant(one, metadata=by(CIVIL_STEWARD))), e.UnknownGrant)
    none = await region.grants.ListGrants(grant_pb2.ListGrantsRequest(), metadata=by(CIVIL_STEWARD))
    assert not none.grants


async def test_a_grant_with_quotas_tells_how_much_of_each_is_used(region: Served) -> None:
    await region.settled()
    quotas = [
        grant_pb2.Quota(period=grant_pb2.QUOTA_PERIOD_MONTH, exchanges=90),
        grant_pb2.Quota(period=grant_pb2.QUOTA_PERIOD_DAY, exchanges=5),
    ]
    plain, limited = await region.apply(), await region.apply(quotas=quotas)
    for _ in range(2):
        for grant_id, used in ((plain, []), (limited, [89, 4])):
            ask = grant_pb2.GetGrantRequest(grant_id=grant_id)
            record = (await region.grants.GetGrant(ask, metadata=by(HEALTH_AGENT))).grant
            assert list(record.used) == used
        listed = await region.grants.ListGrants(grant_pb2.ListGrantsRequest(), metadata=by(AUDITOR))
        assert [list(one.used) for one in listed.grants] == [[], [89, 4]]


async def test_grants_are_listed_page_by_page(region: Served) -> None:
    await region.settled()
    ids = [await region.apply() for _ in range(3)]
    ask, seen = grant_pb2.ListGrantsRequest(page_size=2), []
    while True:
        page = await region.grants.ListGrants(ask, metadata=by(region.police))
        seen += [one.grant_id for one in page.grants]
        if not page.next_page_token:
            break
        ask.page_token = page.next_page_token
    assert seen == ids


async def test_events_are_told_to_agents_of_the_parties(region: Served) -> None:
    await region.settled()
    await region.apply()
    ask = directory_pb2.ListEventsRequest(page_size=3)
    first = await region.directory.ListEvents(ask, metadata=by(HEALTH_AGENT))
    assert (len(first.events), first.more) == (3, True)
    ask.since = first.next
    second = await region.directory.ListEvents(ask, metadata=by(HEALTH_AGENT))
    assert (len(second.events), second.more) == (1, False)
    assert second.events[0].leaf == region.log.entries[3]


async def test_status_tells_faults_and_links(region: Served) -> None:
    region.faults = ["LOG_BEHIND"]
    status = await region.admins.GetStatus(admin_pb2.GetStatusRequest(), metadata=by(OPERATOR))
    assert (status.ready, list(status.faults)) == (False, ["LOG_BEHIND"])
    assert (status.agents[0].in_flight, status.trust_list) == (3, region.feed.current.number)  # type: ignore[union-attr]


async def test_a_read_by_an_officer_is_an_entry_before_it_is_answered(region: Served) -> None:
    exchange_id = region.exchange(HEALTH, POLICE)
    ask = audit_pb2.GetEntryRequest(exchange_id=exchange_id)
    answer = await region.audit.GetEntry(ask, metadata=by(OFFICER))
    assert answer.receipt.index == 0
    act = region.log.acts()[-1]
    assert (act.act, act.actor, act.subject) == (
        audit_pb2.ACT_READ,
        OFFICER.identity.uri,
        "GetEntry 0",
    )
    region.log.fails = e.AuditUnavailable()
    error = await refused(region.audit.GetEntry(ask, metadata=by(AUDITOR)))
    assert isinstance(error, e.AuditUnavailable)


async def test_an_agent_reads_its_own_exchanges_only_and_leaves_no_entry(region: Served) -> None:
    own, other = region.exchange(HEALTH, POLICE), region.exchange(CIVIL, POLICE)
    answer = await region.audit.GetEntry(
        audit_pb2.GetEntryRequest(exchange_id=own), metadata=by(HEALTH_AGENT)
    )
    assert answer.receipt.leaf == region.log.entries[0]
    await region.add(HEALTH, "health")
    for ask in (
        audit_pb2.GetEntryRequest(exchange_id=other),
        audit_pb2.GetEntryRequest(index=1),
        audit_pb2.GetEntryRequest(index=2),
        audit_pb2.GetEntryRequest(index=99),
    ):
        error = await refused(region.audit.GetEntry(ask, metadata=by(HEALTH_AGENT)))
        assert isinstance(error, e.UnknownEntry)
    assert len(region.log.entries) == 3


async def test_entries_come_with_proofs_that_lead_to_one_head(region: Served) -> None:
    for _ in range(300):
        region.exchange(HEALTH, POLICE)
    indexes = [*range(0, 300, 2), 299]
    for size in (0, 300):
        ask = audit_pb2.GetProofsRequest(indexes=indexes, size=size)
        answer = await region.audit.GetProofs(ask, metadata=by(AUDITOR))
        assert [one.index for one in answer.receipts] == indexes
        assert (answer.size, answer.checkpoint) == ((300, "") if size else (301, "checkpoint 301"))
        root = root_of([leaf_hash(leaf) for leaf in region.log.entries[: answer.size]])
        for one in answer.receipts:
            assert one.leaf == region.log.entries[one.index]
            assert root_from_path(one.index, answer.size, leaf_hash(one.leaf), one.proof) == root
    assert (region.log.acts()[-1].act, region.log.acts()[-1].subject) == (
        audit_pb2.ACT_READ,
        "GetProofs 0 to 299, 151",
    )
    region.log.fails = e.AuditUnavailable()
    error = await refused(region.audit.GetProofs(ask, metadata=by(OFFICER)))
    assert isinstance(error, e.AuditUnavailable)


async def test_large_entries_are_left_out_at_the_end_of_a_batch_of_proofs(region: Served) -> None:
    region.log.entries += [bytes([number]) * 60_000 for number in range(64)]
    ask = audit_pb2.GetProofsRequest(indexes=range(64), size=64)
    answer = await region.audit.GetProofs(ask, metadata=by(AUDITOR))
    assert 1 < len(answer.receipts) < 64
    assert [one.index for one in answer.receipts] == list(range(len(answer.receipts)))


@pytest.mark.parametrize(
    ("indexes", "size", "error"),
    [
        ([], 0, e.Malformed),
        (range(257), 0, e.Malformed),
        ([1, 0], 0, e.Malformed),
        ([1, 1], 0, e.Malformed),
        ([0], 301, e.UnknownEntry),
        ([300], 0, e.UnknownEntry),
        ([9], 9, e.UnknownEntry),
    ],
)
async def test_proofs_that_are_not_asked_for_rightly_are_refused(
    region: Served, indexes: Sequence[int], size: int, error: type[e.ExchangeError]
) -> None:
    for _ in range(300):
        region.exchange(HEALTH, POLICE)
    ask = audit_pb2.GetProofsRequest(indexes=indexes, size=size)
    assert isinstance(await refused(region.audit.GetProofs(ask, metadata=by(AUDITOR))), error)
    assert isinstance(await refused(region.audit.GetProofs(ask, metadata=by(HEALTH_AGENT))), e.RoleNotAllowed)


@pytest.mark.parametrize("ask", [audit_pb2.GetEntryRequest(), audit_pb2.GetEntryRequest(exchange_id=b"x")])
async def test_an_entry_that_is_not_named_rightly_is_refused(
    region: Served, ask: audit_pb2.GetEntryRequest
) -> None:
    assert isinstance(await refused(region.audit.GetEntry(ask, metadata=by(OFFICER))), e.Malformed)


async def test_checkpoints_and_consistency_are_for_everybody(region: Served) -> None:
    region.exchange(HEALTH, POLICE)
    for caller in (HEALTH_AGENT, OPERATOR, CIVIL_STEWARD):
        newest = await region.audit.GetCheckpoint(audit_pb2.GetCheckpointRequest(), metadata=by(caller))
        assert newest.checkpoint == "checkpoint 1"
        ask = audit_pb2.GetConsistencyRequest(old_size=1)
        proof = await region.audit.GetConsistency(ask, metadata=by(caller))
        assert (proof.proof, proof.checkpoint) == (b"p" * 32, "checkpoint 1")
    for ask, error in (
        (audit_pb2.GetConsistencyRequest(old_size=0), e.Malformed),
        (audit_pb2.GetConsistencyRequest(old_size=1, new_size=2), e.UnknownEntry),
        (audit_pb2.GetConsistencyRequest(old_size=2, new_size=1), e.Malformed),
    ):
        assert isinstance(await refused(region.audit.GetConsistency(ask, metadata=by(OPERATOR))), error)


async def test_a_tail_tells_what_is_there_and_ends(region: Served) -> None:
    for _ in range(300):
        region.exchange(HEALTH, POLICE)
    call = region.audit.Tail(audit_pb2.TailRequest(from_index=10), metadata=by(AUDITOR))
    frames = [frame async for frame in call]
    assert [(frame.indexes[0], len(frame.leaves)) for frame in frames] == [(10, 256), (266, 35)]
    assert [leaf for frame in frames for leaf in frame.leaves] == region.log.entries[10:]
    assert region.log.acts()[-1].act == audit_pb2.ACT_READ


async def test_a_tail_stops_at_its_limit(region: Served) -> None:
    for _ in range(300):
        region.exchange(HEALTH, POLICE)
    call = region.audit.Tail(audit_pb2.TailRequest(follow=True, limit=260), metadata=by(AUDITOR))
    assert sum([len(frame.leaves) async for frame in call]) == 260


async def test_a_tail_goes_on_with_entries_as_they_come(region: Served) -> None:
    entered = asyncio.Event()
    region.log.subscribe(lambda first, leaves: entered.set())
    call = region.audit.Tail(audit_pb2.TailRequest(from_index=1, follow=True), metadata=by(OFFICER))
    pending = asyncio.create_task(call.read())
    await asyncio.wait_for(entered.wait(), 5)
    begun: Any = await pending
    assert (list(begun.indexes), begun.next_index) == ([], 1)
    await region.add(HEALTH, "health")
    frame: Any = await call.read()
    assert (frame.indexes[0], list(frame.leaves)) == (1, region.log.entries[1:2])
    second = region.audit.Tail(audit_pb2.TailRequest(), metadata=by(OFFICER))
    assert isinstance(await refused(second.read()), e.TooMany)
    call.cancel()


async def test_a_tail_over_what_was_erased_tells_what_is_kept_and_goes_on_after_it(tmp_path: Path) -> None:
    kept = KeptLog(tmp_path / "log")
    await kept.log.open()
    await kept.append(700)
    await kept.seal()
    await kept.erase()
    region = Served(tmp_path, authority=AUTHORITY, log=kept.log)
    server = await region.serve()
    there = present(kept.log)
    for first, limit in ((0, 0), (77, 0), (0, 5), (512, 0), (490, 100)):
        call = region.audit.Tail(audit_pb2.TailRequest(from_index=first, limit=limit), metadata=by(AUDITOR))
        frames = [frame async for frame in call]
        told = [pair for frame in frames for pair in zip(frame.indexes, frame.leaves, strict=True)]
        wanted = [pair for pair in there if pair[0] >= first]
        assert told[: len(wanted)] == (wanted[:limit] if limit else wanted)
        assert frames[0].next_index > max([first, *frames[0].indexes])
    ask = audit_pb2.GetEntryRequest(index=77)
    assert isinstance(await refused(region.audit.GetEntry(ask, metadata=by(AUDITOR))), e.EntryErased)
    await region.channel.close()
    await server.stop(None)
    await kept.log.close()


async def test_a_tail_is_for_officers_and_auditors(region: Served) -> None:
    for caller in (HEALTH_AGENT, OPERATOR, region.admin):
        call = region.audit.Tail(audit_pb2.TailRequest(), metadata=by(caller))
        assert isinstance(await refused(call.read()), e.RoleNotAllowed)
    assert {one.act for one in region.log.acts()} == {audit_pb2.ACT_REFUSED}


async def test_trust_lists_are_entered_as_they_come(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=Authority())
    told = asyncio.Event()
    region.registrar.subscribe(lambda index, leaf, entry: told.set())
    watch = asyncio.create_task(TrustWatch(registrar=region.registrar, feed=region.feed).run())
    await asyncio.wait_for(told.wait(), 5)
    told.clear()
    region.feed.offer(region.authority.trust_list())
    region.feed.offer(region.authority.trust_list(revoked_kids=[b"k" * 16]))
    await asyncio.wait_for(told.wait(), 5)
    watch.cancel()
    assert [one.act for one in region.log.acts()] == [audit_pb2.ACT_TRUST_LIST] * 2


async def test_a_trust_list_the_log_could_not_take_is_entered_later(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=Authority())
    region.log.fails = e.AuditUnavailable()
    tries, told = asyncio.Event(), asyncio.Event()

    async def before() -> None:
        if tries.is_set():
            region.log.fails = None
        tries.set()

    region.log.before = before
    region.registrar.subscribe(lambda index, leaf, entry: told.set())
    watch = TrustWatch(registrar=region.registrar, feed=region.feed, retry_s=0.0)
    task = asyncio.create_task(watch.run())
    await asyncio.wait_for(told.wait(), 5)
    task.cancel()
    assert len(region.log.entries) == 1


def test_a_long_list_is_cut_by_its_bytes() -> None:
    statements = [common_pb2.Statement(body=b"x" * 900_000) for _ in range(5)]
    assert len(pages.fitting(statements, lambda one: one.ByteSize(), most=5)) == 2
    assert len(pages.fitting(statements[:1], lambda one: 9_999_999, most=5)) == 1
