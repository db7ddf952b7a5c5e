"""`shuqiao example`: prints the annotated files from which people start."""

from typing import Annotated

import typer

from shuqiao.cli.invocation import of
from shuqiao.words import Text

Name = Annotated[
    str, typer.Argument(metavar="[NAME]", help="文件名；不写则列出全部 | Which one; all names if none")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("example", help="打印带注释的范例文件 | Print an annotated example file")(example)


def example(context: typer.Context, name: Name = "") -> None:
    """Print one file as it is, or the names of all."""
    from shuqiao import examples

    call = of(context)
    if not name:
        names = examples.names()
        listed = Text("、".join(names), ", ".join(names))
        call.out.show({"examples": names}, lambda: call.out.say(listed))
        return
    text = examples.read(name)
    call.out.show({"name": name, "text": text}, lambda: call.out.raw(text))
