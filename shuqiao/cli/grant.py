"""`shuqiao grant`: who may ask whom for what."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from shuqiao.cli import explaining
from shuqiao.cli.invocation import Invocation, of
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text, term

app = typer.Typer(name="grant", help="授权 | Grants")
explaining.register(app)

GrantId = Annotated[
    str,
    typer.Argument(
        metavar="GRANT|RESOURCE",
        help="授权编号（可只写前几位），或只涉及一项授权的资源编号"
        " | Grant id (or how it begins), or a resource that only one grant is about",
    ),
]
Note = Annotated[str, typer.Option("--note", help="说明，不得含个人信息 | Why; no personal data")]
STATE_STYLES = {"active": GOOD, "pending": UNSURE, "paused": UNSURE, "rejected": BAD, "revoked": BAD}
WAITING = {"accept": ("pending",), "reject": ("pending",), "pause": ("active",), "resume": ("paused",)}
ID_BYTES = 32
SHORT_HEX = 12


@app.command("apply", help="申请授权（数据专员） | Apply for a grant (steward)")
def apply(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="申请文件，见 deploy/examples/grant.toml | Its file, see deploy/examples/grant.toml",
        ),
    ],
) -> None:
    """Sign and hand in an application."""
    from shuqiao import forms, regional

    call = of(context)
    form = forms.read_form(forms.GrantForm, file)
    with call.gateway() as channel:
        grant_id, index = regional.apply_grant(channel, call.signer, call.filler.grant(form))
    said = Text("已申请授权 {id}，记录 {index}", "Applied for grant {id}, entry {index}")
    call.out.show(
        {"ok": True, "grant_id": grant_id.hex(), "index": index},
        lambda: call.out.done(said.filled(id=grant_id.hex(), index=index)),
    )


@app.command("approve", help="批准授权（提供部门数据专员） | Approve a grant (provider's steward)")
def approve(context: typer.Context, grant: GrantId, note: Note = "") -> None:
    """Accept an application."""
    _decide(of(context), grant, "accept", note)


@app.command("reject", help="拒绝授权（提供部门数据专员） | Reject a grant (provider's steward)")
def reject(context: typer.Context, grant: GrantId, note: Note = "") -> None:
    """Reject an application."""
    _decide(of(context), grant, "reject", note)


@app.command("pause", help="暂停授权（提供部门数据专员） | Pause a grant (provider's steward)")
def pause(context: typer.Context, grant: GrantId, note: Note = "") -> None:
    """Pause a grant."""
    _decide(of(context), grant, "pause", note)


@app.command("resume", help="恢复授权（提供部门数据专员） | Resume a grant (provider's steward)")
def resume(context: typer.Context, grant: GrantId, note: Note = "") -> None:
    """Resume a grant."""
    _decide(of(context), grant, "resume", note)


@app.command("revoke", help="撤销授权（双方数据专员） | Revoke a grant (either side's steward)")
def revoke(context: typer.Context, grant: GrantId, note: Note = "") -> None:
    """Revoke a grant for good."""
    _decide(of(context), grant, "revoke", note)


@app.command("list", help="列出授权 | List the grants")
def listed(context: typer.Context) -> None:
    """Print the grants that the caller may see."""
    from shuqiao import regional, views

    call = of(context)
    with call.gateway() as channel:
        found = [views.grant(record) for record in regional.list_grants(channel)]
    columns = (
        Text("授权", "Grant"),
        Text("状态", "State"),
        Text("使用部门", "Consumer"),
        Text("资源", "Resource"),
        Text("信息项", "Fields"),
        Text("用途", "Purposes"),
        Text("有效期至", "Until"),
    )
    call.out.show(
        {"grants": found},
        lambda: call.out.table(Text("授权", "Grants"), columns, [_row(call, view) for view in found]),
    )


@app.command("show", help="查看授权 | Show a grant")
def show(context: typer.Context, grant: GrantId) -> None:
    """Print one grant with its history."""
    from shuqiao import regional, views

    call = of(context)
    with call.gateway() as channel:
        record = regional.get_grant(channel, find_id(channel, grant))
    view = views.grant(record)
    call.out.show(view, lambda: _print(call, view))


def find_id(channel: Any, text: str, *, states: Collection[str] = ()) -> bytes:
    """Return the 32 bytes of a grant id that may be typed short, or found by its resource.

    Args:
        channel: to the gateway.
        text: hexadecimal, or a resource id.
        states: in which the grant must be when it is found by its resource; any where empty.

    Raises:
        BadConfiguration: it is neither.
        UnknownGrant: none or several grants fit.
    """
    from exchange.errors import BadConfiguration, UnknownGrant
    from shuqiao import regional, views
    from shuqiao.calling import HOP

    wanted = text.lower()
    by_resource = "/" in wanted
    if not by_resource and (
        not wanted or set(wanted) - set("0123456789abcdef") or len(wanted) > 2 * ID_BYTES
    ):
        raise BadConfiguration(f"grant id: {text}")
    if len(wanted) == 2 * ID_BYTES and not by_resource:
        return bytes.fromhex(wanted)
    fitting = []
    for record in regional.list_grants(channel):
        view = views.grant(record)
        if by_resource:
            fits = view["resource"] == wanted and (not states or view["state"] in states)
        else:
            fits = record.grant_id.hex().startswith(wanted)
        if fits:
            fitting.append(record.grant_id)
    if len(fitting) != 1:
        named = ", ".join(grant_id.hex()[:SHORT_HEX] for grant_id in fitting)
        raise UnknownGrant(f"{text}: {named or 0}", hop=HOP)
    return fitting[0]


def _decide(call: Invocation, grant: str, action: str, note: str) -> None:
    from exchange.v1 import grant_pb2
    from shuqiao import regional, views

    number = grant_pb2.GrantAction.Value(f"GRANT_ACTION_{action.upper()}")
    with call.gateway() as channel:
        grant_id = find_id(channel, grant, states=WAITING.get(action, ()))
        decided = regional.decide_grant(
            channel, call.signer, grant_id, number, clock=call.clock, random=call.random, note=note
        )
    state = views.grant_state(decided.state)
    word = term(state, call.out.language)
    said = Text("授权 {id} 现为：{state}，记录 {index}", "Grant {id} is now {state}, entry {index}")
    call.out.show(
        {"ok": True, "grant_id": grant_id.hex(), "state": state, "index": decided.entry},
        lambda: call.out.done(said.filled(id=grant_id.hex()[:SHORT_HEX], state=word, index=decided.entry)),
    )


def _state(call: Invocation, view: dict[str, Any]) -> Cell:
    return Cell(term(view["state"], call.out.language), STATE_STYLES.get(view["state"], ""))


def _row(call: Invocation, view: dict[str, Any]) -> list[object]:
    return [
        view["grant_id"][:SHORT_HEX],
        _state(call, view),
        view["consumer"],
        view["resource"],
        view["fields"],
        view["purposes"],
        view["not_after"][:10],
    ]


def _print(call: Invocation, view: dict[str, Any]) -> None:
    language = call.out.language
    title = Text("授权 {id}", "Grant {id}").filled(id=view["grant_id"])
    call.out.facts(
        title,
        [
            (Text("状态", "State"), _state(call, view)),
            (Text("使用部门", "Consumer"), view["consumer"]),
            (Text("提供部门", "Provider"), view["provider"]),
            (Text("资源", "Resource"), view["resource"]),
            (Text("信息项", "Fields"), view["fields"]),
            (Text("方式", "Kinds"), [term(kind, language) for kind in view["kinds"]]),
            (Text("用途", "Purposes"), view["purposes"]),
            (Text("事项", "Matters"), view["matters"] or Text("不限", "any")),
            (Text("须有办件编号", "Case required"), view["case_required"]),
            (Text("有效期自", "From"), view["not_before"]),
            (Text("有效期至", "Until"), view["not_after"]),
            (Text("理由", "Justification"), view["justification"]),
        ],
    )
    call.out.table(
        Text("经过", "History"),
        (Text("修订", "Revision"), Text("操作", "Action"), Text("时间", "Time"), Text("说明", "Note")),
        [
            [event["revision"], term(event["action"], language), event["issued_at"], event["note"]]
            for event in view["events"]
        ],
        empty=Text("尚无决定", "No decision yet"),
    )
