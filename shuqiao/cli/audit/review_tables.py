"""Reviews as tables and facts, and their words in both languages."""

from typing import Any

from shuqiao.cli.audit import entry_facts
from shuqiao.cli.audit.review_words import word
from shuqiao.cli.invocation import Invocation
from shuqiao.local_time import shown
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text

SHORT_HEX = 12
STYLES = {"closed": GOOD, "closing": UNSURE, "finding": BAD}
REVIEWS = (
    Text("抽查", "Review"),
    Text("抽样时间", "Drawn"),
    Text("方式", "How"),
    Text("条目", "Items"),
    Text("已办结", "Closed"),
    Text("有问题", "Findings"),
    Text("说明", "Note"),
)
STEPS = (
    Text("记录", "Entry"),
    Text("时间", "Time"),
    Text("操作", "Step"),
    Text("谁", "Who"),
    Text("结论", "Verdict"),
    Text("说明", "Text"),
)


def _short(uri: str) -> str:
    """Return "→ officer/zhao" for whom an item was assigned to; nothing for nobody."""
    return f"→ {'/'.join(uri.split('/')[3:])}" if uri else ""


def styled(name: str) -> Cell:
    """Return a word with its colour."""
    return Cell(word(name), STYLES.get(name, ""))


def reviews(call: Invocation, views: list[dict[str, Any]]) -> None:
    """Print reviews, one row each."""
    rows = []
    for view in views:
        draw = view.get("draw", {})
        findings = Cell(view["findings"], BAD if view["findings"] else "")
        rows.append(
            [
                view["review_id"][:SHORT_HEX],
                shown(view["drawn"]),
                word(draw.get("strategy", "")),
                view["items"],
                view["closed"],
                findings,
                draw.get("note", ""),
            ]
        )
    call.out.table(Text("抽查", "Reviews"), REVIEWS, rows)


def review(call: Invocation, view: dict[str, Any]) -> None:
    """Print a review with its items, each with the entry in words and its history."""
    draw = view.get("draw", {})
    pairs: list[tuple[Text, object]] = [
        (Text("抽样时间", "Drawn"), shown(view["drawn"])),
        (Text("条目", "Items"), view["items_seen"]),
        (Text("已办结", "Closed"), view["closed"]),
        (Text("有问题", "Findings"), view["findings"]),
    ]
    if draw:
        pairs += [
            (Text("抽样人", "Drawn by"), view["drawer"]),
            (Text("方式", "How"), word(draw["strategy"])),
            (Text("范围", "Range"), f"{draw['first']} – {draw['end'] - 1}"),
            (Text("可抽条目", "Population"), view["population"]),
            (Text("部门", "Organisation"), draw["organisation"]),
            (Text("资源", "Resource"), draw["resource"]),
            (Text("说明", "Note"), draw["note"]),
        ]
    call.out.facts(Text("抽查 {id}", "Review {id}").filled(id=view["review_id"]), pairs)
    for item in view["items"]:
        _item(call, item)


def _item(call: Invocation, item: dict[str, Any]) -> None:
    entry = item["entry"]
    title = Text("条目 {i}", "Item {i}").filled(i=entry["index"])
    rules = [word(rule) for rule in item["rules"]]
    call.out.facts(
        title,
        [
            (Text("状态", "State"), styled(item["state"])),
            (Text("结论", "Verdict"), styled(item["verdict"])),
            (Text("由谁说明", "To be justified by"), item["party"]),
            *([(Text("抽中缘由", "Drawn because"), rules)] if rules else []),
            (Text("承办人", "Assigned to"), item["assignee"]),
            *entry_facts.facts({name: value for name, value in entry.items() if value not in ("", [], 0)}),
        ],
    )
    rows = [
        [
            step["index"],
            shown(step["time"]),
            word(step["action"]),
            step["actor"],
            styled(step["verdict"]),
            " ".join(filter(None, (_short(step["assignee"]), step["text"]))),
        ]
        for step in item["history"]
    ]
    call.out.table(Text("经过", "History"), STEPS, rows, empty=Text("尚未办理", "No step yet"))
