import asyncio
import datetime
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest

import shuqiao
from exchange.errors import (
    AgentAway,
    ApplicationNotAllowed,
    BadConfiguration,
    BadParameter,
    DeadlinePassed,
    ExchangeError,
    NoIdentity,
    ProviderAway,
)
from exchange.v1 import agent_pb2
from shuqiao import channel
from tests.support.faces import RESOURCE, faces
from tests.support.fake_asker import FakeAsker, answered, failed, full

ASK = {"purpose": "newborn", "operator": "op-1"}


def _queries(count: int) -> list[shuqiao.Query]:
    return [shuqiao.Query(resource=RESOURCE, parameters={"n": place}, **ASK) for place in range(count)]


async def _in_thread(running, work):
    def run():
        with shuqiao.connect(running.at.grpc, token_file=running.token_file) as client:
            return work(client)

    return await asyncio.to_thread(run)


def test_importing_the_package_loads_the_exchange_alone():
    program = (
        "import shuqiao, sys; heavy = {'grpc', 'google', 'pydantic', 'agent', 'gateway', 'certs', 'typer'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); assert 'exchange' in sys.modules; "
        "shuqiao.connect; assert 'grpc' in sys.modules; assert not {'agent', 'fastapi'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_the_package_names_what_it_offers():
    assert all(getattr(shuqiao, name) for name in shuqiao.__all__)
    with pytest.raises(AttributeError):
        shuqiao.nothing  # noqa: B018


async def test_a_query_gives_python_values_by_type(tmp_path):
    async with faces(FakeAsker(full), tmp_path) as running:
        answer = await _in_thread(running, lambda client: client.query(RESOURCE, **ASK))
    assert answer.records[0] == {
        "name": "李雷",
        "persons": 3,
        "rent": Decimal("10.50"),
        "since": datetime.date(2020, 1, 31),
        "seen": datetime.datetime.fromisoformat("2026-01-02T03:04:05+08:00"),
        "open": True,
        "stamp": b"\x00\x01",
    }
    assert answer.records[1]["name"] is None
    assert answer.exchange_id == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert answer.data_version == "v1"
    assert answer.receipt.index == 7
    assert answer.receipt.checkpoint.startswith("origin")
    assert b"leaf" in answer.receipt.serialised()


async def test_parameters_travel_in_the_text_form_of_their_type(tmp_path):
    asker = FakeAsker()
    parameters = {
        "a": "x",
        "b": True,
        "c": 5,
        "d": Decimal("1E+2"),
        "e": datetime.date(2020, 1, 2),
        "f": datetime.datetime(2020, 1, 2, 3, 4, 5),
        "g": b"\x00\x01",
    }
    async with faces(asker, tmp_path) as running:
        await _in_thread(running, lambda client: client.query(RESOURCE, parameters=parameters, **ASK))
    values = [each.value for each in asker.asked[0].parameters]
    assert values == ["x", "true", "5", "100", "2020-01-02", "2020-01-02T03:04:05", "AAE="]


async def test_a_verification_gives_match_mismatch_and_unknown(tmp_path):
    async with faces(FakeAsker(full), tmp_path) as running:
        found = await _in_thread(
            running, lambda client: client.verify(RESOURCE, claims={"name": "李雷"}, **ASK)
        )
    assert found.results == {"name": True, "address": False, "phone": None}


async def test_a_thousand_questions_come_back_in_order_over_one_stream(tmp_path):
    async with faces(FakeAsker(), tmp_path) as running:
        answers = await _in_thread(running, lambda client: list(client.query_many(_queries(1000))))
        async with running.client() as client:
            again = [each async for each in client.query_many(_queries(1000))]
    wanted = [str(place) for place in range(1000)]
    assert [each.records[0]["echo"] for each in answers] == wanted
    assert [each.records[0]["echo"] for each in again] == wanted


async def test_a_failed_question_among_many_stands_in_its_place(tmp_path):
    def answer(question: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
        if question.parameters[0].value == "1":
            return failed(question.tag, ProviderAway("p", hop="gateway/g1"))
        return answered(question.tag, [], records=1)

    bad = shuqiao.Query(resource=RESOURCE, parameters={"n": object()}, **ASK)
    async with faces(FakeAsker(answer), tmp_path) as running:
        found = await _in_thread(running, lambda client: list(client.query_many([*_queries(3), bad])))
    assert [type(each) for each in found] == [shuqiao.Answer, ProviderAway, shuqiao.Answer, BadParameter]
    assert found[1].hop == "gateway/g1"


async def test_an_endless_source_is_read_only_as_far_as_there_is_room(tmp_path):
    taken = []

    def source():
        for each in _queries(10_000):
            taken.append(each)
            yield each

    def work(client):
        many = client.query_many(source(), in_flight=8)
        next(many)
        many.close()

    async with faces(FakeAsker(), tmp_path) as running:
        await _in_thread(running, work)
    assert len(taken) == 9


async def test_threads_may_share_a_client(tmp_path):
    def work(client):
        found = []

        def one(place: int) -> None:
            for _ in range(20):
                found.append(
                    client.query(RESOURCE, parameters={"n": place}, **ASK).records[0]["echo"] == str(place)
                )

        threads = [threading.Thread(target=one, args=(place,)) for place in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    async with faces(FakeAsker(), tmp_path) as running:
        assert await _in_thread(running, work) == [True] * 160


async def test_refusals_and_failures_are_raised_as_their_classes(tmp_path):
    async with faces(FakeAsker(), tmp_path) as running:
        async with running.client() as client:
            with pytest.raises(ApplicationNotAllowed) as caught:
                await client.query(RESOURCE, purpose="other", operator="op-1")
        with pytest.raises(ApplicationNotAllowed):
            await _in_thread(running, lambda each: each.query("970100/tax/premium", **ASK))
    assert caught.value.hop == "consumer/health-1"


@pytest.mark.parametrize("parts", [{"fields": "name"}, {"timeout_s": 0}, {"timeout_s": 601}, {"purpose": 5}])
async def test_what_cannot_be_sent_is_refused_before_it_is_sent(tmp_path, parts):
    asker = FakeAsker()
    async with faces(asker, tmp_path) as running, running.client() as client:
        with pytest.raises(BadParameter):
            await client.query(RESOURCE, **parts)
        with pytest.raises(BadParameter):
            await client.verify(RESOURCE, claims={})
    assert asker.asked == []


async def test_a_wrong_token_is_told_as_such_by_both_clients(tmp_path):
    async with faces(FakeAsker(), tmp_path) as running:
        running.token_file.write_text("x" * 43)
        with pytest.raises(NoIdentity):
            await _in_thread(running, lambda client: client.query(RESOURCE, **ASK))
        async with running.client() as client:
            with pytest.raises(NoIdentity):
                await client.query(RESOURCE, **ASK)


async def test_an_agent_that_is_away_is_told_and_found_again(tmp_path):
    async with faces(FakeAsker(), tmp_path) as running:
        address, token_file = running.at.grpc, running.token_file
    async with shuqiao.connect_async(address, token_file=token_file) as client:
        with pytest.raises(AgentAway) as caught:
            await client.query(RESOURCE, **ASK)
        assert caught.value.retryable
        assert address in caught.value.hop
        with pytest.raises(AgentAway):
            await client.status()


async def test_a_stream_that_breaks_fails_what_was_under_way_and_the_next_question_opens_another(tmp_path):
    asker = FakeAsker(held=True)

    def work(client):
        results = []

        def ask() -> None:
            try:
                client.query(RESOURCE, **ASK)
            except ExchangeError as error:
                results.append(type(error))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        client._open()._call.cancel()
        for thread in threads:
            thread.join()
        asker.held = False
        return results, client.query(RESOURCE, **ASK)

    async with faces(asker, tmp_path) as running:
        results, answer = await _in_thread(running, work)
    assert set(results) <= {AgentAway}
    assert isinstance(answer, shuqiao.Answer)


async def test_an_agent_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("shuqiao.sync_stream.GRACE_S", 0.0)
    monkeypatch.setattr("shuqiao.async_client.GRACE_S", 0.0)
    async with faces(FakeAsker(held=True), tmp_path) as running:
        with pytest.raises(DeadlinePassed):
            await _in_thread(running, lambda client: client.query(RESOURCE, timeout_s=0.05, **ASK))
        async with running.client() as client:
            with pytest.raises(DeadlinePassed):
                await client.query(RESOURCE, timeout_s=0.05, **ASK)


async def test_a_closed_client_asks_no_more_and_fails_what_is_under_way(tmp_path):
    asker = FakeAsker(held=True)
    async with faces(asker, tmp_path) as running:
        client = running.client()
        asking = asyncio.create_task(client.query(RESOURCE, **ASK))
        await asker.arrived.wait()
        await client.close()
        with pytest.raises(AgentAway):
            await asking
        with pytest.raises(AgentAway):
            await client.query(RESOURCE, **ASK)


async def test_a_cancelled_caller_is_forgotten(tmp_path):
    asker = FakeAsker(held=True)
    async with faces(asker, tmp_path) as running, running.client() as client:
        asking = asyncio.create_task(client.query(RESOURCE, **ASK))
        await asker.arrived.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert client._open()._waiting == {}
        asker.held = False
        asker.release()
        assert (await client.query(RESOURCE, **ASK)).records


@pytest.mark.parametrize("address", ["agent.example:7481", "127.0.0.1", "7481", "http://127.0.0.1:1"])
def test_an_address_that_is_not_local_is_refused(tmp_path, address):
    (tmp_path / "token").write_text("t")
    with pytest.raises(BadConfiguration):
        shuqiao.connect(address, token_file=tmp_path / "token")


@pytest.mark.parametrize("content", [None, b"", b"two words", b"x" * 300, b"\xff"])
def test_a_token_file_without_a_token_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(BadConfiguration):
        channel.metadata_of(tmp_path / "token")


async def test_a_value_that_is_not_of_its_type_is_refused_without_repeating_it(tmp_path):
    column = agent_pb2.AnswerColumn(name="n", type="integer", values=["secret"])
    asker = FakeAsker(lambda question: answered(question.tag, [column], records=1))
    async with faces(asker, tmp_path) as running:
        answer = await _in_thread(running, lambda client: client.query(RESOURCE, **ASK))
    with pytest.raises(ExchangeError) as caught:
        _ = answer.records
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(answer)
