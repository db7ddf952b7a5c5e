"""A process that releases exchanges within quotas until it is killed, by the guard and the log of a gateway.

Run as `python -m tests.support.quota_child FOLDER`; it writes a line for every group that it has released.
Requests come faster than the quotas allow, so that some are refused all the time; some exchanges fail.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from exchange.clock import SystemClock
from exchange.errors import ExchangeError, QuotaExceeded
from exchange.grant_body import QuotaRule
from exchange.v1 import audit_pb2
from gateway.access.quota import Quotas, Reservation
from gateway.access.quota_periods import DAY, MONTH, TERM
from gateway.audit.log.logged import Logged
from gateway.audit.writing.folder import sequencer_in
from tests.support.audit import SIGNER

GRANTS = {
    bytes([1]) * 32: (QuotaRule(TERM, 1 << 40), QuotaRule(DAY, 1 << 40)),
    bytes([2]) * 32: (QuotaRule(TERM, 300),),
    bytes([3]) * 32: (QuotaRule(MONTH, 50), QuotaRule(TERM, 40)),
}
"""By grant id: one that is never used up, and two that soon are."""


def leaf(number: int, grant_id: bytes, now_ms: int, *, released: bool) -> bytes:
    """Return the entry of an exchange."""
    entry = audit_pb2.AuditEntry(salt=number.to_bytes(16, "big"), version=1, time_ms=now_ms)
    entry.exchange.grant_id = grant_id
    entry.exchange.decision = audit_pb2.DECISION_RELEASED if released else audit_pb2.DECISION_FAILED
    return entry.SerializeToString()


async def release_for_ever(folder: Path) -> None:
    """Keep six submissions of different lengths under way."""
    log, clock = sequencer_in(folder, signer=SIGNER), SystemClock()
    await log.open()
    grants = {
        key: cast(Any, SimpleNamespace(grant_id=key, name=key[:8].hex(), quotas=rules))
        for key, rules in GRANTS.items()
    }
    quotas = Quotas(state=cast(Any, SimpleNamespace(grants=grants)), used=log.used)
    numbers = iter(range(log.head.size, 10**9))

    def go(count: int) -> None:
        leaves, charges, held = [], [], list[Reservation]()
        for place in range(count):
            number, now_ms = next(numbers), clock.now_ms()
            grant = list(grants.values())[place % 3]
            released = number % 7 != 0
            try:
                reservation = quotas.reserve(grant, now_ms + 10_000, now_ms)
            except QuotaExceeded:
                released = False
            else:
                held.append(reservation)
            charges.append(reservation.charge(now_ms) if released else ())
            leaves.append(leaf(number, grant.grant_id, now_ms, released=released))

        def done(outcome: Sequence[Logged] | ExchangeError) -> None:
            assert not isinstance(outcome, ExchangeError), outcome
            for reservation in held:
                reservation.end()
            sys.stdout.write("released\n")
            sys.stdout.flush()
            go(count)

        log.submit(leaves, done, (), charges)

    for count in (1, 2, 5, 17, 60, 300):
        go(count)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(release_for_ever(Path(sys.argv[1])))
