"""`shuqiao rules`: what the region's administrators set for everybody, two of them signing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.local_time import WHOLE_DAY, WHOLE_DAY_EN, YESTERDAY, shown, typed_ms, yesterday
from shuqiao.output import BAD, GOOD, Cell
from shuqiao.words import Text

if TYPE_CHECKING:
    from exchange.identity import Identity
    from exchange.region_rules import RegionRules
    from exchange.v1 import rules_pb2

app = typer.Typer(name="rules", help="本地区的规则 | The region's rules")

Folder = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="规则目录，见 rules init | Folder of the rules, see rules init"),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="规则文件 | File of the rules")]
CHANGES = (Text("项", "What"), Text("现行", "In force"), Text("拟改为", "Proposed"))


@app.command("init", help="写出带注释的范例规则 | Write the annotated rules to start from")
def init(context: typer.Context, folder: Folder) -> None:
    """Copy region.toml, guards, their schema and the table of cases."""
    from shuqiao import examples, rules_folder

    call = of(context)
    files = rules_folder.write_examples(examples.folder() / "policies", folder)
    said = Text(
        "已写出 {count} 个文件；修改后用 shuqiao rules check {folder} 检查",
        "Wrote {count} files; when you have changed them: shuqiao rules check {folder}",
    )
    call.out.show(
        {"ok": True, "files": [str(file) for file in files]},
        lambda: call.out.done(said.filled(count=len(files), folder=folder)),
    )


@app.command("check", help="检查规则与判定表（离线） | Check rules and their table of cases (offline)")
def check(context: typer.Context, folder: Folder) -> None:
    """Parse, compile and validate everything, and run the cases; exit 1 where there is a fault."""
    from shuqiao import rules_folder

    call = of(context)
    checked = rules_folder.check_folder(folder)
    faults = [fault._asdict() for fault in checked.faults]
    done = Text(
        "规则无误：{guards} 条守卫，{cases} 个判定", "The rules hold: {guards} guards, {cases} cases"
    ).filled(guards=len(checked.guards), cases=checked.cases)

    def people() -> None:
        if not faults:
            call.out.done(done)
            return
        columns = (Text("文件", "File"), Text("行", "Line"), Text("问题", "Fault"))
        rows = [[fault.file, fault.line, Cell(fault.text, BAD)] for fault in checked.faults]
        call.out.table(Text("规则有误", "Faults in the rules"), columns, rows)

    document = {
        "ok": not faults,
        "guards": len(checked.guards),
        "cases": checked.cases,
        "faults": faults,
    }
    call.out.show(document, people)
    if faults:
        raise typer.Exit(1)


@app.command(
    "propose", help="提出：以管理员身份签名，写成文件 | Propose: sign as an administrator, into a file"
)
def propose(
    context: typer.Context,
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", help="写入的文件 | File to write")],
) -> None:
    """Check the folder, sign its rules as the next version, and write the file for the second person."""
    from exchange.canonical import RULES
    from exchange.region_rules import read_rules
    from shuqiao import rules_calls, rules_file, rules_folder

    call = of(context)
    signer = call.signer
    rules_file.check_administrator(signer.identity)
    with call.gateway() as channel:
        present, _ = rules_calls.get_rules(channel)
    body = rules_folder.body_of(folder, version=present.version + 1, clock=call.clock, random=call.random)
    statements = [signer.sign(RULES, body)]
    rules_file.write(out, statements)
    said = Text(
        "已写入 {file}；请第二位管理员：shuqiao rules sign {file}",
        "Wrote {file}; now the second administrator: shuqiao rules sign {file}",
    )
    _compared(call, present, read_rules(body), [signer.identity], said.filled(file=out))


@app.command("sign", help="复核并签名（第二位管理员） | Look at it and sign (second administrator)")
def sign(context: typer.Context, file: File) -> None:
    """Say everything that the rules would change, and sign them."""
    from shuqiao import rules_calls, rules_file

    call = of(context)
    anchor, now_ms = call.holder.anchor(), call.clock.now_ms()
    proposed, statements = rules_file.read(file)
    with call.gateway() as channel:
        present, _ = rules_calls.get_rules(channel)
    statements = rules_file.sign(statements, call.signer, anchor, now_ms)
    rules_file.write(file, statements)
    people = rules_file.signers(statements, anchor, now_ms)
    said = Text(
        "已签名；生效：shuqiao rules publish {file}", "Signed; to set it: shuqiao rules publish {file}"
    )
    _compared(call, present, proposed, people, said.filled(file=file))


@app.command(
    "publish", help="生效：交网关记入日志（签名人之一） | Set them at the gateway (one of the signers)"
)
def publish(context: typer.Context, file: File) -> None:
    """Hand the signed rules in; the gateway refuses what two administrators did not sign."""
    from shuqiao import rules_calls, rules_file

    call = of(context)
    rules, statements = rules_file.read(file)
    people = rules_file.signers(statements, call.holder.anchor(), call.clock.now_ms())
    with call.gateway() as channel:
        index = rules_calls.set_rules(
            channel, rules_file.own_first(statements, people, call.holder.identity())
        )
    said = Text(
        "第 {version} 版规则已生效，记录 {index}", "Version {version} of the rules is in force, entry {index}"
    )
    call.out.show(
        {"ok": True, "version": rules.version, "index": index},
        lambda: call.out.done(said.filled(version=rules.version, index=index)),
    )


@app.command("show", help="查看现行规则 | Show the rules in force")
def show(context: typer.Context) -> None:
    """Print the rules in force."""
    from shuqiao import rules_calls, rules_views

    call = of(context)
    with call.gateway() as channel:
        rules, answer = rules_calls.get_rules(channel)
    told = rules_views.document(rules)

    def people() -> None:
        if not rules.version:
            call.out.say(Text("本地区尚未设定规则", "No rules were ever set in this region"))
            return
        title = Text(
            "规则第 {version} 版，{at}，记录 {index}", "Rules, version {version}, {at}, entry {index}"
        )
        call.out.facts(
            title.filled(version=rules.version, at=shown(told["issued_at"]), index=answer.index),
            [(name, rules_views.lines(_brief(part, told[part]))) for part, name in rules_views.PARTS.items()],
        )

    call.out.show({**told, "index": answer.index}, people)


@app.command("diff", help="与现行规则比较 | Compare a folder with the rules in force")
def diff(context: typer.Context, folder: Folder) -> None:
    """Print what a folder's rules would change."""
    from exchange.region_rules import read_rules
    from shuqiao import rules_calls, rules_folder

    call = of(context)
    with call.gateway() as channel:
        present, _ = rules_calls.get_rules(channel)
    body = rules_folder.body_of(folder, version=present.version + 1, clock=call.clock, random=call.random)
    _compared(call, present, read_rules(body), [], None)


