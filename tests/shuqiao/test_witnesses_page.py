"""The commands of docs/witnesses.md run as written, in an empty folder; only the port is another."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from exchange.cosignature import parse_witness_key, verified_lines
from exchange.witness_policy import parse_policy
from gateway.config import Witnesses
from tests.support.outside_witnesses import free_port
from tests.support.witnesses import GrowingLog, cosigner

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "witnesses.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh (run|serve)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.system


@contextmanager
def serving(block: str, folder: Path, environ: dict[str, str]) -> Iterator[dict[str, str]]:
    process = subprocess.Popen(
        ["sh", "-c", f"exec {block}"], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("ready "), line
        yield json.loads(line.removeprefix("ready "))
    finally:
        process.terminate()
        process.stdout.close()
        assert process.wait(30) == 0


def test_a_house_that_follows_the_page_has_a_witness_that_cosigns(tmp_path: Path) -> None:
    port, log = free_port(), GrowingLog(3)
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "log-key.pub").write_text(log.signer.verifier_key + "\n")
    command = tmp_path / "bin" / "shuqiao"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from shuqiao.cli import main; main()' \"$@\"\n")
    command.chmod(0o755)
    environ = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SHUQIAO_LANG": "en",
    }
    (first, init), (second, serve), (third, show) = [
        (kind, text.replace("7450", str(port)).strip()) for kind, text in BLOCKS
    ]
    assert (first, second, third) == ("run", "serve", "run")
    subprocess.run(["sh", "-ec", init], cwd=tmp_path, env=environ, check=True, timeout=60)
    with serving(serve, tmp_path, environ) as told:
        key = parse_witness_key(told["key"])
        url = f"http://127.0.0.1:{port}/add-checkpoint"
        answer = httpx.post(url, content=log.request(0), trust_env=False, timeout=30)
        assert verified_lines(log.head().text, answer.text, key)
        shown = subprocess.run(
            ["sh", "-ec", show], cwd=tmp_path, env=environ, check=True, timeout=60, capture_output=True
        )
    assert log.signer.origin in shown.stdout.decode()


def test_the_settings_on_the_page_are_settings() -> None:
    told = tomllib.loads(re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])
    assert Witnesses.model_validate(told["witnesses"]).policy_file == Path("witnesses.policy")


def test_the_shape_of_the_policy_on_the_page_is_a_policys() -> None:
    text = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
    keys = iter(cosigner(seed).key.text for seed in (1, 2, 3))
    filled = re.sub(r"^(witness \S+) \S+", lambda found: f"{found[1]} {next(keys)}", text, flags=re.MULTILINE)
    filled = re.sub(r"^log \S+$", f"log {GrowingLog(0).signer.verifier_key}", filled, flags=re.MULTILINE)
    policy = parse_policy(filled.encode())
    assert [witness.url for witness in policy.witnesses] == [
        "https://witness.finance.example",
        "https://witness.audit.example",
        "https://witness.970200.example",
    ]
    assert policy.reached([cosigner(1).key, cosigner(3).key])
    assert not policy.reached([cosigner(2).key])
