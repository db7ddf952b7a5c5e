"""The scrub finds what changed on disk, and nothing else."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.errors import StoreDamaged
from exchange.merkle import leaf_hash
from exchange.subject_tags import tag_root
from exchange.v1 import audit_pb2
from gateway.audit.keeping.scrub import Scrub
from gateway.audit.log.reader import Present
from gateway.audit.writing.folder import sequencer_in
from gateway.audit.writing.sequencer import Sequencer
from tests.support.audit import SIGNER, Outcome, entry, submit
from tests.support.keeping import KeptLog, aged

SIZE = 256 * 3 + 40


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Sequencer]:
    log = sequencer_in(tmp_path, signer=SIGNER)
    await log.open()
    await submit(log, [entry(number) for number in range(SIZE)]).places()
    yield log
    await log.close()


async def one_pass(scrub: Scrub) -> None:
    passes = scrub.passes
    while scrub.passes == passes:
        await scrub.step()


def edit(folder: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(folder / "audit.db") as db:
        db.execute(sql, values)
    db.close()


async def test_a_whole_log_is_found_whole_again_and_again_while_it_grows(log: Sequencer) -> None:
    scrub = Scrub(log=log, entries_per_s=1)
    await one_pass(scrub)
    await submit(log, [entry(number) for number in range(SIZE, SIZE + 700)]).places()
    await one_pass(scrub)
    assert scrub.passes == 2
    assert log.fault is None


@pytest.mark.parametrize("index", [0, 255, 256, 600, SIZE - 1])
async def test_an_entry_that_is_changed_by_hand_is_found_and_named(
    log: Sequencer, tmp_path: Path, index: int
) -> None:
    edit(tmp_path, "UPDATE entry SET leaf = ? WHERE idx = ?", entry(10**6), index)
    with pytest.raises(StoreDamaged, match=f"entry {index}"):
        await one_pass(Scrub(log=log, entries_per_s=1))


async def test_an_entry_that_is_gone_is_found(log: Sequencer, tmp_path: Path) -> None:
    edit(tmp_path, "DELETE FROM entry WHERE idx = 300")
    with pytest.raises(StoreDamaged, match="entry 300"):
        await one_pass(Scrub(log=log, entries_per_s=1))


async def test_entry_and_tile_changed_alike_are_found_by_what_was_signed(tmp_path: Path) -> None:
    log = sequencer_in(tmp_path, signer=SIGNER)
    await log.open()
    await submit(log, [entry(number) for number in range(SIZE)]).places()
    await log.close()
    # Edited while nothing runs, so that no copy in memory helps; the newest entries are left alone.
    leaf = entry(10**6)
    edit(tmp_path, "UPDATE entry SET leaf = ? WHERE idx = 5", leaf)
    with sqlite3.connect(tmp_path / "audit.db") as db:
        (tile,) = db.execute("SELECT data FROM tile WHERE level = 0 AND n = 0").fetchone()
    edit(
        tmp_path,
        "UPDATE tile SET data = ? WHERE level = 0 AND n = 0",
        tile[: 5 * 32] + leaf_hash(leaf) + tile[6 * 32 :],
    )
    with pytest.raises(StoreDamaged):
        await sequencer_in(tmp_path, signer=SIGNER).open()


async def test_a_damaged_log_refuses_to_sign_until_people_have_looked(log: Sequencer, tmp_path: Path) -> None:
    edit(tmp_path, "UPDATE entry SET leaf = ? WHERE idx = 300", entry(10**6))
    scrub = Scrub(log=log, entries_per_s=10**6)
    task = asyncio.create_task(scrub.run())
    async with asyncio.timeout(20):
        while not scrub.damaged:  # noqa: ASYNC110  it runs for as long as it is not
            await asyncio.sleep(0)
    assert isinstance(log.fault, StoreDamaged)
    with pytest.raises(StoreDamaged):
        submit(log, [entry(1)])
    assert not task.done(), "a task that ends would end the gateway"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_was_erased_at_the_end_of_its_term_is_no_damage(
    log: Sequencer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = log.present

    def present(first: int, count: int) -> Present:
        if first < 256:
            # One administrative entry of the range is kept.
            return Present([(7, entry(7)), (300, entry(300))], 301)
        return real(first, count)

    monkeypatch.setattr(log, "present", present)
    scrub = Scrub(log=log, entries_per_s=1)
    await one_pass(scrub)
    assert scrub.passes == 1


async def test_a_scrub_of_no_entries_per_second_only_waits(log: Sequencer) -> None:
    scrub = Scrub(log=log, entries_per_s=0)
    task = asyncio.create_task(scrub.run())
    await asyncio.sleep(0)
    assert not task.done() and scrub.position == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    "change", ["DELETE FROM beside WHERE idx = ?", "UPDATE beside SET data = zeroblob(64) WHERE idx = ?"]
)
@pytest.mark.parametrize("sealed", [False, True])
async def test_tags_that_are_changed_beside_an_entry_are_found(
    tmp_path: Path, change: str, sealed: bool
) -> None:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    tags = [bytes([number]) * 32 for number in (1, 2)]
    made = audit_pb2.AuditEntry.FromString(aged(7))
    made.exchange.tag_period, made.exchange.tag_count = "2026Q4", 2
    made.exchange.tag_root = tag_root(tags)
    leaves = [made.SerializeToString() if number == 7 else aged(number) for number in range(300)]
    outcome = Outcome()
    kept.log.submit(leaves, outcome, [b"".join(tags) if number == 7 else b"" for number in range(300)])
    await outcome.places()
    scrub = Scrub(log=kept.log, entries_per_s=1)
    await one_pass(scrub)
    edit(tmp_path, change, 7)
    if sealed:
        await kept.seal()
        assert kept.store.segments()
    with pytest.raises(StoreDamaged, match="tags beside entry 7"):
        await one_pass(scrub)
    await kept.log.close()