_BEYOND = Text(
    "配额由授权规定，规则不能更改，会通过的仍受其约束；核验上限由提供部门计数，未试算",
    "Quotas stand in grants: no rules change them, and what would pass is bound by them as before;"
    " bounds on verifications are counted by providers and were not tried",
)


@app.command("dry-run", help="以日志中的交换试算新规则 | Try rules on exchanges in the log")
def dry_run(
    context: typer.Context,
    folder: Folder,
    since: Annotated[
        str,
        typer.Option(
            "--since",
            help=f"自此时刻起：yesterday（昨日）、RFC 3339，或{WHOLE_DAY}"
            f" | From then on: yesterday, RFC 3339, or {WHOLE_DAY_EN}",
        ),
    ] = YESTERDAY,
    until: Annotated[
        str,
        typer.Option(
            "--until",
            help=f"至此时刻前，默认现在：RFC 3339，或{WHOLE_DAY}"
            f" | Before then, now by default: RFC 3339, or {WHOLE_DAY_EN}",
        ),
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1_000_000, help="最多多少次交换 | At most so many exchanges")
    ] = 100_000,
) -> None:
    """Print whose decision would have been another; the reading is an entry of the log."""
    from exchange.v1 import rules_pb2
    from shuqiao import rules_calls, rules_folder, rules_views

    call = of(context)
    first = yesterday(call.clock.now_ms()) if since == YESTERDAY else since
    request = rules_pb2.DryRunRequest(
        since_ms=typed_ms("--since", first), until_ms=typed_ms("--until", until, whole_day=True), limit=limit
    )
    with call.gateway() as channel:
        present, _ = rules_calls.get_rules(channel)
        request.rules = rules_folder.body_of(
            folder, version=present.version + 1, clock=call.clock, random=call.random
        )
        answer = rules_calls.dry_run(channel, request)
    found, risk = rules_views.groups(answer), rules_views.risk_findings(answer)

    def people() -> None:
        _show_decisions(call, answer, found)
        _show_risk(call, risk)
        call.out.say(_BEYOND)

    told = {"examined": answer.examined, "same": answer.same, "groups": found, "risk": risk}
    call.out.show(told | {"not_covered": ["verify_limits"]}, people)


