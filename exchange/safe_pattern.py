"""Regular expressions that a department writes and others run: only such as cannot take long (ADR 0024).

Python's engine backtracks, so what a pattern may cost is bounded by its form: it begins with "^", has at most
one unbounded repetition (of a single character or class), and the ways in which its bounded repetitions and
alternatives can be combined are at most 256. Matching a text of n characters then takes at most some
256 · n steps. Back references, look-around and flags are refused.
"""

import re

from exchange.errors import Malformed, Oversized

MAX_PATTERN = 200
MAX_WAYS = 256
MAX_DEPTH = 4

_COUNT = re.compile(r"\{([0-9]{1,3})(?:(,)([0-9]{0,3}))?\}", re.ASCII)
_CLASS = re.compile(r"\[\^?(?:\\.|[^\]\\\[])+\]", re.ASCII)
_ESCAPES = frozenset("dDwWsS")
_SPECIAL = frozenset("()[]{}|*+?^$\\")


def check_pattern(pattern: str) -> None:
    """Refuse a regular expression that could take long, or is none.

    Args:
        pattern: as a JSON Schema has it, searched for in a text.

    Raises:
        Malformed, Oversized: "pattern".
    """
    if len(pattern) > MAX_PATTERN:
        raise Oversized("pattern")
    if not pattern.startswith("^") or not pattern.isprintable():
        raise Malformed("pattern")
    reader = _Reader(pattern.removeprefix("^").removesuffix("$"))
    if reader.sequence(0) > MAX_WAYS or not reader.ended:
        raise Malformed("pattern")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise Malformed("pattern") from error


class _Reader:
    """Reads a pattern from left to right, counting the ways to match; what it does not know it refuses."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._unbounded = 0

    @property
    def ended(self) -> bool:
        return self._at == len(self._text)

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def sequence(self, depth: int) -> int:
        """Return the ways of a row of atoms, up to the end, "|" or ")"."""
        ways = 1
        while self._next() not in ("", "|", ")"):
            ways = self._bounded(ways * self._repeated(depth))
        return ways

    def _repeated(self, depth: int) -> int:
        begins, unbounded = self._at, self._unbounded
        ways = self._atom(depth)
        single = self._text[begins] != "("
        if self._unbounded > unbounded and self._next() in ("*", "+", "{"):
            raise Malformed("pattern")
        if self._take("*") or self._take("+"):
            return self._unending(ways, single)
        if self._take("?"):
            return self._no_suffix(ways + 1)
        counted = _COUNT.match(self._text, self._at)
        if counted is None:
            return ways
        self._at = counted.end()
        least, comma, most = counted.groups()
        if comma and not most:
            return self._unending(ways, single)
        return self._no_suffix(self._times(ways, int(least), int(most or least)))

    def _times(self, ways: int, least: int, most: int) -> int:
        if most < least or most > MAX_WAYS:
            raise Malformed("pattern")
        if ways == 1:
            return most - least + 1
        total = 0
        for count in range(least, most + 1):
            total = self._bounded(total + self._power(ways, count))
        return total

    def _power(self, ways: int, count: int) -> int:
        found = 1
        for _ in range(count):
            found = self._bounded(found * ways)
        return found

    def _unending(self, ways: int, single: bool) -> int:
        self._unbounded += 1
        if self._unbounded > 1 or not single:
            raise Malformed("pattern")
        return self._no_suffix(ways)

    def _no_suffix(self, ways: int) -> int:
        if self._next() in ("*", "+", "?", "{"):
            raise Malformed("pattern")
        return ways

    def _atom(self, depth: int) -> int:
        if self._take("("):
            return self._group(depth)
        if self._next() == "[":
            matched = _CLASS.match(self._text, self._at)
            if matched is None:
                raise Malformed("pattern")
            self._at = matched.end()
            return 1
        if self._take("\\"):
            letter = self._next()
            if not letter or (letter.isalnum() and letter not in _ESCAPES):
                raise Malformed("pattern")
        elif self._next() in _SPECIAL:
            raise Malformed("pattern")
        self._at += 1
        return 1

    def _group(self, depth: int) -> int:
        if depth == MAX_DEPTH or (self._next() == "?" and not self._take("?:")):
            raise Malformed("pattern")
        ways = self.sequence(depth + 1)
        while self._take("|"):
            ways = self._bounded(ways + self.sequence(depth + 1))
        if not self._take(")"):
            raise Malformed("pattern")
        return ways

    def _bounded(self, ways: int) -> int:
        if ways > MAX_WAYS:
            raise Malformed("pattern")
        return ways
