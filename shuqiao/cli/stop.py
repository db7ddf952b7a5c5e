"""`shuqiao stop`: the emergency stop."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.local_time import shown
from shuqiao.output import BAD, UNSURE, Cell
from shuqiao.words import Text, term

if TYPE_CHECKING:
    from exchange.v1 import stop_pb2
    from shuqiao.stopping import Statements

app = typer.Typer(name="stop", help="紧急停止（安全员） | Emergency stop (officer)")

Minutes = Annotated[
    int,
    typer.Option(
        "--minutes", min=0, max=525_600, help="多少分钟后自动结束，0 为不限 | Ends after so many, 0 for never"
    ),
]
Note = Annotated[str, typer.Option("--note", help="说明，不得含个人信息 | Why; no personal data")]
Rehearse = Annotated[
    bool, typer.Option("--rehearse", help="演练：只计数，不拒绝 | Rehearsal: counts, refuses nothing")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="只签名并写入文件，由第二名安全员签名并发出 | Sign into a file for a second officer",
    ),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="待签名的文件 | The file to sign")]
ID_HEX = 8
UNLOGGED = Text(
    "日志暂不可写：停止有效，恢复后补记", "The log cannot be written: the stop holds and is entered later"
)
TARGETS = {
    "field": ("RESOURCE#FIELD", "信息项：<资源>#<信息项> | A field: <resource>#<field>"),
    "grant": ("GRANT", "授权编号（可只写前几位） | Grant id, or how it begins"),
    "resource": ("RESOURCE", "资源编号 | Resource id"),
    "organisation": ("CODE", "统一社会信用代码 | Credit code"),
    "agent": ("CODE/NAME", "前置节点：<信用代码>/<名称> | An agent: <credit code>/<name>"),
    "region": ("DIVISION", "本地区的行政区划代码 | The region's division"),
}
SCOPES = {
    "field": Text("信息项", "field"),
    "grant": Text("授权", "grant"),
    "resource": Text("资源", "resource"),
    "organisation": Text("部门", "organisation"),
    "agent": Text("前置节点", "agent"),
    "region": Text("全地区", "region"),
}
"""What is stopped, in words."""
HELP = {
    "field": "停一个信息项 | Stop a field",
    "grant": "停一项授权 | Stop a grant",
    "resource": "停一个资源 | Stop a resource",
    "organisation": "停一个部门（两人，或一人限一小时） | Stop an organisation (two, or one for an hour)",
    "agent": "停一个前置节点 | Stop an agent",
    "region": "停全地区（两人，或一人限一小时） | Stop the region (two, or one for an hour)",
}


def _command(scope: str) -> Callable[..., None]:
    metavar, explained = TARGETS[scope]

    def stop(
        context: typer.Context,
        target: Annotated[str, typer.Argument(metavar=metavar, help=explained)],
        minutes: Minutes = 0,
        note: Note = "",
        rehearse: Rehearse = False,
        out: Out = None,
    ) -> None:
        """Sign a stop, and send it or write it down."""
        _stop(of(context), scope, target, minutes=minutes, note=note, rehearse=rehearse, out=out)

    return stop


for _scope, _help in HELP.items():
    app.command(_scope, help=_help)(_command(_scope))


@app.command("sign", help="作为第二名安全员签名并发出 | Sign as the second officer, and send")
def sign(context: typer.Context, file: File) -> None:
    """Say what a file orders, sign it and send it."""
    from shuqiao import stopping

    call = of(context)
    record = stopping.read(file)
    statements = stopping.sign(record, call.signer, call.holder.anchor(), call.clock.now_ms())
    if record.lift:
        _send_lift(call, record, statements)
    else:
        _send_stop(call, statements)


@app.command("show", help="查看待签名的文件 | Show a file that is to be signed")
def show(context: typer.Context, file: File) -> None:
    """Say what a file orders, and who has signed it."""
    from shuqiao import stopping

    call = of(context)
    record = stopping.read(file)
    people = stopping.signers(record, call.holder.anchor(), call.clock.now_ms())
    document = {**stopping.view(record), "lift": bool(record.lift), "signed_by": [one.uri for one in people]}
    call.out.show({"ok": True, **document}, lambda: _facts(call, document))


@app.command("list", help="列出紧急停止 | List the stops")
def listed(
    context: typer.Context,
    everything: Annotated[
        bool, typer.Option("--all", help="也列出已结束的 | Those that no longer hold, too")
    ] = False,
) -> None:
    """Print what is stopped."""
    from shuqiao import stopping

    call = of(context)
    with call.gateway() as channel:
        found = [stopping.view(record) for record in stopping.list_stops(channel, everything=everything)]
    columns = (
        Text("编号", "Stop"),
        Text("状态", "State"),
        Text("范围", "Scope"),
        Text("对象", "Target"),
        Text("下达", "Ordered"),
        Text("至", "Until"),
        Text("拦下", "Caught"),
        Text("说明", "Note"),
    )
    rows = [_row(call, each) for each in found]
    empty = Text("没有紧急停止", "Nothing is stopped")
    title = Text("紧急停止", "Stops")
    call.out.show({"stops": found}, lambda: call.out.table(title, columns, rows, empty=empty))


@app.command("lift", help="解除紧急停止 | Lift a stop")
def lift(
    context: typer.Context,
    stop: Annotated[
        str, typer.Argument(metavar="STOP", help="编号（可只写前几位） | Its id, or how it begins")
    ],
    note: Note = "",
    out: Out = None,
) -> None:
    """Sign the lift of a stop, and send it or write it down."""
    from exchange.canonical import LIFT
    from exchange.stops import check_lift_signers, read_stop
    from exchange.v1 import stop_pb2
    from shuqiao import stopping

    call = of(context)
    with call.gateway() as channel:
        found = stopping.find(channel, stop)
    body = stopping.lift_body(found.stop_id, note=note, clock=call.clock, random=call.random)
    statements = [call.signer.sign(LIFT, body)]
    record = stop_pb2.StopRecord(stop_id=found.stop_id, stop=found.stop, lift=statements)
    if out is not None:
        _write(call, out, record)
        return
    check_lift_signers(read_stop(found.stop[0].body), [call.signer.identity])
    _send_lift(call, record, statements)


def _stop(
    call: Invocation, scope: str, target: str, *, minutes: int, note: str, rehearse: bool, out: Path | None
) -> None:
    from exchange.canonical import STOP
    from exchange.stops import check_stop_signers, read_stop
    from exchange.v1 import stop_pb2
    from shuqiao import stopping
    from shuqiao.cli.grant import find_id

    if scope == "grant":
        with call.gateway() as channel:
            target = find_id(channel, target).hex()
    body = stopping.stop_body(
        scope, target, minutes=minutes, rehearsal=rehearse, note=note, clock=call.clock, random=call.random
    )
    statements = [call.signer.sign(STOP, body)]
    if out is not None:
        _write(call, out, stop_pb2.StopRecord(stop_id=read_stop(body).stop_id, stop=statements))
        return
    check_stop_signers(read_stop(body), [call.signer.identity])
    _send_stop(call, statements)


def _send_stop(call: Invocation, statements: "Statements") -> None:
    from exchange.stops import read_stop
    from shuqiao import stopping

    stop = read_stop(statements[0].body)
    with call.gateway() as channel:
        began = time.perf_counter()
        answer = stopping.order(channel, statements)
        milliseconds = round((time.perf_counter() - began) * 1000)
    document = {
        "ok": True,
        **stopping.described(stop),
        "logged": answer.logged,
        "index": answer.index if answer.logged else None,
        "told": answer.told,
        "caught": answer.caught,
        "milliseconds": milliseconds,
    }

    def people() -> None:
        said = Text(
            "已停{scope} {target}，编号 {id}：{ms} 毫秒，告知链路 {told}，拦下在途 {caught}",
            "Stopped {scope} {target} as {id}: {ms} ms, {told} links told, {caught} under way caught",
        )
        if stop.rehearsal:
            said = Text(
                "演练{scope} {target}，编号 {id}：{ms} 毫秒，告知链路 {told}，在途 {caught}",
                "Rehearsed {scope} {target} as {id}: {ms} ms, {told} links told, {caught} under way",
            )
        call.out.done(
            said.filled(
                scope=SCOPES[str(document["scope"])].of(call.out.language),
                target=stop.target,
                id=stop.name,
                ms=milliseconds,
                told=answer.told,
                caught=answer.caught,
            )
        )
        if not answer.logged:
            call.out.notice(UNLOGGED)

    call.out.show(document, people)


def _send_lift(call: Invocation, record: "stop_pb2.StopRecord", statements: "Statements") -> None:
    from shuqiao import stopping

    with call.gateway() as channel:
        index = stopping.lift(channel, statements)
    said = Text("已解除 {id}，记录 {index}", "Lifted {id}, entry {index}")
    call.out.show(
        {"ok": True, "stop_id": record.stop_id.hex(), "index": index},
        lambda: call.out.done(said.filled(id=record.stop_id.hex()[:ID_HEX], index=index)),
    )


def _write(call: Invocation, out: Path, record: "stop_pb2.StopRecord") -> None:
    from shuqiao import stopping

    stopping.write(out, record)
    said = Text(
        "已签名并写入 {file}；一小时内由第二名安全员执行 shuqiao stop sign",
        "Signed into {file}; within an hour a second officer runs shuqiao stop sign",
    )
    call.out.show(
        {"ok": True, **stopping.view(record), "file": str(out)},
        lambda: call.out.done(said.filled(file=out)),
    )


def _facts(call: Invocation, told: dict[str, Any]) -> None:
    title = Text("解除紧急停止", "Lift of a stop") if told["lift"] else Text("紧急停止", "Emergency stop")
    call.out.facts(
        title,
        [
            (Text("编号", "Stop"), told["stop_id"]),
            (Text("范围", "Scope"), SCOPES[told["scope"]]),
            (Text("对象", "Target"), told["target"]),
            (Text("演练", "Rehearsal"), told["rehearsal"]),
            (Text("下达", "Ordered"), shown(told["issued_at"])),
            (Text("至", "Until"), shown(told["until"]) or Text("不限", "without end")),
            (Text("说明", "Note"), told["note"]),
            (Text("已签名", "Signed by"), told["signed_by"]),
        ],
    )


def _row(call: Invocation, view: dict[str, Any]) -> list[object]:
    state = "lifted" if view["lifted"] else "holds" if view["holds"] else "over"
    if view["holds"] and view["rehearsal"]:
        state = "rehearsal"
    style = BAD if state == "holds" else UNSURE if state == "rehearsal" else ""
    return [
        view["stop_id"][:ID_HEX],
        Cell(term(state, call.out.language), style),
        SCOPES[view["scope"]],
        view["target"],
        shown(view["issued_at"]),
        shown(view["until"]),
        view["caught"],
        view["note"],
    ]
