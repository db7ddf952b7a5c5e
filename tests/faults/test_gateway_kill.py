"""kill -9 of the gateway under load: what was acknowledged is in the log, it verifies, receipts hold.

It tests ordering (nothing is acknowledged before its entry was written), not fsync: the page cache survives a
killed process. The bounded run is in the suite; `make faults` does 200 kills.
"""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from exchange.checkpoint import open_checkpoint
from exchange.errors import ExchangeError
from exchange.merkle import leaf_hash
from exchange.receipt import verify_receipt
from exchange.trust import TrustList
from exchange.v1 import audit_pb2
from gateway.audit.verification.verify import verify_folder
from gateway.storage.sqlite import SqliteAuditStore
from shuqiao import Query
from shuqiao.client import Answer
from shuqiao.demo.cast import GRANTED, HEALTH, MATTER, PURPOSE, RESOURCE
from shuqiao.demo.staging import Stage
from shuqiao.demo.world import GATEWAY, World

IN_FLIGHT = 64
FEWEST_PER_LIFE = 20
PATIENCE_S = 60.0


@dataclass
class Load:
    """A department's system that never stops asking; counts what it was told."""

    world: World
    stage: Stage
    stopping: threading.Event = field(default_factory=threading.Event)
    acknowledged: list[tuple[bytes, str]] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    thread: threading.Thread = field(init=False)
    broken: BaseException | None = None

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run, name="load")
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join()
        if self.broken is not None:
            raise self.broken

    def _run(self) -> None:
        try:
            with self.world.connect(HEALTH.agent) as client:
                for outcome in client.query_many(self._queries(), in_flight=IN_FLIGHT):
                    self._count(outcome)
        except BaseException as error:
            self.broken = error

    def _queries(self) -> Iterator[Query]:
        persons = self.stage.persons
        while not self.stopping.is_set():
            person = random.choice(persons)
            yield Query(
                resource=RESOURCE,
                fields=list(GRANTED),
                parameters={"citizen_id": person.citizen_id},
                purpose=PURPOSE,
                matter=MATTER,
                case="LJ-2026-1",
                timeout_s=5,
            )

    def _count(self, outcome: Answer | ExchangeError) -> None:
        if isinstance(outcome, ExchangeError):
            self.failures[outcome.name] = self.failures.get(outcome.name, 0) + 1
            if outcome.retryable:
                time.sleep(0.002)  # a system that is told to try again later does not hammer its agent
            return
        receipt = outcome.receipt
        assert receipt is not None
        self.acknowledged.append((receipt.serialised(), receipt.checkpoint))


def kill_often(world: World, load: Load, kills: int) -> None:
    """Kill the gateway at random instants of its life, each time after it has answered some."""
    for _ in range(kills):
        had, patience = len(load.acknowledged), time.monotonic() + PATIENCE_S
        while len(load.acknowledged) < had + FEWEST_PER_LIFE + random.randrange(200):
            assert load.broken is None and time.monotonic() < patience, load.failures
            time.sleep(0.001)
        world.processes[GATEWAY].kill()
        world.restart(GATEWAY)


def check_log(folder: Path, trust: TrustList, load: Load) -> None:
    """Hold every acknowledged receipt against the log that is left."""
    report = verify_folder(folder, trust)
    assert not report.faults, report.faults
    origin, told = next(iter(trust.gateways.items()))
    store = SqliteAuditStore(folder=folder)
    store.open()
    try:
        for serialised, note in load.acknowledged:
            receipt = audit_pb2.Receipt.FromString(serialised)
            checkpoint = open_checkpoint(note, origin=origin, log_keys=told.log_keys)
            verify_receipt(receipt, checkpoint)
            assert store.leaves(receipt.index, 1) == [receipt.leaf]
            assert checkpoint.size <= report.size
    finally:
        store.close()
    leaves = {leaf_hash(audit_pb2.Receipt.FromString(serialised).leaf) for serialised, _ in load.acknowledged}
    assert len(leaves) == len(load.acknowledged)


def run(folder: Path, kills: int) -> Load:
    with World(folder) as world:
        stage = Stage(world)
        stage.set_up()
        load = Load(world=world, stage=stage)
        load.start()
        try:
            kill_often(world, load, kills)
        finally:
            load.stop()
        trust = stage.trust_list()
        world.processes[GATEWAY].stop()
        check_log(world.layout.root / "gateway", trust, load)
    return load


@pytest.mark.system
@pytest.mark.alone
@pytest.mark.timeout(170)
def test_nothing_acknowledged_is_lost_when_the_gateway_is_killed_under_load(tmp_path: Path) -> None:
    load = run(tmp_path / "world", 4)
    assert load.failures.keys() <= {
        "LINK_LOST",
        "GATEWAY_AWAY",
        "PROVIDER_AWAY",
        "DEADLINE_PASSED",
        "REPLAYED",
    }


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_acknowledged_is_lost_in_two_hundred_kills(tmp_path: Path) -> None:
    load = run(tmp_path / "world", 200)
    print(f"acknowledged {len(load.acknowledged)}, failures {load.failures}")
