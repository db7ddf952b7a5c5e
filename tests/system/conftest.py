"""A region of real processes, shared by the tests that leave it as they found it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange.tls import prepare_environment
from tests.support.real_region import RealRegion, real_region

prepare_environment()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a path short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="sq-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def world() -> Iterator[RealRegion]:
    with tempfile.TemporaryDirectory(prefix="sq-") as folder, real_region(Path(folder)) as region:
        yield region
