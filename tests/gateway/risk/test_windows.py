"""Windows: they slide, they estimate, and a flood of keys cannot make them grow."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.risk.windows import PANES, Cells, Counts, Distinct, Sightings, filled_at, places_for
from tests.support.risk import tag


@given(st.lists(st.integers(min_value=0, max_value=40), max_size=80))
def test_a_count_is_that_of_the_panes_within_the_window(steps: list[int]) -> None:
    cell, pane, times = Counts(), 0, []
    for step in steps:
        pane += step
        cell.add(pane, 1)
        times.append(pane)
        within = [one for one in times if one > pane - PANES]
        assert (cell.total, cell.second) == (len(within), len(within))


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 40)), max_size=80))
def test_distinct_places_are_those_set_within_the_window(steps: list[tuple[int, int]]) -> None:
    cell, pane, last = Distinct(64), 0, {}
    for step, number in steps:
        pane += step
        seen = number in last and last[number] > pane - PANES
        assert cell.add(pane, number) is seen
        last[number] = pane
        assert cell.filled == sum(when > pane - PANES for when in last.values())


def test_a_clock_that_goes_back_a_little_loses_no_count() -> None:
    cell = Counts()
    for pane in (10, 9, 10, 8):
        cell.add(pane)
    assert cell.total == 4


def test_a_distinct_count_is_told_within_a_tenth_of_its_threshold() -> None:
    for least in (100, 150, 1500):
        cell, needed = Distinct(places_for(least)), 0
        while cell.filled < filled_at(least):
            needed += 1
            cell.add(1, int.from_bytes(tag(str(needed))[:8]))
        assert abs(needed - least) <= least / 10


def test_a_flood_of_keys_does_not_make_cells_grow() -> None:
    cells = Cells(Counts, most=400)
    for number in range(10_000):
        cells.at("flooder", number, 1)
        assert cells.size <= 400
    assert cells.size == 100
    assert cells.evicted == 9_900


def test_who_floods_forgets_its_own_past_and_not_that_of_others() -> None:
    cells = Cells(Counts, most=400)
    kept = cells.at("quiet", "key", 1)
    for number in range(10_000):
        cells.at("flooder", number, 1)
    assert cells.find("quiet", "key") is kept


def test_beyond_the_bound_the_one_that_was_used_longest_ago_gives_way() -> None:
    cells = Cells(Counts, most=100)
    for number in range(150):
        cells.at(f"consumer-{number}", "", 1)
    assert cells.size == 100
    assert cells.find("consumer-49", "") is None
    assert cells.find("consumer-50", "") is not None


def test_a_first_sighting_is_known_within_the_window_and_not_beyond() -> None:
    seen, key = Sightings(), int.from_bytes(tag("a")[:8])
    assert seen.note(key, 100, mark=7) is None
    assert seen.note(key, 100 + PANES - 1, mark=8) == 7
    assert seen.note(key, 100 + PANES, mark=9) is None
    assert seen.note(key, 100 + PANES) == 9


def test_first_sightings_stay_apart_while_there_is_room_and_the_newest_stay_beyond() -> None:
    seen = Sightings()
    keys = [int.from_bytes(tag(str(number))[:8]) for number in range(20_000)]
    assert all(seen.note(key, 5) is None for key in keys)
    assert sum(seen.note(key, 5) is not None for key in keys) >= 19_900
    crowded = [number << 32 for number in range(1, 50)]
    assert all(seen.note(key, 5) is None for key in crowded)
    assert seen.note(crowded[-1], 5) == 0
