"""One exchange at a time, for callers that hold no link: the same path, awaited.

All calls of one agent together have one window, as a link has: what was admitted counts until it is settled,
whether or not the caller still waits.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from exchange.errors import DeadlinePassed, ExchangeError
from exchange.identity import Identity
from exchange.rpc_errors import abort
from exchange.trust import Verified
from exchange.v1 import exchange_pb2, exchange_pb2_grpc
from gateway.audit.log.logged import Logged
from gateway.path import Path
from gateway.record import Exchange

MAX_WAIT_S = 305.0
"""A little beyond the longest deadline a request may name: the path ends every exchange before that."""


@dataclass(slots=True)
class UnaryCaller:
    """Who waits for one exchange.

    Attributes:
        in_flight: how many exchanges of the agent are under way.
        settled: told of the outcome, once.
    """

    identity: Identity
    serial: int
    not_after_ms: int
    outcome: "asyncio.Future[exchange_pb2.ExchangeResponse]"
    in_flight: int = 0
    consumer_window: int = 1
    settled: Callable[[], None] = lambda: None

    def settle(self, exchange: Exchange, leaf: bytes, logged: Logged | None) -> None:
        """Take the outcome; a caller that has gone takes nothing."""
        self.settled()
        if self.outcome.done():
            return
        if not exchange.released or logged is None or exchange.answer is None:
            assert exchange.error is not None
            self.outcome.set_exception(exchange.error)
            return
        response = exchange_pb2.ExchangeResponse(checkpoint=logged.checkpoint)
        response.released.response.CopyFrom(exchange.answer)
        receipt = response.released.receipt
        receipt.leaf, receipt.index, receipt.proof = leaf, logged.index, logged.proof
        self.outcome.set_result(response)


class ExchangeService(exchange_pb2_grpc.ExchangeServiceServicer):
    """Unary exchanges.

    Args:
        path: the path.
        peer: tells who calls.
        consumer_window: how many exchanges of one agent may be under way.
    """

    def __init__(self, *, path: Path, peer: Callable[[Any], Verified], consumer_window: int) -> None:
        self._path = path
        self._peer = peer
        self._window = consumer_window
        self._under_way: Counter[Identity] = Counter()

    async def Exchange(
        self,
        request: exchange_pb2.ExchangeRequest,
        context: grpc.aio.ServicerContext[exchange_pb2.ExchangeRequest, exchange_pb2.ExchangeResponse],
    ) -> exchange_pb2.ExchangeResponse:
        """Ask once."""
        try:
            verified = self._peer(context)
            caller = UnaryCaller(
                identity=verified.identity,
                serial=verified.serial,
                not_after_ms=verified.not_after_ms,
                outcome=asyncio.get_running_loop().create_future(),
                in_flight=self._under_way[verified.identity],
                consumer_window=self._window,
                settled=partial(self._settled, verified.identity),
            )
            self._under_way[verified.identity] += 1
            self._path.admit(caller, [request.request])
            return await asyncio.wait_for(caller.outcome, MAX_WAIT_S)
        except TimeoutError:
            await abort(context, DeadlinePassed("exchange"))
        except ExchangeError as error:
            await abort(context, error)

    def _settled(self, agent: Identity) -> None:
        self._under_way[agent] -= 1
        if not self._under_way[agent]:
            del self._under_way[agent]
