"""`shuqiao grant`: who may ask whom for what."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shuqiao.cli import explaining, grant_tables
from shuqiao.cli.grant_tables import SHORT_HEX
from shuqiao.cli.invocation import Invocation, of
from shuqiao.local_time import DAY, DAY_EN, typed_ms
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
Until = Annotated[
    str,
    typer.Option(
        "--until",
        help=f"新的截止时间：RFC 3339，或{DAY} | The new end of its term: RFC 3339, or {DAY_EN}",
    ),
]
IN_TERM = ("active", "paused")
WAITING = {
    "accept": ("pending",),
    "reject": ("pending",),
    "pause": ("active",),
    "resume": ("paused",),
    "extend": IN_TERM,
    "supervise": ("supervising", *IN_TERM),
    "overrule": ("supervising", *IN_TERM),
    "exit": ("pending", "supervising", *IN_TERM),
}
BY_SUPERVISOR = ("supervise", "overrule")
OF_TERM = ("accept", "extend", *BY_SUPERVISOR)
"""What may set a grant's term, or leave it waiting for the supervisor."""
ID_BYTES = 32


class State(StrEnum):
    """Where a grant stands."""

    PENDING = "pending"
    SUPERVISING = "supervising"
    ACTIVE = "active"
    PAUSED = "paused"
    REJECTED = "rejected"
    REVOKED = "revoked"
    ENDED = "ended"


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


@app.command("extend", help="延长授权（提供部门数据专员） | Extend a grant (provider's steward)")
def extend(context: typer.Context, grant: GrantId, until: Until, note: Note = "") -> None:
    """Extend the term of a grant; where a supervisor is named, it holds once that one approves."""
    _decide(of(context), grant, "extend", note, not_after_ms=typed_ms("--until", until))


@app.command("supervise", help="监督同意（监督部门数据专员） | Approve as supervisor (supervisor's steward)")
def supervise(context: typer.Context, grant: GrantId, note: Note = "") -> None:
    """Approve what the provider accepted or extended."""
    _decide(of(context), grant, "supervise", note)


@app.command("overrule", help="监督否决（监督部门数据专员） | Refuse as supervisor (supervisor's steward)")
def overrule(context: typer.Context, grant: GrantId, note: Note = "") -> None:
    """Refuse what the provider accepted or extended."""
    _decide(of(context), grant, "overrule", note)


@app.command("exit", help="退出授权（使用部门数据专员） | Give a grant back (consumer's steward)")
def give_back(context: typer.Context, grant: GrantId, note: Note = "") -> None:
    """Give a grant back for good."""
    _decide(of(context), grant, "exit", note)


@app.command("attest", help="声明已删除数据（使用部门数据专员） | Attest deletion (consumer's steward)")
def attest(
    context: typer.Context,
    grant: GrantId,
    before: Annotated[
        str,
        typer.Option(
            "--before",
            help=f"在此之前收到的数据均已删除：RFC 3339，或{DAY}"
            f" | Whatever was received before is deleted: RFC 3339, or {DAY_EN}",
        ),
    ],
    note: Note = "",
) -> None:
    """Attest that what was received before a moment is deleted."""
    _decide(of(context), grant, "attest_deletion", note, deleted_before_ms=typed_ms("--before", before))


@app.command("list", help="列出授权 | List the grants")
def listed(
    context: typer.Context,
    state: Annotated[
        State | None, typer.Option("--state", help="只列此状态 | Only those that stand so")
    ] = None,
    resource: Annotated[str, typer.Option("--resource", help="只列此资源 | Only of this resource")] = "",
    consumer: Annotated[str, typer.Option("--consumer", help="只列此使用部门 | Only of this consumer")] = "",
    overdue: Annotated[
        bool, typer.Option("--overdue", help="只列已超时限的 | Only those whose clock has run out")
    ] = False,
) -> None:
    """Print the grants that the caller may see."""
    from exchange.v1 import grant_pb2
    from shuqiao import regional, views

    call = of(context)
    wanted = grant_pb2.GrantState.Value(f"GRANT_STATE_{state.upper() if state else 'UNSPECIFIED'}")
    with call.gateway() as channel:
        records = regional.list_grants(
            channel, state=wanted, resource=resource, consumer=consumer, overdue=overdue
        )
    found = [views.grant(record) for record in records]
    call.out.show({"grants": found}, lambda: grant_tables.show_list(call, found))


