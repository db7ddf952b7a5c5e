"""The annotated files of deploy/, which the command prints and fills in; they travel inside the package.

Filling in replaces a value on its own line, so that every comment stays.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from exchange.errors import BadConfiguration

_HERE = Path(__file__).resolve().parent
_HEADER = re.compile(r"\[([a-z_.]+)\]\s*")
_BLOCK = "[["
Place = tuple[str, str]
"""A table, "" for the top, and a key."""
Value = str | int | list[str]


def folder() -> Path:
    """Return where the annotated files are: inside an installed package, or in deploy/ of a checkout."""
    packaged = _HERE / "deploy"
    return packaged if packaged.is_dir() else _HERE.parent / "deploy"


def names() -> list[str]:
    """Return the names of the annotated files."""
    return sorted(file.stem for place in _places() for file in place.glob("*.toml"))


def read(name: str) -> str:
    """Return an annotated file.

    Raises:
        BadConfiguration: there is none of that name.
    """
    for place in _places():
        file = place / f"{name}.toml"
        if name.isalpha() and file.is_file():
            return file.read_text(encoding="utf-8")
    raise BadConfiguration(f"{name}: {', '.join(names())}")


def fill(text: str, values: Mapping[Place, Value]) -> str:
    """Replace values in an annotated file.

    Args:
        text: the file; each key to be replaced stands on a line of its own.
        values: what to put, by table and key.

    Raises:
        BadConfiguration: the file has no such key.
    """
    left, table, lines = dict(values), "", []
    for line in text.splitlines():
        header = _HEADER.fullmatch(line)
        table = header[1] if header else table
        place = (table, line.partition(" = ")[0])
        if place in left:
            line = f"{place[1]} = {quoted(left.pop(place))}"
        lines.append(line)
    if left:
        raise BadConfiguration(", ".join(f"{table}.{key}" for table, key in left))
    return "\n".join(lines) + "\n"


def without_blocks(text: str) -> str:
    """Return an annotated file up to the comment above its first "[[block]]"."""
    lines = text.splitlines()
    end = next((number for number, line in enumerate(lines) if line.startswith(_BLOCK)), len(lines))
    while end and (not lines[end - 1] or lines[end - 1].startswith("#")):
        end -= 1
    return "\n".join(lines[:end]) + "\n"


def quoted(value: Value) -> str:
    """Return a value as TOML writes it; a JSON string is a TOML basic string."""
    return json.dumps(value, ensure_ascii=False)


def _places() -> tuple[Path, Path]:
    return folder() / "examples", folder()
