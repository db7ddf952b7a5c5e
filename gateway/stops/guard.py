"""Step 4, first of all guards: what is stopped goes no further, whatever was granted."""

from exchange.errors import Stopped
from exchange.stop_set import StopSet
from exchange.trust import TrustList
from gateway.record import Exchange


class NotStopped:
    """Refuses what is stopped; costs one comparison where nothing is.

    Args:
        stops: in force.
    """

    def __init__(self, *, stops: StopSet) -> None:
        self._stops = stops

    def __call__(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        """Check the exchange against the stops in force; its entry names the one that caught it."""
        exchange.rule = "stop"
        stops = self._stops
        if stops.quiet or exchange.resource is None:
            return
        stop = stops.find(exchange.header, exchange.resource.id, now_ms)
        if stop is not None:
            exchange.rule = stop.rule
            raise stops.refusal(stop)
        stops.rehearse(exchange.header, exchange.resource.id, now_ms)

    def peek(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        """Decide the same and count nothing: nobody asked for data."""
        exchange.rule = "stop"
        if exchange.resource is not None:
            stop = self._stops.find(exchange.header, exchange.resource.id, now_ms)
            if stop is not None:
                exchange.rule = stop.rule
                raise Stopped(stop.name)
