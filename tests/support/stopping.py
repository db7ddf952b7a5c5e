"""Officers who stop and lift, as tests use them."""

from collections.abc import Sequence
from typing import Any

from exchange import canonical
from exchange.statement import StatementSigner
from exchange.v1 import common_pb2, stop_pb2
from tests.support.region import moment, nonce

HOUR_MS = 3600 * 1000


def stop_body(at_ms: int, scope: int, target: str, *, minutes: int = 0, **changes: Any) -> bytes:
    """Return a StopBody that ends after some minutes, 0 for never."""
    until = {"until": moment(at_ms + minutes * 60_000)} if minutes else {}
    held: dict[str, Any] = {"nonce": nonce(), "scope": scope, "target": target, "issued_at": moment(at_ms)}
    return stop_pb2.StopBody(**(held | until | changes)).SerializeToString()


def lift_body(at_ms: int, stop_id: bytes, **changes: Any) -> bytes:
    """Return a LiftBody."""
    held: dict[str, Any] = {"nonce": nonce(), "stop_id": stop_id, "issued_at": moment(at_ms)}
    return stop_pb2.LiftBody(**(held | changes)).SerializeToString()


def stopped(body: bytes, *officers: StatementSigner) -> Sequence[common_pb2.Statement]:
    """Return a StopBody signed by each."""
    return [officer.sign(canonical.STOP, body) for officer in officers]


def lifted(body: bytes, *officers: StatementSigner) -> Sequence[common_pb2.Statement]:
    """Return a LiftBody signed by each."""
    return [officer.sign(canonical.LIFT, body) for officer in officers]
