"""Finding the entry of an exchange."""

import sqlite3
from pathlib import Path

import pytest

from exchange.errors import StoreDamaged
from exchange.v1 import audit_pb2
from gateway.audit.projection import ExchangeIndex
from gateway.audit.sequencer import Sequencer
from tests.support.audit import MemoryAuditStore, MemoryHighWater, entry, memory_sequencer, submit

ID = bytes(range(16))


@pytest.fixture
async def log() -> Sequencer:
    opened = memory_sequencer(MemoryAuditStore(), MemoryHighWater())
    await opened.open()
    return opened


async def test_an_exchange_is_found_as_soon_as_it_is_in_the_log(log: Sequencer, tmp_path: Path) -> None:
    index = ExchangeIndex(path=tmp_path / "search.db", log=log)
    assert await index.find(ID) is None
    await submit(log, [entry(number) for number in range(1200)]).places()
    await log.append(entry(7, exchange_id=ID))
    assert await index.find(ID) == 1200
    assert await index.find((5).to_bytes(16, "big")) == 5
    assert await index.find(bytes(15)) is None
    index.close()
    await log.close()


async def test_a_released_exchange_goes_before_refused_repetitions_and_the_first_before_later_ones(
    log: Sequencer, tmp_path: Path
) -> None:
    index = ExchangeIndex(path=tmp_path / "search.db", log=log)
    refused = audit_pb2.DECISION_REFUSED
    await log.append(entry(0, exchange_id=ID, decision=refused))
    await log.append(entry(1, exchange_id=ID, decision=refused))
    assert await index.find(ID) == 0
    await log.append(entry(2, exchange_id=ID))
    assert await index.find(ID) == 2
    await log.append(entry(3, exchange_id=ID))
    await log.append(entry(4, exchange_id=ID, decision=refused))
    assert await index.find(ID) == 2
    index.close()
    await log.close()


async def test_it_goes_on_where_it_was_and_passes_over_what_is_no_exchange(
    log: Sequencer, tmp_path: Path
) -> None:
    path = tmp_path / "search.db"
    first = ExchangeIndex(path=path, log=log)
    await submit(log, [entry(0), b"\xff", audit_pb2.AuditEntry(version=1).SerializeToString()]).places()
    assert await first.find((0).to_bytes(16, "big")) == 0
    first.close()
    await log.append(entry(3))
    again = ExchangeIndex(path=path, log=log)
    assert await again.find((3).to_bytes(16, "big")) == 3
    assert await again.find((0).to_bytes(16, "big")) == 0
    again.close()
    await log.close()


@pytest.mark.parametrize("how", ["damaged", "of another log"])
async def test_a_projection_that_is_damaged_or_of_another_log_is_made_anew(
    log: Sequencer, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "search.db"
    await submit(log, [entry(number) for number in range(20)]).places()
    if how == "damaged":
        path.write_bytes(b"no database" * 1000)
    else:
        other = memory_sequencer(MemoryAuditStore(), MemoryHighWater())
        await other.open()
        await submit(other, [entry(number) for number in range(100, 110)]).places()
        index = ExchangeIndex(path=path, log=other)
        assert await index.find((100).to_bytes(16, "big")) == 0
        index.close()
        await other.close()
    index = ExchangeIndex(path=path, log=log)
    assert await index.find((100).to_bytes(16, "big")) is None
    assert await index.find((4).to_bytes(16, "big")) == 4
    index.close()
    await log.close()


async def test_one_that_cannot_be_written_is_told_and_is_opened_again(log: Sequencer, tmp_path: Path) -> None:
    path = tmp_path / "search.db"
    index = ExchangeIndex(path=path, log=log)
    await log.append(entry(0))
    assert await index.find((0).to_bytes(16, "big")) == 0
    await log.append(entry(1))
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("DROP TABLE progress")
    with pytest.raises(StoreDamaged):
        await index.find((1).to_bytes(16, "big"))
    blocker.close()
    assert await index.find((1).to_bytes(16, "big")) == 1
    index.close()
    await log.close()
