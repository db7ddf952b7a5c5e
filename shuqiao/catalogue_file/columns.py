"""The columns of a catalogue's spreadsheet, and how a value of a form stands in a cell.

People read and write Chinese words; the English words of the contract are understood as well. A cell that is
empty means what a form means that leaves the key out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from exchange.errors import DataClassRefused
from shuqiao.words import Text

LINE, LIST = "\n", "、"
YES = frozenset({"是", "yes", "true", "1"})
NO = frozenset({"否", "no", "false", "0"})
CORE = frozenset({"核心", "核心数据", "core", "core data"})
SECRET = frozenset({"国家秘密", "涉密", "绝密", "机密", "秘密", "secret", "state secret"})
"""Words that no catalogue entry may have as a class or level of data."""

Cell = str | int | None


class Unreadable(Exception):
    """A cell does not hold what its column is for; says what it should hold."""

    def __init__(self, said: Text) -> None:
        super().__init__(said.en)
        self.said = said


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        key: of the form; what stands after a dot belongs to the form before it.
        zh: its title.
        holds: text, number (a whole number, 0 left out), count (one that is always written), flag, word,
            words (in one cell) or lines (texts, one a line).
        words: the contract's words and what people write for them.
    """

    key: str
    zh: str
    holds: Literal["text", "number", "count", "flag", "word", "words", "lines"] = "text"
    words: Mapping[str, str] = field(default_factory=dict)

    def write(self, value: object) -> Cell:
        """Return how a form's value stands in a cell."""
        if self.holds == "flag":
            return "是" if value else "否"
        if self.holds in ("number", "count"):
            return int(str(value)) if value or self.holds == "count" else None
        if isinstance(value, (list, tuple)):
            return self._write_list([str(one) for one in value])
        text = str(value or "")
        return (self.words.get(text, text) if self.holds == "word" else text) or None

    def _write_list(self, texts: Sequence[str]) -> str | None:
        if self.holds == "words":
            return LIST.join(self.words.get(text, text) for text in texts) or None
        joined = LINE.join(texts)
        # One text with a comma in it would be read as two: a line break at its end says that it is one.
        return joined + LINE if len(texts) == 1 and _listed(joined) != [joined] else joined or None

    def read(self, cell: Cell) -> object:
        """Return the form's value; None where the cell is empty and the form's default counts.

        Raises:
            Unreadable: the cell holds something else.
            DataClassRefused: it says that data are core or secret.
        """
        if self.holds in ("number", "count"):
            return self._number(cell)
        if isinstance(cell, int):
            raise Unreadable(Text("请设为文本格式", "must be text"))
        text = cell or ""
        if self.holds == "text":
            return text
        if not text:
            return None
        if self.holds == "flag":
            return self._flag(text.strip().lower())
        if self.holds == "word":
            return self._word(text.strip())
        if self.holds == "words":
            return [self._word(one) for one in _listed(text)]
        return [line for line in text.split(LINE) if line] if LINE in text else _listed(text)

    def _number(self, cell: Cell) -> int | None:
        if cell is None or cell == "":
            return None
        if isinstance(cell, str):
            if not (cell.strip().isascii() and cell.strip().isdecimal() and len(cell) < 20):
                raise Unreadable(Text("应为整数", "must be a whole number"))
            return int(cell)
        return cell

    def _flag(self, text: str) -> bool:
        if text not in YES | NO:
            raise Unreadable(Text("应为 是 或 否", "must be 是 (yes) or 否 (no)"))
        return text in YES

    def _word(self, text: str) -> str:
        if self.key in ("data_class", "level") and text.lower() in CORE | SECRET:
            raise DataClassRefused(text)
        for word, written in self.words.items():
            if text in (word, written):
                return word
        allowed = LIST.join(self.words.values())
        raise Unreadable(Text(f"应为：{allowed}", f"must be one of: {', '.join(self.words)}"))


def _listed(text: str) -> list[str]:
    for separator in (LINE, "，", ",", "；", ";"):
        text = text.replace(separator, LIST)
    return [one.strip() for one in text.split(LIST) if one.strip()]


