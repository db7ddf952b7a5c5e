"""The command as people use it, against real processes, with the context files that were made for them."""

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shuqiao.cli.app import run
from shuqiao.demo.cast import AUDITOR, CIVIL, HEALTH, MATTER, OFFICER, POLICE, PURPOSE, RESOURCE
from shuqiao.demo.world import GATEWAY
from tests.support.real_region import CASE, RealRegion, ask

pytestmark = pytest.mark.system


def _run(world: RealRegion, who: str, *arguments: str) -> tuple[int, list[Any]]:
    context = world.world.layout.people / who / "context.toml"
    stdout, stderr = io.StringIO(), io.StringIO()
    code = run(
        ["--context", str(context), "--json", *arguments],
        stdout=stdout,
        stderr=stderr,
        environ=dict(os.environ),
    )
    return code, [json.loads(line) for line in stdout.getvalue().splitlines()]


def _done(world: RealRegion, who: str, *arguments: str) -> list[Any]:
    code, told = _run(world, who, *arguments)
    assert code == 0, told
    return told


def _asking(world: RealRegion, case: str = CASE) -> Sequence[str]:
    person = f"citizen_id={world.person.citizen_id}"
    return [RESOURCE, person, "--purpose", PURPOSE, "--matter", MATTER, "--case", case]


def test_a_query_prints_the_record(world: RealRegion) -> None:
    (told,) = _done(world, HEALTH.steward, "query", *_asking(world), "--field", "name")
    assert told["records"] == [{"name": world.person.name}]


def test_a_verification_prints_the_verdicts(world: RealRegion) -> None:
    claims = ["--claim", f"name={world.person.name}", "--claim", "police_station=别处"]
    (told,) = _done(world, HEALTH.steward, "verify", *_asking(world), *claims)
    assert "true" in json.dumps(told)


def test_a_refusal_ends_with_1_and_its_reason(world: RealRegion) -> None:
    code, (told,) = _run(world, HEALTH.steward, "query", *_asking(world), "--field", "birth_date")
    assert code == 1
    assert "FIELD_NOT_GRANTED" in json.dumps(told)


def test_the_officer_tails_and_the_auditor_proves_an_entry(world: RealRegion, tmp_path: Path) -> None:
    with world.client() as client:
        receipt = ask(client, world.person).receipt
    assert receipt is not None
    told = _done(world, OFFICER, "audit", "tail", "--from", str(receipt.index))
    assert receipt.index in [entry["index"] for entry in told]
    _done(world, AUDITOR, "audit", "show", str(receipt.index))
    _done(world, AUDITOR, "audit", "prove", str(receipt.index), "--out", str(tmp_path / "receipt"))
    assert (tmp_path / "receipt").read_text().startswith("c2sp.org/tlog-proof")


def test_a_running_gateways_folder_verifies(world: RealRegion) -> None:
    folder = str(world.world.layout.home(GATEWAY))
    (told,) = _done(world, AUDITOR, "audit", "verify", "--log", folder)
    assert told["ok"] is True


def test_lists_show_what_the_region_knows(world: RealRegion) -> None:
    assert HEALTH.credit_code in json.dumps(_done(world, AUDITOR, "org", "list"))
    assert RESOURCE in json.dumps(_done(world, HEALTH.steward, "catalog", "list"))
    assert "active" in json.dumps(_done(world, POLICE.steward, "grant", "list"))
    assert "agent/health" in json.dumps(_done(world, AUDITOR, "certs", "show", "--all"))


def test_the_doctor_finds_a_healthy_department(world: RealRegion) -> None:
    (told,) = _done(world, HEALTH.steward, "doctor")
    assert told["ok"] is True


def test_a_case_is_opened_shown_changed_and_closed(world: RealRegion) -> None:
    number = "LJ-2026-COMMAND-1"
    opened = ["case", "open", number, "--matter", MATTER, "--participant", POLICE.credit_code]
    _done(world, HEALTH.steward, *opened)
    assert _run(world, HEALTH.steward, *opened)[0] == 1
    (told,) = _done(world, POLICE.steward, "case", "show", number)
    assert (told["open"], told["lead"], told["revision"]) == (True, HEALTH.credit_code, 1)
    assert _run(world, POLICE.steward, "case", "close", number)[0] == 1
    assert _run(world, CIVIL.steward, "case", "show", number)[0] == 1
    _done(world, HEALTH.steward, "case", "change", number, "--participant", CIVIL.credit_code)
    assert _run(world, POLICE.steward, "case", "show", number)[0] == 1
    _done(world, HEALTH.steward, "case", "close", number)
    (told,) = _done(world, AUDITOR, "case", "show", number)
    assert (told["open"], told["closed"], told["participants"]) == (False, True, [CIVIL.credit_code])
