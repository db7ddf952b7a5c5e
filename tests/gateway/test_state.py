"""The state is a fold of the log: the same entries make the same state, and the projection may be lost."""

import asyncio
import random
import sqlite3
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange import canonical
from exchange.errors import StoreDamaged, WrongState
from exchange.keys import BundleBook
from exchange.resources import Resource, parse_resource
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2
from gateway.directory import catalogue_entry
from gateway.directory.catalogue_entry import PackedResource, pack_resource, source_of
from gateway.fold import SETTLE_AFTER, Fold
from gateway.state import RegionState
from gateway.state_store import StateStore
from tests.support.region import (
    CIVIL,
    HEALTH,
    ORIGIN,
    POLICE,
    RESOURCE,
    Authority,
    MemoryLog,
    Region,
    grant_body,
    moment,
    nonce,
    organisation_body,
    resource_body,
)
from tests.support.sealing import NOW_MS

ACCEPT, PAUSE = grant_pb2.GRANT_ACTION_ACCEPT, grant_pb2.GRANT_ACTION_PAUSE
AUTHORITY = Authority()


def entry(act: int, body: bytes) -> audit_pb2.AuditEntry:
    one = audit_pb2.AuditEntry(salt=nonce(), version=1, gateway=ORIGIN, time_ms=NOW_MS)
    one.administrative.act = act  # type: ignore[assignment]
    one.administrative.statement.body = body
    return one


def exchange_entry() -> audit_pb2.AuditEntry:
    one = audit_pb2.AuditEntry(salt=nonce(), version=1, gateway=ORIGIN, time_ms=NOW_MS)
    one.exchange.exchange_id = nonce()
    return one


def empty(region: Region) -> RegionState:
    return RegionState(book=BundleBook(anchor=region.anchor, path=None, clock=region.clock))


def picture(state: RegionState) -> object:
    """Everything a state shows of itself."""
    grants = state.grants
    pages = {who: [one.index for one in grants.page(who, -1, 999)] for who in (None, HEALTH, POLICE, CIVIL)}
    events = {who: list(state.event_indexes(who, 0, 999)) for who in (HEALTH, POLICE, CIVIL)}
    catalogue = state.catalogue
    return (
        dict(state.organisations.by_code),
        dict(catalogue.by_id),
        {key: catalogue.revision(key) for key in catalogue.by_id},
        {key: grants.one(key) for key in grants},
        [one.grant_id for one in grants.find(HEALTH, RESOURCE)],
        pages,
        events,
        state.applied_index,
        state.trust_mark,
    )


