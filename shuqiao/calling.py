"""What every call to a gateway or authority has around it."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from exchange.errors import ExchangeError, GatewayAway
from exchange.rpc_errors import from_rpc_error

CALL_TIMEOUT_S = 15.0
HOP = "gateway"


@contextmanager
def calling(hop: str = HOP, away: type[ExchangeError] = GatewayAway) -> Iterator[None]:
    """Turn what a call raises into the error that the other side raised.

    Args:
        hop: name of the other side.
        away: what it is called when the other side cannot be reached.

    Raises:
        ExchangeError: whatever happened.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error, hop=hop, away=away) from error
