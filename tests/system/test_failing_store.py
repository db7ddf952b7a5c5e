"""Readiness of a real gateway whose disk fails: red while nothing can be written, green once it is back."""

import errno
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from exchange.errors import ExchangeError
from shuqiao.demo.cast import HEALTH, POLICE
from shuqiao.demo.world import GATEWAY
from tests.support.fault_disk import FaultDisk
from tests.support.real_region import Load, RealRegion, ask, until

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def failing(world: RealRegion, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultDisk]:
    """Run the gateway on a disk that fails on demand, and as it was afterwards."""
    plan = tmp_path_factory.mktemp("disk") / "plan"
    disk = FaultDisk(folder=world.world.layout.home(GATEWAY), plan=plan)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in disk.environ.items():
            patch.setenv(name, value)
        restart(world)
    yield disk
    restart(world)


@pytest.fixture
def disk(failing: FaultDisk) -> Iterator[FaultDisk]:
    """A disk that is well before and after a test."""
    yield failing
    failing.mend()


def restart(world: RealRegion) -> None:
    world.world.processes[GATEWAY].stop()
    world.world.restart(GATEWAY)
    until(lambda: linked(world), "agents linked")


def linked(world: RealRegion) -> bool:
    """Whether both agents of an exchange are linked."""
    for agent in (HEALTH.agent, POLICE.agent):
        with world.client(agent) as client:
            if not all(hop.ok for hop in client.status().hops):
                return False
    return True


def ready(world: RealRegion) -> dict[str, Any]:
    port = world.world.processes[GATEWAY].told["metrics_port"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as refusal:
        return dict(json.load(refusal))


@pytest.mark.parametrize("fault", [("write", errno.ENOSPC), ("any", errno.EROFS), ("sync", errno.EIO)])
def test_readiness_is_red_while_the_disk_fails_and_green_once_it_is_back(
    world: RealRegion, disk: FaultDisk, fault: tuple[str, int]
) -> None:
    with world.client(HEALTH.agent) as client:
        assert len(ask(client, world.person).records) == 1
        disk.fail(*fault)
        until(lambda: not ready(world)["ready"], "red without any exchange")
        assert [each["code"] for each in ready(world)["faults"]] == ["AUDIT_UNAVAILABLE"]
        with pytest.raises(ExchangeError) as refused:
            ask(client, world.person)
        assert refused.value.name == "AUDIT_UNAVAILABLE"
        disk.mend()
        until(lambda: ready(world)["ready"], "green again")
        assert len(ask(client, world.person).records) == 1


def test_under_load_a_failing_disk_releases_nothing_and_loses_nothing(
    world: RealRegion, disk: FaultDisk
) -> None:
    with Load(world) as load:
        until(lambda: len(load.answers) >= 50, "exchanges before")
        disk.fail("sync", when="after")
        until(lambda: not ready(world)["ready"], "red")
        before = len(load.answers)
        disk.mend()
        until(lambda: len(load.answers) >= before + 50, "exchanges after")
    assert all(failure.retryable for failure in load.failures), {str(f) for f in load.failures}
    indexes = [answer.receipt.index for answer in load.answers if answer.receipt is not None]
    assert len(set(indexes)) == len(load.answers)
