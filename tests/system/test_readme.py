"""README's ten steps run as written, by real processes, in an empty folder.

A fence marked `sh run` runs to its end with exit 0; each line of one marked `sh serve` is a process that goes
on once it says "ready". The only thing changed is the ports: each of PORTS is replaced by a free one wherever
it stands in a block.
"""

import json
import os
import re
import selectors
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh (run|serve)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STEP = re.compile(r"^\*\*(\d+) · ", re.MULTILINE)
PORTS = ("7440", "7441", "7443", "7444", "7445", "7480", "7481")
COMMAND = """#!/bin/sh
exec {python} -c 'from shuqiao.cli import main; main()' "$@"
"""
PYTHON = """#!/bin/sh
exec {python} "$@"
"""
CURL = """#!{python}
import sys
from urllib.request import Request, urlopen
told = sys.argv[1:]
url = next(each for each in told if each.startswith("http"))
headers = dict(told[i + 1].split(": ", 1) for i, each in enumerate(told) if each == "-H")
body = told[told.index("-d") + 1].encode()
print(urlopen(Request(url, body, headers), timeout=30).read().decode())
"""
PATIENCE_S = 60


def free_ports(count: int) -> list[int]:
    """Held together until all are known, so that none comes twice."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


@dataclass
class Newcomer:
    """Somebody in an empty folder with README beside them."""

    folder: Path
    ports: dict[str, int]
    environ: dict[str, str]
    said: list[str] = field(default_factory=list)
    serving: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def follow(self, kind: str, block: str) -> None:
        text = re.sub("|".join(PORTS), lambda found: str(self.ports[found[0]]), block)
        if kind == "run":
            self._run(text)
            return
        for line in text.splitlines():
            self._serve(line)

    def _run(self, text: str) -> None:
        done = subprocess.run(
            ["sh", "-e", "-c", text],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        logs = "".join(file.read_text() for file in self.folder.glob("*.log")) if done.returncode else ""
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}{logs}"
        self.said.append(done.stdout)

    def _serve(self, line: str) -> None:
        command, *arguments = shlex.split(line)
        assert command == "shuqiao"
        log = self.folder / f"{arguments[-1]}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "shuqiao.demo.child", str(os.getpid()), *arguments],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.serving.append(process)
        assert process.stdout is not None
        deadline, said = time.monotonic() + PATIENCE_S, b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"ready {" not in said:
                assert selector.select(max(0.0, deadline - time.monotonic())), f"{line}: not ready"
                more = os.read(process.stdout.fileno(), 65536)
                assert more, f"{line}: ended\n{log.read_text()}"
                said += more

    def leave(self) -> list[int]:
        for process in reversed(self.serving):
            process.terminate()
        codes = [process.wait(PATIENCE_S) for process in reversed(self.serving)]
        for process in self.serving:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
        return codes


def script(file: Path, text: str) -> None:
    file.write_text(text.format(python=shlex.quote(sys.executable)))
    file.chmod(0o755)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """README followed from its first marked fence to its last."""
    tools, folder = tmp_path_factory.mktemp("tools"), tmp_path_factory.mktemp("region")
    script(tools / "shuqiao", COMMAND)
    script(tools / "python", PYTHON)
    if shutil.which("curl") is None:
        script(tools / "curl", CURL)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SHUQIAO", "LC_", "LANG"))
    }
    environ = kept | {
        "PATH": f"{tools}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
        "HOME": str(folder),
    }
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    somebody = Newcomer(folder=folder, ports=ports, environ=environ)
    try:
        for kind, block in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")):
            somebody.follow(kind, block)
        yield somebody
    finally:
        somebody.leave()


def test_there_are_ten_steps_and_every_one_has_a_block_that_is_run() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    steps = STEP.findall(text)
    assert steps == [str(number) for number in range(1, 11)]
    parts = STEP.split(text)
    for number, part in zip(parts[1::2], parts[2::2], strict=True):
        assert BLOCK.search(part), f"step {number} has no block that is run"
        assert "```sh\n" not in part.partition("\n## ")[0], f"step {number} has a block that is not run"


def test_all_four_ways_of_asking_give_the_same_record(newcomer: Newcomer) -> None:
    command, python, curl, grpc = newcomer.said[-8:-4]
    assert "李雷" in command and "*******0017" in command and "一致" in command
    assert python.startswith("李雷 ")
    assert json.loads(curl)["records"] == [{"name": "李雷", "address": "东桥区桥东大街1号"}]
    assert grpc.startswith("李雷 ")


def test_two_administrators_set_the_rules_and_reports_come_from_the_log(newcomer: Newcomer) -> None:
    said = newcomer.said[-4]
    assert "✓ trust" not in said and said.count("newborn") >= 3
    assert "临江市公安局" in said and "970100/public-security/household" in said
    assert "李雷" not in said and "970102199001010011" not in said


def test_the_audit_log_shows_the_exchanges_and_verifies(newcomer: Newcomer) -> None:
    audit = newcomer.said[-3]
    assert audit.count("已放行") >= 5
    assert "日志完整" in audit
    assert "李雷" not in audit and "970102199001010011" not in audit


def test_officers_and_auditors_find_trace_and_take_away_without_a_value(newcomer: Newcomer) -> None:
    said = newcomer.said[-2]
    assert said.count("LJ-2026-000123") >= 5 and "证据包成立" in said and "镜像完整" in said
    assert "李雷" not in said and "970102199001010011" not in said
    assert len((newcomer.folder / "events.jsonl").read_text().splitlines()) > 10
    assert (newcomer.folder / "mirror" / "checkpoint").exists()


def test_the_doctor_finds_every_hop_well(newcomer: Newcomer) -> None:
    assert newcomer.said[-1].count("各环节正常") == 2


def test_private_files_are_their_owners_alone(newcomer: Newcomer) -> None:
    secret = [
        *newcomer.folder.rglob("*.key"),
        *newcomer.folder.rglob("*passphrase"),
        *newcomer.folder.glob("*.json"),
        newcomer.folder / "counter" / "token",
        newcomer.folder / "authority" / "root-key.pem",
    ]
    assert len(secret) > 15
    assert {oct(file.stat().st_mode & 0o777) for file in secret} == {"0o600"}
