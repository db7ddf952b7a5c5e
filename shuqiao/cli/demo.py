"""`shuqiao demo`: one governed exchange with real processes, from nothing."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from shuqiao.cli.invocation import of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "demo", help="演示：真实进程、真实证书、一次完整交换 | Show one governed exchange with real processes"
    )(demo)


def demo(
    context: typer.Context,
    scenario: Annotated[
        str, typer.Option("--scenario", help="场景：household | Scenario: household")
    ] = "household",
    keep: Annotated[
        Path | None, typer.Option("--keep", help="保留全部文件的目录 | Folder in which everything is kept")
    ] = None,
) -> int:
    """Run a scenario and show what happened."""
    call = of(context)
    run = import_module("shuqiao.demo.run")
    return int(run.run(scenario=scenario, keep=keep, out=call.out))
