"""Processes that are killed and started again lose nothing that was acknowledged."""

from pathlib import Path

import pytest

from exchange.errors import ProviderAway
from exchange.receipt import ReceiptVerifier
from exchange.v1 import audit_pb2
from gateway.audit.verification.verify import verify_folder
from shuqiao.demo.cast import HEALTH, POLICE
from shuqiao.demo.world import AUTHORITY, GATEWAY
from shuqiao.questions import Answer
from tests.support.real_region import Load, RealRegion, ask, until

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


def test_no_process_ends_a_task_by_an_error_nobody_foresaw(world: RealRegion) -> None:
    for path in world.world.layout.root.glob("*.log"):
        log = path.read_text(encoding="utf-8")
        assert "Traceback" not in log, log[log.index("Traceback") - 2000 :][:6000]
        assert '"reason": "INTERNAL"' not in log, path.name
