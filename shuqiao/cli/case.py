"""`shuqiao case`: the errands for which departments exchange, opened and closed by signed events."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.local_time import shown
from shuqiao.output import BAD, GOOD, Cell
from shuqiao.words import Text

if TYPE_CHECKING:
    from shuqiao.casework import Casework

app = typer.Typer(name="case", help="办件 | Cases")

Number = Annotated[
    str, typer.Argument(metavar="NUMBER", help="办件编号，不得含个人信息 | Its number, no personal data")
]
Participants = Annotated[
    list[str] | None,
    typer.Option(
        "--participant",
        help="参与部门的统一社会信用代码，可重复 | Credit code of one who takes part, repeatable",
    ),
]
Days = Annotated[
    int | None, typer.Option("--days", min=1, max=731, help="最长天数 | Days it is open at the most")
]


@app.command("open", help="开办（牵头部门数据专员） | Open a case (steward of its lead)")
def opened(
    context: typer.Context,
    number: Number,
    matter: Annotated[str, typer.Option("--matter", help="事项代码 | Coded matter")],
    participant: Participants = None,
    days: Days = None,
) -> None:
    """Sign and enter that a case is opened."""
    from shuqiao.casework import DEFAULT_DAYS

    _step(
        of(context),
        number,
        lambda work: work.open(
            number, matter=matter, participants=participant or [], days=days or DEFAULT_DAYS
        ),
        Text("已开办 {number}，记录 {index}", "Opened {number}, entry {index}"),
    )


@app.command("change", help="变更参与部门或期限 | Change who takes part, or how long")
def change(
    context: typer.Context, number: Number, participant: Participants = None, days: Days = None
) -> None:
    """Sign and enter that a case is changed; all who take part are named anew, or none for as it is."""
    _step(
        of(context),
        number,
        lambda work: work.change(number, participants=participant, days=days),
        Text("已变更 {number}，记录 {index}", "Changed {number}, entry {index}"),
    )


@app.command("close", help="办结，不可再开 | Close a case, for good")
def close(context: typer.Context, number: Number) -> None:
    """Sign and enter that a case is closed."""
    _step(
        of(context),
        number,
        lambda work: work.close(number),
        Text("已办结 {number}，记录 {index}", "Closed {number}, entry {index}"),
    )


@app.command("show", help="查看办件 | Show a case")
def show(context: typer.Context, number: Number) -> None:
    """Print one case."""
    from shuqiao import casework

    call = of(context)
    with call.gateway() as channel:
        work = casework.Casework(channel, call.signer, clock=call.clock, random=call.random)
        view = casework.view(work.show(number))
    state = Cell(Text("开办中", "open").of(call.out.language), GOOD)
    if not view["open"]:
        over = Text("已办结", "closed") if view["closed"] else Text("已过期", "expired")
        state = Cell(over.of(call.out.language), BAD)
    call.out.show(
        view,
        lambda: call.out.facts(
            Text("办件 {number}", "Case {number}").filled(number=number),
            [
                (Text("状态", "State"), state),
                (Text("牵头部门", "Lead"), view["lead"]),
                (Text("参与部门", "Participants"), view["participants"]),
                (Text("事项", "Matter"), view["matter"]),
                (Text("开办时间", "Opened"), shown(str(view["opened_at"]))),
                (Text("最近变更", "Last step"), shown(str(view["changed_at"]))),
                (Text("期限", "Until"), shown(str(view["expires_at"]))),
                (Text("修订", "Revision"), view["revision"]),
            ],
        ),
    )


def _step(call: Invocation, number: str, act: Callable[["Casework"], int], said: Text) -> None:
    from shuqiao.casework import Casework

    with call.gateway() as channel:
        index = act(Casework(channel, call.signer, clock=call.clock, random=call.random))
    call.out.show(
        {"ok": True, "case": number, "index": index},
        lambda: call.out.done(said.filled(number=number, index=index)),
    )
