from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.witnessing.unwitnessed import GRAIN_S, MAX_MARKS, UnwitnessedAge


class Seconds:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 2), st.integers(0, 6))))
def test_an_entry_is_never_younger_than_it_is_and_older_by_a_grain_at_most(
    steps: list[tuple[int, float, int]],
) -> None:
    clock = Seconds()
    ages = UnwitnessedAge(monotonic=clock)
    born: list[float] = []
    covered = 0
    for count, pause, cover in steps:
        ages.committed(len(born), [b""] * count)
        born += [clock.now] * count
        clock.now += pause
        covered = min(covered + cover, len(born))
        ages.covered(covered)
        true = clock.now - born[covered] if covered < len(born) else 0.0
        assert true <= ages.seconds + 1e-9
        assert ages.seconds <= true + GRAIN_S + 1e-9


def test_marks_are_bounded_and_the_oldest_stays() -> None:
    clock = Seconds()
    ages = UnwitnessedAge(monotonic=clock)
    for index in range(3 * MAX_MARKS):
        ages.committed(index, [b""])
        clock.now += 1
    assert len(ages._marks) <= MAX_MARKS
    assert ages.seconds == 3 * MAX_MARKS
    ages.covered(2 * MAX_MARKS)
    assert MAX_MARKS <= ages.seconds <= MAX_MARKS + 8


def test_what_was_there_before_counts_with_the_age_it_has() -> None:
    clock = Seconds()
    ages = UnwitnessedAge(monotonic=clock)
    ages.begin(3, 9, 400.0)
    clock.now += 5
    assert ages.seconds == 405
    ages.covered(9)
    assert ages.seconds == 0


def test_an_entry_of_the_future_is_as_old_as_the_start() -> None:
    clock = Seconds()
    ages = UnwitnessedAge(monotonic=clock)
    ages.begin(0, 1, -1000.0)
    assert ages.seconds == 0
