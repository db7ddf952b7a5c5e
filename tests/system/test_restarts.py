"""Processes that are killed and started again lose nothing that was acknowledged."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange.errors import ExchangeError, ProviderAway
from exchange.receipt import ReceiptVerifier
from exchange.v1 import audit_pb2
from gateway.audit.verify import verify_folder
from shuqiao.demo.cast import HEALTH, MATTER, POLICE, PURPOSE, RESOURCE
from shuqiao.demo.world import AUTHORITY, GATEWAY
from shuqiao.questions import Answer, Query
from tests.support.real_region import CASE, RealRegion, ask, until

pytestmark = pytest.mark.system


def _well(world: RealRegion, agent: str = HEALTH.agent) -> bool:
    with world.client(agent) as client:
        return all(hop.ok for hop in client.status().hops)


def _verify(world: RealRegion, answers: list[Answer]) -> int:
    """Check the log as it lies on disk, and every receipt against it; return its size."""
    trust = world.stage.trust_list()
    report = verify_folder(world.world.layout.home(GATEWAY), trust)
    assert report.faults == []
    keys = trust.gateways[world.stage.origin].log_keys
    receipts = ReceiptVerifier(origin=world.stage.origin, log_keys=keys)
    for answer in answers:
        assert answer.receipt is not None
        assert answer.receipt.index < report.size
        receipts.verify(audit_pb2.Receipt.FromString(answer.receipt.serialised()), answer.receipt.checkpoint)
    return report.size


class Load:
    """Asks without end in a thread of its own, over whatever happens; keeps what was answered."""

    def __init__(self, world: RealRegion) -> None:
        self._world = world
        self._stop = threading.Event()
        self.answers: list[Answer] = []
        self.failures: list[ExchangeError] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _queries(self) -> Iterator[Query]:
        while not self._stop.is_set():
            for person in self._world.stage.persons:
                yield Query(
                    resource=RESOURCE,
                    fields=["name"],
                    parameters={"citizen_id": person.citizen_id},
                    purpose=PURPOSE,
                    matter=MATTER,
                    case=CASE,
                )

    def _run(self) -> None:
        with self._world.client() as client:
            for outcome in client.query_many(self._queries(), in_flight=8):
                if isinstance(outcome, Answer):
                    self.answers.append(outcome)
                else:
                    self.failures.append(outcome)
                if self._stop.is_set():
                    return


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_gateway_that_is_started_again_has_every_entry_it_acknowledged(world: RealRegion, how: str) -> None:
    gateway = world.world.processes[GATEWAY]
    with Load(world) as load:
        until(lambda: len(load.answers) >= 100, "exchanges before")
        gateway.kill() if how == "kill" else gateway.stop()
        before = len(load.answers)
        world.world.restart(GATEWAY)
        until(lambda: len(load.answers) >= before + 100, "exchanges after")
    assert all(failure.retryable for failure in load.failures), {str(f) for f in load.failures}
    _verify(world, load.answers)
    until(lambda: len(world.stage.linked()) >= 3, "agents linked again")


def test_a_provider_that_is_killed_and_started_again_answers_again(world: RealRegion) -> None:
    provider = world.world.processes[POLICE.agent]
    with Load(world) as load:
        until(lambda: len(load.answers) >= 50, "exchanges before")
        provider.kill()
        until(lambda: any(isinstance(f, ProviderAway) for f in load.failures), "provider away")
        before = len(load.answers)
        world.world.restart(POLICE.agent)
        until(lambda: len(load.answers) >= before + 50, "exchanges after")
    assert all(failure.retryable for failure in load.failures), {str(f) for f in load.failures}
    _verify(world, load.answers)
    until(lambda: _well(world, POLICE.agent), "provider is well")


def test_a_consumer_that_is_killed_and_started_again_asks_again(world: RealRegion) -> None:
    world.world.processes[HEALTH.agent].kill()
    world.world.restart(HEALTH.agent)
    until(lambda: _well(world), "consumer is well")
    with world.client() as client:
        assert len(ask(client, world.person).records) == 1


def test_exchanges_go_on_while_the_authority_is_away(world: RealRegion) -> None:
    world.world.processes[AUTHORITY].kill()
    try:
        with world.client() as client:
            assert len(ask(client, world.person).records) == 1
    finally:
        world.world.restart(AUTHORITY)


def test_the_gateways_state_is_a_projection_that_may_be_thrown_away(world: RealRegion) -> None:
    gateway = world.world.processes[GATEWAY]
    gateway.stop()
    home: Path = world.world.layout.home(GATEWAY)
    for path in [*home.glob("state.db*"), *home.glob("search.db*")]:
        path.unlink()
    world.world.restart(GATEWAY)
    until(lambda: _well(world), "consumer is well")
    until(lambda: _well(world, POLICE.agent), "provider is well")
    with world.client() as client:
        assert len(ask(client, world.person).records) == 1
