"""The agent's configuration."""

from pathlib import Path

import pytest

from agent.config import load
from exchange.errors import BadConfiguration

EXAMPLE = Path(__file__).parents[2] / "deploy" / "agent.toml"


def test_the_annotated_example_loads_and_its_paths_are_relative_to_it() -> None:
    config = load(EXAMPLE)
    assert config.folder == EXAMPLE.parent / "agent"
    assert [item.id for item in config.resource] == ["970100/public-security/household"]


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('folder = "x"\nsurprise = 1\n[limits]\nquestions = 0\n[local]\nhttp = 5\n')
    with pytest.raises(BadConfiguration) as caught:
        load(file)
    for part in ("surprise", "limits.questions", "local.http", "passphrase_file"):
        assert part in caught.value.subject


def test_places_are_counted_as_people_count_and_usual_faults_are_told_in_both_languages(
    tmp_path: Path,
) -> None:
    file = tmp_path / "agent.toml"
    rule = '[[allow]]\nresource = "*"\npurposes = ["*"]\n'
    second = '[[allow]]\nconsumer = "11970100MB1A00028B"\nresource = "*"\npurposes = []\nuse = 1\n'
    file.write_text(f'folder = "x"\npassphrase_file = "p"\n{rule}{second}')
    with pytest.raises(BadConfiguration) as caught:
        load(file)
    assert caught.value.subject == (
        f"{file}: allow[1].consumer: 缺少 is missing; "
        'allow[2].consumer: 须为统一社会信用代码或 "*" must be a credit code or "*"; '
        "allow[2].purposes: 不得为空或太少 is empty or too few; allow[2].use: 不认识的项 is no known key"
    )


def test_a_tokens_file_is_relative_to_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        'folder = "x"\npassphrase_file = "p"\n[[local.application]]\nname = "ward"\n'
        'token_hash_file = "hashes"\npurposes = ["*"]\nresources = ["*"]\n'
    )
    assert load(file).local.application[0].token_hash_file == tmp_path / "hashes"
