"""`shuqiao risk`: what the risk rules found, and what people decide about it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.local_time import DAY, DAY_EN, shown, typed_ms
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text, term

app = typer.Typer(name="risk", help="风险发现与风险规则 | Findings of the risk rules")

FindingId = Annotated[
    str,
    typer.Argument(
        metavar="FINDING", help="风险发现编号（可只写前几位） | Id of a finding (or how it begins)"
    ),
]
Note = Annotated[str, typer.Option("--note", help="说明，不得含个人信息 | Why; no personal data")]
Until = Annotated[
    str,
    typer.Option(
        "--until",
        help=f"有效至，最长 30 天：RFC 3339，或{DAY} | Until when, at most 30 days: RFC 3339, or {DAY_EN}",
    ),
]
Hours = Annotated[int, typer.Option("--hours", min=0, max=720, help="有效几小时 | For how many hours")]
SHORT_HEX = 12
KINDS = {
    "refusals": "拒绝",
    "subjects": "主体数",
    "subject_again": "同一主体重复",
    "combination": "组合",
    "volume": "用量",
    "new_pair": "新的往来",
    "out_of_hours": "非工作时间",
    "no_case": "无办件",
    "silent_operator": "沉寂经办人",
    "shared_operator": "共用经办人",
    "case_load": "办件负荷",
}
"""What rules watch, in Chinese."""
SEVERITIES = {"notice": "", "warning": UNSURE, "critical": BAD}
COLUMNS = (
    Text("发现", "Finding"),
    Text("记录", "Entry"),
    Text("规则", "Rule"),
    Text("程度", "Severity"),
    Text("动作", "Action"),
    Text("使用部门", "Consumer"),
    Text("经办人/前置节点", "Operator or agent"),
    Text("资源", "Resources"),
    Text("计数", "Count"),
    Text("现状", "Now"),
)


@app.command("list", help="列出风险发现 | List the findings")
def listed(
    context: typer.Context,
    holding: Annotated[
        bool, typer.Option("--holding", help="只列仍在约束的 | Only those that hold something back now")
    ] = False,
    rule: Annotated[str, typer.Option("--rule", help="只列某条规则的 | Only those of one rule")] = "",
    most: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="至多几条 | At most")] = 100,
) -> None:
    """Print the findings that the caller may see, newest first."""
    from shuqiao import risk, risk_views

    call = of(context)
    with call.gateway() as channel:
        rows = risk.list_findings(channel, holding=holding, rule=rule, most=most)
    found: list[dict[str, Any]] = [risk_views.row(row) for row in rows]
    call.out.show(
        {"findings": found},
        lambda: call.out.table(Text("风险发现", "Findings"), COLUMNS, [_row(call, view) for view in found]),
    )


@app.command("show", help="查看风险发现 | Show a finding")
def show(context: typer.Context, finding: FindingId) -> None:
    """Print one finding with its decisions."""
    from shuqiao import risk, risk_views

    call = of(context)
    with call.gateway() as channel:
        view: dict[str, Any] = risk_views.row(risk.find(channel, finding))
    call.out.show(view, lambda: _print(call, view))


@app.command("approve", help="批准：所约束的放行至某时 | Approve: what is held back passes, until a time")
def approve(
    context: typer.Context, finding: FindingId, until: Until = "", hours: Hours = 0, note: Note = ""
) -> None:
    """Let pass what a finding holds back."""
    _decide(of(context), finding, "approve", until, hours, note)


@app.command("uphold", help="维持：继续约束至某时 | Uphold: it stays held back, until a time")
def uphold(
    context: typer.Context, finding: FindingId, until: Until = "", hours: Hours = 0, note: Note = ""
) -> None:
    """Keep what a finding holds back."""
    _decide(of(context), finding, "uphold", until, hours, note)


@app.command("dismiss", help="误报：解除约束 | Dismiss: a false alarm, nothing is held back any more")
def dismiss(context: typer.Context, finding: FindingId, note: Note = "") -> None:
    """End what a finding holds back."""
    _decide(of(context), finding, "dismiss", "", 0, note)


@app.command("check", help="离线检查风险规则文件 | Check a file of risk rules, offline")
def check(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="规则文件，范例 deploy/policies/risk.toml | Its file, see deploy/policies/risk.toml",
        ),
    ],
) -> None:
    """Tell every fault of a file of risk rules, or which rules it has."""
    from exchange.files import read_bounded
    from exchange.region_rules import MAX_RISK_CHARS
    from gateway.risk.rules_file import read_risk_rules

    call = of(context)
    rules = read_risk_rules(read_bounded(file, 4 * MAX_RISK_CHARS).decode("utf-8", "replace"))
    found: list[dict[str, Any]] = [
        {
            "id": rule.id,
            "kind": rule.kind,
            "severity": rule.severity,
            "action": rule.action,
            "window_s": rule.window,
            "hold_s": rule.hold_s,
            "from_tags": rule.from_tags,
            "title": rule.title_zh if call.out.language == "zh" else rule.title_en,
        }
        for rule in rules
    ]
    columns = (
        Text("规则", "Rule"),
        Text("种类", "Kind"),
        Text("程度", "Severity"),
        Text("动作", "Action"),
        Text("窗口（秒）", "Window, s"),
        Text("约束（秒）", "Hold, s"),
        Text("名称", "Title"),
    )
    language = call.out.language

    def people() -> None:
        rows = [
            [
                view["id"],
                Text(f"{KINDS[view['kind']]} {view['kind']}", view["kind"]),
                Cell(term(view["severity"], language), SEVERITIES.get(view["severity"], "")),
                term(view["action"], language),
                *(view[key] for key in ("window_s", "hold_s", "title")),
            ]
            for view in found
        ]
        call.out.table(Text("风险规则", "Risk rules"), columns, rows)

    call.out.show({"ok": True, "rules": found}, people)


def _decide(call: Invocation, finding: str, verdict: str, until: str, hours: int, note: str) -> None:
    from exchange.v1 import risk_pb2
    from shuqiao import risk

    until_ms = 0
    if verdict != "dismiss":
        until_ms = risk.until(typed_ms("--until", until), hours, call.clock.now_ms())
    number = risk_pb2.FindingVerdict.Value(f"FINDING_VERDICT_{verdict.upper()}")
    with call.gateway() as channel:
        finding_id = risk.find(channel, finding).finding.finding_id
        index = risk.decide(
            channel,
            call.signer,
            finding_id,
            number,
            until_ms=until_ms,
            note=note,
            clock=call.clock,
            random=call.random,
        )
    said = Text("已处理 {id}：{verdict}，记录 {index}", "Decided on {id}: {verdict}, entry {index}")
    word = term(verdict, call.out.language)
    call.out.show(
        {"ok": True, "finding_id": finding_id.hex(), "verdict": verdict, "index": index},
        lambda: call.out.done(said.filled(id=finding_id.hex()[:SHORT_HEX], verdict=word, index=index)),
    )


def _now(view: dict[str, Any]) -> Cell:
    if view["holds"]:
        return Cell(Text("约束中", "holds"), BAD)
    if view["decisions"]:
        return Cell(Text("已处理", "decided"), GOOD)
    return Cell(Text("待处理", "open"), UNSURE)


def _row(call: Invocation, view: dict[str, Any]) -> list[object]:
    language = call.out.language
    return [
        view["id"][:SHORT_HEX],
        view["index"],
        view["rule"],
        Cell(term(view["severity"], language), SEVERITIES.get(view["severity"], "")),
        term(view["action"], language),
        view["consumer"],
        view["operator"] or view["agent"],
        view["resources"],
        view["count"],
        _now(view),
    ]


def _print(call: Invocation, view: dict[str, Any]) -> None:
    language = call.out.language
    facts: list[tuple[Text, object]] = [
        (Text("规则", "Rule"), view["rule"]),
        (Text("程度", "Severity"), term(view["severity"], language)),
        (Text("动作", "Action"), term(view["action"], language)),
        (Text("现状", "Now"), _now(view)),
        (Text("使用部门", "Consumer"), view["consumer"]),
        (Text("前置节点", "Agent"), view["agent"]),
        (Text("经办人", "Operator"), view["operator"]),
        (Text("资源", "Resources"), view["resources"]),
        (Text("计数", "Count"), f"{view['count']} / {view['window_s']} s"),
        (Text("依据", "Rests on"), _basis(view)),
        (Text("约束至", "Until"), shown(view["until"])),
        (Text("记录", "Entry"), view["index"]),
        (Text("所涉交换", "Exchanges"), view["exchange_ids"]),
    ]
    facts += [
        (
            Text("处理", "Decision"),
            f"{term(one['verdict'], language)} {shown(one['issued_at'])} → {shown(one['until']) or '-'}"
            f" {one['note']}",
        )
        for one in view["decisions"]
    ]
    call.out.facts(Text("风险发现 {id}", "Finding {id}").filled(id=view["id"]), facts)


def _basis(view: dict[str, Any]) -> Text:
    if view["from_tags"]:
        return Text("数据提供方给出的主体标签", "tags of subjects that providers sent")
    return Text("网关自身的记录", "what the gateway knows by itself")
