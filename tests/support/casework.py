"""Cases and the rules that make them count, signed by whoever a test says."""

from typing import Any

from exchange import canonical
from exchange.cases import CLOSE, DAY_MS, OPEN
from exchange.statement import StatementSigner
from exchange.v1 import case_pb2, common_pb2, rules_pb2
from tests.support.region import HEALTH, POLICE, moment, nonce
from tests.support.sealing import NOW_MS

CASE, MATTER = "LJ-2026-1", "newborn"


def case_body(at_ms: int = NOW_MS, **changes: Any) -> bytes:
    """Return the body of a step; the opening of HEALTH's case with POLICE unless told otherwise."""
    held: dict[str, Any] = {
        "nonce": nonce(),
        "case_number": CASE,
        "revision": 1,
        "action": OPEN,
        "lead": HEALTH,
        "matter": MATTER,
        "participants": [POLICE],
        "expires_at": moment(at_ms + 30 * DAY_MS),
        "issued_at": moment(at_ms),
    }
    return case_pb2.CaseEventBody(**(held | changes)).SerializeToString()


def step(signer: StatementSigner, at_ms: int = NOW_MS, **changes: Any) -> common_pb2.Statement:
    """Return a signed step."""
    return signer.sign(canonical.CASE, case_body(at_ms, **changes))


def closing(signer: StatementSigner, at_ms: int = NOW_MS, revision: int = 2, **changes: Any) -> Any:
    """Return a signed closing."""
    return step(signer, at_ms, revision=revision, action=CLOSE, **changes)


def rules_body(at_ms: int, version: int = 1, **changes: Any) -> bytes:
    """Return the body of rules by which cases are events."""
    held: dict[str, Any] = {
        "nonce": nonce(),
        "version": version,
        "issued_at": moment(at_ms),
        "case_mode": rules_pb2.CASE_MODE_EVENTS,
    }
    return rules_pb2.RegionRulesBody(**(held | changes)).SerializeToString()
