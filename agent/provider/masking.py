"""What may be hidden of a value before it leaves: a part of a text, of a date, of a number, or all of it.

A mask never shows more than it says: where a text is too short to keep both ends and hide something
between, or is no code to cut, it is hidden whole. A generalised date stays a date (the first of its month
or year) where the field is a date, and becomes "1990-05" or "1990" where the field is declared as text.
Hidden text shows its length, save where it is cut.

Two masks may apply to a field: the agent's own and the signed catalogue's, which is the least that is hidden.
`stricter` makes one of the two, so that neither shows more through the other:

1. REDACT hides all.
2. A PSEUDONYM is made of what the other mask leaves.
3. Of one kind: the fewer characters, the year before the month, a band that is a multiple of both.
4. KEEP and PREFIX: the beginning that both keep, cut.
5. What cannot be compared is redacted.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_FLOOR, Decimal, localcontext
from enum import StrEnum

from agent.provider.values import Value
from exchange.errors import BadConfiguration
from exchange.field_rules import MASKED_TYPES, MaskRule
from exchange.v1 import directory_pb2

HIDDEN = "*"
REDACTED = "***"
MAX_BAND = 10**18
_CODE = re.compile(r"[0-9]+X?")
_DIGITS = 160
"""More than any decimal has that a source may give."""

Pseudonym = Callable[[str], str]
"""Returns the pseudonym of a text, for one consumer, purpose and field."""


class MaskKind(StrEnum):
    """The ways to hide."""

    KEEP = "keep"
    YEAR = "year"
    MONTH = "month"
    REDACT = "redact"
    PREFIX = "prefix"
    BAND = "band"
    PSEUDONYM = "pseudonym"

    @property
    def number(self) -> int:
        """The same in the catalogue."""
        return int(directory_pb2.MaskKind.Value(f"MASK_KIND_{self.name}"))


_KINDS = {kind.number: kind for kind in MaskKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """How a field is masked.

    Args:
        kind: the way.
        first: how many characters to keep at the start (KEEP, PREFIX).
        last: how many characters to keep at the end (KEEP).
        band: to a multiple of what a number is rounded down (BAND).
        short: texts no longer than that are hidden whole (KEEP, PREFIX): the other of two would.
        within: what is applied before the pseudonym is made (PSEUDONYM).
    """

    kind: MaskKind
    first: int = 0
    last: int = 0
    band: int = 0
    short: int = 0
    within: "Mask | None" = None

    def check(self, field: str, kind: str) -> None:
        """Refuse a mask that does not fit a field's type.

        Raises:
            BadConfiguration: it does not fit.
        """
        if min(self.first, self.last, self.band) < 0:
            raise BadConfiguration(f"field {field}: a mask keeps no negative number of characters")
        if not self.fits(kind):
            fitting = ", ".join(sorted(MASKED_TYPES[self.kind.number]))
            raise BadConfiguration(f"field {field}: mask {self.kind} is for {fitting}")
        if self.kind is MaskKind.PREFIX and not self.first:
            raise BadConfiguration(f"field {field}: mask prefix keeps at least one character")
        if (self.kind is MaskKind.BAND) != bool(self.band) or self.band > MAX_BAND:
            raise BadConfiguration(f"field {field}: mask band, and no other, has a band")

    def fits(self, kind: str) -> bool:
        """Return whether it is for fields of a type."""
        return kind in MASKED_TYPES[self.kind.number]

    @property
    def hides_whole(self) -> int:
        """The length up to which a text is hidden whole."""
        return max(self.short, self.first + self.last)

    @property
    def needs_pseudonym(self) -> bool:
        """Whether it depends on who asks and for what."""
        return self.kind is MaskKind.PSEUDONYM


REDACT = Mask(kind=MaskKind.REDACT)


def mask_of(rule: MaskRule) -> Mask:
    """Return the mask that a catalogue entry demands."""
    return Mask(kind=_KINDS[rule.kind], first=rule.first, last=rule.last, band=rule.band)


def stricter(one: Mask | None, other: Mask | None) -> Mask | None:
    """Return the mask that shows no more than either; see the module's rules."""
    if one is None or other is None:
        return one or other
    if MaskKind.REDACT in (one.kind, other.kind):
        return REDACT
    if one.kind is MaskKind.PSEUDONYM or other.kind is MaskKind.PSEUDONYM:
        within = stricter(*(mask.within if mask.needs_pseudonym else mask for mask in (one, other)))
        return REDACT if within == REDACT else Mask(kind=MaskKind.PSEUDONYM, within=within)
    first, short = min(one.first, other.first), max(one.hides_whole, other.hides_whole)
    kinds = {one.kind, other.kind}
    if kinds == {MaskKind.KEEP}:
        return Mask(kind=MaskKind.KEEP, first=first, last=min(one.last, other.last), short=short)
    if MaskKind.PREFIX in kinds and kinds <= {MaskKind.PREFIX, MaskKind.KEEP}:
        return Mask(kind=MaskKind.PREFIX, first=first, short=short) if first else REDACT
    if kinds <= {MaskKind.YEAR, MaskKind.MONTH}:
        return one if one.kind is MaskKind.YEAR else other
    band = math.lcm(one.band, other.band) if kinds == {MaskKind.BAND} else 0
    return Mask(kind=MaskKind.BAND, band=band) if 0 < band <= MAX_BAND else REDACT


