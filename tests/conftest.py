"""The order in which files are run, what takes long first, and what every test leaves as it was.

A worker that ends with a long file ends alone.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LONG = (
    "system/test_renewal.py",
    "system/test_readme.py",
    "system/test_stop.py",
    "faults/test_gateway_kill.py",
    "interop",
    "faults",
    "system",
    "benchmarks",
    "hostile",
)
"""Files and folders below tests/, the longest first.

Of what runs alone, the file of renewals mostly waits and that of kills has a region of its own. A worker
holds two files from the start, the first and the third, which are these; all that share a region are left to
the other worker.
"""
HERE = Path(__file__).parent

# Hundreds of processes are started: where none keeps bytecode, every one compiles the product again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture(autouse=True)
def own_mask() -> Iterator[None]:
    """Give the file mode mask back: a command that serves closes its process's, which is the tests' here."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by LONG; within it, and of all else, as collected."""
    items.sort(key=lambda item: _rank(item.path.relative_to(HERE).as_posix()))


def _rank(path: str) -> int:
    return next((rank for rank, name in enumerate(LONG) if path.startswith(name)), len(LONG))
