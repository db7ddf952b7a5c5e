"""`shuqiao org`: the organisations of a region."""

from pathlib import Path
from typing import Annotated

import typer

from shuqiao.cli.invocation import of
from shuqiao.words import Text

app = typer.Typer(name="org", help="部门 | Organisations")

COLUMNS = (
    Text("统一社会信用代码", "Credit code"),
    Text("简称", "Alias"),
    Text("区划", "Division"),
    Text("名称", "Name"),
    Text("英文名称", "English name"),
)


@app.command("add", help="登记部门（管理员） | Add an organisation (administrator)")
def add(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="部门文件，范例 organisation.toml | Its file, example organisation.toml",
        ),
    ],
) -> None:
    """Sign and add an organisation."""
    from shuqiao import forms, regional

    call = of(context)
    form = forms.read_form(forms.OrganisationForm, file)
    with call.gateway() as channel:
        index = regional.add_organisation(channel, call.signer, call.filler.organisation(form))
    said = Text("已登记 {name}，记录 {index}", "Added {name}, entry {index}")
    name = f"{form.name_zh} {form.credit_code}"
    call.out.show(
        {"ok": True, "credit_code": form.credit_code, "index": index},
        lambda: call.out.done(said.filled(name=name, index=index)),
    )


@app.command("list", help="列出部门 | List the organisations")
def listed(context: typer.Context) -> None:
    """Print the organisations."""
    from shuqiao import regional, views

    call = of(context)
    with call.gateway() as channel:
        found = [views.organisation(body) for body in regional.list_organisations(channel)]
    keys = ("credit_code", "alias", "division", "name_zh", "name_en")
    call.out.show(
        {"organisations": found},
        lambda: call.out.table(
            Text("部门", "Organisations"), COLUMNS, [[view[key] for key in keys] for view in found]
        ),
    )
