"""The gateway's configuration."""

from pathlib import Path

import pytest

from exchange.errors import BadConfiguration
from gateway.config import load

EXAMPLE = Path(__file__).parents[2] / "deploy" / "gateway.toml"


def test_the_annotated_example_loads_and_its_paths_are_relative_to_it() -> None:
    config = load(EXAMPLE)
    assert config.folder == EXAMPLE.parent / "gateway"
    assert config.listen.port == 7443


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('folder = 3\nsurprise = 1\n[listen]\nport = 70000\n[authority]\nenrolment = "a:1"\n')
    with pytest.raises(BadConfiguration) as caught:
        load(file)
    for part in ("folder", "surprise", "listen.port", "authority.service", "passphrase_file"):
        assert part in caught.value.subject


def test_what_is_no_toml_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("folder = \n")
    with pytest.raises(BadConfiguration, match="line 1"):
        load(file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"none\.toml"):
        load(tmp_path / "none.toml")
