"""`shuqiao certs`: the authority, enrolment, renewal and revocation."""

import asyncio
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.output import BAD, GOOD, Cell
from shuqiao.words import Text, term

app = typer.Typer(name="certs", help="认证机构与证书 | The authority and certificates")


class Role(StrEnum):
    """What can be enrolled."""

    AGENT = "agent"
    GATEWAY = "gateway"
    STEWARD = "steward"
    OFFICER = "officer"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


Config = Annotated[Path, typer.Option("--config", help="配置文件（TOML） | Configuration file (TOML)")]
RoleOption = Annotated[Role, typer.Option("--role", help="角色 | Role")]
Organisation = Annotated[
    str,
    typer.Option(
        "--organisation", help="统一社会信用代码（前置节点、数据专员） | Credit code (agent, steward)"
    ),
]
Name = Annotated[
    str, typer.Option("--name", help="节点或网关名称，或人员编号 | Name of agent or gateway, or person's id")
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

ENROLLED = Text("已注册", "Enrolled")
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


@app.command("init", help="建立认证机构与首批管理员 | Found an authority and its first administrators")
def init(
    context: typer.Context,
    config: Config,
    admin: Annotated[
        list[str],
        typer.Option("--admin", help="管理员编号，至少两位，可重复 | Id of an administrator, at least two"),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="管理员身份的目录 | Folder for the administrators' identities")
    ],
    division: Annotated[
        str,
        typer.Option(
            "--division", help="区划代码；尚无配置文件时写入 | Division code, for a new configuration"
        ),
    ] = "",
    trust_domain: Annotated[
        str,
        typer.Option(
            "--trust-domain", help="信任域；尚无配置文件时写入 | Trust domain, for a new configuration"
        ),
    ] = "",
    enrolment: Annotated[
        str, typer.Option("--enrolment", help="注册与信任列表的地址 | host:port of enrolment and trust lists")
    ] = "localhost:7440",
    service: Annotated[
        str, typer.Option("--service", help="续期与管理的地址 | host:port of renewal and administration")
    ] = "localhost:7441",
) -> None:
    """Make root, issuing certificate and administrators here; a missing configuration is written."""
    from certs.config import load
    from exchange.errors import BadConfiguration, ExchangeError
    from shuqiao import installing
    from shuqiao.founding import CONTEXT, found_authority

    call = of(context)
    made = not config.exists()
    if made and not (division and trust_domain):
        raise BadConfiguration(f"{config} | --division, --trust-domain")
    if made:
        (host, port), (other, second) = (
            installing.host_and_port(option, address)
            for option, address in (("--enrolment", enrolment), ("--service", service))
        )
        values: dict[tuple[str, str], str | int | list[str]] = {
            ("", "division"): division,
            ("", "trust_domain"): trust_domain,
            ("listen", "enrolment_port"): port,
            ("listen", "service_port"): second,
            ("listen", "hosts"): list(dict.fromkeys((host, other, "localhost", "127.0.0.1"))),
        }
        installing.write_configuration(config, installing.configuration_text("authority", config, values))
    try:
        people = found_authority(load(config), admins=admin, out=out, clock=call.clock, random=call.random)
    except ExchangeError:
        if made:
            config.unlink()
        raise
    found = [
        {"spiffe_id": who.uri, "name": who.name, "context": str(out / who.name / CONTEXT)} for who in people
    ]

    def print_people() -> None:
        columns = (
            Text("管理员", "Administrator"),
            Text("身份", "Identity"),
            Text("上下文文件", "Context file"),
        )
        rows = [[view["name"], view["spiffe_id"], view["context"]] for view in found]
        call.out.table(Text("认证机构已建立", "The authority was founded"), columns, rows)

    call.out.show({"ok": True, "config": str(config), "admins": found}, print_people)


@app.command("token", help="制作注册文件（管理员） | Make an enrolment file (administrator)")
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


@app.command("tokens", help="查看待用令牌 | Show the tokens that wait to be used")
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
                    view["expires_at"],
                ]
                for view in found
            ],
        ),
    )