def some_history(seed: int, length: int) -> list[audit_pb2.AuditEntry]:
    """Return a history that the rules allow, with exchanges in between."""
    choose = random.Random(seed)
    entries = [entry(audit_pb2.ACT_ORGANISATION, organisation_body(NOW_MS, HEALTH, "health"))]
    entries.append(entry(audit_pb2.ACT_ORGANISATION, organisation_body(NOW_MS, POLICE, "police")))
    entries.append(entry(audit_pb2.ACT_RESOURCE, resource_body(NOW_MS)))
    version, pending = 1, []
    for _ in range(length):
        match choose.randrange(5):
            case 0:
                entries.append(exchange_entry())
            case 1:
                version += 1
                entries.append(entry(audit_pb2.ACT_RESOURCE, resource_body(NOW_MS, version=version)))
            case 2:
                body = grant_body(NOW_MS)
                pending.append(canonical.digest(canonical.GRANT, body))
                entries.append(entry(audit_pb2.ACT_GRANT, body))
            case 3 if pending:
                event = grant_pb2.GrantEventBody(
                    nonce=nonce(), grant_id=pending.pop(), revision=1, action=ACCEPT, issued_at=moment(NOW_MS)
                )
                entries.append(entry(audit_pb2.ACT_GRANT_EVENT, event.SerializeToString()))
            case _:
                name = f"Name {choose.randrange(9)}"
                body = organisation_body(NOW_MS, HEALTH, "health", name_en=name)
                entries.append(entry(audit_pb2.ACT_ORGANISATION, body))
    return entries


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(0, 40), cut=st.integers(0, 43))
def test_the_same_entries_make_the_same_state_wherever_the_start_falls(
    tmp_path_factory: pytest.TempPathFactory, seed: int, length: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("fold")
    region = Region(folder, authority=AUTHORITY)
    entries = some_history(seed, length)
    direct = empty(region)
    for index, one in enumerate(entries):
        direct.apply(index, one)
    leaves = [one.SerializeToString() for one in entries]
    log = MemoryLog(entries=leaves[:cut])
    region.registrar._fold.close()
    for _ in range(2):
        state = empty(region)
        fold = Fold(log=log, state=state, store=StateStore(path=folder / "again.db", origin=ORIGIN))
        fold.open()
        fold.close()
        log.entries = leaves
    state.applied_index = direct.applied_index
    assert picture(state) == picture(direct)


def test_an_entry_that_does_not_fit_stops_the_fold(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    event = grant_pb2.GrantEventBody(
        nonce=nonce(), grant_id=b"g" * 32, revision=1, action=ACCEPT, issued_at=moment(NOW_MS)
    )
    with pytest.raises(StoreDamaged):
        region.state.apply(0, entry(audit_pb2.ACT_GRANT_EVENT, event.SerializeToString()))
    region.state.apply(5, exchange_entry())
    with pytest.raises(StoreDamaged):
        region.state.apply(5, exchange_entry())


async def busy(region: Region) -> None:
    await region.settled()
    grant_id = await region.apply()
    await region.decide(grant_id, ACCEPT, 1)
    await region.log.append(exchange_entry().SerializeToString())
    keys = region.own_keys(region.police_agent)
    await region.enter(audit_pb2.ACT_BUNDLE, region.police_agent, keys.bundle)
    await region.suspend()


async def test_a_start_finds_everything_again_and_the_bundles_in_force(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    await busy(region)
    before = picture(region.state)
    await region.registrar.close()
    region.start()
    assert picture(region.state) == before
    assert region.state.bundles.newest(POLICE, "police-1") is not None


async def test_a_catalogue_entry_stays_packed_after_a_start_until_it_is_asked_for(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    await region.settled()
    held = region.state.resource(RESOURCE)
    await region.registrar.close()
    region.start()
    catalogue = region.state.catalogue
    entry = catalogue.entry(RESOURCE)
    assert RESOURCE in catalogue.by_id and list(catalogue.by_id) == [RESOURCE] and len(catalogue.by_id) == 1
    assert entry.standing(held.version) == directory_pb2.RESOURCE_STANDING_PUBLISHED
    assert catalogue.standing(RESOURCE) == directory_pb2.RESOURCE_STANDING_PUBLISHED
    assert entry.sources() == {source_of(held)}
    assert catalogue.page("", 5) == [entry] and catalogue.index(RESOURCE) == entry.indexes[0]
    assert isinstance(entry.kept, PackedResource) and isinstance(entry.kept.content, bytes)
    assert region.state.resource(RESOURCE) == held
    assert entry.held is region.state.resource(RESOURCE)


async def test_a_suspension_while_another_thread_opens_the_entry_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    await region.settled()
    await region.registrar.close()
    region.start()
    catalogue, parsing, suspended = region.state.catalogue, threading.Event(), threading.Event()

    def parse(statement: common_pb2.Statement, **how: bool) -> Resource:
        if threading.current_thread() is not threading.main_thread():
            parsing.set()
            suspended.wait()
        return parse_resource(statement, **how)

    monkeypatch.setattr(catalogue_entry, "parse_resource", parse)
    opening = asyncio.create_task(asyncio.to_thread(catalogue.find, RESOURCE))
    await asyncio.to_thread(parsing.wait)
    await region.suspend()
    suspended.set()
    await opening
    assert region.state.resource(RESOURCE).suspended


def test_what_is_packed_and_no_catalogue_entry_is_damage_when_it_is_asked_for() -> None:
    packed = pack_resource(directory_pb2.ResourceBody(id=RESOURCE, version=1).SerializeToString())
    assert (packed.id, packed.version, packed.item) == (RESOURCE, 1, RESOURCE.rpartition("/")[2])
    with pytest.raises(StoreDamaged, match=RESOURCE):
        packed.opened()
    with pytest.raises(StoreDamaged):
        pack_resource(b"\xff")


HARM = {
    "leaf gone": "DELETE FROM event WHERE idx = 2",
    "leaf changed": "UPDATE event SET leaf = x'00' WHERE idx = 2",
    "leaf moved": "UPDATE event SET idx = 77 WHERE idx = 2",
    "grant gone": "DELETE FROM granted",
    "grant cut": "UPDATE granted SET row = substr(row, 1, 40)",
    "grant changed": "UPDATE granted SET row = CAST(substr(row, 1, 64) || x'05' || substr(row, 66) AS BLOB)",
    "grant twice": "INSERT INTO granted SELECT idx + 1, row FROM granted",
    "another's name": "UPDATE name SET text = '11980000MB1A0001X9' WHERE n = 1",
    "terms changed": "UPDATE terms SET body = CAST(body || x'6001' AS BLOB)",
    "terms gone": "DELETE FROM terms",
    "read further": "UPDATE meta SET applied_index = applied_index + 1",
    "read less far": "UPDATE meta SET applied_index = 3",
    "another end": "UPDATE meta SET last_index = 0",
    "other log": "UPDATE meta SET origin = 'other'",
    "older version": "PRAGMA user_version = 99",
}


@pytest.mark.parametrize("harm", ["lost", "garbage", *HARM])
async def test_a_projection_that_is_lost_or_damaged_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    await busy(region)
    before, path = picture(region.state), tmp_path / "state.db"
    await region.registrar.close()
    if harm == "lost":
        path.unlink()
    elif harm == "garbage":
        path.write_bytes(b"not a database" * 1000)
    else:
        with sqlite3.connect(path) as db:
            changed = db.execute(HARM[harm]).rowcount
        db.close()
        assert changed, "something was harmed"
    thrown: list[str] = []
    reset = StateStore.reset
    monkeypatch.setattr(StateStore, "reset", lambda store: thrown.append(harm) or reset(store))
    region.start()
    assert picture(region.state) == before
    assert thrown or harm == "lost", "it was made anew, not believed"


async def test_a_projection_that_was_made_without_the_key_is_not_believed(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    await busy(region)
    await region.registrar.close()
    path, key = tmp_path / "state.db", bytes(range(32))
    assert StateStore(path=path, origin=ORIGIN).open() == len(region.log.entries)
    keyed = StateStore(path=path, origin=ORIGIN, key=key)
    assert keyed.open() == 0, "as good as any for who has no key"
    keyed.add([(4, b"leaf")], 9)
    keyed.close()
    assert StateStore(path=path, origin=ORIGIN, key=key).open() == 9
    assert StateStore(path=path, origin=ORIGIN, key=bytes(32)).open() == 0


async def test_leaves_that_are_let_go_are_folded_no_more_and_leave_a_whole_projection(tmp_path: Path) -> None:
    store = StateStore(path=tmp_path / "state.db", origin=ORIGIN, key=b"k")
    assert store.open() == 0
    store.add([(number, b"leaf %d" % number) for number in range(9)], 20)
    store.forget([2, 5, 77])
    store.close()
    again = StateStore(path=tmp_path / "state.db", origin=ORIGIN, key=b"k")
    assert again.open() == 20
    assert [index for index, _ in again.events()] == [0, 1, 3, 4, 6, 7, 8]
    assert again.last() == (8, sha256(b"leaf 8").digest())


async def test_a_start_folds_on_where_a_grant_was_applied_for_before_and_decided_after_the_projection(
    tmp_path: Path,
) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    await region.settled()
    grant_id = await region.apply()
    await region.registrar.close()
    old = (tmp_path / "state.db").read_bytes()
    region.start()
    await region.decide(grant_id, ACCEPT, 1)
    await region.decide(grant_id, PAUSE, 2)
    before = picture(region.state)
    await region.registrar.close()
    region.store.reset()
    region.store.close()
    (tmp_path / "state.db").write_bytes(old)
    for _ in range(2):
        region.start()
        assert picture(region.state) == before
        assert region.state.grants.indexes(grant_id) == [3, 4, 5]
        await region.registrar.close()


async def test_a_body_that_was_entered_before_is_found_again_also_after_a_start(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    await region.settled()
    grant, second = region.grant(), region.grant()
    applied = await region.enter(audit_pb2.ACT_GRANT, region.health, grant)
    await region.enter(audit_pb2.ACT_GRANT, region.health, second)
    grant_id = canonical.digest(canonical.GRANT, grant.body)
    event = region.event(grant_id, ACCEPT, 1)
    decided = await region.enter(audit_pb2.ACT_GRANT_EVENT, region.police, event)
    for _ in range(2):
        assert await region.enter(audit_pb2.ACT_GRANT, region.health, grant) == applied
        assert await region.enter(audit_pb2.ACT_GRANT_EVENT, region.police, event) == decided
        other = region.event(grant_id, ACCEPT, 1)
        with pytest.raises(WrongState):
            await region.enter(audit_pb2.ACT_GRANT_EVENT, region.police, other)
        await region.registrar.close()
        region.start()
    assert len(region.log.entries) == 6


async def test_a_log_with_a_gap_stops_the_start(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    await region.settled()
    await region.registrar.close()
    (tmp_path / "state.db").unlink()

    class Gapped(MemoryLog):
        def leaves(self, first: int, count: int) -> list[bytes]:
            return super().leaves(first, count)[1:]

    region.log = Gapped(entries=region.log.entries)
    with pytest.raises(StoreDamaged):
        region.start()


async def test_a_projection_ahead_of_a_restored_log_is_thrown_away(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    await busy(region)
    await region.registrar.close()
    region.log.entries = region.log.entries[:3]
    region.start()
    assert not region.state.grants
    region.log.entries = [*region.log.entries, *([exchange_entry().SerializeToString()] * 20)]
    region.log.entries[2] = exchange_entry().SerializeToString()
    region.start()
    assert not region.state.catalogue.by_id


async def test_a_crash_between_log_and_projection_loses_nothing(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    await region.settled()
    region.store.close()
    await region.apply()
    assert isinstance(region.registrar.fault, StoreDamaged)
    before = picture(region.state)
    region.start()
    assert picture(region.state) == before
    assert region.registrar.fault is None


async def test_a_projection_notes_now_and_then_how_far_the_exchanges_were_read(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    await region.settled()
    leaf = exchange_entry().SerializeToString()
    region.log.entries.extend([leaf] * (SETTLE_AFTER - 100))
    region.registrar.settle()
    assert StateStore(path=tmp_path / "state.db", origin=ORIGIN).open() == 3
    region.log.entries.extend([leaf] * 200)
    region.registrar.settle()
    assert StateStore(path=tmp_path / "state.db", origin=ORIGIN).open() == len(region.log.entries)


async def test_revoked_bundles_are_not_put_in_force_again(tmp_path: Path) -> None:
    region = Region(tmp_path)
    await busy(region)
    from cryptography import x509

    chain: list[bytes] = list(region.police_agent.sign(b"x", b"y").chain)
    serial = x509.load_der_x509_certificate(chain[0]).serial_number
    region.feed.offer(region.authority.trust_list(revoked_serials=[serial.to_bytes(20)]))
    await region.registrar.close()
    region.start()
    assert region.state.bundles.newest(POLICE, "police-1") is None


def test_a_statement_is_kept_verbatim(tmp_path: Path) -> None:
    region = Region(tmp_path, authority=AUTHORITY)
    body = organisation_body(NOW_MS, HEALTH, "health")
    region.state.apply(0, entry(audit_pb2.ACT_ORGANISATION, body))
    assert region.state.organisations.get(HEALTH).statement == common_pb2.Statement(body=body)
