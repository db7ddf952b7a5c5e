"""`shuqiao report`: who may have what, who used how much, what was promised and kept. No personal data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from exchange.errors import BadConfiguration
from shuqiao.cli.invocation import Invocation, of
from shuqiao.local_time import WHOLE_DAY, WHOLE_DAY_EN, shown, shown_day, typed_ms
from shuqiao.output import BAD, Cell
from shuqiao.words import Text, term

app = typer.Typer(name="report", help="报表：授权公示、用量、责任清单、评估 | Reports")

Since = Annotated[
    str,
    typer.Option(
        "--since", help=f"自此时刻起：RFC 3339，或{WHOLE_DAY} | From then on: RFC 3339, or {WHOLE_DAY_EN}"
    ),
]
Until = Annotated[
    str,
    typer.Option(
        "--until", help=f"至此时刻前：RFC 3339，或{WHOLE_DAY} | Before then: RFC 3339, or {WHOLE_DAY_EN}"
    ),
]
Sheet = Annotated[
    Path | None, typer.Option("--xlsx", help="另存为电子表格 | Write a spreadsheet as well", dir_okay=False)
]
Columns = Sequence[tuple[str, Text]]

DISCLOSURES: Columns = (
    ("consumer_name", Text("使用部门", "Consumer")),
    ("provider_name", Text("提供部门", "Provider")),
    ("resource", Text("资源", "Resource")),
    ("resource_title", Text("资源名称", "Title")),
    ("fields", Text("信息项", "Fields")),
    ("purposes", Text("用途", "Purposes")),
    ("legal_bases", Text("依据", "Legal bases")),
    ("scope", Text("范围", "Scope")),
    ("matters", Text("事项", "Matters")),
    ("not_before", Text("自（UTC+8）", "From (UTC+8)")),
    ("not_after", Text("至（UTC+8）", "Until (UTC+8)")),
    ("state", Text("状态", "State")),
)
_SUMS: Columns = (
    ("released", Text("放行", "Released")),
    ("refused", Text("拒绝", "Refused")),
    ("failed", Text("失败", "Failed")),
    ("records_at_least", Text("记录数不少于", "Records, at least")),
    ("answer_bytes", Text("答复字节", "Bytes of answers")),
)
_BY: dict[str, Columns] = {
    "consumer": (("consumer", Text("使用部门", "Consumer")),),
    "resource": (("resource", Text("资源", "Resource")),),
    "region": (("division", Text("区划", "Division")),),
    "consumer-resource": (("consumer", Text("使用部门", "Consumer")), ("resource", Text("资源", "Resource"))),
    "day": (("day", Text("日期（UTC+8）", "Day (UTC+8)")),),
    "application": (("consumer", Text("使用部门", "Consumer")), ("application", Text("应用", "Application"))),
}
TIMES = frozenset({"not_before", "not_after"})
SHARES = frozenset({"answered_permille"})
"""What is of the exchanges that were due: nothing where there were none."""
RESPONSIBILITIES: Columns = (
    ("resource", Text("资源", "Resource")),
    ("unit", Text("责任单位", "Unit")),
    ("fresh_within_s", Text("承诺时效（秒）", "Fresh within, s")),
    ("oldest_s", Text("最旧（秒）", "Oldest, s")),
    ("stale", Text("超时效", "Stale")),
    ("available_permille", Text("承诺可用（‰）", "Available, ‰")),
    ("answered_permille", Text("实际应答（‰）", "Answered, ‰")),
    ("answer_within_ms", Text("承诺应答（毫秒）", "Answer within, ms")),
    ("answer_p95_ms", Text("实际 95%（毫秒）", "95 of 100, ms")),
    ("asked", Text("被查询", "Asked")),
    ("decided_late", Text("逾期审批", "Decided late")),
    ("breaches", Text("未达承诺", "Not kept")),
)
PERFORMANCE: Columns = (
    ("organisation", Text("信用代码", "Credit code")),
    ("name", Text("部门", "Organisation")),
    ("resources", Text("资源", "Resources")),
    ("resources_used", Text("被用资源", "Of these used")),
    ("applications", Text("收到申请", "Applications")),
    ("decided_in_time", Text("按期审批", "Decided in time")),
    ("asked", Text("被查询", "Asked")),
    ("answered_permille", Text("应答（‰）", "Answered, ‰")),
    ("used", Text("查询", "Used")),
    ("refused", Text("被拒", "Refused")),
    ("disputes", Text("收到异议", "Disputes")),
    ("disputes_in_time", Text("按期答复", "In time")),
    ("demands_answered", Text("满足需求", "Demands answered")),
    ("breaches", Text("未达承诺", "Not kept")),
)


@app.command("disclosures", help="授权公示：谁为何可用什么 | Who may have what, and why")
def disclosures(
    context: typer.Context,
    ended: Annotated[
        bool, typer.Option("--all", help="含未生效与已终止的 | Also those not in force")
    ] = False,
    xlsx: Sheet = None,
) -> None:
    """Print the grants as they are disclosed."""
    from shuqiao import reporting

    call = of(context)
    with call.gateway() as channel:
        lines = list(reporting.disclosures(channel, ended_too=ended))
    _show(call, "disclosures", Text("授权公示", "Disclosure of grants"), DISCLOSURES, lines, xlsx)


@app.command("usage", help="用量 | Usage")
def usage(
    context: typer.Context,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            help="汇总方式：consumer resource region consumer-resource day application | Summed by",
        ),
    ] = "consumer-resource",
    since: Since = "",
    until: Until = "",
    xlsx: Sheet = None,
) -> None:
    """Print who used how much; this month where no time is given."""
    from shuqiao import reporting

    call = of(context)
    if by not in _BY:
        raise BadConfiguration(f"--by: {', '.join(_BY)}")
    begin, end = _span(since, until)
    with call.gateway() as channel:
        lines = reporting.usage(channel, by, begin, end)
    _show(call, "usage", Text("用量", "Usage"), (*_BY[by], *_SUMS), lines, xlsx)


@app.command("responsibilities", help="责任清单与未达承诺 | The responsibility list, and what was not kept")
def responsibilities(
    context: typer.Context,
    resource: Annotated[str, typer.Argument(metavar="[RESOURCE]", help="资源编号 | Resource id")] = "",
    breaches: Annotated[
        bool, typer.Option("--breaches", help="只列未达承诺的 | Only what was not kept")
    ] = False,
    since: Since = "",
    until: Until = "",
    xlsx: Sheet = None,
) -> None:
    """Print promises and measurements; of the last 30 days where no time is given."""
    from shuqiao import reporting

    call = of(context)
    begin, end = _span(since, until)
    with call.gateway() as channel:
        lines = reporting.responsibilities(channel, begin, end, resource=resource, breaches=breaches)
    title = Text("责任清单", "Responsibility list")
    _show(call, "responsibilities", title, RESPONSIBILITIES, lines, xlsx)


@app.command("performance", help="评估指标 | Figures for evaluation")
def performance(context: typer.Context, since: Since = "", until: Until = "", xlsx: Sheet = None) -> None:
    """Print figures for each organisation; of the last 30 days where no time is given."""
    from shuqiao import reporting

    call = of(context)
    begin, end = _span(since, until)
    with call.gateway() as channel:
        lines = reporting.performance(channel, begin, end)
    _show(call, "performance", Text("评估指标", "Figures for evaluation"), PERFORMANCE, lines, xlsx)


def _span(since: str, until: str) -> tuple[int, int]:
    return typed_ms("--since", since), typed_ms("--until", until, whole_day=True)


def _show(
    call: Invocation, name: str, title: Text, columns: Columns, lines: Sequence[Any], xlsx: Path | None
) -> None:
    if xlsx is not None:
        from shuqiao.spreadsheet import write_sheet

        told = [
            {key: shown(str(value)) if key in TIMES else value for key, value in line.items()}
            for line in lines
        ]
        write_sheet(xlsx, title.zh, columns, told)
    rows = [
        [None if key in SHARES and not line["asked"] else _cell(call, key, line[key]) for key, _ in columns]
        for line in lines
    ]
    call.out.show({name: list(lines)}, lambda: call.out.table(title, [column for _, column in columns], rows))


def _cell(call: Invocation, key: str, value: object) -> object:
    if key in ("state", "scope"):
        return term(str(value), call.out.language)
    if key in TIMES:
        return shown_day(str(value))
    if key == "breaches" and isinstance(value, list):
        return Cell("、".join(term(word, call.out.language) for word in value), BAD)
    return value
