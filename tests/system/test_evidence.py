"""An auditor takes evidence from a running gateway; a machine without network verifies it."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shuqiao.cli.app import run
from shuqiao.demo.cast import AUDITOR, HEALTH, OFFICER
from tests.support.real_region import CASE, RealRegion, ask

pytestmark = pytest.mark.system
ALONE = """
import socket, sys, os
def refused(*_, **__):
    raise AssertionError("the network was used")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from shuqiao.cli.app import run
code = run(sys.argv[1:], stdout=sys.stdout, stderr=sys.stderr, environ={"HOME": "/nonexistent"})
loaded = [name for name in ("grpc", "gateway", "agent", "certs", "sqlite3") if name in sys.modules]
assert not loaded, loaded
sys.exit(code)
"""


def command(world: RealRegion, who: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    context = world.world.layout.people / who / "context.toml"
    out, err = io.StringIO(), io.StringIO()
    told = ["--context", str(context), "--json", *arguments]
    code = run(told, stdout=out, stderr=err, environ=dict(os.environ))
    return code, json.loads(out.getvalue())


def export(world: RealRegion, who: str, file: Path, *more: str) -> dict[str, Any]:
    code, told = command(world, who, "audit", "export", "--evidence", str(file), *more)
    assert code == 0, told
    return told


def alone(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command in a process that has no network, no context, and only the files of a folder."""
    root = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", ALONE, "--json", *arguments],
        cwd=folder,
        env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.stdout, ran.stderr
    return ran.returncode, json.loads(ran.stdout)


@pytest.fixture
def trust(world: RealRegion, tmp_path: Path) -> Path:
    """A folder with what an auditor keeps: root certificate and trust list."""
    held = world.world.held(AUDITOR)
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "root.pem").write_bytes(held.root_pem())
    (folder / "trust-list.pb").write_bytes(world.stage.trust_list().statement.SerializeToString())
    return folder


def said(told: dict[str, Any], name: str) -> str:
    return " ".join(one["en"] for one in told[name])


def test_a_whole_log_verifies_on_a_machine_without_network(
    world: RealRegion, tmp_path: Path, trust: Path
) -> None:
    with world.client() as client:
        ask(client, world.person)
    made = export(world, AUDITOR, tmp_path / "all.evidence")
    code, told = alone(trust, "audit", "verify", "../all.evidence", "--trust", "trust-list.pb")
    assert (code, told["ok"], told["fault_count"]) == (0, True, 0), told["faults"]
    assert told["facts"]["selected"] == made["selected"] > 0
    facts = told["facts"]
    assert facts["responses_hold"] == facts["grants_hold"] > 0
    assert "all entries of that range" in said(told, "proven")
    assert "no quorum of witnesses" in said(told, "not_proven")


def test_one_exchange_with_its_receipt_verifies_with_the_root_alone(
    world: RealRegion, tmp_path: Path, trust: Path
) -> None:
    with world.client() as client:
        receipt = ask(client, world.person).receipt
    assert receipt is not None
    file = tmp_path / "receipt"
    assert command(world, AUDITOR, "audit", "prove", str(receipt.index), "--out", str(file))[0] == 0
    exchange = command(world, AUDITOR, "audit", "show", str(receipt.index))[1]["exchange_id"]
    out = tmp_path / "one.evidence"
    made = export(world, OFFICER, out, "--exchange", exchange, "--attach", str(file), "--head", str(file))
    assert (made["selected"], made["facts"]["attachments_hold"]) == (1, 1)
    code, told = alone(trust, "audit", "verify", str(out), "--root", "root.pem", "--head", str(file))
    assert code == 0, told
    assert "the 1 heads that you hold agree" in said(told, "proven")
    assert told["facts"]["requests_hold"] == told["facts"]["responses_hold"] == 1


def test_a_case_is_taken_away_and_its_completeness_is_not_claimed(
    world: RealRegion, tmp_path: Path, trust: Path
) -> None:
    with world.client() as client:
        ask(client, world.person)
    out = tmp_path / "case.evidence"
    export(world, AUDITOR, out, "--case", CASE)
    code, told = alone(trust, "audit", "verify", str(out), "--trust", "trust-list.pb")
    assert code == 0, told
    assert "that the selection is complete" in said(told, "not_proven")


def test_a_changed_bundle_ends_with_1_and_says_where(world: RealRegion, tmp_path: Path, trust: Path) -> None:
    out = tmp_path / "all.evidence"
    export(world, AUDITOR, out)
    content = bytearray(out.read_bytes())
    content[len(content) // 2] ^= 1
    out.write_bytes(content)
    code, told = alone(trust, "audit", "verify", str(out), "--trust", "trust-list.pb")
    assert (code, told["proven"]) == (1, [])
    assert {fault["name"] for fault in told["faults"]} >= {"manifest"}


def test_a_file_that_exists_is_not_replaced_unless_forced(world: RealRegion, tmp_path: Path) -> None:
    out = tmp_path / "here"
    out.write_text("mine")
    code, told = command(world, AUDITOR, "audit", "export", "--evidence", str(out))
    assert (code, told["error"]["code"]) == (2, "BAD_CONFIGURATION")
    assert out.read_text() == "mine"
    export(world, AUDITOR, out, "--force")
    assert [one.name for one in tmp_path.iterdir()] == ["here"]


def test_a_steward_cannot_take_evidence_away(world: RealRegion, tmp_path: Path) -> None:
    code, told = command(world, HEALTH.steward, "audit", "export", "--evidence", str(tmp_path / "stolen"))
    assert (code, told["error"]["code"]) == (1, "ROLE_NOT_ALLOWED")
    assert not list(tmp_path.iterdir())
