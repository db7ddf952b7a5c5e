"""A process that folds a large log into its projection, or starts from that and measures itself.

Run as `python -m tests.benchmarks.region_state_process build|measure FOLDER GRANTS RESOURCES REPETITIONS`;
the last line on standard output is JSON.
"""

import asyncio
import json
import os
import random
import resource as system
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from exchange.canonical import GRANT_EVENT
from exchange.identity import Identity, Role
from exchange.keys import BundleBook
from exchange.trust import TrustAnchor
from exchange.trust_feed import TrustFeed
from exchange.v1 import audit_pb2, common_pb2, exchange_pb2, grant_pb2
from gateway.access.guards import standard_guards
from gateway.access.quota import Quotas
from gateway.exchange_service import UnaryCaller
from gateway.record import Exchange
from gateway.registrar import Registrar
from gateway.state import RegionState
from gateway.state_store import StateStore
from tests.benchmarks.big_region import BigLog
from tests.benchmarks.measure import median
from tests.support.region import DIVISION, DOMAIN, ORIGIN, Authority, moment
from tests.support.sealing import NOW_MS, StillClock

DECISIONS = 20_000
CHANGES = 20
KEY = bytes(range(32))


class Start:
    """A gateway's registrar over a large region's log."""

    def __init__(self, folder: Path, grants: int, resources: int) -> None:
        self.log = BigLog(grants=grants, resources=resources)
        self.authority = Authority()
        self.clock = StillClock()
        anchor = TrustAnchor(root_pem=self.authority.root_pem, division=DIVISION, trust_domain=DOMAIN)
        feed = TrustFeed(anchor=anchor, path=folder / f"trust-list-{os.getpid()}.pb", clock=self.clock)
        feed.offer(self.authority.trust_list())
        self.state = RegionState(book=BundleBook(anchor=anchor, path=None, clock=self.clock))
        self.registrar = Registrar(
            log=self.log,
            state=self.state,
            store=StateStore(path=folder / "state.db", origin=ORIGIN, key=KEY),
            anchor=anchor,
            trust_feed=feed,
            clock=self.clock,
            origin=ORIGIN,
        )
        self.trust = feed.current

    def open(self) -> float:
        """Start; return the CPU seconds that it took."""
        begun = time.process_time()
        self.registrar.open()
        return time.process_time() - begun

    def questions(self) -> list[Exchange]:
        """Return requests for grants drawn at random, as the guards take them."""
        chance, made = random.Random(4), []
        ids = list(self.state.grants.by_id)
        for grant_id in chance.choices(ids, k=DECISIONS):
            grant = self.state.grants.one(bytes(bytearray(grant_id)))
            header = exchange_pb2.RequestHeader(
                grant_id=grant_id,
                resource=grant.resource,
                resource_digest=self.state.resource(grant.resource).digest,
                provider_organisation=grant.provider,
                fields=sorted(grant.fields),
                kind=common_pb2.KIND_QUERY,
                purpose=min(grant.purposes),
                matter=min(grant.matters),
                case_number="C-1",
            )
            exchange = Exchange(_asker(grant.consumer), common_pb2.Signed(), 0)
            exchange.header, exchange.deadline_ms = header, NOW_MS + 10_000
            made.append(exchange)
        return made

    def decide(self, questions: list[Exchange]) -> int:
        """Take requests through steps 3 and 4."""
        guards = (*standard_guards(self.state), Quotas(state=self.state, used=lambda key: 0))
        state, trust = self.state, self.trust
        for exchange in questions:
            exchange.resource = state.resource(exchange.header.resource)
            for guard in guards:
                guard(exchange, trust, NOW_MS)
        return len(questions)

    def find(self, questions: list[Exchange]) -> int:
        """Look grants up by consumer and resource."""
        find = self.state.grants.find
        for exchange in questions:
            assert find(exchange.caller.identity.organisation, exchange.header.resource)
        return len(questions)

    async def change(self, number: int) -> float:
        """Pause a grant; return the seconds until decisions follow."""
        grant_id = self.log.grant_id(number * 7 % self.log.grants)
        grant = self.state.grants.one(grant_id)
        steward = self.authority.person(Role.STEWARD, f"steward-{number}", grant.provider)
        pause = grant_pb2.GRANT_ACTION_PAUSE
        body = grant_pb2.GrantEventBody(
            nonce=number.to_bytes(16),
            grant_id=grant_id,
            revision=grant.revision + 1,
            action=pause,
            issued_at=moment(NOW_MS),
        )
        statement = steward.sign(GRANT_EVENT, body.SerializeToString())
        begun = time.perf_counter()
        await self.registrar.record(audit_pb2.ACT_GRANT_EVENT, steward.identity, statement)
        assert self.state.grants.one(grant_id).state == grant_pb2.GRANT_STATE_PAUSED
        return time.perf_counter() - begun


@lru_cache
def _asker(organisation: str) -> UnaryCaller:
    identity = Identity(DOMAIN, DIVISION, Role.AGENT, organisation, "agent-1")
    return UnaryCaller(identity=identity, serial=1, not_after_ms=NOW_MS, outcome=asyncio.Future())


def us_each(work: Callable[[], int], repetitions: int) -> float:
    """Return the median of microseconds of CPU per thing done."""
    taken = []
    for _ in range(repetitions):
        begun = time.process_time()
        done = work()
        taken.append((time.process_time() - begun) / done * 1e6)
    return median(taken)


async def measure(start: Start, repetitions: int) -> dict[str, Any]:
    """Start from the projection and measure."""
    load_s = start.open()
    assert len(start.state.grants.by_id) == start.log.grants
    peak_mib = system.getrusage(system.RUSAGE_SELF).ru_maxrss / 1024
    questions = start.questions()
    told = {
        "load_s": load_s,
        "peak_mib": peak_mib,
        "decide_us": us_each(lambda: start.decide(questions), repetitions),
        "find_us": us_each(lambda: start.find(questions), repetitions),
        "change_s": max([await start.change(number) for number in range(CHANGES)]),
    }
    await start.registrar.close()
    return told


async def build(start: Start) -> dict[str, Any]:
    """Fold the whole log and project it."""
    build_s = start.open()
    await start.registrar.close()
    return {"build_s": build_s}


def main(what: str, folder: Path, grants: int, resources: int, repetitions: int) -> None:
    """Do one of the two, and say what came of it."""
    start = Start(folder, grants, resources)
    told = asyncio.run(build(start) if what == "build" else measure(start, repetitions))
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6]))
