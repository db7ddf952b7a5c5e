"""The trunk in one process over real TLS: what each party does when another fails it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.message import Message

from exchange import canonical
from exchange.errors import AuditUnavailable, SourceDown, SourceTimeout
from exchange.rpc_errors import from_rpc_error
from exchange.signing import BatchSigner
from exchange.v1 import (
    agent_pb2,
    audit_pb2,
    common_pb2,
    exchange_pb2,
    exchange_pb2_grpc,
    grant_pb2,
    reason_pb2,
)
from gateway.audit.verification.verify import verify_folder
from tests.support.house import HOUSEHOLD, STATIONS, House, house_at, household_source, question, until

pytestmark = pytest.mark.system


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as region:
        yield region


def reason(response: agent_pb2.AskResponse) -> str:
    assert response.HasField("failure"), response
    return reason_pb2.Reason.Name(response.failure.reason).removeprefix("REASON_")


def entry_of(response: agent_pb2.AskResponse) -> audit_pb2.ExchangeEntry:
    return audit_pb2.AuditEntry.FromString(response.receipt.receipt.leaf).exchange


async def ask(house: House, **changes: Any) -> agent_pb2.AskResponse:
    return await house.consumer.consumer.ask(question(house.people[0], **changes))


async def test_an_answer_comes_with_the_record_and_a_receipt_that_says_so(house: House) -> None:
    response = await ask(house)
    person = house.people[0]
    values = {column.name: column.values[0] for column in response.answer.columns}
    assert values["name"] == person.name and values["address"] == person.address
    entry = entry_of(response)
    assert entry.decision == audit_pb2.DECISION_RELEASED
    assert entry.exchange_id == response.exchange_id
    assert list(entry.fields) == ["name", "address", "household_no", "police_station"]
    await until(lambda: not house.provider.journal.open_items, "the provider has its receipt")


async def test_nobody_found_is_an_answer_without_records(house: House) -> None:
    nobody = agent_pb2.NamedValue(name="citizen_id", value="970102199001010011")
    response = await ask(house, parameters=[nobody])
    assert response.HasField("answer") and response.answer.records == 0
    assert entry_of(response).decision == audit_pb2.DECISION_RELEASED


async def test_a_verification_says_match_and_mismatch_and_nothing_else(house: House) -> None:
    person = house.people[0]
    claims = [
        agent_pb2.NamedValue(name="name", value=person.name),
        agent_pb2.NamedValue(name="address", value="elsewhere"),
    ]
    response = await ask(house, kind=common_pb2.KIND_VERIFY, claims=claims)
    found = {column.name: column.values[0] for column in response.answer.columns}
    assert found == {"name": "true", "address": "false"}


async def test_a_revoked_grant_is_refused_and_the_provider_would_refuse_it_too(house: House) -> None:
    grant = house.consumer.region.grants()[0]
    await house.decide(grant.grant_id, grant_pb2.GRANT_ACTION_REVOKE, 2)
    assert reason(await ask(house)) == "GRANT_REVOKED"
    held = house.provider.region.grant(grant.grant_id)
    assert held is not None and held.state == grant_pb2.GRANT_STATE_REVOKED


async def test_a_paused_grant_is_refused_until_it_is_resumed(house: House) -> None:
    grant = house.consumer.region.grants()[0]
    await house.decide(grant.grant_id, grant_pb2.GRANT_ACTION_PAUSE, 2)
    assert reason(await ask(house)) == "GRANT_PAUSED"
    await house.decide(grant.grant_id, grant_pb2.GRANT_ACTION_RESUME, 3)
    assert (await ask(house)).HasField("answer")


async def test_unconditional_fields_are_granted_by_the_providers_agent_alone(house: House) -> None:
    agent = await_sources(house)
    await house.publish(STATIONS, level=2, share=1)
    await until(lambda: any(r.id == STATIONS for r in agent.region.resources()), "the catalogue is known")
    grant_id = await house.apply(STATIONS)
    await house.knows(house.consumer, grant_id, 1)
    response = await ask(house, resource=STATIONS)
    assert response.answer.records == 1


def await_sources(house: House) -> Any:
    """Give the provider a second source, which its configuration would name."""
    from agent.provider.source import build_source
    from agent.provider.sources_config import ResourceConfig

    config = ResourceConfig.model_validate(household_source(house.folder, STATIONS))
    house.provider.sources[STATIONS] = build_source(config, base=house.folder)
    return house.provider


async def test_a_new_version_of_the_catalogue_entry_is_taken_over_without_a_failed_question(
    house: House,
) -> None:
    assert (await ask(house)).HasField("answer")
    await house.publish(version=2)
    assert (await ask(house)).HasField("answer")


@pytest.mark.parametrize("error", [SourceDown, SourceTimeout])
async def test_a_source_that_fails_is_named_by_its_code_and_nothing_of_its_own(
    house: House, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error("disk 7 of host db-3")

    monkeypatch.setattr(house.provider.sources[HOUSEHOLD], "answer", fail)
    response = await ask(house)
    assert reason(response) == error("").name  # type: ignore[attr-defined]
    assert "db-3" not in str(response)
    assert response.HasField("receipt")


async def test_a_provider_that_does_not_answer_ends_by_the_deadline_and_is_logged(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def never(*_: object, **__: object) -> None:
        await hang

    monkeypatch.setattr(house.provider.sources[HOUSEHOLD], "answer", never)
    before = house.log_size
    response = await ask(house, timeout_ms=300)
    assert reason(response) == "DEADLINE_PASSED"
    await until(lambda: house.log_size > before, "the gateway logged it")
    monkeypatch.undo()
    assert (await ask(house)).HasField("answer")


async def test_one_slow_source_holds_up_nobody_else(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = await_sources(house)
    await house.publish(STATIONS, level=2, share=1)
    await until(lambda: any(r.id == STATIONS for r in agent.region.resources()), "the catalogue is known")
    await house.knows(house.consumer, await house.apply(STATIONS), 1)
    let: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    real = house.provider.sources[HOUSEHOLD].answer

    async def slow(*args: Any, **named: Any) -> Any:
        await let
        return await real(*args, **named)

    monkeypatch.setattr(house.provider.sources[HOUSEHOLD], "answer", slow)
    waiting = asyncio.create_task(ask(house))
    assert (await ask(house, resource=STATIONS)).HasField("answer")
    assert not waiting.done()
    let.set_result(None)
    assert (await waiting).HasField("answer")


async def test_without_a_provider_the_question_fails_at_once_and_is_logged(house: House) -> None:
    assert (await ask(house)).HasField("answer")
    for link in house.gateway.links:
        if link.identity.name == "police-1":
            house.gateway.links.remove(link)
    response = await ask(house)
    assert reason(response) == "PROVIDER_AWAY"
    assert response.HasField("receipt")


async def test_when_the_log_cannot_be_written_nothing_is_released_and_readiness_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = house.gateway.sequencer._store
    real = store.commit

    def full() -> None:
        raise AuditUnavailable("no space left")

    monkeypatch.setattr(store, "commit", full)
    response = await ask(house)
    assert reason(response) == "AUDIT_UNAVAILABLE"
    assert not response.HasField("answer") and not response.HasField("receipt")
    monkeypatch.setattr(store, "commit", real)
    await until(lambda: house.gateway.sequencer.fault is None, "the log is well again")
    assert (await ask(house)).HasField("answer")


async def test_while_the_log_is_down_no_provider_is_asked(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await ask(house)).HasField("answer")
    asked: list[object] = []
    monkeypatch.setattr(house.provider.provider, "requests", lambda *items: asked.append(items))
    fault = property(lambda _: AuditUnavailable("no space left"))
    monkeypatch.setattr(type(house.gateway.sequencer), "fault", fault)
    assert reason(await ask(house)) == "AUDIT_UNAVAILABLE"
    assert asked == []


async def test_readiness_is_red_while_the_log_fails_and_names_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = house.gateway.ready_face._server.servers[0].sockets[0].getsockname()[1]  # type: ignore[union-attr]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        assert (await http.get("/ready")).status_code == 200
        monkeypatch.setattr(
            type(house.gateway.sequencer), "fault", property(lambda _: AuditUnavailable("no space left"))
        )
        red = await http.get("/ready")
        assert red.status_code == 503
        assert red.json()["faults"][0]["code"] == "AUDIT_UNAVAILABLE"
        metrics = (await http.get("/metrics")).text
        assert "shuqiao_ready 0.0" in metrics and "shuqiao_links 2.0" in metrics


async def test_a_stream_that_breaks_is_made_anew_and_what_was_under_way_fails_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def never(*_: object, **__: object) -> None:
        await hang

    monkeypatch.setattr(house.provider.sources[HOUSEHOLD], "answer", never)
    waiting = asyncio.create_task(ask(house))
    await until(lambda: any(link.pending for link in house.gateway.links), "the provider has the request")
    for link in house.gateway.links:
        if link.identity.name == "health-1":
            link.close(AuditUnavailable("test"))
    assert reason(await waiting) == "LINK_LOST"
    monkeypatch.undo()
    await until(lambda: house.consumer.link.fault is None, "linked again")
    assert (await ask(house)).HasField("answer")


async def test_old_trust_stops_what_is_sealed(house: House) -> None:
    assert (await ask(house)).HasField("answer")
    trust = house.gateway.feed.current
    assert trust is not None
    house.gateway.feed._current = type(trust)(
        **{name: getattr(trust, name) for name in trust.__slots__} | {"max_age_s": 0, "issued_at_ms": 1}
    )
    assert reason(await ask(house)) == "TRUST_STALE"


async def test_a_second_stream_takes_the_work_and_the_older_one_drains(house: House) -> None:
    older = house.consumer.link.current
    questions = [asyncio.create_task(ask(house)) for _ in range(20)]
    await asyncio.sleep(0)
    house.consumer.link.redial()
    await until(
        lambda: house.consumer.link._current not in (None, older), "a second stream is the current one"
    )
    for response in await asyncio.gather(*questions):
        assert response.HasField("answer")
    assert (await ask(house)).HasField("answer")
    await until(lambda: older.ended, "the older stream has ended")


async def test_a_unary_exchange_passes_the_same_path(house: House) -> None:
    agent = house.consumer
    sent: list[exchange_pb2.RequestBody | Message] = []
    real: Callable[..., Any] = agent.link.send

    def catch(digest: bytes, item: Any, size: int) -> Any:
        sent.append(item)
        return agent.link.current

    agent.link.send = catch  # type: ignore[method-assign]
    waiting = asyncio.create_task(ask(house))
    await until(lambda: sent, "the request is made")
    agent.link.send = real  # type: ignore[method-assign]
    waiting.cancel()
    signed = sent[0].request  # type: ignore[union-attr]
    signer = BatchSigner(kid=agent.keys.signing_kid, key=agent.keys.signing_key)
    signed.signature.CopyFrom(signer.sign([canonical.digest(canonical.REQUEST, signed.body)])[0])
    channel = await house.channel(agent.identity)
    stub = exchange_pb2_grpc.ExchangeServiceStub(channel)
    response = await stub.Exchange(exchange_pb2.ExchangeRequest(request=signed))
    entry = audit_pb2.AuditEntry.FromString(response.released.receipt.leaf).exchange
    assert entry.decision == audit_pb2.DECISION_RELEASED
    with pytest.raises(grpc.RpcError) as caught:
        await stub.Exchange(exchange_pb2.ExchangeRequest(request=signed))
    assert from_rpc_error(caught.value, hop="").name == "REPLAYED"


async def test_beyond_the_window_a_consumer_is_refused_at_once(tmp_path: Path) -> None:
    async with house_at(tmp_path, consumer_window=4) as house:
        outcomes = await asyncio.gather(*(ask(house) for _ in range(40)))
        refused = [reason(outcome) for outcome in outcomes if outcome.HasField("failure")]
        assert refused and set(refused) == {"QUEUE_FULL"}
        assert any(outcome.HasField("answer") for outcome in outcomes)
        await until(lambda: all(link.in_flight == 0 for link in house.gateway.links), "nothing is in flight")
        assert (await ask(house)).HasField("answer")


async def test_the_log_of_a_working_gateway_verifies_offline(house: House) -> None:
    from gateway.audit.verification.verify import verify_folder

    for _ in range(3):
        await ask(house)
    folder = house.folder / "gateway-1"
    rows = sqlite3.connect(f"file:{folder / 'audit.db'}?mode=ro", uri=True).execute(
        "SELECT count(*) FROM entry"
    )
    assert rows.fetchone()[0] == house.log_size
    report = verify_folder(folder, house.gateway.feed.current)
    assert not report.faults and report.size == house.log_size


async def test_a_bundle_under_the_agents_name_that_it_never_made_raises_an_alarm(house: House) -> None:
    from exchange.keys import OwnKeys
    from exchange.keystore import MemoryKeyStore
    from exchange.v1 import directory_pb2, directory_pb2_grpc

    thief = house.provider.identity
    who, store = thief.identity(), MemoryKeyStore()
    forged = OwnKeys(
        keystore=store,
        clock=house.region.clock,
        organisation=who.organisation,
        agent=who.name,
        signer=thief.statement_signer(),
        suite=2,
    )
    # The thief has the certificate's key and follows the chain: only the agent itself can tell.
    body = directory_pb2.KeyBundleBody.FromString(forged.bundle.body)
    body.seq, body.previous = house.provider.keys.seq + 1, house.provider.keys.bundle_digest
    statement = thief.statement_signer().sign(canonical.BUNDLE, body.SerializeToString())
    stub = directory_pb2_grpc.DirectoryServiceStub(await house.channel(thief))
    await stub.PublishBundle(directory_pb2.PublishBundleRequest(bundle=statement))
    await until(lambda: house.provider.duties.foreign_bundle, "the agent has noticed")
    hops = {hop.hop: hop for hop in (await house.provider.desk.status()).hops}
    assert not hops["keys"].ok and hops["keys"].reason == "BUNDLE_ROLLBACK"


async def test_a_gateway_that_breaks_links_to_keep_back_receipts_is_answered_no_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = house.provider.provider
    provider._ = type(provider._)(
        **{name: getattr(provider._, name) for name in provider._.__slots__} | {"unreceipted_per_hour": 3}
    )
    stream = house.provider.link.current
    provider._sent[stream] = dict.fromkeys(bytes([number]) * 16 for number in range(4))
    provider.lost(stream)
    provider.watch()
    assert reason(await ask(house)) == "RECEIPT_OVERDUE"


async def test_a_gateway_whose_clock_goes_backward_refuses_and_its_log_stays_whole(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await ask(house)).HasField("answer")
    clock, real = house.gateway._clock, type(house.gateway._clock).now_ms

    def now_ms(self: object) -> int:
        return real(clock) - 2 * 3_600_000 * (self is clock)

    monkeypatch.setattr(type(clock), "now_ms", now_ms)
    refused = await ask(house)
    assert reason(refused) == "CLOCK_SKEW"
    before = audit_pb2.AuditEntry.FromString(house.gateway.sequencer.leaves(house.log_size - 2, 1)[0]).time_ms
    after = audit_pb2.AuditEntry.FromString(house.gateway.sequencer.leaves(house.log_size - 1, 1)[0]).time_ms
    assert after < before, "the entry tells the clock as it was"
    monkeypatch.undo()
    assert (await ask(house)).HasField("answer")
    report = verify_folder(
        house.folder / "gateway-1", {house.gateway.origin: (*house.gateway.sequencer.public_keys,)}
    )
    assert report.faults == []