def masker(mask: Mask, kind: str, pseudonym: Pseudonym | None = None) -> Callable[[Value], Value]:
    """Return what masks values of a type.

    Args:
        mask: the mask, checked.
        kind: the field's type as it leaves.
        pseudonym: makes pseudonyms; for PSEUDONYM alone.

    Returns:
        A function of a value; it raises ValueError where a text is no date to generalise.
    """
    if mask.kind is MaskKind.REDACT:
        cover = REDACTED if kind == "text" else None
        return lambda value: None if value is None else cover
    if mask.kind is MaskKind.PSEUDONYM:
        return _pseudonymiser(mask, kind, pseudonym)
    if mask.kind is MaskKind.KEEP:
        return lambda value: value if value is None else _keep(str(value), mask)
    if mask.kind is MaskKind.PREFIX:
        return lambda value: value if value is None else _cut(str(value), mask)
    if mask.kind is MaskKind.BAND:
        return lambda value: value if value is None else _banded(value, mask.band)
    month = mask.kind is MaskKind.MONTH
    return lambda value: value if value is None else _generalise(value, month=month, as_text=kind == "text")


def _pseudonymiser(mask: Mask, kind: str, pseudonym: Pseudonym | None) -> Callable[[Value], Value]:
    if pseudonym is None:
        raise BadConfiguration("no key for pseudonyms")
    make = pseudonym
    if mask.within is None:
        return lambda value: value if value is None else make(str(value))
    inner = masker(mask.within, kind)
    return lambda value: value if value is None else make(str(inner(value)))


def _keep(text: str, mask: Mask) -> str:
    size = len(text)
    if size <= mask.hides_whole:
        return HIDDEN * size
    return text[: mask.first] + HIDDEN * (size - mask.first - mask.last) + text[size - mask.last :]


def _cut(text: str, mask: Mask) -> str:
    """Return the beginning of a code; what is none, or no longer than that, is hidden."""
    if len(text) <= mask.hides_whole or not _CODE.fullmatch(text):
        return HIDDEN * mask.first
    return text[: mask.first]


def _banded(value: Value, band: int) -> Value:
    if isinstance(value, Decimal):
        with localcontext(prec=_DIGITS):
            return (value / band).to_integral_value(ROUND_FLOOR) * band
    if isinstance(value, int) and not isinstance(value, bool):
        return value // band * band
    raise ValueError("no number to band")


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
