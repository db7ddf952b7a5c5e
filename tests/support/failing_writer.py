"""A writer of a log on a disk that fails, as a child process, and what must hold of the log afterwards."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.audit.verification.verify import verify_folder
from tests.support.audit import KEYS
from tests.support.fault_disk import FaultDisk

ROOT = Path(__file__).parents[2]


class Writer:
    """A child that appends for ever; collects what it acknowledged."""

    def __init__(self, folder: Path, disk: FaultDisk, first: int) -> None:
        command = [sys.executable, "-m", "tests.support.fault_child", str(folder), str(first)]
        environ = {**os.environ, **disk.environ}
        self._child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=environ)
        self.acknowledged: dict[int, bytes] = {}
        self.said: list[str] = []

    def line(self) -> str:
        """Take one line; empty at the end."""
        assert self._child.stdout is not None
        return self._take(self._child.stdout.readline())

    def _take(self, line: bytes) -> str:
        if not line.endswith(b"\n"):
            return ""
        text = line.decode().strip()
        if text.startswith("ok "):
            _, index, leaf = text.split()
            assert int(index) not in self.acknowledged, "an index was given out twice"
            self.acknowledged[int(index)] = bytes.fromhex(leaf)
        else:
            self.said.append(text)
        return text

    @property
    def down(self) -> bool:
        """Whether the last that was taken of its state says that the log is not well."""
        states = [said for said in self.said if said == "well" or said.startswith("fault ")]
        return bool(states) and states[-1] != "well"

    def until(self, wanted: str) -> str:
        """Take lines up to one that begins so."""
        while not (text := self.line()).startswith(wanted):
            assert text, f"ended before {wanted!r}; said {self.said[-5:]}"
        return text

    def take(self, count: int, *, complaints: int = 1 << 20) -> None:
        """Take so many further acknowledgements, or complaints, or what there is before the end."""
        enough, most = len(self.acknowledged) + count, len(self.said) + complaints
        while len(self.acknowledged) < enough and len(self.said) < most and self.line():
            pass

    def kill(self) -> None:
        self._child.kill()
        assert self._child.stdout is not None
        for line in self._child.stdout.readlines():
            self._take(line)
        self._child.wait()


@contextmanager
def writer(folder: Path, disk: FaultDisk, first: int = 0) -> Iterator[Writer]:
    child = Writer(folder, disk, first)
    try:
        yield child
    finally:
        child.kill()


def check(folder: Path, acknowledged: dict[int, bytes]) -> int:
    """Check that the log is whole and holds all that was acknowledged; return its size."""
    report = verify_folder(folder, KEYS)
    assert report.whole, [str(fault) for fault in report.faults]
    with sqlite3.connect(f"file:{folder}/audit.db?mode=ro", uri=True) as db:
        for index, leaf in acknowledged.items():
            assert db.execute("SELECT leaf FROM entry WHERE idx = ?", (index,)).fetchone() == (leaf,), index
    return report.size
