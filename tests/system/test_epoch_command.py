"""A log that was set back goes on under a new epoch, with real processes and the commands that people use."""

import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import Internal
from shuqiao.cli.app import run
from shuqiao.demo.cast import AUDITOR, HEALTH, POLICE
from shuqiao.demo.process import Process
from shuqiao.demo.world import GATEWAY
from tests.support.real_region import RealRegion, ask, real_region, until

pytestmark = pytest.mark.system


@pytest.fixture
def own() -> Iterator[RealRegion]:
    """A region that nobody else needs afterwards."""
    with tempfile.TemporaryDirectory(prefix="sq-") as folder, real_region(Path(folder)) as region:
        yield region


def _run(world: RealRegion, who: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    context = world.world.layout.people / who / "context.toml"
    stdout = io.StringIO()
    code = run(
        ["--context", str(context), "--json", *arguments],
        stdout=stdout,
        stderr=io.StringIO(),
        environ=dict(os.environ),
    )
    return code, json.loads(stdout.getvalue())


def _done(world: RealRegion, who: str, *arguments: str) -> dict[str, Any]:
    code, told = _run(world, who, *arguments)
    assert code == 0, told
    return told


def _refused(world: RealRegion, who: str, *arguments: str) -> str:
    code, told = _run(world, who, *arguments)
    assert code == 1, told
    return str(told["error"]["code"])


def _well(world: RealRegion) -> bool:
    for agent in (HEALTH.agent, POLICE.agent):
        with world.client(agent) as client:
            if not all(hop.ok for hop in client.status().hops):
                return False
    return True


def _fails_to_start(world: RealRegion, log: Path) -> str:
    """Start one more gateway on the folder; return what it says before it ends."""
    config = str(world.world.layout.config(GATEWAY))
    process = Process(name="second", arguments=[GATEWAY, "serve", "--config", config], log=log)
    process.start()
    with pytest.raises(Internal):
        process.ready()
    process.stop()
    return log.read_text(encoding="utf-8")


def test_two_people_let_a_log_go_on_by_the_commands(own: RealRegion, tmp_path: Path) -> None:
    layout, (first, second) = own.world.layout, own.world.settings.admins
    home, config = layout.home(GATEWAY), str(layout.config(GATEWAY))
    assert "another process has the audit log open" in _fails_to_start(own, tmp_path / "second.log")
    own.world.processes[GATEWAY].stop()
    shutil.copy(home / "audit.db", tmp_path / "copy.db")
    own.world.restart(GATEWAY)
    until(lambda: _well(own), "linked")
    with own.client() as client:
        for _ in range(3):
            ask(client, own.person)
    origin = own.stage.origin
    own.world.processes[GATEWAY].stop()
    shutil.copy(tmp_path / "copy.db", home / "audit.db")
    said = _fails_to_start(own, tmp_path / "behind.log")
    assert "LOG_BEHIND" in said and "shuqiao gateway epoch propose" in said

    file = str(tmp_path / "epoch.pb")
    propose = ["gateway", "epoch", "propose", "--config", config, "--note", "restored a copy", "--out", file]
    heads = str(layout.home(HEALTH.agent) / "heads.json")
    assert _refused(own, AUDITOR, *propose) == "ROLE_NOT_ALLOWED"
    proposed = _done(own, first, *propose, "--head", heads)
    assert proposed["lost_size"] > proposed["kept_size"] and len(proposed["signed_by"]) == 1
    open_ = ["gateway", "epoch", "open", file, "--config", config]
    assert _refused(own, first, *open_) == "SECOND_PERSON_REQUIRED"
    assert _refused(own, first, "gateway", "epoch", "approve", file) == "SECOND_PERSON_REQUIRED"
    assert _refused(own, AUDITOR, "gateway", "epoch", "approve", file) == "ROLE_NOT_ALLOWED"
    assert len(_done(own, second, "gateway", "epoch", "approve", file)["signed_by"]) == 2
    assert _done(own, second, "gateway", "epoch", "show", file)["origin"] == f"{origin}/epoch-2"
    _done(own, first, *open_)

    own.world.restart(GATEWAY)
    until(lambda: _well(own), "linked again by itself")
    with own.client() as client:
        assert len(ask(client, own.person).records) == 1
    receipt = str(tmp_path / "first.tlog-proof")
    _done(own, AUDITOR, "audit", "prove", "0", "--out", receipt)
    assert _done(own, AUDITOR, "audit", "verify", receipt)["origin"] == f"{origin}/epoch-2"
    own.world.processes[GATEWAY].stop()
    trust = str(home / "identity" / "trust-list.pb")
    told = _done(own, AUDITOR, "audit", "verify", "--log", str(home), "--trust", trust)
    (epoch,) = told["epochs"]
    assert (epoch["first"], epoch["lost"]) == (proposed["kept_size"], proposed["lost_size"])
    assert {uri.rpartition("/")[2] for uri in epoch["opened_by"]} == {first, second}
    own.world.restart(GATEWAY)
    order = ["gateway", "rotate-log-key", "--overlap-hours", "2"]
    assert _refused(own, AUDITOR, *order) == "ROLE_NOT_ALLOWED"
    ordered = _done(own, first, *order)
    assert ordered["stage"] == "announcing"
    assert ordered["verifier_key"] in (home / "log-key.pub").read_text().splitlines()
