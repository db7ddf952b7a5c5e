"""Public witnesses as processes on loopback, built once from pinned sources; see tests/interop/witness/."""

import hashlib
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from exchange.checkpoint import key_id
from exchange.cosignature import WitnessKey
from exchange.merkle import EMPTY_ROOT

SOURCES = Path(__file__).parents[1] / "interop" / "witness"
TOOLS = ("litewitness", "omniwitness", "ask")
AWAY = (
    "403 Forbidden",
    "dial tcp",
    "lookup ",
    "no such host",
    "i/o timeout",
    "connection refused",
    "module lookup disabled",
)
PATIENCE_S = 60.0

LITEWITNESS_TABLES = """
CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL);
CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin));
"""


def built() -> Path:
    """Return the folder of the tools, built where they are missing; skip where they cannot be had."""
    if shutil.which("go") is None:
        pytest.skip("Go is not installed")
    pinned = b"".join((SOURCES / name).read_bytes() for name in ("go.mod", "go.sum", "ask/main.go"))
    folder = Path.home() / ".cache" / "shuqiao-interop" / f"witness-{hashlib.sha256(pinned).hexdigest()[:16]}"
    if all((folder / tool).exists() for tool in TOOLS):
        return folder
    ran = subprocess.run(
        ["go", "install", "tool", "./ask"],
        cwd=SOURCES,
        env={**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    if ran.returncode and any(word in ran.stderr for word in AWAY):
        pytest.skip(f"the Go modules cannot be had: {ran.stderr.splitlines()[-1][:200]}")
    assert ran.returncode == 0, ran.stderr
    return folder


@contextmanager
def running(arguments: list[str], folder: Path, **environment: str) -> Iterator[None]:
    """Run a process for as long as the context lasts; its output is kept in a file beside it."""
    with (folder / f"{Path(arguments[0]).name}.log").open("wb") as output:
        process = subprocess.Popen(
            arguments, cwd=folder, env={**os.environ, **environment}, stdout=output, stderr=output
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(address: str | tuple[str, int]) -> None:
    """Wait until something listens; a process of somebody else's says it no other way."""
    deadline = time.monotonic() + PATIENCE_S
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    while time.monotonic() < deadline:
        with closing(socket.socket(family)) as sock:
            if sock.connect_ex(address) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"never listened: {address}")


@contextmanager
def litewitness(folder: Path, vkey: str) -> Iterator[tuple[str, WitnessKey]]:
    """Run litewitness for one log; its key is in an ssh-agent of its own."""
    for tool in ("ssh-agent", "ssh-add", "ssh-keygen"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    tools, name, port, agent = built(), "lite.example/w1", free_port(), str(folder / "agent.sock")
    origin = vkey.partition("+")[0]
    with closing(sqlite3.connect(folder / "lite.db")) as db:
        db.executescript(LITEWITNESS_TABLES)
        db.execute("INSERT INTO log VALUES (?, 0, ?)", (origin, b64encode(EMPTY_ROOT).decode()))
        db.execute("INSERT INTO key VALUES (?, ?)", (origin, vkey))
        db.commit()
    key = folder / "id_ed25519"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)]
    subprocess.run(make, check=True, timeout=30)
    listed = subprocess.run(
        ["ssh-keygen", "-lf", str(key)], check=True, timeout=30, capture_output=True, text=True
    )
    with ExitStack() as stack:
        stack.enter_context(running(["ssh-agent", "-D", "-a", agent], folder))
        wait_for(agent)
        subprocess.run(
            ["ssh-add", "-q", str(key)],
            check=True,
            timeout=30,
            env={**os.environ, "SSH_AUTH_SOCK": agent},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        command = [str(tools / "litewitness"), "-name", name, "-db", "lite.db", "-ssh-agent", agent]
        command += ["-listen", f"127.0.0.1:{port}", "-key", listed.stdout.split()[1]]
        stack.enter_context(running(command, folder))
        wait_for(("127.0.0.1", port))
        public = b64decode(key.with_suffix(".pub").read_text().split()[1])[-32:]
        yield f"http://127.0.0.1:{port}", WitnessKey(name, public)


@contextmanager
def omniwitness(folder: Path, vkey: str) -> Iterator[tuple[str, WitnessKey]]:
    """Run omniwitness for one log beside those that it knows; it asks none of them."""
    tools, name, port, key = built(), "omni.example/w1", free_port(), SigningKey(b"\x6f" * 32)
    public = bytes(key.verify_key)
    secret = b64encode(b"\1" + bytes(key)).decode()
    (folder / "omni.key").write_text(f"PRIVATE+KEY+{name}+{key_id(name, public).hex()}+{secret}")
    (folder / "logs.yaml").write_text(
        f"Logs:\n  - Origin: {vkey.partition('+')[0]}\n    URL: http://127.0.0.1:1\n    PublicKey: {vkey}\n"
    )
    command = [str(tools / "omniwitness"), "--listen", f"127.0.0.1:{port}", "--metrics_listen", ""]
    command += ["--private_key_path", "omni.key", "--additional_logs", "logs.yaml", "--db_file", "omni.db"]
    with running(command, folder):
        wait_for(("127.0.0.1", port))
        yield f"http://127.0.0.1:{port}", WitnessKey(name, public)
