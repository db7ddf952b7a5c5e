"""`shuqiao audit trace`: who received what about a person or body, and the course of a case.

The identifier is read from a file or standard input, never from an argument, where every user of the machine
could read it; it goes to the authority alone, and into no output.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuqiao.cli.audit.filters import FIRST_LINE, FIRST_LINE_EN, typed
from shuqiao.cli.audit.tables import DECISION_STYLES
from shuqiao.cli.invocation import Invocation, of
from shuqiao.cli.subject import Format, FormatOption, identifiers
from shuqiao.local_time import shown
from shuqiao.output import UNSURE, Cell
from shuqiao.words import Text, term

if TYPE_CHECKING:
    from shuqiao.tracing import Traced

COLUMNS = (
    Text("时间", "When"),
    Text("接收方", "Received by"),
    Text("提供方", "From"),
    Text("信息项", "Fields"),
    Text("用途", "Purpose"),
    Text("事项", "Matter"),
    Text("办件", "Case"),
    Text("结果", "What"),
    Text("代码", "Code"),
    Text("记录", "Entry"),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "trace",
        help="追溯某人（单位）的数据去向，或一个办件的全过程"
        " | Trace whose data went where, or the course of a case",
    )(trace)


def trace(
    context: typer.Context,
    why: Annotated[
        str, typer.Option("--why", help="理由，记入日志，不得含个人信息 | Why; logged; no personal data")
    ],
    subject: Annotated[
        str,
        typer.Option(
            "--subject",
            metavar="@FILE|-",
            help="从文件或标准输入（-）读取标识；标识不得写在命令行上"
            " | Reads the identifier from a file or standard input (-); never given on the command line",
        ),
    ] = "",
    format: FormatOption = Format.CITIZEN_ID,
    case: Annotated[
        str, typer.Option("--case", help=f"办件编号{FIRST_LINE} | Case number{FIRST_LINE_EN}")
    ] = "",
) -> None:
    """Trace exactly one subject or one case."""
    from exchange.errors import BadConfiguration
    from shuqiao import tracing

    call = of(context)
    if bool(subject) == bool(case):
        raise BadConfiguration("--subject @FILE|- | --case NUMBER")
    if case:
        with call.gateway() as channel:
            _show(call, tracing.trace_case(channel, typed("--case", case), why=why))
        return
    identifier = next(iter(identifiers(subject, most=1)), "")
    with call.authority() as channel:
        tags = tracing.derive_tags(channel, format=format.value, identifier=identifier, why=why)
    with call.gateway() as channel:
        _show(call, tracing.trace_subject(channel, tags, why=why))


def _show(call: Invocation, found: "Traced") -> None:
    from shuqiao import views

    entries = [views.entry(index, leaf) for index, leaf in found.entries]
    document = {
        "entries": entries,
        "searched_size": found.searched_size,
        "delayed_purpose_days": dict(found.delayed_purpose_days),
        "erased_periods": list(found.erased_periods),
    }

    def people() -> None:
        empty = Text("没有记录", "No entries")
        rows = [_row(call, view) for view in entries]
        call.out.table(Text("追溯", "Trace"), COLUMNS, rows, empty=empty)
        _notes(call, found)

    call.out.show(document, people)


def _notes(call: Invocation, found: "Traced") -> None:
    """Say what a trace may lack, whether or not it lacks it here."""
    said = Text("已查到第 {size} 条记录", "Looked at {size} entries of the log")
    call.out.say(said.filled(size=found.searched_size))
    for purpose, days in sorted(found.delayed_purpose_days.items()):
        told = Text(
            "用途 {purpose} 的记录 {days} 天后才向安全员显示（无论此处有无）",
            "Entries of purpose {purpose} show to officers only after {days} days (whether or not any exist)",
        )
        call.out.say(told.filled(purpose=purpose, days=days), UNSURE)
    if found.erased_periods:
        told = Text("密钥已擦除，不能再追溯的季度：{periods}", "No longer traceable, keys erased: {periods}")
        call.out.say(told.filled(periods=" ".join(found.erased_periods)), UNSURE)


def _row(call: Invocation, view: dict[str, Any]) -> list[object]:
    language = call.out.language
    if view["type"] != "exchange":
        return [shown(view["time"]), *[""] * 6, term(str(view["type"]), language), "", view["index"]]
    return [
        shown(view["time"]),
        view["consumer"],
        f"{view['provider']} {view['resource']}",
        view["fields"],
        view["purpose"],
        view["matter"],
        view["case_number"],
        Cell(term(view["decision"], language), DECISION_STYLES.get(view["decision"], "")),
        view["reason"],
        view["index"],
    ]