@app.command("approve", help="批准令牌（第二位管理员） | Approve a token (second administrator)")
def approve(context: typer.Context, token: Token) -> None:
    """Approve a token as the second person, having seen whom it is for."""
    from shuqiao import certification

    call = of(context)
    with call.authority() as channel:
        found = certification.find_token(channel, token)
        needs = certification.approve_token(channel, found.token_id)
    _consented(call, found, needs)


@app.command("countersign", help="会签令牌（本部门节点或数据专员） | Countersign a token (agent or steward)")
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


@app.command("serve", help="运行认证机构 | Run the authority")
def serve(config: Config) -> int:
    """Run the authority until it is told to stop; return its exit code."""
    from certs.app import serve as run

    return run(config)


@app.command("enrol", help="用注册文件取得证书（人员） | Enrol from an enrolment file (people)")
def enrol(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="注册文件 | Enrolment file")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="存放身份、口令与上下文文件的目录 | Folder for identity, passphrase and context file",
        ),
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option("--identity", help="身份目录，代替 --out | Identity folder, instead of --out"),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file", help="已有的私钥口令文件 | File that holds the key's passphrase already"
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys", help="私钥目录，默认在身份目录内 | Folder of the keys; inside the identity folder"
        ),
    ] = None,
    context_out: Annotated[
        Path | None, typer.Option("--write-context", help="写入的上下文文件 | Context file to write")
    ] = None,
) -> None:
    """Make a key here, have it certified, and keep both: in one folder, or where each is told to go."""
    from exchange.configuration import read_passphrase
    from exchange.enrolment import enrol as run
    from exchange.errors import BadConfiguration
    from shuqiao import enrolling, installing

    call = of(context)
    told = installing.read_file(file)
    if (out is None) == (identity is None) or (identity is None) != (passphrase_file is None):
        raise BadConfiguration("--out DIR | --identity DIR --passphrase-file FILE")
    if out is not None:
        files = installing.person_files(out, call.random)
        identity, passphrase_file = files.identity, files.passphrase
        keys, context_out = keys or files.keys, context_out or files.context
    assert identity is not None and passphrase_file is not None
    stored = keys or identity / enrolling.KEYS
    held = enrolling.folder_of(identity, read_passphrase(passphrase_file), keys=stored)
    verified = asyncio.run(run(told, held.keystore, identity, clock=call.clock))
    if context_out is not None:
        text = enrolling.context_text(
            told,
            identity=identity,
            keys=stored,
            passphrase_file=passphrase_file,
            beside=context_out.parent,
        )
        enrolling.write_private(context_out, text.encode())
    certified(call, verified, context_out)


@app.command("renew", help="续期证书 | Renew the certificate")
def renew(context: typer.Context) -> None:
    """Replace key and certificate of the context's identity."""
    from exchange.enrolment import renew as run

    call = of(context)
    address = call.context.authority if call.context.has("authority") else ""
    verified = asyncio.run(run(call.folder, address=address, clock=call.clock))
    certified(call, verified, None, Text("已续期", "Renewed"))


@app.command("revoke", help="吊销证书或密钥（管理员、安全员） | Revoke (administrator, officer)")
def revoke(
    context: typer.Context,
    serial: Annotated[
        str, typer.Option("--serial", help="证书序列号（十六进制） | Serial number (hexadecimal)")
    ] = "",
    spiffe_id: Annotated[str, typer.Option("--spiffe-id", help="该身份的全部证书 | All of an identity")] = "",
    kid: Annotated[str, typer.Option("--kid", help="密钥编号（十六进制） | Key id (hexadecimal)")] = "",
    note: Annotated[str, typer.Option("--note", help="说明，不得含个人信息 | Why; no personal data")] = "",
) -> None:
    """Revoke exactly one thing."""
    from exchange.errors import BadConfiguration
    from shuqiao import certification

    call = of(context)
    if [bool(serial), bool(spiffe_id), bool(kid)].count(True) != 1:
        raise BadConfiguration("--serial | --spiffe-id | --kid")
    try:
        key = bytes.fromhex(kid)
    except ValueError as error:
        raise BadConfiguration(f"--kid {kid}") from error
    with call.authority() as channel:
        number = certification.revoke(channel, serial=serial.lower(), spiffe_id=spiffe_id, kid=key, note=note)
    said = Text("已吊销，见第 {n} 号信任列表", "Revoked as of trust list {n}")
    call.out.show({"ok": True, "trust_list": number}, lambda: call.out.done(said.filled(n=number)))


