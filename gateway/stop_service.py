"""Serves emergency stops: to order one, to lift one, to see them."""

from itertools import islice
from typing import Any

from exchange.clock import Clock
from exchange.identity import Identity
from exchange.v1 import stop_pb2, stop_pb2_grpc
from gateway.calls import Calls
from gateway.stops.desk import StopDesk
from gateway.stops.register import Ordered, StopRegister

SERVICE = "/exchange.v1.StopService"
MAX_LISTED = 500


class StopService(stop_pb2_grpc.StopServiceServicer):
    """Serves stops.

    Args:
        desk: takes orders.
        stops: every stop.
        calls: what every call has around it.
        clock: the time.
    """

    def __init__(self, *, desk: StopDesk, stops: StopRegister, calls: Calls, clock: Clock) -> None:
        self._desk = desk
        self._stops = stops
        self._calls = calls
        self._clock = clock

    async def Stop(self, request: stop_pb2.StopRequest, context: Any) -> stop_pb2.StopResponse:
        """Stop something at once."""
        return await self._calls.run(f"{SERVICE}/Stop", request, context, self._stop)

    async def Lift(self, request: stop_pb2.LiftRequest, context: Any) -> stop_pb2.LiftResponse:
        """Lift a stop."""
        return await self._calls.run(f"{SERVICE}/Lift", request, context, self._lift)

    async def ListStops(self, request: stop_pb2.ListStopsRequest, context: Any) -> stop_pb2.ListStopsResponse:
        """Return what is stopped."""
        return await self._calls.run(f"{SERVICE}/ListStops", request, context, self._list)

    async def _stop(self, request: stop_pb2.StopRequest, caller: Identity) -> stop_pb2.StopResponse:
        outcome = await self._desk.order(caller, list(request.stop))
        return stop_pb2.StopResponse(
            stop_id=outcome.stop.stop_id,
            index=outcome.index or 0,
            logged=outcome.index is not None,
            told=outcome.told,
            caught=outcome.caught,
        )

    async def _lift(self, request: stop_pb2.LiftRequest, caller: Identity) -> stop_pb2.LiftResponse:
        return stop_pb2.LiftResponse(index=await self._desk.lift(caller, list(request.lift)))

    async def _list(self, request: stop_pb2.ListStopsRequest, caller: Identity) -> stop_pb2.ListStopsResponse:
        now_ms = self._clock.now_ms()
        wanted = (one for one in self._stops if request.all or one.holds(now_ms))
        return stop_pb2.ListStopsResponse(
            stops=[self._record(one, now_ms) for one in islice(wanted, MAX_LISTED)]
        )

    def _record(self, ordered: Ordered, now_ms: int) -> stop_pb2.StopRecord:
        return stop_pb2.StopRecord(
            stop_id=ordered.stop.stop_id,
            stop=ordered.statements,
            holds=ordered.holds(now_ms),
            logged=ordered.index is not None,
            caught=self._stops.force.caught(ordered.stop.stop_id),
            lift=ordered.lift,
        )
