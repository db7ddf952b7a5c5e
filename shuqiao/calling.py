"""What every call to a gateway or authority has around it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import grpc

from exchange.errors import ExchangeError, GatewayAway
from exchange.identity import Identity
from exchange.rpc_errors import from_rpc_error
from exchange.v1 import common_pb2

CALL_TIMEOUT_S = 15.0
HOP = "gateway"

M = TypeVar("M")


class Signer(Protocol):
    """Whoever signs; exchange.statement.StatementSigner is one."""

    @property
    def identity(self) -> Identity:
        """Who that is."""
        ...

    def sign(self, domain: bytes, body: bytes) -> common_pb2.Statement:
        """Sign a body under its domain."""
        ...


def not_one(text: str, fitting: int) -> str:
    """Return the subject of an error about an id typed short: how many it fits, where it fits several."""
    return f"{text}… × {fitting}" if fitting else text


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


def all_pages(page: Callable[[str], tuple[list[M], str]]) -> list[M]:
    """Return everything that a paged call tells, asked from the start to the end.

    Args:
        page: asks with a page token; returns the items and the token of the next page, empty at the end.
    """
    found: list[M] = []
    token = ""
    while True:
        with calling():
            items, token = page(token)
        found.extend(items)
        if not token:
            return found
