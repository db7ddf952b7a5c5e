"""Writes lines as an XLSX workbook: one sheet, titles in both languages, no text taken for a formula."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from exchange.errors import BadConfiguration
from shuqiao.words import Text

if TYPE_CHECKING:
    from openpyxl import Workbook

MAX_WIDTH = 60
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_sheet(
    path: Path, title: str, columns: Sequence[tuple[str, Text]], lines: Sequence[Mapping[str, object]]
) -> None:
    """Write lines as a workbook, whole or not at all.

    Args:
        path: of the file; one that is there is replaced.
        title: of the sheet.
        columns: key in a line, and title.
        lines: lists are joined by "、".

    Raises:
        BadConfiguration: the file cannot be written.
    """
    from openpyxl import Workbook
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = title[:31]
    sheet.append([f"{name.zh} {name.en}" for _, name in columns])
    for cell in sheet[1]:
        cell.font = Font(bold=True)
    sheet.freeze_panes = "A2"
    for line in lines:
        sheet.append([_cell(line[key]) for key, _ in columns])
    for number, (key, name) in enumerate(columns, 1):
        width = max([len(str(_cell(line[key]))) for line in lines[:200]] + [2 * len(name.zh) + len(name.en)])
        sheet.column_dimensions[get_column_letter(number)].width = min(MAX_WIDTH, width + 2)
    sheet.auto_filter.ref = sheet.dimensions
    save_book(book, path)


def save_book(book: "Workbook", path: Path) -> None:
    """Write a workbook, whole or not at all.

    Raises:
        BadConfiguration: the file cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            draft = Path(folder) / path.name
            book.save(draft)
            draft.replace(path)
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from error


def _cell(value: object) -> str | int | float:
    """Return what a cell holds; a text that begins as a formula does is led by an apostrophe."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, int | float):
        return value
    text = "、".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
