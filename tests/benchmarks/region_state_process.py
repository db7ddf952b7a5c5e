"""A process that writes the projection of a large log, or starts from that and measures itself.

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
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from exchange.canonical import GRANT_EVENT, digest
from exchange.grants import read_event, read_grant, transition
from exchange.identity import Identity, Role
from exchange.keys import BundleBook
from exchange.trust import TrustAnchor
from exchange.trust_feed import TrustFeed
from exchange.v1 import audit_pb2, common_pb2, exchange_pb2, grant_pb2
from gateway.access.guards import standard_guards
from gateway.access.quota import Quotas
from gateway.access.supervised import Supervised
from gateway.clocks.grants import GrantClocks
from gateway.exchange_service import UnaryCaller
from gateway.grant_rows import terms_of
from gateway.grant_table import Granted
from gateway.record import Exchange
from gateway.registrar import Registrar
from gateway.state import RegionState
from gateway.state_store import StateStore
from tests.benchmarks.big_region import BigLog
from tests.benchmarks.measure import median
from tests.support.region import DIVISION, DOMAIN, ORIGIN, Authority, moment
from tests.support.sealing import NOW_MS, StillClock

FEW = 1_000
DECISIONS = 20_000
CHANGES = 20
BATCH, ROWS = 32, 10_000
KEY = bytes(range(32))


class Start:
    """A gateway's registrar over a large region's log."""

    def __init__(self, folder: Path, grants: int, resources: int) -> None:
        folder.mkdir(exist_ok=True)
        self.log = BigLog(grants=grants, resources=resources)
        self.authority = Authority()
        self.clock = StillClock()
        anchor = TrustAnchor(root_pem=self.authority.root_pem, division=DIVISION, trust_domain=DOMAIN)
        feed = TrustFeed(anchor=anchor, path=folder / f"trust-list-{os.getpid()}.pb", clock=self.clock)
        feed.offer(self.authority.trust_list())
        self.state = RegionState(book=BundleBook(anchor=anchor, path=None, clock=self.clock))
        self.store = StateStore(path=folder / "state.db", origin=ORIGIN, key=KEY)
        self.registrar = Registrar(
            log=self.log,
            state=self.state,
            store=self.store,
            anchor=anchor,
            trust_feed=feed,
            clock=self.clock,
            origin=ORIGIN,
        )
        self.clocks = GrantClocks(
            grants=self.state.grants,
            resource=lambda resource_id: self.state.catalogue.by_id.get(resource_id),
            rules=lambda: self.state.rules.current,
            supervised=Supervised(),
            now_ms=self.clock.now_ms,
        )
        self.trust = feed.current

    def open(self) -> float:
        """Start; return the CPU seconds that it took."""
        begun = time.process_time()
        self.registrar.open()
        self.clocks.open()
        return time.process_time() - begun

    def unpack(self) -> float:
        """Ask for grants drawn at random, once each; return the microseconds for each."""
        drawn = random.Random(5).sample(list(self.state.grants), k=FEW)
        begun = time.process_time_ns()
        for grant_id in drawn:
            self.state.grants.one(grant_id)
        return (time.process_time_ns() - begun) / 1000 / FEW

    def open_resources(self) -> float:
        """Ask for catalogue entries drawn at random, once each; return the microseconds for each."""
        ids = list(self.state.catalogue.by_id)
        drawn = random.Random(6).sample(ids, k=FEW)
        begun = time.process_time_ns()
        for resource_id in drawn:
            self.state.resource(resource_id)
        return (time.process_time_ns() - begun) / 1000 / FEW

    def questions(self) -> list[tuple[str, bytes]]:
        """Return consumers and headers of requests for grants drawn at random."""
        chance, made = random.Random(4), []
        for grant_id in chance.choices(list(self.state.grants), k=DECISIONS):
            grant = self.state.grants.one(grant_id)
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
            made.append((grant.consumer, header.SerializeToString()))
        return made

    def decide(self, questions: list[tuple[str, bytes]]) -> float:
        """Take requests through steps 3 and 4, a batch at a time; return the microseconds for each."""
        guards = (*standard_guards(self.state), Quotas(state=self.state, used=lambda key: 0))
        state, trust, taken_ns = self.state, self.trust, 0
        for first in range(0, len(questions), BATCH):
            exchanges = [_exchange(*one) for one in questions[first : first + BATCH]]
            begun = time.process_time_ns()
            for exchange in exchanges:
                exchange.resource = state.resource(exchange.header.resource)
                for guard in guards:
                    guard(exchange, trust, NOW_MS)
            taken_ns += time.process_time_ns() - begun
            for exchange in exchanges:
                if exchange.reservation is not None:
                    exchange.reservation.end()
        return taken_ns / 1000 / len(questions)

    def find(self, questions: list[tuple[str, bytes]]) -> float:
        """Look grants up by consumer and resource; return the microseconds for each."""
        asked = [
            (consumer, exchange_pb2.RequestHeader.FromString(raw).resource) for consumer, raw in questions
        ]
        find, begun = self.state.grants.find, time.process_time_ns()
        for consumer, resource in asked:
            assert find(consumer, resource)
        return (time.process_time_ns() - begun) / 1000 / len(asked)

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


def _exchange(consumer: str, raw: bytes) -> Exchange:
    exchange = Exchange(_asker(consumer), common_pb2.Signed(), 0)
    exchange.header = exchange_pb2.RequestHeader.FromString(raw)
    exchange.deadline_ms = NOW_MS + 10_000
    return exchange


async def measure(start: Start, few: Start, repetitions: int) -> list[dict[str, float]]:
    """Start from the projection and measure; decisions in turns with those of a small region."""
    told = [
        {"peak_mib": _peak_mib(), "load_s": few.open()},
        {"load_s": start.open(), "peak_mib": _peak_mib()},
    ]
    assert len(start.state.grants) == start.log.grants
    both = few, start
    for place, one in enumerate(both):
        told[place]["unpack_us"] = one.unpack()
        told[place]["open_us"] = one.open_resources()
    questions = [one.questions() for one in both]
    taken: list[list[tuple[float, float]]] = [[], []]
    for _ in range(repetitions):
        for place, one in enumerate(both):
            taken[place].append((one.decide(questions[place]), one.find(questions[place])))
    for place, one in enumerate(both):
        told[place]["decide_us"] = median([decided for decided, _ in taken[place]])
        told[place]["find_us"] = median([found for _, found in taken[place]])
        told[place]["change_s"] = max([await one.change(number) for number in range(CHANGES)])
        await one.registrar.close()
    return told


def _peak_mib() -> float:
    return system.getrusage(system.RUSAGE_SELF).ru_maxrss / 1024


def build(start: Start) -> None:
    """Write the projection that the whole log folds to, without keeping the state in memory meanwhile."""
    log, store = start.log, start.store
    store.open()
    store.add(((index, log.leaves(index, 1)[0]) for index in range(log.first_grant)), log.first_grant)
    for first in range(0, log.grants, ROWS):
        numbers = range(first, min(first + ROWS, log.grants))
        index = log.first_grant + 2 * numbers[-1] + 1
        granted = (_accepted(log, number) for number in numbers)
        store.add((), index + 1, grants=granted, last=(index, log.leaves(index, 1)[0]))
    store.close()


def _accepted(log: BigLog, number: int) -> Granted:
    """Return an accepted grant, as the fold projects it."""
    body = log.body(number)
    applied = replace(read_grant(common_pb2.Statement(body=body)), record=None)
    event = common_pb2.Statement(body=log.acceptance(number, applied.grant_id))
    grant, index = transition(applied, read_event(event), event), log.first_grant + 2 * number
    history = index.to_bytes(8) + (index + 1).to_bytes(8) + digest(GRANT_EVENT, event.body)
    return Granted(index, grant, history, terms_of(body))


def main(what: str, folder: Path, grants: int, resources: int, repetitions: int) -> None:
    """Do one of the two, and say what came of it."""
    if what == "build":
        build(Start(folder / "few", FEW, FEW))
        build(Start(folder, grants, resources))
    else:
        both = Start(folder, grants, resources), Start(folder / "few", FEW, FEW)
        print(json.dumps(asyncio.run(measure(*both, repetitions))))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6]))
