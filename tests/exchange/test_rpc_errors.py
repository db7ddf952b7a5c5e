"""Errors across RPC and links."""

from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from google.rpc import error_details_pb2

from exchange.errors import BY_REASON, ExchangeError, GatewayAway, Internal, Malformed, QueueFull, by_reason
from exchange.rpc_errors import abort, from_failure, from_rpc_error, to_failure, to_status
from exchange.v1 import audit_pb2, audit_pb2_grpc


class Refusing(audit_pb2_grpc.AuditServiceServicer):
    """Refuses every call with what it is told."""

    error: ExchangeError = Internal()

    async def GetCheckpoint(self, request: object, context: object) -> audit_pb2.GetCheckpointResponse:  # type: ignore[override]
        await abort(context, self.error)  # type: ignore[arg-type]


@pytest.fixture
async def refused() -> AsyncIterator[Callable[[ExchangeError], object]]:
    server, servicer = grpc.aio.server(), Refusing()
    audit_pb2_grpc.add_AuditServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = audit_pb2_grpc.AuditServiceStub(channel)

        async def call(error: ExchangeError) -> grpc.RpcError:
            servicer.error = error
            with pytest.raises(grpc.RpcError) as caught:
                await stub.GetCheckpoint(audit_pb2.GetCheckpointRequest())
            return caught.value

        yield call
    await server.stop(None)


async def test_every_reason_crosses_rpc_intact(refused: Callable[[ExchangeError], object]) -> None:
    for cls in BY_REASON.values():
        raised = await refused(cls("a name", hop="gateway/gateway-1"))  # type: ignore[misc]
        assert raised.code().name == cls.code.name
        back = from_rpc_error(raised, hop="elsewhere")
        assert type(back) is cls
        assert (back.subject, back.hop) == ("a name", "gateway/gateway-1")


async def test_a_hop_that_did_not_name_itself_is_named_by_the_caller(
    refused: Callable[[ExchangeError], object],
) -> None:
    raised = await refused(Malformed("x"))  # type: ignore[misc]
    assert from_rpc_error(raised, hop="gateway/g").hop == "gateway/g"


async def test_a_side_that_cannot_be_reached_is_away() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        stub = audit_pb2_grpc.AuditServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            await stub.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=5)
    assert isinstance(from_rpc_error(caught.value, hop="gateway", away=GatewayAway), GatewayAway)


@pytest.mark.parametrize("cls", BY_REASON.values(), ids=lambda cls: cls.__name__)
def test_every_reason_crosses_a_link_intact(cls: type[ExchangeError]) -> None:
    failure = to_failure(cls("a name", hop="provider/p", retry_after_ms=7), b"e" * 16)
    back = from_failure(failure)
    assert type(back) is cls
    assert (back.subject, back.hop, back.retry_after_ms) == ("a name", "provider/p", 7)


def test_a_reason_that_this_version_does_not_know_is_internal() -> None:
    assert by_reason(99_999) is Internal


def test_a_status_says_both_languages_bad_request_and_when_to_retry() -> None:
    kinds = {detail.type_url.rpartition(".")[2] for detail in to_status(Malformed("field")).details}
    assert {"ErrorInfo", "LocalizedMessage", "BadRequest"} <= kinds
    status = to_status(QueueFull("link", retry_after_ms=1500))
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToMilliseconds() == 1500


def test_a_subject_is_cut_before_it_travels() -> None:
    assert len(to_failure(Malformed("x" * 5000), b"").subject) == 200
