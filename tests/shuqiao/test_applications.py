"""An agent's local systems: entered, listed, given another token, removed."""

from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.consumer.credentials import Credentials, new_token
from exchange.errors import NoIdentity
from shuqiao import installing
from tests.support.command_region import Shuqiao

RIGHTS = ("--purpose", "newborn", "--resource", "970100/*", "--operator", "op-1")


@pytest.fixture
def agent_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The command of tests draws the same bytes in every run; tokens must differ.
    monkeypatch.setattr("shuqiao.applications.new_token", lambda random: new_token())
    file = tmp_path / "health.toml"
    file.write_text(installing.configuration_text("agent", file, {("local", "grpc"): "127.0.0.1:7481"}))
    return file


def _enter(shuqiao: Shuqiao, config: Path, name: str, *more: str) -> None:
    out = config.parent / name
    ran = shuqiao("agent", "application", name, "--config", str(config), "--out", str(out), *RIGHTS, *more)
    assert ran.code == 0, ran.err


def _kept(shuqiao: Shuqiao, config: Path, *arguments: str) -> Any:
    return shuqiao("agent", "applications", *arguments, "--config", str(config), "--json")


def _known(config: Path, folder: Path) -> str:
    """Return whose token is in a folder; empty where it is nobody's."""
    token = (folder / "token").read_text().strip()
    try:
        return Credentials(settings=load(config).local.application).application(f"Bearer {token}").name
    except NoIdentity:
        return ""


def test_what_an_application_may_ask_is_entered_and_listed(shuqiao: Shuqiao, agent_toml: Path) -> None:
    _enter(shuqiao, agent_toml, "wards", "--matter", "newborn", "--cases", "--at-once", "64")
    _enter(shuqiao, agent_toml, "desk")
    wards, desk = _kept(shuqiao, agent_toml, "list").document["applications"]
    assert (wards["matters"], wards["cases"], wards["at_once"]) == (["newborn"], True, 64)
    assert (desk["matters"], desk["cases"], desk["at_once"]) == (["*"], False, 0)
    assert "sha256" not in str(wards)
    assert "newborn" in shuqiao("agent", "applications", "list", "--config", str(agent_toml)).out


def test_an_application_is_removed_and_every_other_line_stays(shuqiao: Shuqiao, agent_toml: Path) -> None:
    _enter(shuqiao, agent_toml, "one")
    before = agent_toml.read_text()
    _enter(shuqiao, agent_toml, "two")
    _enter(shuqiao, agent_toml, "three")
    assert _kept(shuqiao, agent_toml, "remove", "two").code == 0
    after = agent_toml.read_text()
    assert after.startswith(before) and '"two"' not in after
    assert [_known(agent_toml, agent_toml.parent / name) for name in ("one", "two", "three")] == [
        "one",
        "",
        "three",
    ]
    assert _kept(shuqiao, agent_toml, "remove", "two").code == 2


def test_a_token_is_changed_without_a_gap(shuqiao: Shuqiao, agent_toml: Path, tmp_path: Path) -> None:
    _enter(shuqiao, agent_toml, "wards")
    _enter(shuqiao, agent_toml, "desk")
    old, new = tmp_path / "wards", tmp_path / "wards-2"
    assert _kept(shuqiao, agent_toml, "rotate", "wards", "--out", str(new)).code == 0
    assert [_known(agent_toml, folder) for folder in (old, new)] == ["wards", "wards"]
    again = _kept(shuqiao, agent_toml, "rotate", "wards", "--out", str(tmp_path / "wards-3"))
    assert again.code == 2
    assert _kept(shuqiao, agent_toml, "rotate", "wards", "--finish").code == 0
    assert [_known(agent_toml, folder) for folder in (old, new)] == ["", "wards"]
    assert _known(agent_toml, tmp_path / "desk") == "desk"
    third = _kept(shuqiao, agent_toml, "rotate", "wards", "--out", str(tmp_path / "wards-3"))
    assert third.code == 0 and _known(agent_toml, tmp_path / "wards-3") == "wards"


@pytest.mark.parametrize(
    "arguments",
    [("rotate", "nobody", "--out", "x"), ("rotate", "wards"), ("rotate", "wards", "--finish"), ("list", "x")],
)
def test_a_change_that_cannot_be_is_a_usage_error(
    shuqiao: Shuqiao, agent_toml: Path, arguments: tuple[str, ...]
) -> None:
    _enter(shuqiao, agent_toml, "wards")
    before = agent_toml.read_text()
    assert _kept(shuqiao, agent_toml, *arguments).code == 2
    assert agent_toml.read_text() == before
