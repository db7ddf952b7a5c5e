"""The demonstration as a newcomer runs it, and what it leaves behind."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import shuqiao
from shuqiao.demo.cast import HEALTH, OFFICES, POLICE
from shuqiao.demo.files import Layout
from shuqiao.demo.people import people
from shuqiao.demo.process import Process
from tests.support.real_region import ask, processes_of, until

pytestmark = pytest.mark.system

COMMAND = [sys.executable, "-c", "from shuqiao.cli import main; main()"]


@dataclass(frozen=True)
class Played:
    folder: Path
    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        told = json.loads(self.stdout)
        assert isinstance(told, dict)
        return told


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("d") / "kept"
    arguments = ["demo", "--scenario", "household", "--json", "--keep", str(folder)]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=150, check=False)
    yield Played(folder, done.returncode, done.stdout, done.stderr)


def test_the_demo_prints_one_json_document_and_ends_with_0(played: Played) -> None:
    assert played.code == 0, played.stdout + played.stderr
    assert played.document["ok"] is True
    assert played.document["scenario"] == "household"
    assert played.document["elapsed_s"] > 0


def test_every_exchange_that_was_released_has_a_receipt_that_was_verified(played: Played) -> None:
    released = [one for one in played.document["exchanges"] if one["status"] == "released"]
    assert {one["kind"] for one in released} == {"query", "verify"}
    for one in played.document["exchanges"]:
        assert one["status"] in ("released", "refused")
        assert one["receipt_verified"] is True
        assert one["latency_ms"] > 0
        assert one["resource"] == "970100/public-security/household"
        assert one["fields"]


def test_the_four_refusals_are_shown_with_their_reasons(played: Played) -> None:
    reasons = [one["reason"] for one in played.document["refusals"]]
    assert reasons == ["FIELD_NOT_GRANTED", "CASE_REQUIRED", "GRANT_EXPIRED", "REVOKED"]
    assert all(one["why"] for one in played.document["refusals"])


def test_the_log_is_verified_and_its_root_told(played: Played) -> None:
    audit = played.document["audit"]
    assert audit["verified"] is True
    assert audit["entries"] > len(played.document["exchanges"])
    assert len(bytes.fromhex(audit["root"])) == 32


def test_no_process_outlives_the_demo(played: Played) -> None:
    assert processes_of(played.folder) == {}


def test_keep_leaves_folders_logs_and_databases(played: Played) -> None:
    folder = played.folder
    for name in ("gateway", "authority", *(f"agents/{office.agent}" for office in OFFICES)):
        assert (folder / name).is_dir()
        assert (folder / f"{name}.toml").is_file()
    for process in ("gateway", "authority", *(office.agent for office in OFFICES)):
        assert (folder / f"{process}.log").read_text(encoding="utf-8").count("ready {") == 1
    database = sqlite3.connect(next((folder / "databases").glob("*.db")))
    try:
        assert database.execute("SELECT count(*) FROM household").fetchone()[0] >= 200
    finally:
        database.close()


def test_no_other_user_reads_what_a_process_writes(played: Played) -> None:
    homes = ("gateway", "authority", *(f"agents/{office.agent}" for office in OFFICES))
    made = [path for home in homes for path in (played.folder / home).rglob("*.db")]
    assert {"audit.db", "journal.db", "region.db"} <= {path.name for path in made}
    assert [path.name for path in made if path.stat().st_mode & 0o077] == []


def test_what_was_kept_verifies_offline_by_the_command(played: Played) -> None:
    trust = played.folder / "people" / "chen-auditor" / "identity" / "trust-list.pb"
    arguments = ["audit", "verify", "--log", str(played.folder / "gateway"), "--trust", str(trust), "--json"]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert played.document["audit"]["root"] in done.stdout


def test_serve_starts_again_what_was_kept(played: Played) -> None:
    layout = Layout(root=played.folder)
    groups = {"authority": "certs", "gateway": "gateway", POLICE.agent: "agent", HEALTH.agent: "agent"}
    started = []
    try:
        for name, group in groups.items():
            arguments = [group, "serve", "--config", str(layout.config(name))]
            process = Process(name=name, arguments=arguments, log=layout.log(name))
            process.start()
            started.append(process)
            process.ready()
        person = people(1, 970100)[0]
        with shuqiao.connect(str(started[-1].told["grpc"]), token_file=layout.token(HEALTH.agent)) as client:
            until(lambda: all(hop.ok for hop in client.status().hops), "health is well")
            assert ask(client, person).records[0]["name"] == person.name
    finally:
        for process in reversed(started):
            process.stop()


def _begun(folder: Path) -> "subprocess.Popen[bytes]":
    """Start a demonstration and wait until it has several children."""
    demo = subprocess.Popen(
        [*COMMAND, "demo", "--json", "--keep", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    until(lambda: len(processes_of(folder)) >= 4 or demo.poll() is not None, "children")
    assert demo.poll() is None, demo.communicate()[0].decode()
    return demo


def test_the_children_die_when_the_demo_is_killed(short_folder: Path) -> None:
    demo = _begun(short_folder / "kept")
    demo.send_signal(signal.SIGKILL)
    demo.communicate()
    until(lambda: not processes_of(short_folder / "kept"), "children die")


def test_the_children_die_when_the_demo_is_told_to_stop(short_folder: Path) -> None:
    demo = _begun(short_folder / "kept")
    demo.send_signal(signal.SIGTERM)
    demo.communicate(timeout=60)
    assert demo.returncode != 0
    assert processes_of(short_folder / "kept") == {}


@pytest.mark.parametrize("arguments", [["--scenario", "nothing"], ["--keep", "/"]])
def test_a_wrong_argument_is_a_usage_error(arguments: list[str]) -> None:
    done = subprocess.run(
        [*COMMAND, "demo", "--json", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "BAD_CONFIGURATION"