@app.command("clocks", help="列出运行中的时限 | List the clocks that run")
def clocks(
    context: typer.Context,
    overdue: Annotated[
        bool, typer.Option("--overdue", help="只列已超时限的 | Only those that have run out")
    ] = False,
) -> None:
    """Print for which grants somebody has to act, what is due first."""
    from shuqiao import regional, views

    call = of(context)
    with call.gateway() as channel:
        records = regional.list_grants(channel, timed=True, overdue=overdue)
    found = sorted(map(views.grant, records), key=lambda view: str(view["due_at"]))
    now = views.unix_ms(call.clock.now_ms())
    call.out.show({"grants": found}, lambda: grant_tables.show_clocks(call, found, now=now))


@app.command("show", help="查看授权 | Show a grant")
def show(context: typer.Context, grant: GrantId) -> None:
    """Print one grant with its history."""
    from shuqiao import regional, views

    call = of(context)
    with call.gateway() as channel:
        record = regional.get_grant(channel, find_id(channel, grant))
    view, now = views.grant(record), views.unix_ms(call.clock.now_ms())
    call.out.show(view, lambda: grant_tables.show_one(call, view, now=now))


def find_id(channel: Any, text: str, *, waits: Callable[[Mapping[str, Any]], bool] | None = None) -> bytes:
    """Return the 32 bytes of a grant id that may be typed short, or found by its resource.

    Args:
        channel: to the gateway.
        text: hexadecimal, or a resource id.
        waits: which grants count where it is found by its resource; all where None.

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
            fits = view["resource"] == wanted and (waits is None or waits(view))
        else:
            fits = record.grant_id.hex().startswith(wanted)
        if fits:
            fitting.append(record.grant_id)
    if len(fitting) != 1:
        named = ", ".join(grant_id.hex()[:SHORT_HEX] for grant_id in fitting)
        raise UnknownGrant(f"{text}: 须指明一项 name one: {named}" if named else text, hop=HOP)
    return fitting[0]


def _waits(action: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return what tells of a grant whether an action is possible as it stands."""
    states = WAITING.get(action)

    def tells(view: Mapping[str, Any]) -> bool:
        if action in BY_SUPERVISOR and view["state"] in IN_TERM:
            return bool(view["extended_to"])
        return states is None or view["state"] in states

    return tells


def _decide(
    call: Invocation,
    grant: str,
    action: str,
    note: str,
    *,
    not_after_ms: int = 0,
    deleted_before_ms: int = 0,
) -> None:
    from exchange.v1 import grant_pb2
    from shuqiao import regional, views

    number = grant_pb2.GrantAction.Value(f"GRANT_ACTION_{action.upper()}")
    with call.gateway() as channel:
        grant_id = find_id(channel, grant, waits=_waits(action))
        decided = regional.decide_grant(
            channel,
            call.signer,
            grant_id,
            number,
            clock=call.clock,
            random=call.random,
            note=note,
            not_after_ms=not_after_ms,
            deleted_before_ms=deleted_before_ms,
        )
        stands: Mapping[str, Any] = (
            views.grant(regional.get_grant(channel, grant_id)) if action in OF_TERM else {}
        )
    state = views.grant_state(decided.state)
    word = term(state, call.out.language)
    ends = grant_tables.term_of(stands)
    said = Text(
        f"授权 {{id}} 现为：{{state}}{ends.zh}，记录 {{index}}",
        f"Grant {{id}} is now {{state}}{ends.en}, entry {{index}}",
    )
    term_told = {name: stands[name] for name in ("not_after", "extended_to", "supervisor") if name in stands}
    call.out.show(
        {"ok": True, "grant_id": grant_id.hex(), "state": state, "index": decided.entry, **term_told},
        lambda: call.out.done(said.filled(id=grant_id.hex()[:SHORT_HEX], state=word, index=decided.entry)),
    )
