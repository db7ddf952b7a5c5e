"""`shuqiao certs`: the authority, enrolment, renewal and revocation; for tokens see `tokens.py`."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from shuqiao.cli import tokens
from shuqiao.cli.invocation import Invocation, of
from shuqiao.local_time import shown
from shuqiao.output import BAD, GOOD, Cell
from shuqiao.words import Text, term

app = typer.Typer(name="certs", help="认证机构与证书 | The authority and certificates")

Config = Annotated[Path, typer.Option("--config", help="配置文件（TOML） | Configuration file (TOML)")]
ENROLLED = Text("已注册", "Enrolled")


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


tokens.add_to(app)


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
            [
                [v["serial"], v["spiffe_id"], shown(str(v["not_after"])), _state(bool(v["revoked"]))]
                for v in found
            ],
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
        (Text("有效期自", "From"), shown(str(view["not_before"]))),
        (Text("有效期至", "Until"), shown(str(view["not_after"]))),
    ]
    call.out.show(view, lambda: call.out.facts(Text("证书", "Certificate"), pairs))


def _state(revoked: bool) -> Cell:
    return Cell(Text("已吊销", "revoked"), BAD) if revoked else Cell(Text("有效", "in force"), GOOD)


def certified(call: Invocation, verified: Any, file: Path | None, done: Text = ENROLLED) -> None:
    """Print who was certified until when, and the file with which to go on."""
    until = datetime.fromtimestamp(verified.not_after_ms / 1000, UTC).isoformat(timespec="seconds")
    uri = verified.identity.uri
    said = Text(f"{done.zh} {uri}，有效期至 {shown(until)}", f"{done.en} {uri}, valid until {shown(until)}")
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
