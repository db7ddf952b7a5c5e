"""What an agent keeps of its region when its own disk fails."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.errors import StoreDamaged
from exchange.v1 import directory_pb2, grant_pb2
from tests.support.house import House, house_at, until


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as region:
        yield region


class FullDisk:
    """A connection that can be read and not written."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self._real = real

    def execute(self, statement: str, row: tuple[object, ...] = ()) -> sqlite3.Cursor:
        if statement.startswith("INSERT"):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            raise error
        return self._real.execute(statement, row)


async def test_a_revocation_that_cannot_be_written_down_is_taken_again_once_it_can(house: House) -> None:
    region, grant = house.provider.region, house.provider.region.grants()[0]
    real, cursor = region._db, region.cursor
    region._db = FullDisk(real)  # type: ignore[assignment]
    deciding = house.decide(grant.grant_id, grant_pb2.GRANT_ACTION_REVOKE, 2)
    with pytest.raises(StoreDamaged):
        region.take_event(directory_pb2.Event(index=cursor, leaf=b""))
    assert region.cursor == cursor
    region._db = real
    await deciding
    await until(
        lambda: region.grant(grant.grant_id).state == grant_pb2.GRANT_STATE_REVOKED,  # type: ignore[union-attr]
        "the revocation is known",
    )


async def test_what_was_taken_over_is_there_after_a_restart(house: House) -> None:
    from agent.region import RegionView

    held = house.provider.region
    again = RegionView(
        path=house.folder / "police-1" / "region.db",
        origin=house.gateway.origin,
        anchor=house.provider.identity.anchor(),
        trust=lambda: house.provider.feed.current,
        clock=house.region.clock,
    )
    assert [(g.grant_id, g.state, g.revision) for g in again.grants()] == [
        (g.grant_id, g.state, g.revision) for g in held.grants()
    ]
    assert [r.digest for r in again.resources()] == [r.digest for r in held.resources()]
    assert again.cursor == held.cursor
    again.close()


async def test_another_gateways_log_is_read_from_its_beginning(house: House) -> None:
    from agent.region import RegionView

    again = RegionView(
        path=house.folder / "police-1" / "region.db",
        origin="970100.yunchuan.example/gateway-2",
        anchor=house.provider.identity.anchor(),
        trust=lambda: house.provider.feed.current,
        clock=house.region.clock,
    )
    assert again.cursor == 0 and again.grants()
    again.close()
