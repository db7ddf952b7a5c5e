"""A disk that fails on demand, under a real process: see fault_disk.c."""

import errno
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")
NONE = "none 0 before 1"


@cache
def shim() -> Path:
    """Return the library to preload, built once; skips where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: a failing disk cannot be preloaded")
    library = Path(tempfile.mkdtemp(prefix="sq-")) / "fault_disk.so"
    flags = ["-Wall", "-Werror", "-shared", "-fPIC", "-O1"]
    subprocess.run([compiler, *flags, "-o", library, SOURCE, "-ldl"], check=True)
    return library


class FaultDisk:
    """Lets calls of a process on files under a folder fail.

    Args:
        folder: the folder.
        plan: a file outside of it that tells the process what fails.
        seed: of the chance in "one in N".
    """

    def __init__(self, *, folder: Path, plan: Path, seed: int = 1) -> None:
        self._plan = plan
        self.environ = {
            "LD_PRELOAD": str(shim()),
            "FAULT_DISK_UNDER": f"{folder.resolve()}/",
            "FAULT_DISK_PLAN": str(plan),
            "FAULT_DISK_SEED": str(seed),
        }
        self.mend()

    def fail(self, call: str, number: int = errno.EIO, *, when: str = "before", one_in: int = 1) -> None:
        """Let "sync", "write", "open" or "any" fail with an errno, before or after it was done."""
        self._write(f"{call} {number} {when} {one_in}")

    def mend(self) -> None:
        """Let everything succeed."""
        self._write(NONE)

    def _write(self, line: str) -> None:
        draft = self._plan.with_suffix(".draft")
        draft.write_text(line)
        os.replace(draft, self._plan)