def _show_decisions(
    call: Invocation, answer: "rules_pb2.DryRunResponse", found: Sequence[Mapping[str, Any]]
) -> None:
    said = Text(
        "共 {examined} 次交换，{same} 次判定不变（授权、目录、办件按现状计）",
        "{examined} exchanges, {same} decided the same (grants, catalogue and cases as they are now)",
    ).filled(examined=answer.examined, same=answer.same)
    columns = (
        Text("新判定", "Now"),
        Text("规则", "Rule"),
        Text("使用部门", "Consumer"),
        Text("资源", "Resource"),
        Text("次数", "Count"),
        Text("最近一例", "Newest"),
    )
    refused, passed = Cell(Text("拒绝", "refused"), BAD), Cell(Text("通过", "passes"), GOOD)
    keys = ("rule", "consumer", "resource", "count", "example")
    rows = [[refused if one["refused"] else passed, *(one[key] for key in keys)] for one in found]
    empty = Text("没有判定会改变", "No decision would have been another")
    call.out.table(Text("判定会改变的交换", "Decisions that would change"), columns, rows, empty=empty)
    call.out.say(said)


def _show_risk(call: Invocation, risk: Mapping[str, Any] | None) -> None:
    """Print what the risk rules would have found; "–" stands for a rule that there is not."""
    if risk is None:
        call.out.say(Text("没有风险规则", "No risk rules"))
        return
    columns = (
        Text("风险规则", "Risk rule"),
        Text("现行", "In force"),
        Text("新规则", "Proposed"),
        Text("前几例", "The first"),
    )
    rows = [
        [
            one["rule"],
            *("–" if one[side] is None else one[side] for side in ("in_force", "proposed")),
            "\n".join(" ".join((shown(e["time"]), e["consumer"], *e["resources"])) for e in one["first"]),
        ]
        for one in risk["rules"]
    ]
    call.out.table(Text("风险规则会有的发现", "What risk rules would have found"), columns, rows)
    call.out.say(
        Text(
            "自 {since} 起的发现；连同之前的窗口共看了 {examined} 次交换，处理决定不计",
            "Findings since {since}; {examined} exchanges with what windows look back to, decisions left out",
        ).filled(since=shown(risk["since"]), examined=risk["examined"])
    )


def _brief(part: str, value: object) -> object:
    """Return a part of the rules for people: of guards why they forbid, of the risk rules which there are."""
    from shuqiao import rules_views

    if part == "guards" and isinstance(value, dict):
        reasons = {name: Text(one["reason_zh"], one["reason_en"]) for name, one in value.items()}
        return Text(
            "\n".join(f"{name}：{reason.zh}" for name, reason in reasons.items()),
            "\n".join(f"{name}: {reason.en}" for name, reason in reasons.items()),
        )
    if part == "risk" and isinstance(value, str) and value:
        return list(rules_views.risk_rules(value))
    return value


def _compared(
    call: Invocation,
    present: "RegionRules",
    proposed: "RegionRules",
    people: "Sequence[Identity]",
    said: Text | None,
) -> None:
    from shuqiao import rules_views

    changes = rules_views.difference(present, proposed)
    signed = ", ".join(str(one) for one in people) or "—"

    def words() -> None:
        call.out.facts(
            Text("规则", "Rules"),
            [
                (Text("版本", "Version"), f"{present.version} → {proposed.version}"),
                (Text("守卫", "Guards"), len(rules_views.reasons_of(proposed))),
                (Text("用途", "Purposes"), len(proposed.purposes)),
                (Text("已签名", "Signed by"), signed),
            ],
        )
        empty = Text("与现行规则相同", "The same as the rules in force")
        rows = [
            [rules_views.titled(one.what), rules_views.shown(one.before), rules_views.shown(one.after)]
            for one in changes
        ]
        call.out.table(Text("变化", "Changes"), CHANGES, rows, empty=empty)
        if said is not None:
            call.out.done(said)

    document = {
        "ok": True,
        "version": proposed.version,
        "in_force": present.version,
        "changes": [change._asdict() for change in changes],
        "signed_by": [one.uri for one in people],
    }
    call.out.show(document, words)
