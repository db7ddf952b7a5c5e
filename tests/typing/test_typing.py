import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OPTIONS = [
    "--strict",
    "--no-error-summary",
    "--follow-imports=silent",
    f"--config-file={ROOT / 'pyproject.toml'}",
    f"--cache-dir={ROOT / '.mypy_cache'}",
    f"--python-executable={sys.executable}",
]


def _mypy(name: str) -> str:
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    out, err, _ = api.run([*OPTIONS, str(HERE / name)])
    assert not err
    return str(out)


def test_a_program_that_uses_the_client_is_fully_typed(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert "client_snippet.py" not in _mypy("client_snippet.py")


def test_wrong_uses_are_found_before_they_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    lines = {int(each) for each in re.findall(r"wrong_snippet\.py:(\d+): error", _mypy("wrong_snippet.py"))}
    assert lines == {5, 7, 8, 9, 10, 11}
