"""Readings are entered before anything is shown, cover what is shown, and do not flood the log."""

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import AuditUnavailable
from exchange.identity import Identity, Role
from gateway.audit.entries.tile_reads import MAX_AHEAD, MAX_PEOPLE, TERM_S, TileReads

CHEN = Identity("yunchuan.example", "970100", Role.AUDITOR, name="chen")
LIN = Identity("yunchuan.example", "970100", Role.OFFICER, name="lin")


class Entered:
    """Remembers what was entered, or fails."""

    def __init__(self) -> None:
        self.ranges: list[tuple[str, int, int]] = []
        self.fails = False
        self.now_s = 0.0
        self.reads = TileReads(record=self.record, now_s=lambda: self.now_s)

    async def record(self, person: Identity, subject: str) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise AuditUnavailable("disk")
        found = re.fullmatch(r"tiles, entries (\d+) to (\d+)", subject)
        assert found
        self.ranges.append((person.name, int(found[1]), int(found[2]) + 1))

    async def read(self, person: Identity, first: int, end: int, size: int = 1 << 30) -> None:
        await self.reads.enter(person, first=first, end=end, size=size)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 256), st.integers(0, 40)), max_size=40))
def test_what_is_shown_was_entered_in_a_run_without_a_minutes_pause(
    asked: list[tuple[int, int, int]],
) -> None:
    async def run() -> None:
        entered, last_s, covered = Entered(), 0.0, set[int]()
        for n, width, pause_s in asked:
            entered.now_s += pause_s
            if entered.now_s - last_s >= TERM_S:
                covered.clear()
            known = len(entered.ranges)
            await entered.read(CHEN, n << 8, (n << 8) + width)
            for _, first, end in entered.ranges[known:]:
                last_s = entered.now_s
                covered |= set(range(first, end))
            assert covered >= set(range(n << 8, (n << 8) + width))

    asyncio.run(run())


async def test_readers_that_fetch_side_by_side_do_not_flood_the_log() -> None:
    entered = Entered()
    for start in range(0, 1000, 4):
        for n in (start + 1, start + 3, start, start + 2):
            await entered.read(CHEN, n << 8, n + 1 << 8, 1000 << 8)
    assert len(entered.ranges) < 20


async def test_reading_the_whole_log_adds_few_entries_to_it() -> None:
    entered, size = Entered(), 4_000_000
    for first in range(0, size, 256):
        await entered.read(CHEN, first, min(first + 256, size), size)
    assert len(entered.ranges) < 8 + size // MAX_AHEAD + 3
    ends = [end for _, _, end in entered.ranges]
    assert [first for _, first, _ in entered.ranges] == [0, *ends[:-1]]
    assert ends[-1] == size


async def test_single_bundles_are_entered_one_by_one_and_exactly() -> None:
    entered = Entered()
    for first in (512, 51_200, 0):
        await entered.read(CHEN, first, first + 256)
    assert entered.ranges == [("chen", 512, 768), ("chen", 51_200, 51_456), ("chen", 0, 256)]


async def test_a_reading_counts_for_a_minute_and_for_one_person() -> None:
    entered = Entered()
    await entered.read(CHEN, 0, 256)
    await entered.read(CHEN, 0, 200)
    await entered.read(LIN, 0, 256)
    entered.now_s += TERM_S
    await entered.read(CHEN, 0, 256)
    assert entered.ranges == [("chen", 0, 256), ("lin", 0, 256), ("chen", 0, 256)]


async def test_what_was_not_entered_is_not_shown_the_next_time_either() -> None:
    entered = Entered()
    entered.fails = True
    for _ in range(2):
        with pytest.raises(AuditUnavailable):
            await entered.read(CHEN, 0, 256)
    entered.fails = False
    await entered.read(CHEN, 0, 256)
    assert entered.ranges == [("chen", 0, 256)]


async def test_readings_at_the_same_time_are_entered_once() -> None:
    entered = Entered()
    await asyncio.gather(*(entered.read(CHEN, 0, 256) for _ in range(10)))
    assert entered.ranges == [("chen", 0, 256)]


async def test_only_so_many_people_are_remembered() -> None:
    entered = Entered()
    people = [
        Identity("yunchuan.example", "970100", Role.AUDITOR, name=f"p{n}") for n in range(MAX_PEOPLE + 1)
    ]
    for person in people:
        await entered.read(person, 0, 256)
    await entered.read(people[0], 0, 256)
    assert len(entered.ranges) == MAX_PEOPLE + 2