TYPES = {
    "text": "文本",
    "integer": "整数",
    "decimal": "小数",
    "boolean": "是否",
    "date": "日期",
    "timestamp": "时间",
    "bytes": "字节",
}
"""The types of fields and parameters, in Chinese."""
_LEVELS = {level: level for level in ("L1", "L2", "L3", "L4")}
_KINDS = {"query": "查询", "verify": "核验"}
_SHARES = {"unconditional": "无条件共享", "conditional": "有条件共享", "not_shared": "不予共享"}
_CLASSES = {"general": "一般", "important": "重要"}
_MASKS = {
    "keep": "保留首尾",
    "year": "只留年",
    "month": "只留年月",
    "redact": "全部隐去",
    "prefix": "只留前几位",
    "band": "分段取整",
    "pseudonym": "假名",
}
_CYCLES = {
    "realtime": "实时",
    "daily": "每日",
    "weekly": "每周",
    "monthly": "每月",
    "quarterly": "每季度",
    "yearly": "每年",
    "irregular": "不定期",
}
_MODES = {"on_demand": "按需", "batch": "批量", "subscribe": "订阅"}
_COMPATIBILITIES = {"backward": "兼容", "breaking": "不兼容"}
_FORMATS = {"citizen_id": "公民身份号码", "credit_code": "统一社会信用代码", "division": "区划代码"}

RESOURCE = Column("resource", "资源编号")
"""In the sheets of fields and parameters: whose they are."""
RESOURCES: Sequence[Column] = (
    Column("id", "资源编号"),
    Column("provider", "提供部门"),
    Column("title_zh", "资源名称"),
    Column("title_en", "英文名称"),
    Column("version", "版本", "number"),
    Column("code", "目录代码"),
    Column("item", "数源信息项"),
    Column("category", "资源分类"),
    Column("summary_zh", "资源摘要"),
    Column("summary_en", "英文摘要"),
    Column("keywords", "关键词", "lines"),
    Column("update_cycle", "更新周期", "word", _CYCLES),
    Column("fetch_modes", "获取方式", "words", _MODES),
    Column("legal_basis", "提供依据"),
    Column("openness", "开放属性"),
    Column("derived_from", "来源资源", "lines"),
    Column("kinds", "交换方式", "words", _KINDS),
    Column("case_required", "须有办件编号", "flag"),
    Column("row_cap", "行数上限", "count"),
    Column("schema", "记录模式"),
    Column("compatibility", "版本兼容性", "word", _COMPATIBILITIES),
    Column("responsibility.unit", "责任单位"),
    Column("responsibility.fresh_within_s", "数据时效（秒）", "number"),
    Column("responsibility.available_permille", "可用率（‰）", "number"),
    Column("responsibility.answer_within_ms", "应答时限（毫秒）", "number"),
    Column("responsibility.decide_within_days", "审批时限（工作日）", "number"),
)
FIELDS: Sequence[Column] = (
    RESOURCE,
    Column("name", "信息项"),
    Column("title_zh", "中文名称"),
    Column("title_en", "英文名称"),
    Column("code", "信息项代码"),
    Column("type", "数据类型", "word", TYPES),
    Column("level", "分级", "word", _LEVELS),
    Column("data_class", "数据类别", "word", _CLASSES),
    Column("share", "共享类型", "word", _SHARES),
    Column("condition", "共享条件"),
    Column("legal_basis", "依据"),
    Column("description", "说明"),
    Column("derived", "衍生项", "flag"),
    Column("mask.kind", "脱敏方式", "word", _MASKS),
    Column("mask.first", "留前几位", "number"),
    Column("mask.last", "留后几位", "number"),
    Column("mask.band", "分段宽度", "number"),
    Column("padding", "补齐字节数", "number"),
)
PARAMETERS: Sequence[Column] = (
    RESOURCE,
    Column("name", "参数"),
    Column("type", "数据类型", "word", TYPES),
    Column("level", "分级", "word", _LEVELS),
    Column("format", "格式", "word", _FORMATS),
)
SHEETS: Mapping[str, Sequence[Column]] = {"资源": RESOURCES, "信息项": FIELDS, "参数": PARAMETERS}
NOTES = "说明"
"""A sheet that is for people alone."""


def values_of(columns: Sequence[Column], form: Mapping[str, object]) -> list[Cell]:
    """Return a row of cells.

    Args:
        columns: of the sheet.
        form: as `model_dump` gives it, by alias.
    """
    return [column.write(_member(form, column.key)) for column in columns]


def _member(form: Mapping[str, object], key: str) -> object:
    outer, _, inner = key.partition(".")
    value = form.get(outer)
    return (value.get(inner) if isinstance(value, dict) else None) if inner else value


def nested(values: Mapping[str, object]) -> dict[str, object]:
    """Return the values of a row as a form takes them; what is empty is left out."""
    form: dict[str, object] = {}
    for key, value in values.items():
        outer, _, inner = key.partition(".")
        if not inner:
            if value is not None:
                form[outer] = value
        elif value not in (None, ""):
            part = form.setdefault(outer, {})
            if isinstance(part, dict):
                part[inner] = value
    return form