@app.command(
    "erase-tag-key",
    help="擦除一个季度的标签密钥（管理员或安全员，两人）"
    " | Erase a quarter's tag key (administrator or officer, two of them)",
)
def erase_tag_key(
    context: typer.Context,
    period: Annotated[
        str, typer.Argument(metavar="PERIOD", help="季度，如 2026Q4 | Quarter, for example 2026Q4")
    ],
) -> None:
    """Erase the key under which providers tagged in a quarter: nobody is traced in it from then on."""
    from shuqiao import tracing

    call = of(context)
    with call.authority() as channel:
        needs = tracing.erase_tag_key(channel, period)
    said = (
        Text(
            "{period} 的标签密钥已擦除，该季度不能再追溯",
            "The tag key of {period} is erased: no more traces in it",
        )
        if needs == "erased"
        else Text(
            "已记录；另一位管理员或安全员须在七天内再次执行",
            "Noted; another administrator or officer must repeat it in seven days",
        )
    )
    call.out.show(
        {"ok": True, "period": period, "needs": needs}, lambda: call.out.done(said.filled(period=period))
    )


@app.command("show", help="查看证书 | Show certificates")
def show(
    context: typer.Context,
    everyone: Annotated[
        bool,
        typer.Option(
            "--all",
            help="全部已签发证书（管理员、安全员、审计） | All that were issued (admin, officer, auditor)",
        ),
    ] = False,
) -> None:
    """Print the context's own certificate, or all that the authority issued."""
    from shuqiao import certification, views

    call = of(context)
    if not everyone:
        _show_own(call)
        return
    with call.authority() as channel:
        found = [views.certificate(record) for record in certification.list_certificates(channel)]
    columns = (
        Text("序列号", "Serial"),
        Text("身份", "Identity"),
        Text("有效期至", "Until"),
        Text("状态", "State"),
    )
    call.out.show(
        {"certificates": found},
        lambda: call.out.table(
            Text("证书", "Certificates"),
            columns,
            [[v["serial"], v["spiffe_id"], v["not_after"], _state(bool(v["revoked"]))] for v in found],
        ),
    )


def _show_own(call: Invocation) -> None:
    from cryptography import x509

    certificate = x509.load_pem_x509_certificates(call.holder.chain_pem())[0]
    who = call.holder.identity()
    view: dict[str, object] = {
        "spiffe_id": who.uri,
        "role": str(who.role),
        "serial": f"{certificate.serial_number:x}",
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
    }
    pairs = [
        (Text("身份", "Identity"), who.uri),
        (Text("角色", "Role"), term(str(who.role), call.out.language)),
        (Text("序列号", "Serial"), view["serial"]),
        (Text("有效期自", "From"), view["not_before"]),
        (Text("有效期至", "Until"), view["not_after"]),
    ]
    call.out.show(view, lambda: call.out.facts(Text("证书", "Certificate"), pairs))


def _state(revoked: bool) -> Cell:
    return Cell(Text("已吊销", "revoked"), BAD) if revoked else Cell(Text("有效", "in force"), GOOD)


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


def certified(call: Invocation, verified: Any, file: Path | None, done: Text = ENROLLED) -> None:
    """Print who was certified until when, and the file with which to go on."""
    until = datetime.fromtimestamp(verified.not_after_ms / 1000, UTC).isoformat(timespec="seconds")
    uri = verified.identity.uri
    said = Text(f"{done.zh} {uri}，有效期至 {until}", f"{done.en} {uri}, valid until {until}")
    if file:
        said = Text(f"{said.zh}；{file}", f"{said.en}; {file}")
    view: dict[str, object] = {
        "ok": True,
        "spiffe_id": uri,
        "serial": f"{verified.serial:x}",
        "not_after": until,
    }
    if file:
        view["file"] = str(file)
    call.out.show(view, lambda: call.out.done(said))
