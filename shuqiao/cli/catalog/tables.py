"""Catalogue entries as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from shuqiao.catalogue_file.columns import TYPES
from shuqiao.cli.invocation import Invocation
from shuqiao.local_time import shown
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text, term

Resource = Annotated[
    str,
    typer.Argument(
        metavar="RESOURCE", help="资源编号 区划/部门/名称 | Resource id division/organisation/name"
    ),
]
Note = Annotated[str, typer.Option("--note", help="说明，不得含个人信息 | Why; no personal data")]
LEVEL_STYLES = {"L1": GOOD, "L2": GOOD, "L3": UNSURE, "L4": BAD}
STANDING_STYLES = {
    "published": GOOD,
    "suspended": UNSURE,
    "in_review": UNSURE,
    "withdrawn": BAD,
    "rejected": BAD,
}
COLUMNS = (
    Text("资源", "Resource"),
    Text("名称", "Title"),
    Text("版本", "Version"),
    Text("信息项", "Fields"),
    Text("方式", "Kinds"),
    Text("状态", "State"),
)


def standing(call: Invocation, view: Mapping[str, Any]) -> Cell:
    """Return where an entry stands, in words and colour."""
    word = view.get("standing") or ("suspended" if view["suspended"] else "published")
    said = term("resource_withdrawn" if word == "withdrawn" else word, call.out.language)
    return Cell(said, STANDING_STYLES.get(word, ""))


def row(call: Invocation, view: Mapping[str, Any]) -> list[object]:
    """Return an entry as a row below COLUMNS."""
    return [
        view["id"],
        Text(view["title_zh"], view["title_en"]),
        view["version"],
        len(view["fields"]),
        [term(kind, call.out.language) for kind in view["kinds"]],
        standing(call, view),
    ]


def changes(call: Invocation, title: Text, told: Sequence[Mapping[str, Any]]) -> None:
    """Print the differences between two versions."""
    call.out.table(
        title,
        (Text("部分", "Part"), Text("变化", "Change"), Text("影响", "Effect")),
        [
            [
                one["subject"],
                Text(one["zh"], one["en"]),
                Cell(Text("不兼容", "breaking"), BAD) if one["breaking"] else Text("兼容", "compatible"),
            ]
            for one in told
        ],
        empty=Text("没有差别", "No difference"),
    )


def entry(call: Invocation, view: Mapping[str, Any]) -> None:
    """Print one entry with its fields and parameters."""
    _facts(call, view)
    _fields(call, view)
    call.out.table(
        Text("查询参数", "Parameters"),
        (Text("参数", "Parameter"), Text("类型", "Type"), Text("分级", "Level"), Text("格式", "Format")),
        [
            [p["name"], _type(p["type"]), Cell(p["level"], LEVEL_STYLES.get(p["level"], "")), p["format"]]
            for p in view["parameters"]
        ],
    )


def _facts(call: Invocation, view: Mapping[str, Any]) -> None:
    language = call.out.language
    promised = view["responsibility"]
    pairs: list[tuple[Text, object]] = [
        (Text("提供部门", "Provider"), view["provider"]),
        (Text("版本", "Version"), view["version"]),
        (Text("状态", "State"), standing(call, view)),
        (Text("目录代码", "Code"), view["code"]),
        (Text("数源信息项", "Item"), view["item"]),
        (Text("分类", "Category"), view["category"]),
        (Text("摘要", "Summary"), Text(view["summary_zh"], view["summary_en"] or view["summary_zh"])),
        (Text("关键词", "Keywords"), view["keywords"]),
        (Text("更新周期", "Update cycle"), term(view["update_cycle"], language)),
        (Text("获取方式", "Fetch modes"), [term(mode, language) for mode in view["fetch_modes"]]),
        (Text("提供依据", "Legal basis"), view["legal_basis"]),
        (Text("开放属性", "Openness"), view["openness"]),
        (Text("来源资源", "Made from"), view["derived_from"]),
        (Text("记录模式", "Schema"), view["schema"]),
        (Text("责任清单", "Responsibility"), _promised(promised) if promised else ""),
        (Text("方式", "Kinds"), [term(kind, language) for kind in view["kinds"]]),
        (Text("须有办件编号", "Case required"), view["case_required"]),
        (Text("行数上限", "Row cap"), view["row_cap"]),
        (Text("发布时间", "Signed"), shown(view["issued_at"])),
    ]
    always = {"Provider", "Version", "State", "Kinds", "Case required", "Row cap", "Signed"}
    call.out.facts(
        Text(f"{view['title_zh']}  {view['id']}", f"{view['title_en']}  {view['id']}"),
        [(name, value) for name, value in pairs if name.en in always or value not in ("", [], Text("", ""))],
    )


def _type(code: str) -> Text:
    return Text(f"{TYPES[code]} {code}" if code in TYPES else code, code)


def _promised(told: Mapping[str, Any]) -> Text:
    parts = [
        (told["unit"], Text("{0}", "{0}")),
        (told["fresh_within_s"], Text("数据不早于 {0} 秒前", "data at most {0} s old")),
        (told["available_permille"], Text("可用率 {0}‰", "{0}‰ answered")),
        (told["answer_within_ms"], Text("{0} 毫秒内应答", "answered within {0} ms")),
        (told["decide_within_days"], Text("{0} 个工作日内审批", "decided within {0} working days")),
    ]
    said = [Text(text.zh.format(value), text.en.format(value)) for value, text in parts if value]
    return Text("；".join(one.zh for one in said), "; ".join(one.en for one in said))


def _fields(call: Invocation, view: Mapping[str, Any]) -> None:
    language = call.out.language
    call.out.table(
        Text("信息项", "Fields"),
        (
            Text("信息项", "Field"),
            Text("名称", "Title"),
            Text("代码", "Code"),
            Text("类型", "Type"),
            Text("分级", "Level"),
            Text("共享", "Shared"),
            Text("条件或依据", "Condition or basis"),
            Text("脱敏", "Mask"),
        ),
        [
            [
                field["name"],
                Text(field["title_zh"], field["title_en"]),
                field["code"],
                _type(field["type"]),
                Cell(field["level"], LEVEL_STYLES.get(field["level"], "")),
                term(field["share"], language),
                [text for text in (field["condition"], field["legal_basis"]) if text],
                term(f"mask_{field['mask']['kind']}", language) if field["mask"] else "",
            ]
            for field in view["fields"]
        ],
    )
