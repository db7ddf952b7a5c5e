"""What the documents name is there: files, links, commands, metrics, codes."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from prometheus_client import CollectorRegistry

from exchange.errors import BY_REASON
from gateway.metrics import GatewayMetrics, PathMetrics, WitnessMetrics
from shuqiao.cli.app import build

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for page in (ROOT / "docs").rglob("*.md") if page.name != "0000-template.md")]
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[^)\s]*)?\)")
FILE = re.compile(
    r"`((?:exchange|certs|gateway|agent|witness|shuqiao|deploy|docs|tests|proto)/[\w./-]+\.\w+|[\w.-]+/)`"
)
COMMAND = re.compile(r"\bshuqiao((?: --\w+(?: people/\w+| counter)?)*) ([a-z]+)(?: ([a-z][a-z-]*))?")
NOT_COMMANDS = {"and", "is", "would"}
HELD = {"keys/", "identity/", "authority/", "people/", "counter/", "segments/", "wheelhouse/", ".venv/"}


@pytest.fixture(params=PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def page(request: pytest.FixtureRequest) -> Path:
    found = request.param
    assert isinstance(found, Path)
    return found


def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert broken == []


def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = set(FILE.findall(page.read_text(encoding="utf-8"))) - HELD
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_every_command_that_is_named_is_one(page: Path) -> None:
    commands: Any = typer.main.get_command(build(help_alone=True))
    wrong = []
    text = page.read_text(encoding="utf-8")
    for code in re.findall(r"```sh.*?\n(.*?)```|`([^`\n]+)`", text, re.DOTALL):
        for _, group, single in COMMAND.findall(code[0] or code[1]):
            found = commands.commands.get(group)
            below = getattr(found, "commands", None)
            if found is None or (below is not None and single and single not in below):
                wrong.append(f"{group} {single}")
    assert [each for each in wrong if each.split()[0] not in NOT_COMMANDS] == []


def modules_page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("modules_page", ROOT / "deploy" / "modules_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_architecture_names_every_module_and_no_other() -> None:
    faults = modules_page().faults((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert faults == [], "run: python deploy/modules_page.py"


def test_the_operators_page_names_every_metric_and_no_other() -> None:
    registry = CollectorRegistry()
    PathMetrics(registry)
    GatewayMetrics(registry)
    WitnessMetrics(registry, [])
    there = set()
    for family in registry.collect():
        there.add(family.name + ("_total" if family.type == "counter" else ""))
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(shuqiao_\w+)", text, re.MULTILINE)) == there


def test_every_code_that_a_page_names_is_a_reason(page: Path) -> None:
    known = {cls("").name for cls in BY_REASON.values()}
    codes = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", page.read_text(encoding="utf-8")))
    strange = (
        codes - known - {name for name in codes if name.startswith(("GRPC_", "SHUQIAO_", "CONFORMANCE_"))}
    )
    grpc_codes = {"INVALID_ARGUMENT", "PERMISSION_DENIED", "NOT_FOUND", "FAILED_PRECONDITION", "DATA_LOSS"}
    grpc_codes |= {"DEADLINE_EXCEEDED", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED", "MAX_VALID_CERTIFICATES"}
    assert strange - grpc_codes == set()
