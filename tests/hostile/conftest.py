"""Every test here gets a region in one process, whole and honest, and corrupts it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.hostile import World


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.open(monkeypatch)
    try:
        yield made
    finally:
        await made.close()
