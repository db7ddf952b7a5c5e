"""How a command learns whom something is about: from a file or standard input, one identifier a line.

Never from an argument, where every user of the machine could read it; and it goes into no output.
"""

import sys
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, TextIO

import typer

from shuqiao.words import unread

MAX_CHARS = 256


class Format(StrEnum):
    """What kind of identifier names the subject."""

    CITIZEN_ID = "citizen_id"
    CREDIT_CODE = "credit_code"


FormatOption = Annotated[Format, typer.Option("--format", help="标识的种类 | Kind of identifier")]


def identifiers(source: str, *, most: int) -> list[str]:
    """Return the first lines of a file or of standard input; what was typed is not repeated in any error.

    Args:
        source: "@FILE", or "-" for standard input.
        most: how many lines are read; those that are empty are left out.

    Raises:
        BadConfiguration: the source is neither, or cannot be read.
    """
    from exchange.errors import BadConfiguration

    if source == "-":
        return _lines(sys.stdin, most)
    if not source.startswith("@"):
        raise BadConfiguration("--subject @FILE|-")
    try:
        with Path(source[1:]).open(encoding="utf-8") as file:
            return _lines(file, most)
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"--subject: {unread(error)}") from None


def _lines(file: TextIO, most: int) -> list[str]:
    lines = (line.strip() for line in islice(iter(lambda: file.readline(MAX_CHARS), ""), most))
    return [line for line in lines if line]
