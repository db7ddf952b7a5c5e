from pathlib import Path

import pytest
from nacl.signing import SigningKey

from exchange.checkpoint import LogSigner
from exchange.errors import BadConfiguration
from tests.support.witnesses import ORIGIN, SIGNER
from witness.config import load

EXAMPLE = Path(__file__).parents[2] / "deploy" / "witness.toml"


def test_the_annotated_example_loads_and_its_paths_are_relative_to_it() -> None:
    config = load(EXAMPLE)
    assert config.folder == EXAMPLE.parent / "witness"
    assert (config.listen.port, config.log_keys) == (7450, {})


def write(folder: Path, text: str) -> Path:
    file = folder / "witness.toml"
    file.write_text('folder = "w"\npassphrase_file = "p"\n' + text)
    return file


def test_several_keys_of_one_log_are_its_keys_while_it_changes_them(tmp_path: Path) -> None:
    new = LogSigner(origin=ORIGIN, key=SigningKey(b"\5" * 32))
    file = write(tmp_path, f'name = "w"\nlogs = ["{SIGNER.verifier_key}", "{new.verifier_key}"]\n')
    assert load(file).log_keys == {ORIGIN: (SIGNER.public_key, new.public_key)}


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    file = write(
        tmp_path, 'name = "a b"\nlogs = ["x"]\nmore = 1\n[listen]\nport = 70000\ncertificate_file = "c"\n'
    )
    with pytest.raises(BadConfiguration) as caught:
        load(file)
    for part in ("name", "logs", "more", "listen.port"):
        assert part in caught.value.subject


@pytest.mark.parametrize(
    "text",
    [
        f'name = "w"\nlogs = ["{SIGNER.verifier_key}", "{SIGNER.verifier_key}"]\n',
        'name = "w"\n[listen]\nkey_file = "k"\n',
        'name = "w+"\n',
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadConfiguration):
        load(write(tmp_path, text))
