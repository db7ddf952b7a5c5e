import asyncio

import grpc
import pytest

from exchange.errors import ProviderAway
from exchange.rpc_errors import from_failure, from_rpc_error
from exchange.v1 import agent_pb2, agent_pb2_grpc, reason_pb2
from tests.support.faces import RESOURCE, Faces, faces
from tests.support.fake_asker import FakeAsker, answered, echo, failed


def _question(tag: int, **change: object) -> agent_pb2.AskRequest:
    parts = {"resource": RESOURCE, "purpose": "newborn", "operator": "op-1", **change}
    parameter = agent_pb2.NamedValue(name="n", value=str(tag))
    return agent_pb2.AskRequest(tag=tag, parameters=[parameter], **parts)


def _channel(running: Faces) -> grpc.aio.Channel:
    unix = running.at.grpc.startswith("unix:")
    kind = grpc.LocalConnectionType.UDS if unix else grpc.LocalConnectionType.LOCAL_TCP
    target = running.at.grpc.replace("unix://", "unix:")
    return grpc.aio.secure_channel(target, grpc.local_channel_credentials(kind))


def _token(running: Faces) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {running.token}"),)


async def _collect(call, count):
    outcomes = {}
    while len(outcomes) < count:
        response = await call.read()
        assert response is not grpc.aio.EOF
        assert len(response.outcomes) <= 256
        outcomes.update((each.tag, each) for each in response.outcomes)
    return outcomes


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer " + "x" * 43),)])
async def test_a_call_without_a_valid_token_ends_unauthenticated(tmp_path, metadata):
    asker = FakeAsker()
    async with faces(asker, tmp_path) as running, _channel(running) as channel:
        stub = agent_pb2_grpc.AgentServiceStub(channel)
        calls = [
            stub.Ask(_question(1), metadata=metadata),
            stub.GetAgentStatus(agent_pb2.GetAgentStatusRequest(), metadata=metadata),
            stub.AskStream(metadata=metadata).read(),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert from_rpc_error(caught.value, hop="x").hop == "consumer/health-1"
    assert asker.asked == []


async def test_one_stream_carries_a_thousand_questions(tmp_path):
    async with faces(FakeAsker(), tmp_path) as running, _channel(running) as channel:
        call = agent_pb2_grpc.AgentServiceStub(channel).AskStream(metadata=_token(running))
        for first in range(0, 1000, 200):
            questions = [_question(tag) for tag in range(first, first + 200)]
            await call.write(agent_pb2.AskStreamRequest(questions=questions))
        await call.done_writing()
        outcomes = await _collect(call, 1000)
        assert await call.read() is grpc.aio.EOF
    assert all(each.answer.columns[0].values[0] == str(tag) for tag, each in outcomes.items())


async def test_loopback_tcp_and_plain_channels_work_too(tmp_path):
    async with faces(FakeAsker(), tmp_path, grpc="127.0.0.1:0") as running:
        async with _channel(running) as channel:
            stub = agent_pb2_grpc.AgentServiceStub(channel)
            assert (await stub.Ask(_question(4), metadata=_token(running))).tag == 4
        async with grpc.aio.insecure_channel(running.at.grpc) as channel:
            stub = agent_pb2_grpc.AgentServiceStub(channel)
            status = await stub.GetAgentStatus(agent_pb2.GetAgentStatusRequest(), metadata=_token(running))
    assert status.hops[0].ok


async def test_one_refused_question_leaves_the_others_of_its_batch_alone(tmp_path):
    asker = FakeAsker()
    questions = [
        _question(1),
        _question(2, purpose="other"),
        _question(3, resource="970100/tax/premium"),
        _question(4, operator=""),
    ]
    async with faces(asker, tmp_path) as running, _channel(running) as channel:
        call = agent_pb2_grpc.AgentServiceStub(channel).AskStream(metadata=_token(running))
        await call.write(agent_pb2.AskStreamRequest(questions=questions))
        outcomes = await _collect(call, 4)
        call.cancel()
    assert outcomes[1].HasField("answer")
    for tag, subject in ((2, "purpose"), (3, "resource"), (4, "operator")):
        assert outcomes[tag].failure.reason == reason_pb2.REASON_APPLICATION_NOT_ALLOWED
        assert outcomes[tag].failure.subject == f"application wards: {subject}"
    assert [each.tag for each in asker.asked] == [1]


async def test_a_full_queue_fails_the_batch_and_not_the_stream(tmp_path):
    asker = FakeAsker(room=0)
    async with faces(asker, tmp_path) as running, _channel(running) as channel:
        call = agent_pb2_grpc.AgentServiceStub(channel).AskStream(metadata=_token(running))
        await call.write(agent_pb2.AskStreamRequest(questions=[_question(1), _question(2)]))
        outcomes = await _collect(call, 2)
        asker.room = 10
        await call.write(agent_pb2.AskStreamRequest(questions=[_question(3)]))
        later = await _collect(call, 1)
        call.cancel()
    assert {each.failure.reason for each in outcomes.values()} == {reason_pb2.REASON_QUEUE_FULL}
    assert later[3].HasField("answer")


async def test_a_failure_of_the_asker_is_an_outcome_with_its_hop(tmp_path):
    asker = FakeAsker(lambda question: failed(question.tag, ProviderAway("p", hop="gateway/g1")))
    async with faces(asker, tmp_path) as running, _channel(running) as channel:
        outcome = await agent_pb2_grpc.AgentServiceStub(channel).Ask(_question(9), metadata=_token(running))
    error = from_failure(outcome.failure)
    assert isinstance(error, ProviderAway)
    assert (error.hop, error.subject, outcome.tag) == ("gateway/g1", "p", 9)


async def test_too_large_a_batch_ends_the_stream(tmp_path):
    async with faces(FakeAsker(), tmp_path) as running, _channel(running) as channel:
        call = agent_pb2_grpc.AgentServiceStub(channel).AskStream(metadata=_token(running))
        await call.write(agent_pb2.AskStreamRequest(questions=[_question(tag) for tag in range(257)]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert from_rpc_error(caught.value, hop="x").name == "OVERSIZED"


async def test_no_more_than_the_window_is_taken_in_while_nothing_is_answered(tmp_path):
    asker = FakeAsker(held=True)
    async with faces(asker, tmp_path, stream_window=256) as running, _channel(running) as channel:
        stub = agent_pb2_grpc.AgentServiceStub(channel)
        call = stub.AskStream(metadata=_token(running))
        for first in (0, 200, 400):
            questions = [_question(tag) for tag in range(first, first + 200)]
            await call.write(agent_pb2.AskStreamRequest(questions=questions))
        await asker.arrived.wait()
        await stub.GetAgentStatus(agent_pb2.GetAgentStatusRequest(), metadata=_token(running))
        assert len(asker.asked) == 200
        asker.held = False
        asker.release()
        assert len(await _collect(call, 600)) == 600
        call.cancel()


async def test_a_cancelled_stream_frees_its_slots_and_late_answers_go_nowhere(tmp_path):
    asker = FakeAsker(held=True)
    async with faces(asker, tmp_path, per_application=2) as running, _channel(running) as channel:
        stub = agent_pb2_grpc.AgentServiceStub(channel)
        call = stub.AskStream(metadata=_token(running))
        await call.write(agent_pb2.AskStreamRequest(questions=[_question(1), _question(2)]))
        await asker.arrived.wait()
        full = await stub.Ask(_question(3), metadata=_token(running))
        assert full.failure.reason == reason_pb2.REASON_QUEUE_FULL
        call.cancel()
        late = list(asker.pending)
        asker.held = False
        async with asyncio.timeout(10):
            while not (await stub.Ask(_question(4), metadata=_token(running))).HasField("answer"):
                pass
        for question, deliver in late:
            deliver(echo(question))
        outcomes = await asyncio.gather(*(stub.Ask(_question(5), metadata=_token(running)) for _ in "ab"))
    assert all(each.HasField("answer") for each in outcomes)


async def test_large_outcomes_are_spread_over_several_messages(tmp_path):
    column = agent_pb2.AnswerColumn(name="n", type="text", values=["x" * 300_000])
    asker = FakeAsker(lambda question: answered(question.tag, [column], records=1))
    async with faces(asker, tmp_path) as running, _channel(running) as channel:
        call = agent_pb2_grpc.AgentServiceStub(channel).AskStream(metadata=_token(running))
        await call.write(agent_pb2.AskStreamRequest(questions=[_question(tag) for tag in range(40)]))
        assert len(await _collect(call, 40)) == 40
        call.cancel()
