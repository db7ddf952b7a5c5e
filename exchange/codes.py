"""Identifiers and their checksums: unified social credit code, citizen id, division code.

Strict takes exactly the canonical form. Lenient is for what people type: it trims, turns full-width
characters into ASCII and small letters into capitals, then demands the same. Both return the canonical form.
An error names the kind of identifier, never its value.

Sources: GB 32100 (weights 3^(i-1) mod 31, alphabet without I O S V Z), GB 11643 (ISO 7064 MOD 11-2), GB/T
2260 (province 2, city 2, county 2 digits; revised by year; a county may lie in no city, as 810003 does).
"""

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import mul
from types import MappingProxyType

from exchange.errors import BadIdentifier, Malformed

CREDIT_CODE, CITIZEN_ID, DIVISION = "credit_code", "citizen_id", "division"
FIRST_BIRTH_YEAR = 1800
CITIZEN_ID_CHARS = 18

_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_FORM = re.compile(rf"[{_CREDIT_ALPHABET}]{{2}}[0-9]{{6}}[{_CREDIT_ALPHABET}]{{10}}")
_CREDIT_VALUES = MappingProxyType({character: value for value, character in enumerate(_CREDIT_ALPHABET)})
_CREDIT_WEIGHTS = tuple(pow(3, place, 31) for place in range(17))
_CITIZEN_FORM = re.compile(r"[1-9][0-9]{16}[0-9X]")
_CITIZEN_WITHIN = re.compile(r"(?<![0-9A-Za-z])[0-9]{17}[0-9Xx](?![0-9A-Za-z])")
_CITIZEN_WEIGHTS = tuple(pow(2, 17 - place, 11) for place in range(17))
_CITIZEN_CHECKS = "10X98765432"
_DIVISION_FORM = re.compile(r"[1-9][0-9]{5}")
_TO_ASCII = MappingProxyType({code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20})
_LONGEST = 64


def credit_code(text: str, strict: bool = True) -> str:
    """Return a unified social credit code.

    Args:
        text: 18 characters.
        strict: whether nothing but the canonical form will do.

    Raises:
        BadIdentifier: wrong form or check character.
    """
    code = _canonical(text, strict)
    if not _CREDIT_FORM.fullmatch(code) or credit_code_check(code[:17]) != code[17]:
        raise BadIdentifier(CREDIT_CODE)
    return code


def credit_code_check(first: str) -> str:
    """Return the check character of a credit code's first 17 characters."""
    total = sum(_CREDIT_VALUES[one] * weight for one, weight in zip(first, _CREDIT_WEIGHTS, strict=True))
    return _CREDIT_ALPHABET[-total % 31]


def citizen_id(text: str, strict: bool = True, *, today: datetime.date | None = None) -> str:
    """Return a citizen id.

    Args:
        text: 18 characters.
        strict: whether nothing but the canonical form will do.
        today: where given, a later birth is refused.

    Raises:
        BadIdentifier: wrong form, date of birth or check character.
    """
    code = _canonical(text, strict)
    if not _CITIZEN_FORM.fullmatch(code) or citizen_id_check(code[:17]) != code[17]:
        raise BadIdentifier(CITIZEN_ID)
    try:
        born = datetime.date(int(code[6:10]), int(code[10:12]), int(code[12:14]))
    except ValueError:
        raise BadIdentifier(CITIZEN_ID) from None
    if born.year < FIRST_BIRTH_YEAR or (today is not None and born > today):
        raise BadIdentifier(CITIZEN_ID)
    return code


def holds_citizen_id(text: str) -> bool:
    """Whether a text holds a citizen id, by birth date and check character, that stands by itself."""
    if len(text) < CITIZEN_ID_CHARS:
        return False
    for found in _CITIZEN_WITHIN.findall(text):
        try:
            citizen_id(found.upper())
        except BadIdentifier:
            continue
        return True
    return False


def citizen_id_check(first: str) -> str:
    """Return the check character of a citizen id's first 17 digits."""
    if len(first) != len(_CITIZEN_WEIGHTS):
        raise ValueError("17 digits")
    total = sum(map(mul, map(int, first), _CITIZEN_WEIGHTS))
    return _CITIZEN_CHECKS[total % 11]


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """A division in the years in which its code stands for it.

    Args:
        code: 6 digits.
        name: in Chinese.
        first_year: the first year.
        last_year: the last year, None where it still stands.
    """

    code: str
    name: str
    first_year: int
    last_year: int | None = None


class DivisionTable:
    """The divisions that exist, year by year. Immutable.

    Args:
        divisions: in any order; a code may stand for several, one after the other.

    Raises:
        BadIdentifier: a code is malformed.
        Malformed: two of one code overlap in time, or one ends before it begins.
    """

    def __init__(self, *, divisions: Iterable[Division]) -> None:
        self._divisions: dict[str, list[Division]] = {}
        for one in sorted(divisions, key=lambda division: (division.code, division.first_year)):
            held = self._divisions.setdefault(division_code(one.code), [])
            if one.last_year is not None and one.last_year < one.first_year:
                raise Malformed(f"division {one.code}")
            if held and (held[-1].last_year is None or held[-1].last_year >= one.first_year):
                raise Malformed(f"division {one.code}")
            held.append(one)

    def find(self, code: str, year: int) -> Division | None:
        """Return what a code stands for in a year, None for nothing."""
        for one in self._divisions.get(code, ()):
            if one.first_year <= year and (one.last_year is None or year <= one.last_year):
                return one
        return None


def division_code(
    text: str, strict: bool = True, *, table: DivisionTable | None = None, year: int | None = None
) -> str:
    """Return a division code.

    Args:
        text: 6 digits.
        strict: whether nothing but the canonical form will do.
        table: where given with a year, the code must stand for a division in it.
        year: of the record that carries the code.

    Raises:
        BadIdentifier: wrong form, or unknown in that year.
    """
    code = _canonical(text, strict)
    if not _DIVISION_FORM.fullmatch(code):
        raise BadIdentifier(DIVISION)
    if table is not None and year is not None and table.find(code, year) is None:
        raise BadIdentifier(DIVISION)
    return code


_CHECKS: Mapping[str, Callable[[str, bool], str]] = MappingProxyType(
    {CREDIT_CODE: credit_code, CITIZEN_ID: citizen_id, DIVISION: division_code}
)
FORMATS = frozenset(_CHECKS)


def check_format(format: str, value: str, strict: bool = True) -> str:
    """Return a value that a parameter's format checks.

    Args:
        format: "citizen_id", "credit_code", "division", or empty for no check.
        value: what to check.
        strict: whether nothing but the canonical form will do.

    Raises:
        BadIdentifier: the value is not of the format.
        Malformed: there is no such format.
    """
    if not format:
        return value
    check = _CHECKS.get(format)
    if check is None:
        raise Malformed(f"format {format[:20]}")
    return check(value, strict)


def is_valid(format: str, value: str, strict: bool = True) -> bool:
    """Return whether a value is of a format.

    Raises:
        Malformed: there is no such format.
    """
    try:
        check_format(format, value, strict)
    except BadIdentifier:
        return False
    return True


def _canonical(text: str, strict: bool) -> str:
    if strict or len(text) > _LONGEST:
        return text
    return text.translate(_TO_ASCII).strip().upper()
