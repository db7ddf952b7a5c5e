"""Catalogue entries as a spreadsheet: one sheet each for resources, fields and parameters.

A spreadsheet comes from outside: before it is opened its parts are counted and weighed as they would unpack;
formulas, macros, links to other files and document types are refused; rows and columns are bounded.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exchange.errors import BadConfiguration, DataClassRefused
from shuqiao.catalogue_file.columns import NOTES, SHEETS, Cell, Column, Unreadable, nested, values_of
from shuqiao.catalogue_file.entries import (
    MAX_ENTRIES,
    MAX_FILE_BYTES,
    Fault,
    FileEntry,
    Place,
    ReadFile,
)
from shuqiao.resource_form import FieldForm, ParameterForm, ResourceForm
from shuqiao.spreadsheet import save_book
from shuqiao.words import Text

MAX_PARTS = 200
MAX_UNPACKED = 64 * 1024 * 1024
MAX_ROWS = 50_000
MAX_COLUMNS = 64
HEADER_ROWS = 2
_RESOURCE_SHEET, _FIELD_SHEET, _PARAMETER_SHEET = SHEETS
_DOCUMENT_TYPES = tuple("<!DOCTYPE".encode(name) for name in ("utf-8", "utf-16-le", "utf-16-be"))
_ACTIVE = ("vbaproject", "externallinks/", "activex/", "embeddings/", "connections.xml")


class _Row:
    """A row that was read: its values by key, and what could not be read."""

    def __init__(self, sheet: str, number: int, letters: Mapping[str, str]) -> None:
        self.sheet = sheet
        self.number = number
        self._letters = letters
        self.values: dict[str, object] = {}
        self.faults: list[Fault] = []

    def place(self, key: str = "") -> Place:
        """Return where a value stands; the row's first cell where the column is not known."""
        return Place(self.sheet, self.number, self._letters.get(key, "A"))

    def parts(self, prefix: str = "") -> dict[str, Place]:
        """Return the places of the row's values, each key below a prefix."""
        return {prefix + key: self.place(key) for key in self._letters}

    def take(self, column: Column, cell: Any) -> None:
        """Read a cell of openpyxl."""
        try:
            self.values[column.key] = column.read(_plain(cell))
        except Unreadable as error:
            self.faults.append(Fault(self.place(column.key), error.said))
        except DataClassRefused as error:
            said = error.sentence
            self.faults.append(
                Fault(self.place(column.key), Text(f"{said.zh}（{error.subject}）", said.en), error.name)
            )

    def refuse(self, error: ValidationError, prefix: Sequence[str] = ()) -> None:
        """Take over what a form says is wrong with the row's values."""
        for told in error.errors(include_url=False, include_input=False):
            path = [str(part) for part in told["loc"] if not isinstance(part, int)]
            key = ".".join([*prefix, *path])
            message = f"{key}: {told['msg']}"
            self.faults.append(Fault(self.place(key), Text(message, message)))


def write_workbook(path: Path, forms: Sequence[ResourceForm]) -> None:
    """Write entries to a spreadsheet, in place of what was there.

    Raises:
        BadConfiguration: there are more than a file may hold, or it cannot be written.
    """
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font

    dumped = [form.model_dump(by_alias=True) for form in forms]
    rows = {
        _RESOURCE_SHEET: dumped,
        _FIELD_SHEET: [{"resource": d["id"], **one} for d in dumped for one in d["fields"]],
        _PARAMETER_SHEET: [{"resource": d["id"], **one} for d in dumped for one in d["parameters"]],
    }
    if len(dumped) > MAX_ENTRIES or any(len(told) > MAX_ROWS for told in rows.values()):
        raise BadConfiguration(f"{path}: more than {MAX_ENTRIES} entries or {MAX_ROWS} rows")
    book = Workbook(write_only=True)
    for title, columns in SHEETS.items():
        sheet = book.create_sheet(title)
        sheet.freeze_panes = "B3"

        def cell(value: Cell, *, bold: bool = False, sheet: Any = sheet) -> Any:
            made = WriteOnlyCell(sheet, value)
            if isinstance(value, str):
                # A text that begins with "=" stays a text.
                made.data_type = "s"
            if bold:
                made.font = Font(bold=True)
            return made

        sheet.append([cell(column.zh, bold=True) for column in columns])
        sheet.append([cell(column.key) for column in columns])
        for form in rows[title]:
            sheet.append([cell(value) for value in values_of(columns, form)])
    save_book(book, path)


def read_workbook(path: Path) -> ReadFile:
    """Read entries from a spreadsheet, to its end.

    Raises:
        BadConfiguration: it is no spreadsheet, could do harm, or is too large.
    """
    _weigh(path)
    from openpyxl import load_workbook

    faults: list[Fault] = []
    rows: dict[str, list[_Row]] = {}
    try:
        book = load_workbook(path, read_only=True, data_only=False, keep_links=False)
        for sheet in book.worksheets:
            if sheet.title in SHEETS:
                rows[sheet.title] = list(_rows(sheet, SHEETS[sheet.title], faults))
            elif sheet.title != NOTES:
                said = Text("没有这种工作表", "no such sheet is known")
                faults.append(Fault(Place(sheet.title, 1, "A"), said))
        book.close()
    except BadConfiguration:
        raise
    except Exception as error:
        # A damaged file makes openpyxl raise whatever its parts raise.
        raise BadConfiguration(f"{path}: {type(error).__name__}") from error
    for title in (_RESOURCE_SHEET, _FIELD_SHEET):
        if title not in rows:
            faults.append(Fault(Place(title, 1, "A"), Text("缺少工作表", "the sheet is missing")))
    if len(rows.get(_RESOURCE_SHEET, ())) > MAX_ENTRIES:
        raise BadConfiguration(f"{path}: more than {MAX_ENTRIES} entries")
    entries = _entries(rows, faults)
    return ReadFile(entries, faults)


