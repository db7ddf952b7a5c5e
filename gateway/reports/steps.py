"""Steps of histograms: times and ages are kept by the step they fall into, each 10 % above the one before.

A quantile read from steps is an upper bound, at most 10 % above the true value.
"""

import math
from collections.abc import Iterable

RATIO = 1.1
_LOG = math.log(RATIO)
LAST = 400
"""Of 1.1^400, beyond anything that is measured here."""


def step_of(value: float) -> int:
    """Return the step of a value of at least 0: the least n with value ≤ 1.1^n; 0 for 1 and below."""
    return min(LAST, math.ceil(round(math.log(value) / _LOG, 9))) if value > 1 else 0


def bound_of(step: int) -> float:
    """Return the upper bound of a step."""
    return RATIO**step


def quantile(counts: Iterable[tuple[int, int]], share: float) -> float:
    """Return the upper bound of the step in which a share of all values is reached; 0 where there are none.

    Args:
        counts: step and number of values in it.
        share: above 0, at most 1.
    """
    ordered = sorted(counts)
    due = math.ceil(share * sum(number for _, number in ordered))
    for step, number in ordered:
        due -= number
        if due <= 0:
            return bound_of(step)
    return 0.0


def above(counts: Iterable[tuple[int, int]], bound: float) -> int:
    """Return how many values are above a bound for certain: those in steps that begin at it or beyond."""
    return sum(number for step, number in counts if step and bound_of(step - 1) >= bound)
