"""`shuqiao query` and `shuqiao verify`: asks another department through this department's own agent."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text

Resource = Annotated[
    str,
    typer.Argument(
        metavar="RESOURCE", help="资源编号 区划/部门/名称 | Resource id division/organisation/name"
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME=VALUE…",
        help="查询参数；值写作 @文件 时从文件读取 | Parameters; a value written @FILE is read from the file",
    ),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        "-f",
        help="信息项，可重复；默认为授权的全部 | Field, repeatable; all that is granted if none",
    ),
]
Claims = Annotated[
    list[str] | None,
    typer.Option("--claim", help="待核验的 名称=值，可重复 | NAME=VALUE to verify, repeatable"),
]
Purpose = Annotated[str, typer.Option("--purpose", help="用途代码 | Coded purpose")]
Matter = Annotated[str, typer.Option("--matter", help="事项代码 | Coded matter")]
Step = Annotated[str, typer.Option("--step", help="事项环节 | Step of the matter")]
Case = Annotated[str, typer.Option("--case", help="办件编号 | Case number")]
Operator = Annotated[str, typer.Option("--operator", help="经办人代号 | Pseudonym of the operator")]
Grant = Annotated[
    str, typer.Option("--grant", help="授权编号；默认自动选取 | Grant id; the one that fits if none")
]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, max=600, help="等待秒数 | Seconds to wait")]
ReceiptFile = Annotated[
    Path | None, typer.Option("--receipt", help="把回执存为文件 | File in which to keep the receipt")
]

VERDICTS = {
    "true": Cell(Text("一致", "match"), GOOD),
    "false": Cell(Text("不一致", "mismatch"), BAD),
    None: Cell(Text("无记录", "no record"), UNSURE),
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("query", help="查询另一部门的数据 | Ask another department for records")(query)
    app.command("verify", help="向另一部门核验 | Have another department verify claims")(verify)


def query(
    context: typer.Context,
    resource: Resource,
    parameters: Parameters = None,
    field: Fields = None,
    purpose: Purpose = "",
    matter: Matter = "",
    step: Step = "",
    case: Case = "",
    operator: Operator = "",
    grant: Grant = "",
    timeout: Timeout = 10.0,
    receipt: ReceiptFile = None,
) -> int:
    """Ask for records and print them."""
    from exchange.v1 import agent_pb2, common_pb2

    question = agent_pb2.AskRequest(
        resource=resource,
        kind=common_pb2.KIND_QUERY,
        fields=field or [],
        parameters=_named(parameters or []),
        purpose=purpose,
        matter=matter,
        step=step,
        case_number=case,
        operator=operator,
        grant_id=_grant_id(grant),
        timeout_ms=round(timeout * 1000),
    )
    return _ask(of(context), question, receipt)


def verify(
    context: typer.Context,
    resource: Resource,
    parameters: Parameters = None,
    claim: Claims = None,
    purpose: Purpose = "",
    matter: Matter = "",
    step: Step = "",
    case: Case = "",
    operator: Operator = "",
    grant: Grant = "",
    timeout: Timeout = 10.0,
    receipt: ReceiptFile = None,
) -> int:
    """Have claims verified and print match or mismatch for each."""
    from exchange.errors import BadConfiguration
    from exchange.v1 import agent_pb2, common_pb2

    if not claim:
        raise BadConfiguration("--claim")
    question = agent_pb2.AskRequest(
        resource=resource,
        kind=common_pb2.KIND_VERIFY,
        parameters=_named(parameters or []),
        claims=_named(claim),
        purpose=purpose,
        matter=matter,
        step=step,
        case_number=case,
        operator=operator,
        grant_id=_grant_id(grant),
        timeout_ms=round(timeout * 1000),
    )
    return _ask(of(context), question, receipt)


def _ask(call: Invocation, question: Any, receipt_file: Path | None) -> int:
    from exchange.rpc_errors import from_failure
    from shuqiao import views
    from shuqiao.output import error_document

    outcome = call.door.ask(call.context, question)
    about: dict[str, object] = {
        "resource": question.resource,
        "kind": views.kind(question.kind),
        "exchange_id": views.exchange_id(outcome.exchange_id) if outcome.exchange_id else "",
        "receipt": None,
    }
    if outcome.HasField("receipt"):
        about["receipt"] = {"index": outcome.receipt.index, "verified": True}
        if receipt_file is not None:
            _keep(receipt_file, outcome.receipt)
    if outcome.WhichOneof("outcome") != "answer":
        error = from_failure(outcome.failure)
        call.out.show(error_document(error) | about, lambda: call.out.error(error))
        return 1
    answer = outcome.answer
    found = views.records(answer)
    document = {"ok": True, **about, "records": found, "data_version": answer.data_version}
    call.out.show(document, lambda: _print(call, question, outcome, found))
    return 0


def _print(call: Invocation, question: Any, outcome: Any, found: Sequence[dict[str, str | None]]) -> None:
    from exchange.v1 import common_pb2
    from shuqiao import views

    names = [column.name for column in outcome.answer.columns]
    if question.kind == common_pb2.KIND_VERIFY:
        verdicts = [[name, VERDICTS.get(row[name], Cell(row[name]))] for row in found for name in names]
        call.out.table(
            Text("核验结果", "Verification"), (Text("信息项", "Field"), Text("结果", "Result")), verdicts
        )
    else:
        title = Text(
            f"{question.resource}：记录 {len(found)} 条", f"{question.resource}: records {len(found)}"
        )
        rows = [[row[name] for name in names] for row in found]
        call.out.table(title, [Text(name, name) for name in names], rows)
    if outcome.HasField("receipt"):
        said = Text("回执已验证：记录 {index}，交换 {id}", "Receipt verified: entry {index}, exchange {id}")
        call.out.done(said.filled(index=outcome.receipt.index, id=views.exchange_id(outcome.exchange_id)))


def _keep(file: Path, receipt: Any) -> None:
    from exchange.receipt import to_tlog_proof

    file.write_text(to_tlog_proof(receipt.receipt, receipt.checkpoint), encoding="utf-8")


def _named(pairs: Sequence[str]) -> list[Any]:
    """Return "name=value" texts as values by name; "name=@file" takes the file's first line."""
    from exchange.errors import BadConfiguration
    from exchange.v1 import agent_pb2

    found = []
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise BadConfiguration(f"NAME=VALUE: {name}")
        if value.startswith("@"):
            try:
                value = Path(value[1:]).read_text(encoding="utf-8").partition("\n")[0].strip()
            except OSError as error:
                raise BadConfiguration(f"{name}: {error.strerror}") from error
        found.append(agent_pb2.NamedValue(name=name, value=value))
    return found


def _grant_id(text: str) -> bytes:
    from exchange.errors import BadConfiguration

    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise BadConfiguration(f"--grant {text}") from error
