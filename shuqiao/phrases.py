"""Sentences that gateways and agents make in English alone, in both languages for people.

What is not known here stays as it is: it is better read in English than not at all. Programs get the
original always.
"""

import re
from collections.abc import Iterable

from shuqiao.words import Text

NAME = r"(\S+)"
"""A group for one name, id or number."""


class Phrases:
    """A table of sentences.

    Args:
        pairs: a pattern that the whole English sentence fits, and the Chinese with {0} for its first group.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._known = [(re.compile(pattern, re.DOTALL), chinese) for pattern, chinese in pairs]

    def said(self, english: str) -> Text:
        """Return a sentence in both languages; in English twice where it is not known."""
        for pattern, chinese in self._known:
            fits = pattern.fullmatch(english)
            if fits is not None:
                return Text(chinese.format(*fits.groups("")), english)
        return Text(english, english)
