"""How things are measured: process CPU time, medians over repetitions, scales of runs."""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

SCHEDULED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured.

    Attributes:
        repetitions: of each measurement; the median counts.
        share: of the full run's work per repetition, 0 to 1.
    """

    repetitions: int
    share: float

    def of(self, count: int, least: int = 1) -> int:
        """Return the share of a full run's count, at least `least`."""
        return max(least, int(count * self.share))


FULL = Scale(repetitions=5, share=1.0)
QUICK = Scale(repetitions=3, share=0.15)
TINY = Scale(repetitions=1, share=0.01)


def process_cpu_s(pid: int) -> float:
    """Return the CPU time a process has used in all its threads, user and system, seconds.

    Source: clock_getcpuclockid(3), nanoseconds; /proc counts ticks of 10 ms only.
    """
    return time.clock_gettime(~pid << 3 | SCHEDULED)


def own_cpu_s() -> float:
    """Return the CPU time of this process, seconds."""
    return time.process_time()


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def per_second(work: Callable[[], int], scale: Scale, *, warm_up: int = 1) -> float:
    """Return the median of things done per second of this process's CPU.

    Args:
        work: does a bounded amount and returns how many things that was.
        scale: for the repetitions.
        warm_up: runs that do not count.
    """
    for _ in range(warm_up):
        work()
    rates = []
    for _ in range(scale.repetitions):
        begun = own_cpu_s()
        done = work()
        rates.append(done / (own_cpu_s() - begun))
    return median(rates)
