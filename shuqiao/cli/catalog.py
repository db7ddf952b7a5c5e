"""`shuqiao catalog`: the catalogue of a region."""

from pathlib import Path
from typing import Annotated, Any

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text, term

app = typer.Typer(name="catalog", help="资源目录 | The catalogue")

Resource = Annotated[
    str,
    typer.Argument(
        metavar="RESOURCE", help="资源编号 区划/部门/名称 | Resource id division/organisation/name"
    ),
]
LEVEL_STYLES = {"L1": GOOD, "L2": GOOD, "L3": UNSURE, "L4": BAD}


@app.command("list", help="列出资源 | List the resources")
def listed(context: typer.Context) -> None:
    """Print the catalogue."""
    from shuqiao import regional, views

    call = of(context)
    with call.gateway() as channel:
        found = [
            views.resource(body, suspended=suspended) for body, suspended in regional.list_resources(channel)
        ]
    columns = (
        Text("资源", "Resource"),
        Text("名称", "Title"),
        Text("版本", "Version"),
        Text("信息项", "Fields"),
        Text("方式", "Kinds"),
        Text("状态", "State"),
    )
    call.out.show(
        {"resources": found},
        lambda: call.out.table(Text("资源目录", "Catalogue"), columns, [_row(call, view) for view in found]),
    )


@app.command("show", help="查看资源 | Show a resource")
def show(context: typer.Context, resource: Resource) -> None:
    """Print one catalogue entry with its fields."""
    from shuqiao import regional, views

    call = of(context)
    with call.gateway() as channel:
        body, suspended = regional.find_resource(channel, resource)
    view = views.resource(body, suspended=suspended)
    call.out.show(view, lambda: _print(call, view))


@app.command("publish", help="发布资源（数据专员） | Publish a resource (steward)")
def publish(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="资源文件，见 deploy/examples/resource.toml | Its file, see deploy/examples/resource.toml",
        ),
    ],
) -> None:
    """Sign and publish a catalogue entry."""
    from shuqiao import forms, regional

    call = of(context)
    form = forms.read_form(forms.ResourceForm, file)
    with call.gateway() as channel:
        version = form.version or regional.next_version(channel, form.id)
        index = regional.publish_resource(channel, call.signer, call.filler.resource(form, version=version))
    said = Text(
        "已发布 {id} 第 {version} 版，记录 {index}", "Published {id} version {version}, entry {index}"
    )
    call.out.show(
        {"ok": True, "id": form.id, "version": version, "index": index},
        lambda: call.out.done(said.filled(id=form.id, version=version, index=index)),
    )


@app.command("suspend", help="暂停资源（数据专员） | Suspend a resource (steward)")
def suspend(context: typer.Context, resource: Resource) -> None:
    """Suspend a resource."""
    _set(of(context), resource, suspended=True)


@app.command("resume", help="恢复资源（数据专员） | Resume a resource (steward)")
def resume(context: typer.Context, resource: Resource) -> None:
    """Resume a resource."""
    _set(of(context), resource, suspended=False)


def _set(call: Invocation, resource: str, *, suspended: bool) -> None:
    from shuqiao import regional

    with call.gateway() as channel:
        index = regional.set_resource_state(
            channel, call.signer, resource, suspended=suspended, clock=call.clock, random=call.random
        )
    said = (
        Text("已暂停 {id}，记录 {index}", "Suspended {id}, entry {index}")
        if suspended
        else Text("已恢复 {id}，记录 {index}", "Resumed {id}, entry {index}")
    )
    call.out.show(
        {"ok": True, "id": resource, "suspended": suspended, "index": index},
        lambda: call.out.done(said.filled(id=resource, index=index)),
    )


def _state(view: dict[str, Any]) -> Cell:
    return (
        Cell(Text("已暂停", "suspended"), UNSURE) if view["suspended"] else Cell(Text("可用", "open"), GOOD)
    )


def _row(call: Invocation, view: dict[str, Any]) -> list[object]:
    return [
        view["id"],
        Text(view["title_zh"], view["title_en"]),
        view["version"],
        len(view["fields"]),
        [term(kind, call.out.language) for kind in view["kinds"]],
        _state(view),
    ]


def _print(call: Invocation, view: dict[str, Any]) -> None:
    language = call.out.language
    call.out.facts(
        Text(f"{view['title_zh']}  {view['id']}", f"{view['title_en']}  {view['id']}"),
        [
            (Text("提供部门", "Provider"), view["provider"]),
            (Text("版本", "Version"), view["version"]),
            (Text("状态", "State"), _state(view)),
            (Text("方式", "Kinds"), [term(kind, language) for kind in view["kinds"]]),
            (Text("须有办件编号", "Case required"), view["case_required"]),
            (Text("行数上限", "Row cap"), view["row_cap"]),
            (Text("发布时间", "Signed"), view["issued_at"]),
        ],
    )
    call.out.table(
        Text("信息项", "Fields"),
        (
            Text("信息项", "Field"),
            Text("名称", "Title"),
            Text("类型", "Type"),
            Text("分级", "Level"),
            Text("共享", "Shared"),
            Text("依据", "Basis"),
        ),
        [
            [
                field["name"],
                Text(field["title_zh"], field["title_en"]),
                field["type"],
                Cell(field["level"], LEVEL_STYLES.get(field["level"], "")),
                term(field["share"], language),
                field["legal_basis"],
            ]
            for field in view["fields"]
        ],
    )
    call.out.table(
        Text("查询参数", "Parameters"),
        (Text("参数", "Parameter"), Text("类型", "Type"), Text("分级", "Level"), Text("格式", "Format")),
        [
            [p["name"], p["type"], Cell(p["level"], LEVEL_STYLES.get(p["level"], "")), p["format"]]
            for p in view["parameters"]
        ],
    )
