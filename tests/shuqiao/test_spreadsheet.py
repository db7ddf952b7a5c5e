"""Reports as XLSX workbooks."""

from pathlib import Path

import pytest
from openpyxl import load_workbook

from exchange.errors import BadConfiguration
from shuqiao.spreadsheet import write_sheet
from shuqiao.words import Text

COLUMNS = (("name", Text("名称", "Name")), ("count", Text("次数", "Count")))


def _cells(path: Path) -> list[tuple[object, ...]]:
    return list(load_workbook(path).worksheets[0].iter_rows(values_only=True))


def test_a_workbook_has_a_title_in_both_languages_and_a_row_for_each_line(tmp_path: Path) -> None:
    path = tmp_path / "usage.xlsx"
    write_sheet(path, "usage", COLUMNS, [{"name": ("a", "b"), "count": 3}, {"name": None, "count": 0}])
    assert _cells(path) == [("名称 Name", "次数 Count"), ("a、b", 3), (None, 0)]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_text_is_never_a_formula(tmp_path: Path, text: str) -> None:
    path = tmp_path / "usage.xlsx"
    write_sheet(path, "usage", COLUMNS, [{"name": text, "count": 1}])
    (cell,) = load_workbook(path).worksheets[0]["A2:A2"][0]
    assert cell.data_type == "s" and cell.value == f"'{text}"


def test_what_cannot_be_written_is_said_and_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "usage.xlsx"
    path.mkdir()
    with pytest.raises(BadConfiguration, match="usage"):
        write_sheet(path, "usage", COLUMNS, [])
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(BadConfiguration, match="usage"):
        write_sheet(tmp_path / "away" / "usage.xlsx", "usage", COLUMNS, [])
