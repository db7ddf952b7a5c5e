"""`shuqiao catalog publish|suspend|resume|approve|reject|withdraw`: what stewards do to entries."""

from pathlib import Path
from typing import Annotated

import typer

from shuqiao.cli.catalog import tables
from shuqiao.cli.catalog.tables import Note, Resource
from shuqiao.cli.invocation import Invocation, of
from shuqiao.words import Text


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("publish", help="发布资源（数据专员） | Publish a resource (steward)")(publish)
    app.command("suspend", help="暂停资源（数据专员） | Suspend a resource (steward)")(suspend)
    app.command("resume", help="恢复资源（数据专员） | Resume a resource (steward)")(resume)
    app.command(
        "approve", help="通过待审的版本（另一名数据专员） | Approve the version in review (another steward)"
    )(approve)
    app.command(
        "reject", help="退回待审的版本（数据专员） | Reject the version in review, or take it back (steward)"
    )(reject)
    app.command("withdraw", help="下架资源，不可恢复（数据专员） | Withdraw a resource for good (steward)")(
        withdraw
    )


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
    """Sign and hand in a version of a catalogue entry; says whether it is in force or waits for a review."""
    from shuqiao import catalogue, forms, regional

    call = of(context)
    form = forms.read_form(forms.ResourceForm, file)
    with call.gateway() as channel:
        version = form.version or regional.next_version(channel, form.id)
        index = regional.publish_resource(channel, call.signer, call.filler.resource(form, version=version))
        waits = catalogue.waits(channel, form.id, version)
    said = Text(
        "已发布 {id} 第 {version} 版，记录 {index}", "Published {id} version {version}, entry {index}"
    )
    if waits:
        said = Text(
            "已提交 {id} 第 {version} 版，记录 {index}；还需另一人审核：shuqiao catalog approve {id}",
            "Handed in {id} version {version}, entry {index}; another person reviews it: "
            "shuqiao catalog approve {id}",
        )
    call.out.show(
        {"ok": True, "id": form.id, "version": version, "index": index, "in_review": waits},
        lambda: call.out.done(said.filled(id=form.id, version=version, index=index)),
    )


def suspend(context: typer.Context, resource: Resource) -> None:
    """Suspend a resource."""
    _set(of(context), resource, suspended=True)


def resume(context: typer.Context, resource: Resource) -> None:
    """Resume a resource."""
    _set(of(context), resource, suspended=False)


def approve(context: typer.Context, resource: Resource, note: Note = "") -> None:
    """Approve the version that waits; prints what it changes."""
    _review(of(context), resource, approve=True, note=note)


def reject(context: typer.Context, resource: Resource, note: Note = "") -> None:
    """Reject the version that waits."""
    _review(of(context), resource, approve=False, note=note)


def withdraw(
    context: typer.Context,
    resource: Resource,
    note: Note = "",
    sure: Annotated[bool, typer.Option("--yes", help="不再询问 | Do not ask again")] = False,
) -> None:
    """Take a resource out of the catalogue for good."""
    from shuqiao import catalogue

    call = of(context)
    if not sure:
        question = Text("下架后不可恢复：{id}，继续？", "This cannot be undone: {id}. Go on?").filled(
            id=resource
        )
        typer.confirm(question.of(call.out.language), abort=True, err=True)
    with call.gateway() as channel:
        index = catalogue.withdraw_resource(
            channel, call.signer, resource, note=note, clock=call.clock, random=call.random
        )
    said = Text("已下架 {id}，记录 {index}", "Withdrew {id}, entry {index}")
    call.out.show(
        {"ok": True, "id": resource, "standing": "withdrawn", "index": index},
        lambda: call.out.done(said.filled(id=resource, index=index)),
    )


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


def _review(call: Invocation, resource: str, *, approve: bool, note: str) -> None:
    from exchange.schema_change import changes
    from shuqiao import catalogue, resource_views

    with call.gateway() as channel:
        before = catalogue.in_force(catalogue.versions_or_none(channel, resource))
        version, index = catalogue.review_resource(
            channel,
            call.signer,
            resource,
            approve=approve,
            note=note,
            clock=call.clock,
            random=call.random,
        )
    told = [resource_views.change(one) for one in changes(before.body, version.body)] if before else []
    said = (
        Text("已通过 {id} 第 {version} 版，记录 {index}", "Approved {id} version {version}, entry {index}")
        if approve
        else Text(
            "已退回 {id} 第 {version} 版，记录 {index}", "Rejected {id} version {version}, entry {index}"
        )
    ).filled(id=resource, version=version.body.version, index=index)

    def people() -> None:
        call.out.done(said)
        if told and approve:
            tables.changes(call, Text("变化", "Changes"), told)

    call.out.show(
        {
            "ok": True,
            "id": resource,
            "version": version.body.version,
            "approved": approve,
            "index": index,
            "changes": told,
        },
        people,
    )
