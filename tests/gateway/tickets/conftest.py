"""A region in miniature that serves tickets, for every test here."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.tickets import TicketRegion, ticket_region


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[TicketRegion]:
    async with ticket_region(tmp_path) as made:
        yield made
