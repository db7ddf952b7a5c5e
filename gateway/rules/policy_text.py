"""Cedar's text as far as it must be known before Cedar reads it: where statements end, how deep they nest.

Cedar reads nested text by recursion, and a text that nests some thousand levels ends the process. Rules are
set by two people, but one alone asks for a dry run; so length, nesting and operators are bounded here first.
Strings and comments end where Cedar ends them: what Cedar reads, nothing here passes over.
"""

import re
from collections.abc import Iterator

MAX_GUARD_TEXT = 4096
MAX_NESTING = 24
MAX_OPERATORS = 150

# One that does not end goes to the end of the text: else each quote in it would be tried as a beginning.
_STRING = r'"(?:\\.|[^"\\])*+(?:"|\\?\Z)'
_COMMENT = r"//[^\r\n]*"
_PIECE = re.compile(f"{_STRING}|{_COMMENT}|.", re.DOTALL)
_TOKEN = re.compile(rf"{_STRING}|{_COMMENT}|\w+|&&|\|\||[<>=!]=|\S", re.DOTALL)
_OPERATOR = re.compile(r"&&|\|\||[<>=!]=|[-<>+*!.:@\[]|if|then|else|in|has|like|is")
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


def statements_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement of a Cedar text, its semicolon included, with the line it begins on, from 1.

    Comments before a statement are left out. What follows the last semicolon is yielded as well unless it
    is blank, so that nothing of a text goes unread.
    """
    begun, line, first = "", 1, 1
    for piece in _PIECE.findall(text):
        if begun or not (piece.isspace() or piece.startswith("//")):
            first = first if begun else line
            begun += piece
        line += piece.count("\n")
        if piece == ";":
            yield first, begun
            begun = ""
    if begun:
        yield first, begun


def check_size(statement: str) -> None:
    """Refuse a text that Cedar, or whoever reads what Cedar made of it, could fall over.

    Raises:
        ValueError: the sentence of the fault.
    """
    if len(statement) > MAX_GUARD_TEXT:
        raise ValueError(f"{len(statement)} characters; at most {MAX_GUARD_TEXT}")
    depth = deepest = operators = 0
    for token in _TOKEN.findall(statement):
        depth = max(0, depth + (token in _OPENING) - (token in _CLOSING))
        deepest = max(deepest, depth)
        operators += _OPERATOR.fullmatch(token) is not None
    if deepest > MAX_NESTING or operators > MAX_OPERATORS:
        raise ValueError(f"at most {MAX_NESTING} brackets deep and {MAX_OPERATORS} operators")
