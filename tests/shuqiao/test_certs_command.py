"""An authority is founded once, by two people at least, whose contexts work."""

from pathlib import Path

import pytest

from certs.config import load
from exchange.clock import SystemClock, system_random
from shuqiao.context import read_context
from shuqiao.enrolling import held_by
from shuqiao.founding import found_authority
from tests.support.command_region import Shuqiao

CONFIG = """
folder = "authority"
passphrase_file = "secrets/authority"
division = "970100"
trust_domain = "yunchuan.example"
[listen]
host = "127.0.0.1"
enrolment_port = 7440
service_port = 7441
hosts = ["127.0.0.1"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "authority.toml"
    file.write_text(CONFIG)
    return file


def test_init_makes_an_authority_and_administrators_whose_contexts_work(
    shuqiao: Shuqiao, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "admins"
    ran = shuqiao(
        "certs", "init", "--config", str(config), "--admin", "wang", "--admin", "li", "-o", str(out), "--json"
    )
    assert [each["name"] for each in ran.document["admins"]] == ["wang", "li"]
    held = held_by(read_context(out / "li" / "context.toml"))
    assert held.statement_signer().identity.name == "li"
    assert (out / "li" / "passphrase").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("admins", [["wang"], ["wang", "wang"]])
def test_an_authority_needs_two_different_administrators(
    shuqiao: Shuqiao, config: Path, tmp_path: Path, admins: list[str]
) -> None:
    arguments = [part for name in admins for part in ("--admin", name)]
    ran = shuqiao("certs", "init", "--config", str(config), "-o", str(tmp_path / "admins"), *arguments)
    assert ran.code == 2


def test_an_authority_is_founded_once(config: Path, shuqiao: Shuqiao, tmp_path: Path) -> None:
    told = load(config)
    found_authority(told, admins=["a", "b"], out=tmp_path / "one", clock=SystemClock(), random=system_random)
    ran = shuqiao(
        "certs", "init", "--config", str(config), "--admin", "c", "--admin", "d", "-o", str(tmp_path / "two")
    )
    assert ran.code == 2
