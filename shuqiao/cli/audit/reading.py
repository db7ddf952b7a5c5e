"""`shuqiao audit tail`: reads the log in order."""

from typing import Annotated

import typer

from shuqiao.cli.audit.tables import COLUMNS, followed, row
from shuqiao.cli.invocation import of
from shuqiao.words import Text


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("tail", help="按序查看记录（安全员、审计） | Print entries in order (officer, auditor)")(tail)


def tail(
    context: typer.Context,
    first: Annotated[int, typer.Option("--from", min=0, help="起始序号 | First index")] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="持续显示新记录 | Go on as entries come")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="最多条数，0 不限 | At most this many, 0 for all")
    ] = 0,
) -> None:
    """Print entries, one JSON line each for programs."""
    from shuqiao import regional, views

    call = of(context)
    rows: list[list[object]] = []
    with call.gateway() as channel:
        for index, leaf in regional.tail(channel, first=first, follow=follow, limit=limit):
            view = views.entry(index, leaf)
            if call.out.json_mode:
                call.out.line(view)
            elif follow:
                call.out.raw(followed(call, view))
            else:
                rows.append(row(call, view))
    if not call.out.json_mode and not follow:
        call.out.table(Text("审计记录", "Audit log"), COLUMNS, rows)
