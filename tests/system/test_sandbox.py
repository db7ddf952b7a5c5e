"""A sandbox as a developer uses it: made from a catalogue, run, asked through the SDK, and checked off."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import shuqiao
from exchange import errors as e
from shuqiao.cli.app import run
from shuqiao.demo.files import Layout
from shuqiao.sandbox.region import steward_of

pytestmark = pytest.mark.system

RESOURCE = "970100/public-security/household"
PARTS = {"title_zh": "项", "title_en": "Item", "level": "L3", "share": "conditional"}
CATALOGUE = {
    "resources": [
        {
            "id": RESOURCE,
            "title_zh": "户籍",
            "title_en": "Household",
            "kinds": ["query", "verify"],
            "case_required": True,
            "category": "base/population",
            "schema": {
                "type": "object",
                "properties": {"sex": {"enum": ["男", "女"]}, "number": {"pattern": "^[0-9]{11}$"}},
            },
            "fields": [
                {**PARTS, "name": "name"},
                {**PARTS, "name": "sex"},
                {**PARTS, "name": "number"},
                {**PARTS, "name": "secret", "share": "not_shared", "legal_basis": "Act 5"},
            ],
            "parameters": [{"name": "citizen_id", "level": "L4", "format": "citizen_id"}],
        }
    ]
}


def _command(*arguments: str) -> tuple[int, Any]:
    stdout = io.StringIO()
    code = run(["--json", *arguments], stdout=stdout, stderr=io.StringIO(), environ=dict(os.environ))
    return code, json.loads(stdout.getvalue())


@pytest.fixture
def sandbox(short_folder: Path) -> Iterator[tuple[Path, Any]]:
    """A sandbox that runs, and what it says of itself."""
    file, folder = short_folder / "catalogue.json", short_folder / "s"
    file.write_text(json.dumps(CATALOGUE))
    made = ("--purpose", "newborn", "--matter", "newborn", "--application", "wards")
    code, told = _command("sandbox", "init", str(folder), "--catalogue", str(file), *made)
    assert code == 0, told
    command = [sys.executable, "-c", "from shuqiao.cli import main; main()", "--json"]
    serving = subprocess.Popen([*command, "sandbox", "serve", str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert serving.stdout is not None
        yield folder, json.loads(serving.stdout.readline())
    finally:
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(20) == 0
        assert serving.stdout is not None
        serving.stdout.close()


def _missing(folder: Path) -> set[str]:
    code, told = _command("sandbox", "checklist", str(folder), "--application", "wards")
    missing = {item["key"] for item in told["items"] if item["sort"] == "measured" and not item["done"]}
    assert (code, told["ok"]) == (1 if missing else 0, not missing)
    assert any(item["done"] is None for item in told["items"])
    return missing


def _grant(folder: Path, verb: str) -> None:
    context = Layout(root=folder).people / steward_of("public-security") / "context.toml"
    code, told = _command("--context", str(context), "grant", verb, RESOURCE)
    assert code == 0, told


def test_an_application_is_developed_in_a_sandbox_until_nothing_is_missing(sandbox: tuple[Path, Any]) -> None:
    folder, told = sandbox
    assert "spiffe://970100.sandbox." in Layout(root=folder).log("sandbox-consumer").read_text()
    (sample,) = told["samples"]
    assert _missing(folder) >= {"kind_query", "kind_verify", "refusal_field", "refusal_paused", "case"}
    with shuqiao.connect(told["grpc"], token_file=told["tokens"]["wards"]) as client:

        def ask(parameters: dict[str, str] = sample["found"], **changes: Any) -> Any:
            asked = {"purpose": "newborn", "matter": "newborn", "case": "LJ-1", "operator": "op-1"}
            fields = changes.pop("fields", ["name", "sex", "number"])
            return client.query(RESOURCE, fields=fields, parameters=parameters, **(asked | changes))

        def refused(due: type[e.ExchangeError], call: Callable[[], object]) -> None:
            with pytest.raises(due):
                call()

        refused(e.CaseNotOpen, ask)
        client.open_case("LJ-1", matter="newborn", participants=[_provider(folder)])
        (record,) = ask().records
        assert record["sex"] in ("男", "女") and str(record["number"]).isdecimal()
        assert ask().records == [record]
        assert ask(sample["nobody"]).records == []
        checked = client.verify(
            RESOURCE,
            claims={"name": record["name"], "sex": "别的"},
            parameters=sample["found"],
            purpose="newborn",
            matter="newborn",
            case="LJ-1",
            operator="op-1",
        )
        assert checked.results == {"name": True, "sex": False}
        refused(e.NotShared, lambda: ask(fields=["secret"]))
        refused(e.CaseRequired, lambda: ask(case=""))
        _grant(folder, "pause")
        refused(e.GrantPaused, ask)
        # The first refusal, of a case that was not open, has been handled by now.
        assert _missing(folder) == {"refusal_field", "refusal_paused", "fields", "case"}
        _grant(folder, "resume")
        for _ in range(5):
            ask()
        client.close_case("LJ-1")
    assert _missing(folder) == set()


def _provider(folder: Path) -> str:
    context = Layout(root=folder).people / steward_of("public-security") / "context.toml"
    _, told = _command("--context", str(context), "org", "list")
    return next(one["credit_code"] for one in told["organisations"] if one["alias"] == "public-security")
