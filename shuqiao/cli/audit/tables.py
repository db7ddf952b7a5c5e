"""Entries of the log as rows of a table, or as lines that follow each other."""

from typing import Any

from shuqiao.cli.invocation import Invocation
from shuqiao.local_time import shown
from shuqiao.output import BAD, GOOD, UNSURE, Cell, harmless
from shuqiao.subjects import subject
from shuqiao.words import Text, term

DECISION_STYLES = {"released": GOOD, "refused": UNSURE, "failed": BAD}
COLUMNS = (
    Text("记录", "Entry"),
    Text("时间", "Time"),
    Text("结果", "What"),
    Text("代码", "Code"),
    Text("谁", "Who"),
    Text("对象", "About"),
    Text("状态", "State"),
)
STATES = {
    "checkpointed": Cell(Text("已签入检查点", "checkpointed")),
    "witnessed": Cell(Text("已见证", "witnessed"), GOOD),
}


def row(call: Invocation, view: dict[str, Any]) -> list[object]:
    """Return an entry's cells, one per column of COLUMNS."""
    return [*_told(call, view), STATES.get(view.get("state", ""), "")]


def _told(call: Invocation, view: dict[str, Any]) -> list[object]:
    language = call.out.language
    if view["type"] == "exchange":
        what = Cell(term(view["decision"], language), DECISION_STYLES.get(view["decision"], ""))
        about = f"{view['resource']} {', '.join(view['fields'])}"
        return [view["index"], shown(view["time"]), what, view["reason"], view["consumer"], about]
    if view["type"] == "refusals":
        what = Cell(term("refusals", language), UNSURE)
        return [
            view["index"],
            shown(view["time"]),
            what,
            view["reason"],
            view["caller"],
            f"× {view['count']}",
        ]
    what = Cell(term(view.get("act", "?"), language), BAD if view.get("act") == "refused" else "")
    actor, about = view.get("actor", ""), subject(view.get("subject", "")).of(language)
    return [view["index"], shown(view["time"]), what, view.get("reason", ""), actor, about]


def followed(call: Invocation, view: dict[str, Any]) -> str:
    """Return an entry as one line."""
    index, *cells = row(call, view)
    parts = (cell.value if isinstance(cell, Cell) else cell for cell in cells)
    told = (part.of(call.out.language) if isinstance(part, Text) else str(part) for part in parts if part)
    return f"{index!s:>8}  " + "  ".join(map(harmless, told)) + "\n"
