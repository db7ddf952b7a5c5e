"""`shuqiao grant explain`: whether an exchange would pass, and which rule decides."""

from typing import TYPE_CHECKING, Annotated

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.local_time import DAY, DAY_EN, typed_ms
from shuqiao.output import BAD, GOOD, Cell
from shuqiao.words import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shuqiao.views import View

RULES = {
    "request": Text("请求", "the request"),
    "trust": Text("信任列表够新", "the trust list is fresh"),
    "catalogue": Text("目录为现行版本", "the catalogue entry is current"),
    "stop": Text("没有紧急停止", "nothing is stopped"),
    "grant": Text("授权覆盖", "a grant covers it"),
    "purpose": Text("用途在册", "the region knows the purpose"),
    "case": Text("办件办理中", "the case is open"),
    "guard": Text("守卫不禁止", "no guard forbids it"),
    "risk": Text("没有风险处置", "no risk rule is against it"),
    "quota": Text("配额有余", "the quota is not used up"),
}
"""What each rule asks; others are shown by their names."""
SHORT_HEX = 12
KINDS = ("query", "verify")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "explain",
        help="某次交换能否通过、由哪条规则决定；不转发、不留交换记录"
        " | Whether an exchange would pass and which rule decides; nothing is forwarded",
    )(explain)


def explain(
    context: typer.Context,
    resource: Annotated[str, typer.Option("--resource", help="资源编号 | The resource")],
    field: Annotated[list[str], typer.Option("--field", help="信息项，可多次 | A field; more than once")],
    purpose: Annotated[str, typer.Option("--purpose", help="用途 | The purpose")],
    consumer: Annotated[
        str,
        typer.Option(
            "--consumer",
            help="使用部门信用代码，默认本部门 | The consumer's credit code; one's own by default",
        ),
    ] = "",
    kind: Annotated[str, typer.Option("--kind", help="query 或 verify | query or verify")] = "query",
    matter: Annotated[str, typer.Option("--matter", help="事项 | The matter")] = "",
    step: Annotated[str, typer.Option("--step", help="环节 | The step")] = "",
    case: Annotated[str, typer.Option("--case", help="办件编号 | The case number")] = "",
    grant: Annotated[
        str,
        typer.Option(
            "--grant", help="授权编号，默认走得最远的一项 | The grant; the one that goes furthest by default"
        ),
    ] = "",
    at: Annotated[
        str,
        typer.Option(
            "--at",
            help=f"在此时间，默认现在：RFC 3339，或{DAY}"
            f" | At this time, now by default: RFC 3339, or {DAY_EN}",
        ),
    ] = "",
) -> None:
    """Print the rules in their order with what each says; exit 1 where one refuses."""
    from exchange.errors import BadConfiguration
    from exchange.v1 import common_pb2, rules_pb2
    from shuqiao import rules_calls, rules_views
    from shuqiao.cli.grant import find_id

    call = of(context)
    if kind not in KINDS:
        raise BadConfiguration(f"--kind {kind}: {', '.join(KINDS)}")
    request = rules_pb2.ExplainRequest(
        consumer=consumer or call.holder.identity().organisation,
        resource=resource,
        kind=common_pb2.Kind.Value(f"KIND_{kind.upper()}"),
        fields=field,
        purpose=purpose,
        matter=matter,
        step=step,
        case_number=case,
        at_ms=typed_ms("--at", at),
    )
    with call.gateway() as channel:
        if grant:
            request.grant_id = find_id(channel, grant)
        answer = rules_calls.explain(channel, request)
        rules, _ = rules_calls.get_rules(channel)
    steps, reasons = rules_views.steps(answer), rules_views.reasons_of(rules)
    for one in steps:
        reason = reasons.get(str(one.get("subject")))
        if reason is not None and str(one["rule"]).startswith("guard/"):
            one["guard"] = {"zh": reason.zh, "en": reason.en}
    document = {
        "allowed": answer.allowed,
        "grant_id": answer.grant_id.hex(),
        "rules_version": answer.rules_version,
        "steps": steps,
    }
    call.out.show(document, lambda: _print(call, document, steps))
    if not answer.allowed:
        raise typer.Exit(1)


def _print(call: Invocation, document: "Mapping[str, object]", steps: "Sequence[View]") -> None:
    columns = (Text("规则", "Rule"), Text("", ""), Text("理由", "Reason"), Text("处理", "Remedy"))
    call.out.table(Text("逐条判定", "Rule by rule"), columns, [_row(one) for one in steps])
    grant = str(document["grant_id"])[:SHORT_HEX] or "—"
    facts = {"grant": grant, "version": document["rules_version"]}
    if document["allowed"]:
        said = Text(
            "会通过（授权 {grant}，规则第 {version} 版）",
            "It would pass (grant {grant}, rules version {version})",
        )
        call.out.done(said.filled(**facts))
        return
    said = Text(
        "✗ 会被拒绝（授权 {grant}，规则第 {version} 版）",
        "✗ It would be refused (grant {grant}, rules version {version})",
    )
    call.out.say(said.filled(**facts), BAD)


def _row(one: "View") -> list[object]:
    """Return a row: the reason in both languages, the remedy in the reader's."""
    name = str(one["rule"])
    shown = RULES.get(name, Text(name, name))
    if one["passed"]:
        return [shown, Cell("✓", GOOD), "", ""]
    reason, remedy = one["reason"], one["remedy"]
    assert isinstance(reason, dict) and isinstance(remedy, dict), "as rules_views.steps makes it"
    told = [f"{one['code']} {one['subject']}".strip(), reason["zh"], reason["en"]]
    guard = one.get("guard")
    if isinstance(guard, dict):
        told += [guard["zh"], guard["en"]]
    return [shown, Cell("✗", BAD), "\n".join(told), Text(remedy["zh"], remedy["en"])]
