"""`shuqiao certs`: one-time tokens, made by one person and approved or countersigned by another."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.local_time import shown
from shuqiao.words import Text, term


class Role(StrEnum):
    """What can be enrolled."""

    AGENT = "agent"
    GATEWAY = "gateway"
    STEWARD = "steward"
    OFFICER = "officer"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


RoleOption = Annotated[Role, typer.Option("--role", help="角色 | Role")]
Organisation = Annotated[
    str,
    typer.Option(
        "--organisation", help="统一社会信用代码（前置节点、数据专员） | Credit code (agent, steward)"
    ),
]
Name = Annotated[
    str,
    typer.Option("--name", help="前置节点或网关名称，或人员编号 | Name of agent or gateway, or person's id"),
]
Hosts = Annotated[
    list[str] | None, typer.Option("--host", help="网关的主机名或 IP，可重复 | Host of a gateway, repeatable")
]
Token = Annotated[
    str,
    typer.Argument(
        metavar="NAME|TOKEN_ID",
        help="待注册者的名称，或令牌编号 | Name of whom it is for, or the token's public id",
    ),
]

NEEDS = {
    "ready": Text("可以注册", "ready to enrol"),
    "second-person": Text(
        "还需另一位管理员批准：shuqiao certs approve {name}",
        "another administrator must approve: shuqiao certs approve {name}",
    ),
    "countersignature": Text(
        "还需本部门会签：shuqiao certs countersign {name}",
        "its organisation must countersign: shuqiao certs countersign {name}",
    ),
}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("token", help="制作注册文件（管理员） | Make an enrolment file (administrator)")(token)
    app.command("tokens", help="查看待用令牌 | Show the tokens that wait to be used")(tokens)
    app.command("approve", help="批准令牌（第二位管理员） | Approve a token (second administrator)")(approve)
    app.command(
        "countersign", help="会签令牌（本部门前置节点或数据专员） | Countersign a token (agent or steward)"
    )(countersign)


def token(
    context: typer.Context,
    role: RoleOption,
    name: Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="写入的注册文件 | Enrolment file to write")],
    organisation: Organisation = "",
    division: Annotated[str, typer.Option("--division", help="区划代码 | Division code")] = "",
    host: Hosts = None,
    lifetime: Annotated[
        int, typer.Option("--lifetime", min=0, max=86400, help="有效秒数 | Seconds it works")
    ] = 0,
) -> None:
    """Have the authority make a one-time token and write all that enrolment needs into one file."""
    from shuqiao import certification, enrolling

    call = of(context)
    known = call.folder.enrolment()
    who = certification.enrolment(role=role, organisation=organisation, name=name, hosts=host or [])
    with call.authority() as channel:
        made = certification.create_token(channel, who, lifetime_s=lifetime)
    with call.enrolment() as channel:
        gateways = enrolling.gateways_of(certification.get_trust_list(channel))
    file = enrolling.enrolment_file(
        known,
        gateways,
        role=role,
        organisation=organisation,
        name=name,
        division=division,
        hosts=host or [],
        token=made.token,
    )
    enrolling.write_private(out, file.to_json())
    said = Text("注册文件已写入 {file}，令牌 {id}", "Wrote the enrolment file {file}, token {id}")

    def people() -> None:
        call.out.done(said.filled(file=out, id=made.token_id))
        _say_needs(call, made.needs, name)

    call.out.show({"ok": True, "token_id": made.token_id, "needs": made.needs, "file": str(out)}, people)


def tokens(context: typer.Context) -> None:
    """Print the tokens that wait to be used: those of one's own organisation, or all."""
    from shuqiao import certification, views

    call = of(context)
    with call.authority() as channel:
        found = [views.token(record) for record in certification.list_tokens(channel)]
    columns = (
        Text("令牌", "Token"),
        Text("角色", "Role"),
        Text("名称", "Name"),
        Text("部门", "Organisation"),
        Text("制作人", "Made by"),
        Text("还需", "Needs"),
        Text("有效期至", "Until"),
    )
    call.out.show(
        {"tokens": found},
        lambda: call.out.table(
            Text("待用令牌", "Tokens"),
            columns,
            [
                [
                    view["token_id"],
                    term(str(view["role"]), call.out.language),
                    view["name"],
                    view["organisation"],
                    view["created_by"],
                    term(str(view["needs"]), call.out.language),
                    shown(str(view["expires_at"])),
                ]
                for view in found
            ],
        ),
    )


def approve(context: typer.Context, token: Token) -> None:
    """Approve a token as the second person, having seen whom it is for."""
    from shuqiao import certification

    call = of(context)
    with call.authority() as channel:
        found = certification.find_token(channel, token)
        needs = certification.approve_token(channel, found.token_id)
    _consented(call, found, needs)


def countersign(context: typer.Context, token: Token) -> None:
    """Countersign an enrolment with a key of the same organisation; what is signed is shown."""
    from shuqiao import certification

    call = of(context)
    with call.authority() as channel:
        found = certification.find_token(channel, token)
        needs = certification.countersign_token(
            channel, call.signer, found.token_id, found.enrolment, clock=call.clock
        )
    _consented(call, found, needs)


def _consented(call: Invocation, token: Any, needs: str) -> None:
    from shuqiao import views

    view = views.token(token) | {"needs": needs}
    said = Text(
        "{role} {name}{organisation}{hosts}，制作人 {by}", "{role} {name}{organisation}{hosts}, made by {by}"
    )

    def people() -> None:
        call.out.say(
            said.filled(
                role=term(str(view["role"]), call.out.language),
                name=view["name"],
                organisation=f" {view['organisation']}" if view["organisation"] else "",
                hosts=f" {' '.join(token.enrolment.hosts)}" if view["hosts"] else "",
                by=view["created_by"],
            )
        )
        _say_needs(call, needs, str(view["name"]))

    call.out.show({"ok": True, **view}, people)


def _say_needs(call: Invocation, needs: str, name: str) -> None:
    call.out.done(NEEDS.get(needs, Text(needs, needs)).filled(name=name))
