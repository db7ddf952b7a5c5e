"""Writes the tables of modules in docs/architecture.md; `--check` only compares their names with the tree.

A table stands between `<!-- modules FOLDER -->` and `<!-- end -->` and names every file of that folder alone.
A folder that has none yet gets one, behind the folder of its package that comes before it.
"""

import ast
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("exchange", "certs", "gateway", "agent", "witness", "shuqiao")
MARK = re.compile(r"<!-- modules (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)
ROW = re.compile(r"^\| `([^`]+)`", re.MULTILINE)


def modules_of(folder: str) -> list[Path]:
    """Return the modules of one folder, without those below it; empty package files are left out."""
    found = sorted((ROOT / folder).glob("*.py"))
    return [file for file in found if file.name != "__init__.py" or len(_tree(file).body) > 1]


def table(folder: str) -> str:
    """Return a folder's table: a row for each file."""
    rows = [f"| `{file.name}` | {_sentence(file)} |" for file in modules_of(folder)]
    return "\n".join(["| | |", "|---|---|", *rows]) + "\n"


def folders() -> list[str]:
    """Return every folder that must have a table."""
    found = {
        str(file.parent.relative_to(ROOT)) for package in PACKAGES for file in (ROOT / package).rglob("*.py")
    }
    return sorted(folder for folder in found if folder != "exchange/v1" and modules_of(folder))


def faults(text: str) -> list[str]:
    """Return what the page names that is not there, and what is there that it does not name."""
    told = {folder: set(ROW.findall(rows)) for folder, rows in MARK.findall(text)}
    found = []
    for folder in sorted({*told, *folders()}):
        there = {file.name for file in modules_of(folder)}
        found += [f"{folder}/{name}" for name in sorted(told.get(folder, set()) ^ there)]
    return found


def main(arguments: Sequence[str]) -> int:
    """Write or compare; return the exit code."""
    text = PAGE.read_text(encoding="utf-8")
    if "--check" in arguments:
        wrong = faults(text)
        print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
        return 1 if wrong else 0
    filled = MARK.sub(
        lambda found: f"<!-- modules {found[1]} -->\n{table(found[1])}<!-- end -->", _with_all(text)
    )
    PAGE.write_text(filled, encoding="utf-8")
    return 0


def _with_all(text: str) -> str:
    """Return the page with a place for every folder's table."""
    for folder in folders():
        ends = {found[1]: found.end() for found in MARK.finditer(text)}
        if folder not in ends:
            before = max(one for one in ends if one < folder)
            place = f"\n\n### `{folder}/`\n\n<!-- modules {folder} -->\n<!-- end -->"
            text = text[: ends[before]] + place + text[ends[before] :]
    return text


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _sentence(file: Path) -> str:
    """The first paragraph's first sentence; a table's own mark is escaped."""
    paragraph = " ".join((ast.get_docstring(_tree(file)) or "").partition("\n\n")[0].split())
    return paragraph.removesuffix(".").partition(". ")[0].replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
