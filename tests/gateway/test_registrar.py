"""The one way into the region's state."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from exchange import canonical
from exchange import errors as e
from exchange.identity import Role
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2, reason_pb2
from gateway.admission import MAX_BODY_BYTES
from tests.support.region import (
    CIVIL,
    HEALTH,
    ORIGIN,
    POLICE,
    RESOURCE,
    Authority,
    Region,
    item,
    moment,
    organisation_body,
)
from tests.support.sealing import NOW_MS

ACCEPT, REVOKE, PAUSE = (
    grant_pb2.GRANT_ACTION_ACCEPT,
    grant_pb2.GRANT_ACTION_REVOKE,
    grant_pb2.GRANT_ACTION_PAUSE,
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def region(tmp_path: Path, authority: Authority) -> Region:
    return Region(tmp_path, authority=authority)


async def test_what_is_entered_is_in_the_log_before_it_is_in_the_state(region: Region) -> None:
    seen: list[int] = []

    async def before() -> None:
        seen.append(len(region.state.organisations.by_code))

    region.log.before = before
    index = await region.add(HEALTH, "health")
    assert seen == [0]
    assert region.state.organisations.get(HEALTH).alias == "health"
    entry = audit_pb2.AuditEntry.FromString(region.log.entries[index])
    assert (entry.gateway, entry.time_ms, entry.version, len(entry.salt)) == (ORIGIN, NOW_MS, 1, 16)
    assert entry.administrative.actor == region.admin.identity.uri
    assert entry.administrative.subject == HEALTH


async def test_what_is_around_an_entry_sees_what_is_admitted_and_new_and_holds_without_a_caller(
    region: Region,
) -> None:
    seen: list[str] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def around() -> AsyncIterator[None]:
        begun.set()
        await go_on.wait()
        seen.append(f"{len(region.log.entries)} entries")
        yield
        seen.append(region.state.organisations.get(HEALTH).alias)

    body = region.organisation(HEALTH, "health").body

    async def hand_in(signer: StatementSigner) -> int:
        statement = signer.sign(canonical.ORGANISATION, body)
        return await region.registrar.record(
            audit_pb2.ACT_ORGANISATION, signer.identity, statement, around=around()
        )

    with pytest.raises(e.RoleNotAllowed):
        await hand_in(region.police)
    assert not begun.is_set()
    caller = asyncio.create_task(hand_in(region.admin))
    await begun.wait()
    caller.cancel()
    again = asyncio.create_task(hand_in(region.admin))
    go_on.set()
    assert await again == 0
    assert seen == ["0 entries", "health"]


async def test_what_is_around_an_entry_may_refuse_it(region: Region) -> None:
    @asynccontextmanager
    async def around() -> AsyncIterator[None]:
        if not region.log.entries:
            raise e.WrongState("not now")
        yield

    statement = region.organisation(HEALTH, "health")
    with pytest.raises(e.WrongState):
        await region.registrar.record(
            audit_pb2.ACT_ORGANISATION, region.admin.identity, statement, around=around()
        )
    assert not region.log.entries and HEALTH not in region.state.organisations.by_code


async def test_what_could_not_be_made_durable_has_not_happened(region: Region) -> None:
    region.log.fails = e.AuditUnavailable()
    with pytest.raises(e.AuditUnavailable):
        await region.add(HEALTH, "health")
    region.log.fails = None
    with pytest.raises(e.UnknownOrganisation):
        region.state.organisations.get(HEALTH)
    assert await region.add(HEALTH, "health") == 0


async def test_the_same_body_again_gives_the_same_index_and_no_second_entry(region: Region) -> None:
    await region.settled()
    statement = region.grant()
    first = await region.enter(audit_pb2.ACT_GRANT, region.health, statement)
    again = region.health.sign(canonical.GRANT, statement.body)
    region.clock.ms += 3_600_000
    assert await region.enter(audit_pb2.ACT_GRANT, region.health, again) == first
    assert len(region.log.entries) == first + 1


async def test_racing_administrators_enter_one_alias_once(region: Region, authority: Authority) -> None:
    other = authority.person(Role.ADMIN, "admin-2")
    gate = asyncio.Event()

    async def before() -> None:
        await gate.wait()

    region.log.before = before
    race = asyncio.gather(
        region.add(HEALTH, "health"),
        region.enter(audit_pb2.ACT_ORGANISATION, other, region.organisation(CIVIL, "health", other)),
        return_exceptions=True,
    )
    await asyncio.sleep(0)
    gate.set()
    results = await race
    assert results[0] == 0
    assert isinstance(results[1], e.Replayed)
    assert len(region.log.entries) == 1


async def test_a_caller_who_goes_away_leaves_log_and_state_in_step(region: Region) -> None:
    entered, gate = asyncio.Event(), asyncio.Event()

    async def before() -> None:
        entered.set()
        await gate.wait()

    region.log.before = before
    call = asyncio.create_task(region.add(HEALTH, "health"))
    await entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.set()
    await region.registrar.close()
    assert len(region.log.entries) == 1
    assert HEALTH in region.state.organisations.by_code


async def test_the_signer_is_the_caller(region: Region, authority: Authority) -> None:
    other = authority.person(Role.ADMIN, "admin-2")
    with pytest.raises(e.RoleNotAllowed):
        await region.enter(audit_pb2.ACT_ORGANISATION, other, region.organisation(HEALTH, "health"))


async def test_a_statement_signed_for_something_else_is_refused(region: Region) -> None:
    body = organisation_body(NOW_MS, HEALTH, "health")
    with pytest.raises(e.BadSignature):
        await region.enter(
            audit_pb2.ACT_ORGANISATION, region.admin, region.admin.sign(canonical.RESOURCE, body)
        )
    with pytest.raises(e.Malformed):
        await region.enter(audit_pb2.ACT_ORGANISATION, region.admin, common_pb2.Statement())
    with pytest.raises(e.Malformed):
        await region.enter(audit_pb2.ACT_READ, region.admin, region.organisation(HEALTH, "health"))


async def test_a_signer_from_another_root_is_refused(region: Region) -> None:
    stranger = Authority().person(Role.ADMIN, "admin-1")
    with pytest.raises((e.NoIdentity, e.BadSignature)):
        await region.enter(
            audit_pb2.ACT_ORGANISATION, stranger, region.organisation(HEALTH, "health", stranger)
        )


async def test_a_revoked_signer_is_refused(tmp_path: Path) -> None:
    region = Region(tmp_path)
    statement = region.organisation(HEALTH, "health")
    serial = x509.load_der_x509_certificate(statement.chain[0]).serial_number
    region.feed.offer(region.authority.trust_list(revoked_serials=[serial.to_bytes(20)]))
    with pytest.raises(e.Revoked):
        await region.enter(audit_pb2.ACT_ORGANISATION, region.admin, statement)


async def test_without_a_trust_list_nothing_is_entered(region: Region) -> None:
    region.feed._current = None
    with pytest.raises(e.TrustStale):
        await region.add(HEALTH, "health")


async def test_a_statement_too_large_for_an_entry_is_refused(region: Region) -> None:
    body = organisation_body(NOW_MS, HEALTH, "health") + b"\xfa\x01" + b"\x80\x80\x03" + b"x" * MAX_BODY_BYTES
    with pytest.raises(e.Oversized):
        await region.enter(
            audit_pb2.ACT_ORGANISATION, region.admin, region.admin.sign(canonical.ORGANISATION, body)
        )


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"nonce": b"x"}, e.Malformed),
        ({"credit_code": "11970000MB1A0001X6"}, e.BadIdentifier),
        ({"alias": "Health"}, e.BadIdentifier),
        ({"alias": "h" * 41}, e.BadIdentifier),
        ({"division": "980100"}, e.BadIdentifier),
        ({"division": "970000"}, e.BadIdentifier),
        ({"name_zh": ""}, e.Malformed),
        ({"issued_at": moment(NOW_MS - 300_001)}, e.ClockSkew),
    ],
)
async def test_an_organisation_that_breaks_a_rule_is_refused(
    region: Region, changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    with pytest.raises(error):
        await region.add(HEALTH, "health", **changes)
    assert not region.log.entries


async def test_an_organisation_changes_its_names_and_nothing_else(region: Region) -> None:
    await region.add(HEALTH, "health")
    region.clock.ms += 1
    await region.add(HEALTH, "health", name_en="Health Commission")
    assert region.state.organisations.get(HEALTH).name_en == "Health Commission"
    region.clock.ms += 1
    for changes in ({"alias": "well"}, {"division": "970102"}):
        with pytest.raises(e.WrongState):
            await region.add(HEALTH, "health", **changes)
    with pytest.raises(e.WrongState):
        await region.add(HEALTH, "health", issued_at=moment(NOW_MS))


async def test_only_an_administrator_adds_an_organisation(region: Region) -> None:
    with pytest.raises(e.RoleNotAllowed):
        await region.enter(
            audit_pb2.ACT_ORGANISATION, region.police, region.organisation(HEALTH, "health", region.police)
        )


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": 2}, e.WrongState),
        ({"id": "970100/health/household"}, e.BadIdentifier),
        ({"id": "970000/police/household"}, e.BadIdentifier),
        ({"provider": CIVIL}, e.RoleNotAllowed),
        ({"issued_at": moment(NOW_MS + 300_001)}, e.ClockSkew),
    ],
)
async def test_a_publication_that_breaks_a_rule_is_refused(
    region: Region, changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    await region.add(POLICE, "police")
    with pytest.raises(error):
        await region.publish(**changes)


async def test_a_provider_that_nobody_added_publishes_nothing(region: Region) -> None:
    with pytest.raises(e.UnknownOrganisation):
        await region.publish()


async def test_versions_count_up_by_one(region: Region) -> None:
    await region.settled()
    with pytest.raises(e.WrongState):
        await region.publish(title_en="Once more")
    with pytest.raises(e.Incompatible):
        await region.publish(version=2, fields=[item("name")])
    breaking = directory_pb2.COMPATIBILITY_BREAKING
    await region.publish(version=2, fields=[item("name")], compatibility=breaking)
    assert set(region.state.resource(RESOURCE).fields) == {"name"}


async def test_an_item_has_one_authoritative_source_per_division(
    region: Region, authority: Authority
) -> None:
    await region.settled()
    await region.add(CIVIL, "civil")
    civil = authority.person(Role.STEWARD, "wang", CIVIL)
    with pytest.raises(e.NotAuthoritative):
        await region.publish(civil, id="970100/civil/household", provider=CIVIL)
    await region.publish(civil, id="970102/civil/household", provider=CIVIL)


async def test_a_county_falls_back_to_the_resource_of_its_city(region: Region) -> None:
    await region.settled()
    assert region.state.resource("970102/police/household").id == RESOURCE
    with pytest.raises(e.UnknownResource):
        region.state.resource("970000/police/household")
    with pytest.raises(e.BadIdentifier):
        region.state.resource("household")


async def test_a_suspension_counts_up_and_outlives_new_versions(region: Region) -> None:
    await region.settled()
    with pytest.raises(e.UnknownResource):
        await region.suspend(id="970100/police/other")
    with pytest.raises(e.WrongState):
        await region.suspend(suspended=False)
    with pytest.raises(e.WrongState):
        await region.suspend(revision=2)
    with pytest.raises(e.WrongState):
        await region.suspend(version=2)
    with pytest.raises(e.RoleNotAllowed):
        await region.suspend(region.health)
    await region.suspend()
    await region.publish(version=2)
    assert region.state.resource(RESOURCE).suspended
    await region.suspend(version=2, revision=2, suspended=False)
    assert not region.state.resource(RESOURCE).suspended


async def test_a_grant_is_applied_for_accepted_and_revoked(region: Region) -> None:
    await region.settled()
    grant_id = await region.apply()
    assert await region.decide(grant_id, ACCEPT, 1) == 4
    granted = region.state.grants.one(grant_id)
    assert granted.state == grant_pb2.GRANT_STATE_ACTIVE
    assert region.state.grants.find(HEALTH, RESOURCE) == [granted]
    with pytest.raises(e.WrongState):
        await region.decide(grant_id, ACCEPT, 2)
    with pytest.raises(e.RoleNotAllowed):
        await region.decide(grant_id, PAUSE, 2, region.health)
    await region.decide(grant_id, REVOKE, 2, region.health)
    assert region.state.grants.one(grant_id).state == grant_pb2.GRANT_STATE_REVOKED


async def test_an_application_the_catalogue_does_not_allow_is_refused(region: Region) -> None:
    await region.settled()
    for changes, error in (
        ({"fields": ["secret"]}, e.NotShared),
        ({"fields": ["nothing"]}, e.UnknownField),
        ({"resource": "970102/police/household"}, e.UnknownResource),
        ({"provider": CIVIL}, e.UnknownOrganisation),
    ):
        with pytest.raises(error):
            await region.apply(**changes)
    with pytest.raises(e.RoleNotAllowed):
        await region.apply(region.police)


async def test_a_providers_agent_accepts_unconditional_fields_only(region: Region) -> None:
    await region.settled()
    open_id, closed_id = await region.apply(fields=["station"]), await region.apply()
    await region.decide(open_id, ACCEPT, 1, region.police_agent)
    with pytest.raises(e.RoleNotAllowed):
        await region.decide(closed_id, ACCEPT, 1, region.police_agent)


async def test_a_decision_kept_back_is_refused(region: Region) -> None:
    await region.settled()
    grant_id = await region.apply()
    event = region.event(grant_id, ACCEPT, 1)
    region.clock.ms += 300_001
    with pytest.raises(e.ClockSkew):
        await region.enter(audit_pb2.ACT_GRANT_EVENT, region.police, event)
    with pytest.raises(e.UnknownGrant):
        await region.decide(b"x" * 32, ACCEPT, 1)


async def test_a_bundle_is_its_agents_own(region: Region, authority: Authority) -> None:
    keys = region.own_keys(region.police_agent)
    with pytest.raises(e.UnknownOrganisation):
        await region.enter(audit_pb2.ACT_BUNDLE, region.police_agent, keys.bundle)
    await region.add(POLICE, "police")
    index = await region.enter(audit_pb2.ACT_BUNDLE, region.police_agent, keys.bundle)
    assert await region.enter(audit_pb2.ACT_BUNDLE, region.police_agent, keys.bundle) == index
    assert region.state.bundles.by_digest(keys.bundle_digest) is not None
    other = authority.person(Role.AGENT, "police-2", POLICE)
    forged = other.sign(canonical.BUNDLE, region.own_keys(region.police_agent).bundle.body)
    with pytest.raises(e.RoleNotAllowed):
        await region.enter(audit_pb2.ACT_BUNDLE, other, forged)


async def test_a_bundle_neither_forks_nor_skips(region: Region) -> None:
    await region.add(POLICE, "police")
    keys = region.own_keys(region.police_agent)
    await region.enter(audit_pb2.ACT_BUNDLE, region.police_agent, keys.bundle)
    fork = region.own_keys(region.police_agent)
    with pytest.raises(e.BundleRollback):
        await region.enter(audit_pb2.ACT_BUNDLE, region.police_agent, fork.bundle)
    assert len(region.log.entries) == 2


async def test_a_bundle_below_the_least_the_authority_allows_is_no_entry(region: Region) -> None:
    await region.add(POLICE, "police")
    least = [{"organisation": POLICE, "agent": "police-1", "seq": 2}]
    region.feed.offer(region.authority.trust_list(least_bundles=least))
    with pytest.raises(e.BundleRollback):
        await region.enter(
            audit_pb2.ACT_BUNDLE, region.police_agent, region.own_keys(region.police_agent).bundle
        )
    assert len(region.log.entries) == 1


async def test_each_sees_the_events_that_concern_it(region: Region, authority: Authority) -> None:
    await region.settled()
    grant_id = await region.apply()
    await region.decide(grant_id, ACCEPT, 1)
    keys = region.own_keys(region.police_agent)
    await region.enter(audit_pb2.ACT_BUNDLE, region.police_agent, keys.bundle)
    seen = {
        who: [one.index for one in region.registrar.events(0, 100, who).events]
        for who in (HEALTH, POLICE, CIVIL)
    }
    assert seen == {HEALTH: [0, 1, 2, 3, 4], POLICE: [0, 1, 2, 3, 4, 5], CIVIL: [0, 1, 2]}
    for index, leaf in enumerate(region.log.entries):
        entry = audit_pb2.AuditEntry.FromString(leaf)
        for who, indexes in seen.items():
            assert region.registrar.visible(entry, who) == (index in indexes)


async def test_events_come_in_pages_that_leave_nothing_out(region: Region) -> None:
    await region.settled()
    await region.apply()
    first = region.registrar.events(0, 3, HEALTH)
    assert (len(first.events), first.next, first.more) == (3, 3, True)
    second = region.registrar.events(first.next, 3, HEALTH)
    assert ([one.index for one in second.events], second.next, second.more) == ([3], 4, False)
    assert region.registrar.events(4, 3, HEALTH).next == 4


async def test_subscribers_are_told_in_order_after_the_fold(region: Region) -> None:
    told: list[tuple[int, int]] = []
    end = region.registrar.subscribe(
        lambda index, leaf, entry: told.append((index, region.state.applied_index))
    )
    await region.settled()
    end()
    await region.apply()
    assert told == [(0, 1), (1, 2), (2, 3)]


async def test_refusals_are_entries_until_there_are_too_many_and_then_counts(region: Region) -> None:
    method, reason = "/exchange.v1.AdminService/AddOrganisation", reason_pb2.REASON_ROLE_NOT_ALLOWED
    for _ in range(9):
        await region.registrar.record_refusal(region.health.identity, method, reason)
    assert [(one.act, one.subject, one.reason) for one in region.log.acts()] == [
        (audit_pb2.ACT_REFUSED, method, reason)
    ] * 5
    assert await region.registrar.flush_refusals() == 1
    counted = audit_pb2.AuditEntry.FromString(region.log.entries[-1]).refusals
    assert (counted.caller, counted.count, counted.since_ms) == (region.health.identity.uri, 4, NOW_MS)
    assert await region.registrar.flush_refusals() == 0


async def test_a_trust_list_is_an_entry_when_more_than_time_changed(region: Region) -> None:
    async def offer(**changes: Any) -> int | None:
        region.feed.offer(region.authority.trust_list(**changes))
        assert region.feed.current is not None
        return await region.registrar.record_trust_list(region.feed.current)

    assert await offer() == 0
    assert await offer() is None
    assert await offer(revoked_kids=[b"k" * 16]) == 1
    assert await offer(revoked_kids=[b"k" * 16]) is None
    region.start()
    assert await offer(revoked_kids=[b"k" * 16]) is None


async def test_a_trust_list_too_large_for_an_entry_is_entered_by_its_digest(region: Region) -> None:
    serials = [n.to_bytes(20) for n in range(1, 5000)]
    region.feed.offer(region.authority.trust_list(revoked_serials=serials))
    assert region.feed.current is not None
    assert await region.registrar.record_trust_list(region.feed.current) == 0
    assert len(region.log.entries[0]) < 1000
    assert await region.registrar.record_trust_list(region.feed.current) is None


async def test_an_entry_that_turns_out_durable_after_its_append_failed_is_folded_then(region: Region) -> None:
    held: list[bytes] = []
    real = region.log.append

    async def in_doubt(leaf: bytes) -> object:
        held.append(leaf)
        raise e.AuditUnavailable("commit in doubt")

    region.log.append = in_doubt
    with pytest.raises(e.AuditUnavailable):
        await region.add(HEALTH, "health")
    assert HEALTH not in region.state.organisations.by_code
    region.log.append = real
    await region.log.append(held[0])
    assert region.state.organisations.get(HEALTH).alias == "health"


async def test_the_first_entry_of_a_log_says_that_it_was_opened_and_is_written_once(region: Region) -> None:
    for _ in range(2):
        await region.registrar.record_opening(region.admin.identity)
    assert [act.act for act in region.log.acts()] == [audit_pb2.ACT_LOG_OPENED]
    assert region.log.acts()[0].subject == ORIGIN
