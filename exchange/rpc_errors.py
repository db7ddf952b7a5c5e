"""How an ExchangeError crosses RPC intact: google.rpc.Status with ErrorInfo, or a Failure on a link.

What travels is the stable reason, the hop and ids; never a source's own text, never a value.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

import grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from exchange.errors import (
    BadInput,
    ExchangeError,
    Internal,
    by_reason,
)
from exchange.v1 import exchange_pb2, reason_pb2

T = TypeVar("T")
DOMAIN = "shuqiao"
SUBJECT_CHARS = 200


def to_status(error: ExchangeError) -> status_pb2.Status:
    """Return the error as google.rpc.Status: ErrorInfo, both languages, BadRequest or RetryInfo where due."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code.name), message=str(error))
    info = error_details_pb2.ErrorInfo(reason=error.name, domain=DOMAIN)
    info.metadata["hop"] = error.hop
    info.metadata["subject"] = error.subject[:SUBJECT_CHARS]
    status.details.add().Pack(info)
    for locale, message in (("zh-CN", error.sentence.zh), ("en", error.sentence.en)):
        status.details.add().Pack(error_details_pb2.LocalizedMessage(locale=locale, message=message))
    if isinstance(error, BadInput):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.subject, reason=error.name)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_ms:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(error.retry_after_ms)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


async def abort(context: grpc.aio.ServicerContext, error: ExchangeError) -> NoReturn:  # type: ignore[type-arg]
    """End an RPC with an error.

    Args:
        context: the call.
        error: why.

    Raises:
        grpc.aio.AbortError: always.
    """
    status = rpc_status.to_status(to_status(error))
    await context.abort(status.code, status.details, status.trailing_metadata or ())
    raise AssertionError("abort returned")


def from_rpc_error(error: grpc.RpcError, *, hop: str, away: type[ExchangeError] = Internal) -> ExchangeError:
    """Return the error that the other side raised.

    Args:
        error: what the call raised.
        hop: name of the other side, used where it did not name itself.
        away: the class for a side that cannot be reached, for example GatewayAway.

    Returns:
        An ExchangeError; `away` when the transport failed before an answer came.
    """
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        return Internal("inconsistent status", hop=hop)
    if status is not None:
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                return by_reason(_number(info.reason))(
                    info.metadata["subject"], hop=info.metadata["hop"] or hop
                )
    code = error.code() if hasattr(error, "code") else None
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
        return away(code.name, hop=hop)
    return Internal(code.name if code else "", hop=hop)


async def answered(call: Callable[[], Awaitable[T]], *, hop: str, away: type[ExchangeError] = Internal) -> T:
    """Make a call and return its answer, whatever becomes of its channel meanwhile.

    Args:
        call: makes the call, for example `lambda: stub.GetResource(request, timeout=5)`.
        hop: name of the other side.
        away: the class for a side that cannot be reached.

    Raises:
        ExchangeError: what the other side said; `away` where the channel has been closed.
    """
    try:
        return await call()
    except grpc.RpcError as error:
        raise from_rpc_error(error, hop=hop, away=away) from None
    except grpc.aio.UsageError:
        raise away("channel closed", hop=hop) from None
    except asyncio.CancelledError:
        # A channel that closes cancels its calls, not the task that waits for them.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise away("channel closed", hop=hop) from None


def _number(name: str) -> int:
    try:
        return reason_pb2.Reason.Value(f"REASON_{name}")
    except ValueError:
        return reason_pb2.REASON_INTERNAL


def to_failure(error: ExchangeError, exchange_id: bytes) -> exchange_pb2.Failure:
    """Return the error as it travels on a link."""
    return exchange_pb2.Failure(
        exchange_id=exchange_id,
        reason=error.reason,
        hop=error.hop,
        retry_after_ms=error.retry_after_ms,
        subject=error.subject[:SUBJECT_CHARS],
    )


def from_failure(failure: exchange_pb2.Failure) -> ExchangeError:
    """Return the error that came over a link."""
    return by_reason(failure.reason)(
        failure.subject[:SUBJECT_CHARS],
        hop=failure.hop[:SUBJECT_CHARS],
        retry_after_ms=failure.retry_after_ms,
    )
