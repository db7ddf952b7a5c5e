"""What a benchmark yields: rows with a value, what stands beside it in the same run, and their ratio."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from tests.benchmarks.measure import Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        id: stable name.
        value, unit: what was measured.
        beside: what was measured beside it, in the same unit; None where nothing stands beside it.
        beside_what: what that is.
        budget: the bound that the design sets, and whether it is from above.
        note: what one must know to read the number.
    """

    id: str
    value: float
    unit: str
    beside: float | None = None
    beside_what: str = ""
    budget: str = ""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value over what stands beside it."""
        return self.value / self.beside if self.beside else None

    def to_json(self) -> dict[str, Any]:
        """Return the row as it is written down, numbers rounded to four digits."""
        told = asdict(self) | {"ratio": self.ratio}
        return {name: _four(item) if isinstance(item, float) else item for name, item in told.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that are measured together.

    Attributes:
        ids: of the rows that `run` yields, in order.
        run: measures them.
    """

    ids: tuple[str, ...]
    run: Callable[[Scale], Awaitable[list[Row]]]


def _four(number: float) -> float:
    return float(f"{number:.4g}")
