"""What may be hidden of a value before it leaves: a part of a text, a part of a date, or all of it.

A mask never shows more than it says: where a text is too short to keep both ends and hide something between,
it is hidden whole. A generalised date stays a date (the first of its month or year) where the field is a
date, and becomes "1990-05" or "1990" where the field is declared as text. Hidden text shows its length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from agent.provider.values import Value
from exchange.errors import BadConfiguration

HIDDEN = "*"
REDACTED = "***"


class MaskKind(StrEnum):
    """The ways to hide."""

    KEEP = "keep"
    YEAR = "year"
    MONTH = "month"
    REDACT = "redact"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """How a field is masked.

    Args:
        kind: the way.
        first: how many characters to keep at the start (KEEP).
        last: how many characters to keep at the end (KEEP).
    """

    kind: MaskKind
    first: int = 0
    last: int = 0

    def check(self, field: str, kind: str) -> None:
        """Refuse a mask that does not fit a field's type.

        Raises:
            BadConfiguration: it does not fit.
        """
        if self.first < 0 or self.last < 0:
            raise BadConfiguration(f"field {field}: a mask keeps no negative number of characters")
        if self.kind is MaskKind.KEEP and kind != "text":
            raise BadConfiguration(f"field {field}: mask keep is for text")
        if self.kind in (MaskKind.YEAR, MaskKind.MONTH) and kind not in ("text", "date"):
            raise BadConfiguration(
                f"field {field}: masks year and month are for dates, given as date or text"
            )


def masker(mask: Mask, kind: str) -> Callable[[Value], Value]:
    """Return what masks values of a type.

    Args:
        mask: the mask, checked.
        kind: the field's type as it leaves.

    Returns:
        A function of a value; it raises ValueError where a text is no date to generalise.
    """
    if mask.kind is MaskKind.REDACT:
        cover = REDACTED if kind == "text" else None
        return lambda value: None if value is None else cover
    if mask.kind is MaskKind.KEEP:
        return lambda value: value if value is None else _keep(str(value), mask.first, mask.last)
    month = mask.kind is MaskKind.MONTH
    return lambda value: value if value is None else _generalise(value, month=month, as_text=kind == "text")


def _keep(text: str, first: int, last: int) -> str:
    hidden = len(text) - first - last
    if hidden < 1:
        return HIDDEN * len(text)
    return text[:first] + HIDDEN * hidden + text[len(text) - last :]


def _generalise(value: Value, *, month: bool, as_text: bool) -> Value:
    day = value if isinstance(value, date) else _day(str(value))
    if as_text:
        return f"{day.year:04d}-{day.month:02d}" if month else f"{day.year:04d}"
    return date(day.year, day.month if month else 1, 1)


def _day(text: str) -> date:
    try:
        return datetime.fromisoformat(text.strip()).date()
    except ValueError:
        raise ValueError("no date to generalise") from None