def _weigh(path: Path) -> None:
    """Refuse a file before it is opened, by its size, its parts and what they would unpack to."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadConfiguration(f"{path}: more than {MAX_FILE_BYTES} bytes")
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED:
                raise BadConfiguration(f"{path}: too large once it is unpacked")
            for part in parts:
                _inspect(path, archive, part)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise BadConfiguration(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _inspect(path: Path, archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    name = part.filename.lower()
    if any(active in name for active in _ACTIVE):
        raise BadConfiguration(f"{path}: {part.filename}: macros and links are refused")
    if name.endswith((".xml", ".rels", ".vml")):
        # Reads at most what was declared, which was weighed.
        content = archive.read(part)
        if any(mark in content for mark in _DOCUMENT_TYPES):
            raise BadConfiguration(f"{path}: {part.filename}: a document type is refused")


def _rows(sheet: Any, columns: Sequence[Column], faults: list[Fault]) -> Iterator[_Row]:
    from openpyxl.utils import get_column_letter

    sheet.reset_dimensions()
    told = sheet.iter_rows(max_row=MAX_ROWS + HEADER_ROWS + 1, max_col=MAX_COLUMNS)
    header = [str(cell.value or "").strip() for cell in next(told, ())]
    known = {column.zh: column for column in columns} | {column.key: column for column in columns}
    order: list[tuple[int, Column]] = []
    for at, title in enumerate(header):
        if title in known and known[title] not in [column for _, column in order]:
            order.append((at, known[title]))
        elif title:
            said = Text(f"没有这种列，或重复：{title}", f"no such column, or twice: {title}")
            faults.append(Fault(Place(sheet.title, 1, get_column_letter(at + 1)), said))
    letters = {column.key: get_column_letter(at + 1) for at, column in order}
    keys = [column.key for _, column in order]
    for number, cells in enumerate(told, 2):
        found = [cells[at] for at, _ in order if at < len(cells)]
        if number == 2 and [cell.value for cell in found] == keys[: len(found)]:
            continue
        if all(cell.value is None or cell.value == "" for cell in found):
            continue
        if number > MAX_ROWS + HEADER_ROWS:
            raise BadConfiguration(f"{sheet.title}: more than {MAX_ROWS} rows")
        row = _Row(sheet.title, number, letters)
        for (_, column), cell in zip(order, found, strict=False):
            row.take(column, cell)
        yield row


def _plain(cell: Any) -> Cell:
    """Return what a cell holds: nothing, a text or a whole number."""
    value = cell.value
    if value is None:
        return None
    if cell.data_type == "f" or not isinstance(value, str | int | float | bool):
        raise Unreadable(Text("不得有公式或日期，请填文本", "no formulas or dates: text only"))
    if cell.data_type == "e":
        raise Unreadable(Text("单元格有错误值", "the cell holds an error"))
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, float):
        if not value.is_integer():
            raise Unreadable(Text("应为整数", "must be a whole number"))
        return int(value)
    return value


def _entries(rows: Mapping[str, Sequence[_Row]], faults: list[Fault]) -> list[FileEntry]:
    """Put fields and parameters to their resources; faults are taken in the order of the sheets."""
    forms: dict[str, dict[str, list[Any]]] = {}
    parts: dict[str, dict[str, Place]] = {}
    broken: set[str] = set()
    for row in rows.get(_RESOURCE_SHEET, ()):
        key = str(row.values.get("id", ""))
        forms.setdefault(key, {"fields": [], "parameters": []})
        parts.setdefault(key, {}).update(row.parts())
    for title, kind, form in (
        (_FIELD_SHEET, "fields", FieldForm),
        (_PARAMETER_SHEET, "parameters", ParameterForm),
    ):
        for row in rows.get(title, ()):
            key = str(row.values.pop("resource", ""))
            if key not in forms:
                said = Text("资源表中没有这个编号", "no such id in the sheet of resources")
                row.faults.append(Fault(row.place("resource"), said))
            else:
                made = _form(row, form)
                if made is None:
                    broken.add(key)
                else:
                    forms[key][kind].append(made)
                    below = f"{kind}.{row.values.get('name', '')}"
                    parts[key] |= {below: row.place("name"), **row.parts(below + ".")}
    entries = []
    for row in rows.get(_RESOURCE_SHEET, ()):
        key = str(row.values.get("id", ""))
        made = None if key in broken else _form(row, ResourceForm, **forms[key])
        if made is not None:
            entries.append(FileEntry(made, row.place("id"), parts[key]))
    for row in (row for title in SHEETS for row in rows.get(title, ())):
        faults.extend(row.faults)
    return entries


def _form(row: _Row, form: Any, **more: object) -> Any:
    """Return the form of a row, None where something is wrong with it."""
    if row.faults:
        return None
    try:
        return form.model_validate(nested(row.values) | more)
    except ValidationError as error:
        row.refuse(error)
        return None
