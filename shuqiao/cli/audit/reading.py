"""`shuqiao audit tail` and `search`: reads the log in order, as entries come, or by what they say."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuqiao.cli.audit.filters import FilterOptions, filter_from
from shuqiao.cli.audit.options import taking
from shuqiao.cli.audit.tables import COLUMNS, followed, row
from shuqiao.cli.invocation import Invocation, of
from shuqiao.cursor import Cursor
from shuqiao.words import Text

if TYPE_CHECKING:
    from shuqiao.following import Lost, Tailed

LOST = Text(
    "连接中断（{code}），{seconds} 秒后从记录 {index} 继续",
    "Connection lost ({code}); going on from entry {index} in {seconds} s",
)
LISTED = Text("审计记录", "Audit log")


class State(StrEnum):
    """How far an entry's place must be vouched for."""

    COMMITTED = "committed"
    CHECKPOINTED = "checkpointed"
    WITNESSED = "witnessed"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("tail", help="按序查看记录（安全员、审计） | Print entries in order (officer, auditor)")(
        taking(tail)
    )
    app.command("search", help="检索记录（安全员、审计） | Search the entries (officer, auditor)")(
        taking(search)
    )


def tail(
    context: typer.Context,
    options: FilterOptions,
    first: Annotated[int, typer.Option("--from", min=0, help="起始序号 | First index")] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="持续显示新记录 | Go on as entries come")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="最多条数，0 不限 | At most this many, 0 for all")
    ] = 0,
    state: Annotated[
        State, typer.Option("--state", help="记录须达到的状态 | State that an entry must have reached")
    ] = State.CHECKPOINTED,
    cursor: Annotated[
        Path | None,
        typer.Option(
            "--cursor",
            help="记住读到何处的文件；存在时从其中的序号继续"
            " | File that keeps the place; where it exists, go on from there",
        ),
    ] = None,
) -> None:
    """Print entries, one JSON line each for programs; keep the place after the lines are out."""
    from exchange.v1 import audit_pb2
    from shuqiao import regional

    call = of(context)
    wanted = filter_from(options)
    place = Cursor(cursor) if cursor is not None else None
    start = first if place is None or place.next_index is None else place.next_index
    if place is not None:
        check_place(call, place)
    frames = regional.follow(
        call.gateway,
        first=start,
        wanted=wanted,
        state=audit_pb2.EntryState.Value(f"ENTRY_STATE_{state.name}"),
        go_on=follow,
        limit=limit,
        lost=lambda lost: _tell(call, lost),
    )
    rows: list[list[object]] = []
    reached = None
    for frame in frames:
        if place is not None:
            place.check(frame.origin)
        reached = frame.origin, frame.next_index
        _print(call, frame.entries, frame.witnessed_size, None if follow else rows)
        if place is not None and (follow or call.out.json_mode):
            call.out.sync()
            place.write(*reached)
    if not call.out.json_mode and not follow:
        call.out.table(LISTED, COLUMNS, rows)
        if place is not None and reached is not None:
            call.out.sync()
            place.write(*reached)


def search(
    context: typer.Context,
    options: FilterOptions,
    newest: Annotated[bool, typer.Option("--newest", help="最新的在前 | The newest first")] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="最多条数，0 不限 | At most this many, 0 for all")
    ] = 100,
) -> None:
    """Print the entries that fit, one JSON line each for programs."""
    from shuqiao import regional

    call = of(context)
    wanted = filter_from(options)
    rows: list[list[object]] = []
    searched = 0
    with call.gateway() as channel:
        for page in regional.search(channel, wanted=wanted, newest_first=newest, limit=limit):
            _print(call, page.entries, page.witnessed_size, rows)
            searched = page.searched_size
    if not call.out.json_mode:
        call.out.table(LISTED, COLUMNS, rows)
        call.out.say(
            Text("检索至记录 {size} 之前", "Searched the entries before {size}").filled(size=searched)
        )


def check_place(call: Invocation, place: Cursor) -> None:
    """Refuse a place that is of another log or epoch, before it is asked for entries that are not there."""
    from shuqiao.regional import get_checkpoint

    if place.origin:
        with call.gateway() as channel:
            place.check(get_checkpoint(channel).partition("\n")[0])


def _print(
    call: Invocation, entries: "list[Tailed] | Any", witnessed_size: int, rows: list[list[object]] | None
) -> None:
    """Print entries as they come; for people into the rows of a table, where there is one."""
    from shuqiao import views
    from shuqiao.following import state_of

    for index, leaf in entries:
        view = {**views.entry(index, leaf), "state": state_of(index, witnessed_size)}
        if call.out.json_mode:
            call.out.line(view)
        elif rows is None:
            call.out.raw(followed(call, view))
        else:
            rows.append(row(call, view))


def _tell(call: Invocation, lost: "Lost") -> None:
    seconds = f"{lost.pause_s:.1f}"
    call.out.notice(LOST.filled(code=lost.error.name, seconds=seconds, index=lost.next_index))
