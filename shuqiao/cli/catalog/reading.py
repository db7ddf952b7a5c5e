"""`shuqiao catalog list|show|search|versions|diff`: what the catalogue says, now and before."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuqiao.cli.catalog import tables
from shuqiao.cli.catalog.tables import Resource
from shuqiao.cli.invocation import Invocation, of
from shuqiao.local_time import shown
from shuqiao.words import Text, term

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shuqiao.catalogue import Version

SHARES = ("unconditional", "conditional", "not_shared")
STANDINGS = ("published", "suspended", "in_review", "withdrawn")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list", help="列出资源 | List the resources")(listed)
    app.command("show", help="查看资源 | Show a resource")(show)
    app.command("search", help="检索资源 | Find resources")(search)
    app.command("versions", help="列出资源的各个版本 | List the versions of a resource")(versions)
    app.command("diff", help="比较两个版本 | Compare two versions")(diff)


def listed(context: typer.Context) -> None:
    """Print the catalogue."""
    from shuqiao import regional, views

    call = of(context)
    with call.gateway() as channel:
        found = [
            views.resource(body, suspended=suspended) for body, suspended in regional.list_resources(channel)
        ]
    _print_list(call, Text("资源目录", "Catalogue"), found)


def show(
    context: typer.Context,
    resource: Resource,
    version: Annotated[
        int,
        typer.Option(
            "--version", min=0, help="版本；默认为生效的版本 | Version; the one in force by default"
        ),
    ] = 0,
) -> None:
    """Print one catalogue entry with its metadata, fields and parameters."""
    from shuqiao import regional, views

    call = of(context)
    with call.gateway() as channel:
        if version:
            view = _view(_one(_versions(channel, resource), resource, version))
        else:
            body, suspended = regional.find_resource(channel, resource)
            view = views.resource(body, suspended=suspended)
    call.out.show(view, lambda: tables.entry(call, view))


def search(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORD…",
            help="名称、摘要、关键词、信息项或代码中的词，中英文皆可，须全部符合"
            " | Parts of title, summary, keywords, fields or codes; all must fit",
        ),
    ] = None,
    code: Annotated[
        str, typer.Option("--code", help="资源、数源或信息项的代码 | Code of resource, item or field")
    ] = "",
    provider: Annotated[
        str, typer.Option("--provider", help="提供部门：信用代码或简称 | Provider: credit code or alias")
    ] = "",
    division: Annotated[
        str, typer.Option("--division", help="区划，含下级 | Division, and those below it")
    ] = "",
    share: Annotated[
        str, typer.Option("--share", metavar="|".join(SHARES), help="含此共享类型 | Has this share type")
    ] = "",
    category: Annotated[str, typer.Option("--category", help="分类的开头 | How its category begins")] = "",
    standing: Annotated[
        str, typer.Option("--standing", metavar="|".join(STANDINGS), help="状态 | Where it stands")
    ] = "",
) -> None:
    """Print the resources that fit."""
    from shuqiao import catalogue

    for option, told, known in (("--share", share, SHARES), ("--standing", standing, STANDINGS)):
        if told and told not in known:
            raise typer.BadParameter(f"'{told}' is not one of {', '.join(known)}", param_hint=option)
    call = of(context)
    wanted = catalogue.Search(
        words=words or (),
        code=code,
        provider=provider,
        division=division,
        share=share,
        category=category,
        standing=standing,
    )
    with call.gateway() as channel:
        found = [_view(version) for version in catalogue.search(channel, wanted)]
    _print_list(call, Text("检索结果", "Found"), found)


def versions(context: typer.Context, resource: Resource) -> None:
    """Print every version of a resource and where each stands."""
    call = of(context)
    with call.gateway() as channel:
        found = [_view(version) for version in _versions(channel, resource)]
    columns = (
        Text("版本", "Version"),
        Text("名称", "Title"),
        Text("签名时间", "Signed"),
        Text("兼容性", "Compatibility"),
        Text("状态", "State"),
        Text("记录", "Entry"),
    )
    call.out.show(
        {"resource": resource, "versions": found},
        lambda: call.out.table(
            Text("版本", "Versions"),
            columns,
            [
                [
                    view["version"],
                    Text(view["title_zh"], view["title_en"]),
                    shown(view["issued_at"]),
                    term(view["compatibility"], call.out.language),
                    tables.standing(call, view),
                    view["index"],
                ]
                for view in found
            ],
        ),
    )


def diff(
    context: typer.Context,
    resource: Resource,
    first: Annotated[
        int,
        typer.Argument(
            metavar="V1", min=0, help="旧版本；默认为生效的版本 | Older; the one in force by default"
        ),
    ] = 0,
    second: Annotated[
        int,
        typer.Argument(metavar="V2", min=0, help="新版本；默认为最新的版本 | Newer; the newest by default"),
    ] = 0,
) -> None:
    """Print what differs between two versions, and whether users of the first are still served."""
    from exchange.schema_change import changes
    from shuqiao import catalogue, resource_views

    call = of(context)
    with call.gateway() as channel:
        told = _versions(channel, resource)
    newer = _one(told, resource, second) if second else told[-1]
    older = _one(told, resource, first) if first else catalogue.in_force(told)
    if older is None or (not first and older.body.version == newer.body.version):
        older = _one(told, resource, max(1, newer.body.version - 1))
    found = [resource_views.change(one) for one in changes(older.body, newer.body)]
    view = {
        "resource": resource,
        "from": older.body.version,
        "to": newer.body.version,
        "compatible": not any(one["breaking"] for one in found),
        "changes": found,
    }
    title = Text("{id}：第 {a} 版 → 第 {b} 版", "{id}: version {a} → version {b}")
    call.out.show(
        view,
        lambda: tables.changes(call, title.filled(id=resource, a=view["from"], b=view["to"]), found),
    )


def _versions(channel: Any, resource: str) -> "list[Version]":
    from shuqiao import catalogue

    return catalogue.versions(channel, resource)


def _one(told: "Sequence[Version]", resource: str, version: int) -> "Version":
    from exchange.errors import UnknownResource
    from shuqiao.calling import HOP

    for one in told:
        if one.body.version == version:
            return one
    raise UnknownResource(f"{resource} version {version}", hop=HOP)


def _view(version: "Version") -> dict[str, Any]:
    from shuqiao import resource_views, views

    stands = resource_views.standing(version.standing)
    return {
        **views.resource(version.body, suspended=stands == "suspended"),
        "standing": stands,
        "index": version.index,
    }


def _print_list(call: Invocation, title: Text, found: "list[dict[str, Any]]") -> None:
    call.out.show(
        {"resources": found},
        lambda: call.out.table(title, tables.COLUMNS, [tables.row(call, view) for view in found]),
    )
