"""The emergency stop through real processes: under load, with a source that hangs, while the log fails."""

import errno
import io
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import ExchangeError
from exchange.v1 import admin_pb2, admin_pb2_grpc, audit_pb2
from shuqiao import regional
from shuqiao.cli.app import run
from shuqiao.demo.cast import HEALTH, OFFICER, POLICE, RESOURCE
from shuqiao.demo.world import GATEWAY
from shuqiao.questions import Answer
from tests.support.fault_disk import FaultDisk
from tests.support.real_region import Load, RealRegion, ask, until
from tests.system.test_failing_store import ready, restart

pytestmark = [pytest.mark.system, pytest.mark.alone]


class Stamped(list[Answer]):
    """Answers, and when the last one came."""

    last_s = 0.0

    def append(self, answer: Answer) -> None:
        self.last_s = time.monotonic()
        super().append(answer)


def command(world: RealRegion, *arguments: str) -> Any:
    """Run a command as the officer; return its document."""
    context = world.world.layout.people / OFFICER / "context.toml"
    stdout, stderr = io.StringIO(), io.StringIO()
    line = ["--context", str(context), "--json", *arguments]
    code = run(line, stdout=stdout, stderr=stderr, environ=dict(os.environ))
    told = json.loads(stdout.getvalue())
    assert code == 0, told
    return told


def linked(world: RealRegion) -> Sequence[admin_pb2.LinkedAgent]:
    """Return the agents that are linked."""
    with world.world.at_gateway(OFFICER) as channel:
        status = admin_pb2_grpc.AdminServiceStub(channel).GetStatus(admin_pb2.GetStatusRequest(), timeout=10)
    return status.agents


def pending(world: RealRegion) -> int:
    """Return how many exchanges wait for public security's agent."""
    return sum(one.in_flight for one in linked(world) if one.spiffe_id.endswith(f"/{POLICE.agent}"))


@contextmanager
def hanging_source(world: RealRegion) -> Iterator[Callable[[], None]]:
    """Keep the household register locked, so that reads wait, until told to let go."""
    (database,) = world.world.layout.databases.glob("*.db")
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield lambda: connection.execute("ROLLBACK") and None


@pytest.fixture
def lifting(world: RealRegion) -> Iterator[None]:
    """Lift whatever a test left stopped."""
    yield
    for stop in command(world, "stop", "list")["stops"]:
        command(world, "stop", "lift", stop["stop_id"])
    with world.client(HEALTH.agent) as client:
        until(lambda: answers(world, client), "exchanges go on")


def answers(world: RealRegion, client: Any) -> bool:
    try:
        return len(ask(client, world.person).records) == 1
    except ExchangeError:
        return False


def test_after_a_stop_nothing_is_released_of_what_was_under_way_or_waits_for_a_hanging_source(
    world: RealRegion, lifting: None, record_property: Callable[[str, object], None]
) -> None:
    load = Load(world, in_flight=16)
    load.answers = Stamped()
    with load:
        until(lambda: len(load.answers) >= 100, "exchanges before")
        began_s = time.monotonic()
        told = command(world, "stop", "field", f"{RESOURCE}#name", "--note", "test")
        until(lambda: len(load.failures) >= 16, "refusals")
        before = len(load.answers)
        last_ms = round((load.answers.last_s - began_s) * 1000)
        command(world, "stop", "lift", told["stop_id"][:8])
        until(lambda: len(load.answers) >= before + 100, "exchanges after")
        with hanging_source(world) as let_go:
            until(lambda: pending(world) >= 16, "every question waits for the source")
            again = command(world, "stop", "resource", RESOURCE)
            assert again["caught"] > 0
            let_go()
            until(lambda: len(load.failures) >= 48, "refusals again")
    assert told["logged"] and told["told"] >= 4
    # On a slow machine the source's own time may be over first.
    assert {failure.name for failure in load.failures} - {"SOURCE_TIMEOUT", "SOURCE_DOWN"} == {"STOPPED"}
    lifted = [index for index, act in acts(world, told["index"]) if act == audit_pb2.ACT_STOP_LIFTED]
    for answer in load.answers:
        assert answer.receipt is not None
        assert not told["index"] < answer.receipt.index < lifted[0]
        assert answer.receipt.index < again["index"]
    record_property("stop_call_ms", told["milliseconds"])
    record_property("last_release_after_ms", last_ms)
    print(f"stop: call {told['milliseconds']} ms, last answer {last_ms} ms after the command began")


def acts(world: RealRegion, first: int) -> Iterator[tuple[int, int]]:
    """Yield index and act of the entries from an index on; no entry says released while it was stopped."""
    with world.world.at_gateway(OFFICER) as channel:
        stopped = False
        for index in range(first, world.entries()):
            entry = audit_pb2.AuditEntry.FromString(regional.get_entry(channel, index).receipt.leaf)
            act = entry.administrative.act
            stopped = act == audit_pb2.ACT_STOP or (stopped and act != audit_pb2.ACT_STOP_LIFTED)
            assert not (stopped and entry.exchange.decision == audit_pb2.DECISION_RELEASED)
            yield index, act


@pytest.fixture
def disk(world: RealRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultDisk]:
    """Run the gateway on a disk that fails on demand, and as it was afterwards."""
    disk = FaultDisk(folder=world.world.layout.home(GATEWAY), plan=tmp_path / "plan")
    with monkeypatch.context() as patch:
        for name, value in disk.environ.items():
            patch.setenv(name, value)
        restart(world)
    yield disk
    disk.mend()
    restart(world)


def test_a_stop_holds_while_the_log_cannot_be_written_and_is_logged_once_it_is_back(
    world: RealRegion, disk: FaultDisk, lifting: None
) -> None:
    until(lambda: len(linked(world)) >= 4, "every agent is linked again")
    disk.fail("any", errno.EROFS)
    until(lambda: not ready(world)["ready"], "red")
    told = command(world, "stop", "resource", RESOURCE)
    assert not told["logged"] and told["told"] >= 4
    disk.mend()
    until(lambda: command(world, "stop", "list")["stops"][0]["logged"], "the stop is in the log")
    with world.client(HEALTH.agent) as client, pytest.raises(ExchangeError) as refused:
        ask(client, world.person)
    assert refused.value.name == "STOPPED"
    restart(world)
    with world.client(HEALTH.agent) as client, pytest.raises(ExchangeError) as refused:
        ask(client, world.person)
    assert refused.value.name == "STOPPED"
