"""`shuqiao gateway rotate-log-key` and `epoch`: the log's key changed as planned, and after a loss by two."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.words import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange.identity import Identity
    from exchange.log_keys import Epoch
    from gateway.audit.epochs.log_folder import LogFolder

epoch = typer.Typer(
    name="epoch", help="日志丢失后由两人开启新纪元 | After a loss of the log, two people let it go on"
)
Config = Annotated[Path, typer.Option("--config", help="网关的配置文件 | Configuration of the gateway")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="纪元文件 | File of the epoch")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "rotate-log-key",
        help="按计划更换日志密钥（网关照常运行） | Change the log's key as planned, while it runs",
    )(rotate)
    app.add_typer(epoch)


def rotate(
    context: typer.Context,
    overlap_hours: Annotated[
        int,
        typer.Option("--overlap-hours", min=1, max=2160, help="新旧密钥同时签名的小时数 | Both sign so long"),
    ] = 24,
) -> None:
    """Order the change as an administrator, or tell how far the one under way has come."""
    from exchange.checkpoint import verifier_key
    from exchange.v1 import admin_pb2, admin_pb2_grpc
    from shuqiao.calling import CALL_TIMEOUT_S, calling
    from shuqiao.regional import get_checkpoint

    call = of(context)
    with call.gateway() as channel:
        with calling():
            answer = admin_pb2_grpc.AdminServiceStub(channel).RotateLogKey(
                admin_pb2.RotateLogKeyRequest(overlap_s=overlap_hours * 3600), timeout=CALL_TIMEOUT_S
            )
        origin = get_checkpoint(channel).partition("\n")[0]
    said = {
        "announcing": Text(
            "新密钥正在公布：信任列表满有效期后启用", "The region is told of the key; then it signs"
        ),
        "overlap": Text("新旧密钥同时签名", "The old key and the new one sign"),
    }
    key, known_as = answer.next_key.hex(), verifier_key(origin, answer.next_key)
    witnesses = Text(
        "见证人须在重叠期结束前将此公钥加入 logs：{key}",
        "Witnesses add this key to their logs before the overlap ends: {key}",
    )

    def people() -> None:
        call.out.done(Text("{said.zh}：{key}", "{said.en}: {key}").filled(said=said[answer.stage], key=key))
        call.out.say(witnesses.filled(key=known_as))

    document = {"ok": True, "next_key": key, "verifier_key": known_as, "stage": answer.stage}
    call.out.show(document, people)


@epoch.command("propose", help="提出：读取保留与丢失的范围 | Propose: read what is kept and what is lost")
def propose(
    context: typer.Context,
    config: Config,
    note: Annotated[
        str, typer.Option("--note", help="发生了什么，不含个人信息 | What happened; no personal data")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="写入的文件 | File to write")],
    head: Annotated[
        list[Path] | None,
        typer.Option(
            "--head",
            help="他处持有的日志头：检查点、回执或前置节点的 heads.json"
            " | Heads held elsewhere: a checkpoint, a receipt, an agent's heads.json",
        ),
    ] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="只保留前若干条 | Keep only so many entries")
    ] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="不签名，由两人另行批准 | Unsigned; two people approve it")
    ] = False,
) -> None:
    """Read the folder of a stopped gateway, make the next key there, and sign as the first administrator."""
    from exchange.log_keys import read_epoch
    from exchange.v1 import common_pb2
    from gateway.audit.epochs.proposal import propose as read_folder
    from shuqiao import opening_file

    call = of(context)
    log = _folder(call, config)
    body = read_folder(log, heads=head or [], note=note, keep=keep, clock=call.clock, random=call.random)
    statements = [common_pb2.Statement(body=body)]
    if not unsigned:
        statements = opening_file.sign(body, [], call.signer, log.anchor, call.clock)
    opening_file.write(out, statements)
    people = opening_file.signers(statements, log.anchor, call.clock.now_ms())
    _show(call, read_epoch(body), people, Text("已写入 {file}", "Wrote {file}").filled(file=out))


@epoch.command("show", help="查看纪元文件 | Show the file of an epoch")
def show(context: typer.Context, file: File) -> None:
    """Say everything that a file is to open, and who has signed it."""
    from shuqiao import opening_file

    call = of(context)
    told, statements = opening_file.read(file)
    people = opening_file.signers(statements, call.holder.anchor(), call.clock.now_ms())
    _show(call, told, people, Text("内容如上", "That is what it says"))


@epoch.command("approve", help="批准：以管理员身份签名 | Approve: sign as an administrator")
def approve(context: typer.Context, file: File) -> None:
    """Say everything that a file is to open, and sign it."""
    from shuqiao import opening_file

    call = of(context)
    anchor = call.holder.anchor()
    told, statements = opening_file.read(file)
    statements = opening_file.sign(told.body, statements, call.signer, anchor, call.clock)
    opening_file.write(file, statements)
    people = opening_file.signers(statements, anchor, call.clock.now_ms())
    _show(call, told, people, Text("已签名", "Signed"))


@epoch.command("open", help="开启：写入已停止的网关 | Open: take it over into the stopped gateway")
def open_(context: typer.Context, file: File, config: Config) -> None:
    """Compare what two administrators signed with the folder, and have the next start go on under it."""
    from gateway.audit.epochs.opening import open_epoch
    from shuqiao import opening_file

    call = of(context)
    _, statements = opening_file.read(file)
    told, people = open_epoch(_folder(call, config), statements, now_ms=call.clock.now_ms())
    said = Text(
        "已开启，请启动网关：shuqiao gateway serve", "Opened; start the gateway: shuqiao gateway serve"
    )
    _show(call, told, people, said)


def _folder(call: Invocation, config: Path) -> "LogFolder":
    from gateway.audit.epochs.stopped_gateway import log_folder
    from gateway.config import load

    return asyncio.run(log_folder(load(config), call.clock))


def _show(call: Invocation, told: "Epoch", people: "Sequence[Identity]", said: Text) -> None:
    from shuqiao import opening_file

    def words() -> None:
        call.out.facts(Text("日志的新纪元", "New epoch of the log"), opening_file.described(told, people))
        call.out.done(said)

    call.out.show({"ok": True, **opening_file.document(told, people)}, words)
